//! The directory of a run: what is handed out, and what the children keep while it lasts.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// In the children's directory: says that it is ours to remove.
const MARKER: &str = "made-by-naru-rehearse";

/// Why the output directory cannot be used. The user's side; a retry helps after what it names was changed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or directory cannot be used.
    #[error("cannot use {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The children's directory exists and was not made by a rehearsal.
    #[error("{path} was not made by a rehearsal, so it is not removed: name another directory by --out", path = path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
    },
    /// Another rehearsal uses it.
    #[error("another rehearsal writes to {path}: wait for it, or name another directory by --out", path = path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
}

/// The directory of a run, held against other runs until dropped.
#[derive(Debug)]
pub struct State {
    out: PathBuf,
    children: PathBuf,
    _lock: File,
}

impl State {
    /// Makes `out`, takes it for this run, and clears away what the children of an earlier run kept.
    ///
    /// # Errors
    /// Every [`StateError`].
    pub fn prepare(out: &Path) -> Result<Self, StateError> {
        let error = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::File { path, source }
        };
        fs::create_dir_all(out).map_err(error(out))?;
        // Children run elsewhere, and Kafka wants whole paths.
        let out = out.canonicalize().map_err(error(out))?;
        let lock_path = out.join(".lock");
        let lock = File::create(&lock_path).map_err(error(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse { path: out }),
            Err(TryLockError::Error(source)) => return Err(StateError::File { path: lock_path, source }),
        }
        let children = out.join("children");
        let marker = children.join(MARKER);
        if children.exists() {
            if !marker.exists() {
                return Err(StateError::NotOurs { path: children });
            }
            fs::remove_dir_all(&children).map_err(error(&children))?;
        }
        fs::create_dir(&children).map_err(error(&children))?;
        fs::write(&marker, "").map_err(error(&marker))?;
        Ok(Self { out, children, _lock: lock })
    }

    /// Where the report goes.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// A child's own directory.
    pub fn child(&self, name: &str) -> PathBuf {
        self.children.join(name)
    }

    /// Writes a file beside the report, whole or not at all.
    ///
    /// # Errors
    /// [`StateError::File`].
    pub fn write(
        &self,
        name: &str,
        write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> Result<PathBuf, StateError> {
        let (path, draft) = (self.out.join(name), self.out.join(format!(".{name}.draft")));
        let attempt = || {
            let mut file = io::BufWriter::new(File::create(&draft)?);
            write(&mut file)?;
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            fs::rename(&draft, &path)
        };
        attempt().map_err(|source| StateError::File { path: path.clone(), source })?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test panics on failure")]

    use super::*;

    #[test]
    fn a_directory_is_held_by_one_run_and_cleared_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let first = State::prepare(dir.path()).unwrap();
        fs::create_dir(first.child("node-a")).unwrap();
        assert!(matches!(State::prepare(dir.path()), Err(StateError::InUse { .. })));
        drop(first);
        let second = State::prepare(dir.path()).unwrap();
        assert!(!second.child("node-a").exists());
    }

    #[test]
    fn a_directory_of_somebody_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("children")).unwrap();
        fs::write(dir.path().join("children/precious"), "x").unwrap();
        assert!(matches!(State::prepare(dir.path()), Err(StateError::NotOurs { .. })));
        assert!(dir.path().join("children/precious").exists());
    }
}
