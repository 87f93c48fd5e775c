//! The calls that changed something, kept in the order in which they did.

use std::io;
use std::path::Path;

use naru_runtime::durable::frame::{self, Tail};
use naru_runtime::durable::{AppendError, AppendFile, DirectoryLock, Durability};

use crate::cloud::Event;

const FILE: &str = "journal";
const EVENT: u8 = 1;

/// Why the journal cannot be read or written. The machine's side.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another cloud, or the disk.
    #[error("the cloud's directory")]
    Io(#[from] io::Error),
    /// Not what was written; somebody must look.
    #[error("the journal is damaged")]
    Damaged,
    /// An event of another version.
    #[error("the journal holds an event that is none")]
    Malformed(#[from] serde_json::Error),
    /// The disk.
    #[error("the journal")]
    Append(#[from] AppendError),
}

/// The journal of one cloud.
pub(crate) struct Journal {
    file: AppendFile,
    _lock: DirectoryLock,
}

impl Journal {
    /// Opens it, and gives what it holds.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Vec<Event>), JournalError> {
        let lock = DirectoryLock::take(directory)?;
        let path = directory.join(FILE);
        if !path.exists() {
            let file = AppendFile::create(&path, &[], Durability::EachAppend)?;
            return Ok((Self { file, _lock: lock }, Vec::new()));
        }
        let bytes = std::fs::read(&path)?;
        let (frames, end, tail) = frame::scan(&bytes);
        if matches!(tail, Tail::Damaged { .. }) {
            return Err(JournalError::Damaged);
        }
        let events = frames.iter().map(|frame| serde_json::from_slice(frame.body)).collect::<Result<_, _>>()?;
        let file = AppendFile::open_cut(&path, end as u64, Durability::EachAppend)?;
        Ok((Self { file, _lock: lock }, events))
    }

    /// Keeps events; returns when they are durable, all or none.
    pub(crate) fn keep(&mut self, events: &[Event]) -> Result<(), JournalError> {
        let mut bytes = Vec::new();
        for event in events {
            frame::put(&mut bytes, EVENT, &[&serde_json::to_vec(event)?]);
        }
        if bytes.is_empty() { Ok(()) } else { Ok(self.file.append(&bytes)?) }
    }
}
