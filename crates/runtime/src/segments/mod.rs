//! Hash-chained, signed segments: an append-only record that shows every later change to it.
//!
//! A chain is a directory of files, `00000000000000000000.segment` and up. A file is a header frame, entry frames and,
//! once it is sealed, one seal frame (frames as in `durable/frame`, numbers little-endian):
//!
//! - header: format version (2), segment number (8), head of the segment before (32; zeros in front of the first)
//! - entry: hash of the frame before it (32), then the caller's bytes
//! - seal: entry count (8), head (32), key id (8), Ed25519 signature (64)
//!
//! The head of a segment is the SHA-256 of its last frame in front of the seal. The signature covers a fixed text,
//! the segment number, the entry count, the head and the key id; the header is part of the chain, and names the head
//! before it, so a seal vouches for everything up to it. [`verify_chain`] decides SEGMENT-1. What it cannot see is a
//! chain cut back to an earlier seal, or entries after the last one: give it the [`Head`] you know from elsewhere.

mod verify;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ring::digest;

pub use verify::{
    ChainSummary, Chained, Entry, Expect, Seal, SegmentFault, SegmentSummary, verify_chain, verify_segment,
};
pub use writer::{Appended, Recovered, SegmentOptions, SegmentWriter};

use crate::durable::{AppendError, frame};
use crate::hex::to_hex;
use crate::keys::KeyId;

/// The format that this program writes and the only one it reads.
pub const FORMAT_VERSION: u16 = 1;

/// Most bytes of one entry: what fits one frame beside its hash.
pub const ENTRY_BYTES_MAX: usize = frame::BODY_BYTES_MAX - Head::BYTES;

/// Most bytes of a segment file: the verifier reads one whole.
pub const SEGMENT_BYTES_MAX: u64 = 256 << 20;

const HEADER: u8 = 1;
const ENTRY: u8 = 2;
const SEAL: u8 = 3;

/// Begins every signed text, so that a signature for another purpose is none here.
const SEAL_CONTEXT: &[u8] = b"naru segment seal 1";

/// The SHA-256 that stands for a chain up to a place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head([u8; 32]);

impl Head {
    /// Bytes of a head.
    pub const BYTES: usize = 32;

    /// What stands in front of the first segment.
    pub const START: Self = Self([0; 32]);

    /// A head known from elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the head.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    fn of(frame: &[u8]) -> Self {
        let mut head = [0; 32];
        head.copy_from_slice(digest::digest(&digest::SHA256, frame).as_ref());
        Self(head)
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a chain could not be opened, written or verified.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The entry is longer than [`ENTRY_BYTES_MAX`]: the caller's mistake, no retry helps.
    #[error("an entry of {bytes} bytes is longer than {ENTRY_BYTES_MAX}")]
    EntryTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Another process writes this chain; a retry helps when it has ended.
    #[error("{directory}: another process writes this chain")]
    Busy {
        /// The chain's directory.
        directory: PathBuf,
    },
    /// What is on the disk is not what was written. Somebody must look; no retry helps.
    #[error("segment file {file} is refused")]
    Refused {
        /// The segment file.
        file: PathBuf,
        /// What is wrong in it, and at which entry.
        #[source]
        fault: SegmentFault,
    },
    /// The disk refused an append.
    #[error("append to a segment failed")]
    Append(#[from] AppendError),
    /// The disk refused something else.
    #[error("{path}: cannot be {action}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// `read`, `opened`, `made`.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl SegmentError {
    fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}

fn put_header(number: u64, previous: Head) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::put(&mut bytes, HEADER, &[&FORMAT_VERSION.to_le_bytes(), &number.to_le_bytes(), &previous.0]);
    bytes
}

fn seal_message(number: u64, count: u64, head: Head, key_id: KeyId) -> Vec<u8> {
    let numbers = [number.to_le_bytes(), count.to_le_bytes()].concat();
    [SEAL_CONTEXT, &numbers, &head.0, &key_id.to_bytes()].concat()
}

fn file_name(number: u64) -> String {
    format!("{number:020}.segment")
}

/// The numbers of the segments in a directory, ascending. Other files are passed over.
fn numbers(directory: &Path) -> Result<Vec<u64>, SegmentError> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(SegmentError::io(directory, "read"))? {
        let name = entry.map_err(SegmentError::io(directory, "read"))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".segment")).and_then(|stem| stem.parse().ok());
        numbers.extend(number.filter(|number| name.to_str() == Some(&file_name(*number))));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads a segment file whole.
fn read_segment(path: &Path) -> Result<Vec<u8>, SegmentError> {
    let length = std::fs::metadata(path).map_err(SegmentError::io(path, "read"))?.len();
    if length > SEGMENT_BYTES_MAX {
        return Err(SegmentError::Refused { file: path.to_owned(), fault: SegmentFault::TooLarge { bytes: length } });
    }
    std::fs::read(path).map_err(SegmentError::io(path, "read"))
}

#[cfg(test)]
mod tests;
