//! The ledger: every decision in a hash-chained, signed log. What was decided is durable in the book first, and the chain
//! follows it; after a crash it goes on behind its last entry.

use std::path::Path;
use std::sync::Arc;

use naru_model::{InvalidEntry, LedgerEntry};
use naru_runtime::keys::{KeyError, SigningKeys, VerifyingKeys};
use naru_runtime::segments::{ChainSummary, Expect, Head, SegmentError, SegmentOptions, SegmentWriter, verify_chain};

use crate::store::NoteRow;

/// The directory of the chain in the state directory.
pub const DIRECTORY: &str = "ledger";
/// The key file in the state directory.
pub const KEY_FILE: &str = "ledger.key";

/// Why the ledger cannot be written or is refused.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The signing key.
    #[error("signing key of the ledger")]
    Key(#[from] KeyError),
    /// The chain.
    #[error("the ledger")]
    Chain(#[from] SegmentError),
    /// An entry that is none: somebody with the key has written it.
    #[error("entry {number} of the ledger is none")]
    Malformed {
        /// Which, from 1.
        number: u64,
    },
    /// An entry that is out of its place.
    #[error("entry {number} of the ledger says that it is {found}")]
    Misplaced {
        /// Its place, from 1.
        number: u64,
        /// What it says.
        found: u64,
    },
    /// A decision that cannot stand in it. Ours.
    #[error("a decision cannot stand in the ledger")]
    Entry(#[from] InvalidEntry),
}

/// Verifies a chain and every entry's place; hands entries to `visit`.
///
/// # Errors
/// For whatever was altered, cut or reordered.
pub fn verify(
    directory: &Path,
    keys: &VerifyingKeys,
    expect: Expect,
    mut visit: impl FnMut(LedgerEntry),
) -> Result<ChainSummary, LedgerError> {
    let (mut number, mut wrong) = (0, None);
    let summary = verify_chain(directory, keys, expect, |entry| {
        number += 1;
        match serde_json::from_slice::<LedgerEntry>(entry.payload) {
            Ok(entry) if entry.id().get() == number => visit(entry),
            Ok(entry) => {
                wrong.get_or_insert(LedgerError::Misplaced { number, found: entry.id().get() });
            }
            Err(_) => {
                wrong.get_or_insert(LedgerError::Malformed { number });
            }
        }
    })?;
    wrong.map_or(Ok(summary), Err)
}

/// Writes the chain.
#[derive(Debug)]
pub struct Ledger {
    chain: SegmentWriter,
    /// The last entry.
    last: u64,
}

impl Ledger {
    /// Opens the ledger of a state directory, and makes a key if there is none.
    ///
    /// # Errors
    /// When key or chain cannot be had, or the chain is not what was written.
    pub fn open(state: &Path, now_unix_ms: i64) -> Result<Self, LedgerError> {
        let (directory, key) = (state.join(DIRECTORY), state.join(KEY_FILE));
        std::fs::create_dir_all(&directory).map_err(|source| SegmentError::Io {
            path: directory.clone(),
            action: "made",
            source,
        })?;
        let keys = Arc::new(SigningKeys::load_or_generate(&key, now_unix_ms)?);
        // Opened before it is read: what a crash tore off is cut by the writer.
        let (chain, _) = SegmentWriter::open(&directory, keys.clone(), SegmentOptions::default())?;
        // A chain that was never written has no segment to verify.
        let last = match chain.head() == Head::START {
            true => 0,
            false => verify(&directory, keys.verifying(), Expect::OPEN, |_| {})?.entries,
        };
        Ok(Self { chain, last })
    }

    /// The place of the last entry.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Appends decisions in their order.
    ///
    /// # Errors
    /// The disk's. What was not appended is to be offered again.
    pub fn append(&mut self, notes: &[NoteRow]) -> Result<(), LedgerError> {
        let last = self.last;
        for note in notes.iter().filter(|note| note.id > last) {
            let what = &note.what[..note.what.floor_char_boundary(LedgerEntry::WHAT_BYTES_MAX)];
            let entry =
                LedgerEntry::new(note.id.into(), note.at_unix_ms, format!("control/{}", note.who), what, Vec::new())?;
            self.chain.append(&serde_json::to_vec(&entry).expect("an entry is texts and numbers"))?;
            self.last = note.id;
        }
        Ok(())
    }

    /// Signs what is in it.
    ///
    /// # Errors
    /// The disk's.
    pub fn seal(&mut self) -> Result<(), LedgerError> {
        self.chain.seal()?;
        Ok(())
    }
}
