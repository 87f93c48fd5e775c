//! What can go wrong between the log and the disk.

use std::io;
use std::path::{Path, PathBuf};

use crate::standin::log::Refusal;
use crate::wire::error_code::ErrorCode;

/// The disk, or what is on it, is at fault: never the client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused. A retry helps when what it lacked is there again, such as space.
    #[error("{action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file was written by a later version of this program.
    #[error("{}: format {found}, this version reads up to {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The format it names.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// An fsync failed after appends that had not been acknowledged; they were cut off and may be sent again.
    #[error("the appended batch could not be made durable and was cut off")]
    RolledBack,
    /// The store was closed or deleted, or a failed fsync left it in a state that only a restart mends.
    #[error("the partition is offline: {0}")]
    Offline(&'static str),
}

impl StoreError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// The code that answers a client.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::KAFKA_STORAGE_ERROR
    }

    /// Whether the device was full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

/// Why a batch was not appended. Nothing of it is in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The producer's side.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Our side.
    #[error(transparent)]
    Storage(#[from] StoreError),
}

impl AppendError {
    /// The code that answers the producer.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Storage(error) => error.code(),
        }
    }
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The client asked for what is not, or no longer, there.
    #[error("offset {offset} is not in {log_start}..={log_end}")]
    OutOfRange {
        /// The offset asked for.
        offset: i64,
        /// The first offset there is.
        log_start: i64,
        /// The offset after the last.
        log_end: i64,
    },
    /// The bytes at this offset are damaged. A retry does not help; the records behind the damage can be read.
    #[error("the batch at offset {offset} is damaged: {reason}")]
    Corrupt {
        /// The offset asked for.
        offset: i64,
        /// What is wrong.
        reason: &'static str,
    },
    /// Our side.
    #[error(transparent)]
    Storage(#[from] StoreError),
}

impl ReadError {
    /// The code that answers the client.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::OutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
            Self::Corrupt { .. } => ErrorCode::CORRUPT_MESSAGE,
            Self::Storage(error) => error.code(),
        }
    }
}
