//! The coordinator of a single relay: a file of its own, for one process at a time.

mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use naru_runtime::durable::{AppendError, AppendFile, DirectoryLock, Durability, replace_file};
use tokio::sync::watch;

use self::table::{Entry, Table};
use super::{Coordination, Granted, Held, Mark, ReadFailed, SwapFailed};
use crate::sequence::Millis;

/// Bytes that the file may have beyond four times of what stands in it: then it is written anew. Small against any
/// disk, and thousands of changes apart.
const SLACK_BYTES: u64 = 1 << 20;

/// The file is for the relay alone: it says which side is active.
const MODE: u32 = 0o600;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it. A retry helps when that has ended.
    #[error("{directory}: another process uses it")]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// The system refused. A retry helps after what it says is mended.
    #[error("{path}: cannot be used")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not what was written: no crash does that. Restore a copy, or remove the file and confirm which side
    /// counts.
    #[error("{path}: damaged at byte {at}; restore a copy, or remove it and confirm which side counts")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: usize,
    },
}

/// The coordinator in a file. Clones are the same one.
///
/// Its versions are revisions of the whole file: they rise with every change of any key, so that none is used twice.
#[derive(Debug, Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    /// Reads CLOCK_BOOTTIME.
    now: fn() -> Millis,
}

#[derive(Debug)]
struct State {
    path: PathBuf,
    /// None after a write of which the disk's state is unknown: read again before the next use.
    file: Option<AppendFile>,
    table: Table,
    /// When the lease of each name ends. Not kept: whoever held one before this process had the lock, and has ended.
    leases: HashMap<String, Millis>,
    _lock: DirectoryLock,
}

impl Embedded {
    /// Opens the file in this directory, or makes both. `now` reads CLOCK_BOOTTIME; `incarnation` is used if the file
    /// is made.
    ///
    /// # Errors
    /// When another process has it, the system refuses, or the file is damaged.
    pub fn open(directory: &Path, now: fn() -> Millis, incarnation: u64) -> Result<Self, OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| OpenError::File { path, source }
        };
        let lock = DirectoryLock::take(directory).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse { directory: directory.to_owned() },
            _ => failed(directory)(error),
        })?;
        let path = directory.join("coordination");
        let table = match std::fs::read(&path) {
            Ok(bytes) => Table::decode(&bytes)
                .map_err(|at| OpenError::Damaged { path: path.clone(), at })?
                .unwrap_or_else(|| {
                    tracing::warn!(path = %path.display(), "the coordinator's file is empty: the state is in doubt");
                    Table::new(incarnation)
                }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Table::new(incarnation),
            Err(error) => return Err(failed(&path)(error)),
        };
        let file = write_anew(&path, &table).map_err(failed(&path))?;
        let revision = table.revision();
        let state = State { path, file: Some(file), table, leases: HashMap::new(), _lock: lock };
        let shared = Shared { state: Mutex::new(state), changes: watch::Sender::new(revision), now };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The table changes behind the file in one step; nothing panics in between.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || work(&mut this.state())).await
    }

    async fn reading<T: Send + 'static>(
        &self,
        key: &str,
        read: impl FnOnce(&Table) -> T + Send + 'static,
    ) -> Result<T, ReadFailed> {
        let failed = |source| ReadFailed { key: key.to_owned(), source };
        let done = self.blocking(|state| state.ready().map(|()| read(&state.table))).await;
        done.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)
    }
}

fn write_anew(path: &Path, table: &Table) -> io::Result<AppendFile> {
    let bytes = table.encode();
    replace_file(path, &bytes, MODE)?;
    AppendFile::open_cut(path, bytes.len() as u64, Durability::EachAppend)
}

