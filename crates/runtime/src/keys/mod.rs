//! Key files with ids and rotation: Ed25519 for signatures, HMAC-SHA-256 for tags.
//!
//! A key file is versioned JSON, readable by its owner only; a wider mode is refused with the command that mends it.
//! The first key is the current one, the rest are former ones: of a signing key only the public half is kept, of a tag
//! key the secret, since that is what checks an old tag. Rotation replaces the file whole. No secret is ever printed.

mod file;
mod mac;
mod signing;

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::hex::to_hex;

pub use file::refuse_exposed;
pub use mac::{MacKeys, Tag};
pub use signing::{Signature, SigningKeys, VerifyingKeys};

/// Most keys in one file: a rotation every week for a year, the current one included.
pub const KEYS_MAX: usize = 53;

/// The name of one key, 16 hexadecimal digits; public.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// Bytes of an id.
    pub const BYTES: usize = 8;

    /// An id from its bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why keys could not be had. All but `Io` and `Random` are the operator's; no retry helps against those.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read or written.
    #[error("key file {path}: cannot be {action}")]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A key file is there already; making a new one would lose its keys.
    #[error("key file {path}: exists already; rotate it, or remove it if its keys are of no use any more")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read the file.
    #[error("key file {path}: mode {mode:04o} lets others read it; run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a key file, or not one of this version and kind.
    #[error("key file {path}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, without any of the contents.
        what: String,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Random,
}

#[cfg(test)]
mod tests;
