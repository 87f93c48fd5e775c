//! A file that only grows, and is never left with half a write.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// When an append counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After fsync: it survives the loss of power.
    EachAppend,
    /// After the write: it survives the end of the process, and the loss of power only after the next flush.
    OnFlush,
}

/// Why an append was refused. The machine is at fault: its disk is full or failing.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The write failed and was taken back; a retry helps when the disk has space again.
    #[error("{path}: write failed and was taken back")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// What the disk holds is unknown after a failed fsync or take-back; no retry helps, the file must be opened anew.
    #[error("{path}: its state on the disk is unknown, open it again")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The system's answer; none when an earlier call has told it.
        #[source]
        source: Option<io::Error>,
    },
}

/// A file that only grows; a write that fails is taken back, so that it ends with a whole one.
#[derive(Debug)]
pub struct AppendFile {
    file: File,
    path: PathBuf,
    length: u64,
    durability: Durability,
    /// After a failed fsync the kernel may have dropped the pages and report success next time.
    unknown: bool,
}

impl AppendFile {
    /// Makes the file, which must not exist; durable, its name included.
    pub fn create(path: &Path, head: &[u8], durability: Durability) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let written = file.write_all(head).and_then(|()| file.sync_all());
        let written = written.and_then(|()| super::sync_directory(path.parent().unwrap_or(Path::new("."))));
        if let Err(error) = written {
            // A file with half a head would stop the next start; without it that start makes a new one.
            return match std::fs::remove_file(path) {
                Ok(()) => Err(error),
                Err(second) => Err(io::Error::new(error.kind(), format!("{error}; left behind: {second}"))),
            };
        }
        Ok(Self { file, path: path.to_owned(), length: head.len() as u64, durability, unknown: false })
    }

    /// Opens the file and cuts what follows `length`.
    pub fn open_cut(path: &Path, length: u64, durability: Durability) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        if file.metadata()?.len() != length {
            file.set_len(length)?;
        }
        // What the last process wrote may still be in memory only; what was read back is relied on from here.
        file.sync_all()?;
        Ok(Self { file, path: path.to_owned(), length, durability, unknown: false })
    }

    /// Bytes that it has.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Puts bytes at its end, whole or not at all.
    ///
    /// # Errors
    /// After [`AppendError::Unknown`] every further call fails: open it anew.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        if self.unknown {
            return Err(self.lost(None));
        }
        use std::os::unix::fs::FileExt as _;
        if let Err(source) = self.file.write_all_at(bytes, self.length) {
            return Err(match self.file.set_len(self.length) {
                Ok(()) => AppendError::Write { path: self.path.clone(), source },
                Err(second) => self.lost(Some(second)),
            });
        }
        self.length += bytes.len() as u64;
        match self.durability {
            Durability::EachAppend => self.flush(),
            Durability::OnFlush => Ok(()),
        }
    }

    /// Makes what was appended survive the loss of power.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub fn flush(&mut self) -> Result<(), AppendError> {
        if self.unknown {
            return Err(self.lost(None));
        }
        self.file.sync_data().map_err(|source| self.lost(Some(source)))
    }

    fn lost(&mut self, source: Option<io::Error>) -> AppendError {
        self.unknown = true;
        AppendError::Unknown { path: self.path.clone(), source }
    }
}

/// Holds a directory for one writer; released when dropped, also by the kernel.
#[derive(Debug)]
pub struct DirectoryLock(#[expect(dead_code, reason = "held for its lock")] File);

impl DirectoryLock {
    /// Takes the lock, or says with `WouldBlock` that another process has it.
    pub fn take(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(directory.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn after_a_write_that_cannot_be_taken_back_nothing_more_is_taken() {
        // Writes to it answer "no space left", and it cannot be cut.
        let path = PathBuf::from("/dev/full");
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let mut full = AppendFile { file, path, length: 0, durability: Durability::OnFlush, unknown: false };
        assert!(matches!(full.append(b"entry"), Err(AppendError::Unknown { source: Some(_), .. })));
        assert!(matches!(full.append(b"entry"), Err(AppendError::Unknown { source: None, .. })));
        assert!(matches!(full.flush(), Err(AppendError::Unknown { source: None, .. })));
    }

    #[test]
    fn one_process_holds_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::take(directory.path()).unwrap();
        let second = DirectoryLock::take(directory.path());
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        DirectoryLock::take(directory.path()).unwrap();
    }
}
