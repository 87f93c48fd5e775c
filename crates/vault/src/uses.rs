//! The record of every use: who, why, which field, how many, and never a value.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use naru_runtime::keys::{KeyError, SigningKeys};
use naru_runtime::segments::{SegmentError, SegmentOptions, SegmentWriter};
use serde::{Deserialize, Serialize};

use crate::token::Kind;

/// One use of a field, as it stands in the chain (JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// When, milliseconds since 1970.
    pub at_unix_ms: i64,
    /// The role that asked.
    pub caller: String,
    /// `tokenise` or `resolve`.
    pub action: Action,
    /// Why, in the caller's words.
    pub purpose: String,
    /// The field.
    pub field: String,
    /// The kind of token.
    pub kind: Kind,
    /// Values or tokens asked about.
    pub count: usize,
    /// Whether the caller may do that; else it was refused.
    pub allowed: bool,
    /// Whether it was allowed and not answered all the same: a value or token of the part was at fault. Stands in an entry
    /// of its own behind that of the request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Tokens of values.
    Tokenise,
    /// Values of tokens.
    Resolve,
}

/// Why uses cannot be recorded. Nothing is answered then.
#[derive(Debug, thiserror::Error)]
pub enum UsesError {
    /// The signing key.
    #[error("signing key of the log of uses")]
    Key(#[from] KeyError),
    /// The key that signed the chain is gone. Another one would begin a chain that nothing joins to the old one.
    #[error(
        "the log of uses in {directory} is there, and its signing key {key} is not: give the key back from the backup"
    )]
    KeyGone {
        /// The chain.
        directory: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The chain.
    #[error("the log of uses")]
    Chain(#[from] SegmentError),
}

/// Whether a chain was begun there.
fn has_segments(directory: &Path) -> Result<bool, UsesError> {
    let io = |source| SegmentError::Io { path: directory.to_owned(), action: "read", source };
    let mut found = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        found => found.map_err(io)?,
    };
    let is_segment = |path: &Path| path.extension().is_some_and(|extension| extension == "segment");
    found.try_fold(false, |any, entry| Ok(any || is_segment(&entry.map_err(io)?.path())))
}

/// Appends uses to the chain. Calls block on the disk.
#[derive(Debug)]
pub struct Uses {
    chain: Mutex<SegmentWriter>,
}

impl Uses {
    /// Opens the chain, and makes a signing key if neither is there yet.
    ///
    /// # Errors
    /// When key or chain cannot be had; another process may write it.
    pub fn open(directory: &Path, signing_key: &Path, now_unix_ms: i64) -> Result<Self, UsesError> {
        if !signing_key.exists() && has_segments(directory)? {
            return Err(UsesError::KeyGone { directory: directory.to_owned(), key: signing_key.to_owned() });
        }
        let keys = SigningKeys::load_or_generate(signing_key, now_unix_ms)?;
        std::fs::create_dir_all(directory).map_err(|source| SegmentError::Io {
            path: directory.to_owned(),
            action: "made",
            source,
        })?;
        let (chain, recovered) = SegmentWriter::open(directory, Arc::new(keys), SegmentOptions::default())?;
        tracing::info!(segment = recovered.segment, entries = recovered.entries, "log of uses opened");
        Ok(Self { chain: Mutex::new(chain) })
    }

    /// Records the uses of one request; returns when they are durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn record(&self, uses: &[Use]) -> Result<(), UsesError> {
        let entry = serde_json::to_vec(uses).expect("a use is texts and numbers");
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).append(&entry)?;
        Ok(())
    }

    /// Seals the chain: what is in it can be verified whole.
    ///
    /// # Errors
    /// The disk's.
    pub fn seal(&self) -> Result<(), UsesError> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).seal()?;
        Ok(())
    }
}