impl State {
    /// Reads the file again after a write that may or may not be on the disk. What is read is written to a new file:
    /// after a failed fsync the old one's pages may differ from the disk for ever.
    fn ready(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let damaged = |at| io::Error::new(io::ErrorKind::InvalidData, format!("damaged at byte {at}"));
            let table = Table::decode(&std::fs::read(&self.path)?).map_err(damaged)?;
            let table = table.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "empty"))?;
            self.file = Some(write_anew(&self.path, &table)?);
            self.table = table;
        }
        Ok(())
    }

    /// Appends an entry and applies it.
    fn change(&mut self, key: &str, entry: Entry) -> Result<(), SwapFailed> {
        let unavailable = |source| SwapFailed::Unavailable { key: key.to_owned(), source };
        let file = self.file.as_mut().ok_or_else(|| unavailable(io::Error::other("the file is not open")))?;
        let frame = entry.encode().map_err(unavailable)?;
        match file.append(&frame) {
            Ok(()) => self.table.apply(entry),
            Err(AppendError::Write { source, .. }) => return Err(unavailable(source)),
            Err(error @ AppendError::Unknown { .. }) => {
                tracing::error!(%error, "a change may or may not be on the disk");
                self.file = None;
                return Err(SwapFailed::Unknown { key: key.to_owned() });
            }
        }
        if file.length() > 4 * self.table.bytes() + SLACK_BYTES {
            match write_anew(&self.path, &self.table) {
                Ok(file) => self.file = Some(file),
                // The change is durable in the old file; which of the two has the name now is found out by reading.
                Err(error) => {
                    tracing::warn!(%error, "the coordinator's file cannot be shortened");
                    self.file = None;
                }
            }
        }
        Ok(())
    }

    fn swap(&mut self, key: &str, expected: u64, value: Bytes) -> Result<u64, SwapFailed> {
        self.ready().map_err(|source| SwapFailed::Unavailable { key: key.to_owned(), source })?;
        let held = self.table.get(key);
        if held.map_or(0, |held| held.version) != expected {
            return Err(SwapFailed::Conflict { key: key.to_owned(), held: held.cloned() });
        }
        let version = self.table.revision() + 1;
        self.change(key, Entry::Set { key: key.to_owned(), held: Held { version, value } })?;
        Ok(version)
    }

    fn lease(
        &mut self,
        now: Millis,
        name: &str,
        holder: &str,
        time_to_live: Duration,
    ) -> Result<Option<Granted>, SwapFailed> {
        let (term, last_holder) = self.table.term(name);
        let is_held = self.leases.get(name).is_some_and(|until| now < *until);
        if is_held && last_holder != holder {
            return Ok(None);
        }
        let term = if last_holder == holder {
            term
        } else {
            self.ready().map_err(|source| SwapFailed::Unavailable { key: name.to_owned(), source })?;
            let entry = Entry::Term { name: name.to_owned(), term: term + 1, holder: holder.to_owned() };
            self.change(name, entry)?;
            term + 1
        };
        let length_ms = u64::try_from(time_to_live.as_millis()).unwrap_or(u64::MAX);
        self.leases.insert(name.to_owned(), now.saturating_add(length_ms));
        Ok(Some(Granted { term, time_to_live }))
    }
}

impl Coordination for Embedded {
    async fn read(&self, key: &str) -> Result<Option<Held>, ReadFailed> {
        let wanted = key.to_owned();
        self.reading(key, move |table| table.get(&wanted).cloned()).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Held)>, ReadFailed> {
        let wanted = prefix.to_owned();
        self.reading(prefix, move |table| table.list(&wanted)).await
    }

    async fn swap(&self, key: &str, expected: u64, value: Bytes) -> Result<u64, SwapFailed> {
        let wanted = key.to_owned();
        let done = self.blocking(move |state| state.swap(&wanted, expected, value)).await;
        // The runtime is ending, or the work panicked: it may have come as far as the file.
        let version = done.unwrap_or_else(|_| Err(SwapFailed::Unknown { key: key.to_owned() }))?;
        self.shared.changes.send_modify(|revision| *revision = version.max(*revision));
        Ok(version)
    }

    async fn mark(&self) -> Result<Mark, ReadFailed> {
        self.reading("", |table| table.mark()).await
    }

    fn watch(&self, _prefix: &str) -> watch::Receiver<u64> {
        // One number for all keys: it may say more changes than there are.
        self.shared.changes.subscribe()
    }

    async fn lease(&self, name: &str, holder: &str, time_to_live: Duration) -> Result<Option<Granted>, SwapFailed> {
        let (now, wanted, asks) = (self.shared.now, name.to_owned(), holder.to_owned());
        let done = self.blocking(move |state| state.lease(now(), &wanted, &asks, time_to_live)).await;
        done.unwrap_or_else(|_| Err(SwapFailed::Unknown { key: name.to_owned() }))
    }
}
