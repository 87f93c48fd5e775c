//! The ledger of the watch: every entry in a hash-chained, signed log. A disk that refuses does not keep anybody from being
//! woken: what could not be written waits, within a bound, and follows in its order.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use naru_model::{InvalidEntry, LedgerEntry, LedgerId};
use naru_runtime::Durability;
use naru_runtime::keys::{KeyError, SigningKeys, VerifyingKeys};
use naru_runtime::segments::{ChainSummary, Expect, Head, SegmentError, SegmentOptions, SegmentWriter, verify_chain};

use crate::event::{Entry, Event};

/// The directory of the chain in the state directory.
pub const DIRECTORY: &str = "ledger";
/// The key file in the state directory.
pub const KEY_FILE: &str = "ledger.key";
/// Who says what stands in it.
const WHO: &str = "watch";
/// Entries that wait for the disk: hours of a busy incident. What comes beyond stops the watch's saying, not its paging.
const WAITING_MAX: usize = 4096;
/// What an entry keeps of a signal: both fit, with the names around them.
const DETAIL_BYTES_MAX: usize = 1000;
const TARGETS_MAX: usize = 64;

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
    #[error("entry {number} of the ledger is none of the watch")]
    Malformed {
        /// Which, from 1.
        number: u64,
    },
    /// An event that cannot stand in it. Ours.
    #[error("an event cannot stand in the ledger")]
    Entry(#[from] InvalidEntry),
    /// Too much waits for the disk.
    #[error("{WAITING_MAX} entries wait for the disk; what comes now is lost")]
    Full,
}

/// Verifies a chain and every entry's place; hands entries to `visit`.
///
/// # Errors
/// For whatever was altered, cut or reordered.
pub fn verify(
    directory: &Path,
    keys: &VerifyingKeys,
    expect: Expect,
    mut visit: impl FnMut(Entry),
) -> Result<ChainSummary, LedgerError> {
    let (mut number, mut wrong) = (0, None);
    let summary = verify_chain(directory, keys, expect, |raw| {
        number += 1;
        match read(raw.payload).filter(|entry| entry.id == number) {
            Some(entry) => visit(entry),
            None => {
                wrong.get_or_insert(LedgerError::Malformed { number });
            }
        }
    })?;
    wrong.map_or(Ok(summary), Err)
}

fn read(payload: &[u8]) -> Option<Entry> {
    let entry: LedgerEntry = serde_json::from_slice(payload).ok()?;
    let event: Event = serde_json::from_str(entry.what()).ok()?;
    let cites = entry.cites().iter().map(|cite| cite.get()).collect();
    Some(Entry { id: entry.id().get(), at_unix_ms: entry.at_ms(), event, cites })
}

fn write(entry: &Entry) -> Result<Vec<u8>, LedgerError> {
    let mut event = entry.event.clone();
    // The longest field that others fill is bounded by the desk; a detail of a signal is ours, and cut.
    if let Event::Began { signal, .. } = &mut event {
        signal.detail.truncate(signal.detail.floor_char_boundary(DETAIL_BYTES_MAX));
        signal.on.truncate(TARGETS_MAX);
    }
    let what = serde_json::to_string(&event).expect("an event is texts and numbers");
    let cites = entry.cites.iter().take(LedgerEntry::CITES_MAX).map(|cite| LedgerId::from(*cite)).collect();
    let entry = LedgerEntry::new(entry.id.into(), entry.at_unix_ms, WHO, what, cites)?;
    Ok(serde_json::to_vec(&entry).expect("an entry is texts and numbers"))
}

/// Writes the chain.
#[derive(Debug)]
pub struct Ledger {
    directory: PathBuf,
    keys: Arc<SigningKeys>,
    /// None after the disk has failed, until it can be opened again.
    chain: Option<SegmentWriter>,
    waiting: VecDeque<Entry>,
}

/// Each batch of entries is flushed once, by [`Ledger::append`].
const OPTIONS: SegmentOptions = SegmentOptions { segment_bytes_max: 16 << 20, durability: Durability::OnFlush };

impl Ledger {
    /// Opens the ledger of a state directory, makes a key if there is none, and hands what it holds to `visit`.
    ///
    /// # Errors
    /// When key or chain cannot be had, or the chain is not what was written.
    pub fn open(state: &Path, now_unix_ms: i64, visit: impl FnMut(Entry)) -> Result<Self, LedgerError> {
        let (directory, key) = (state.join(DIRECTORY), state.join(KEY_FILE));
        let keys = Arc::new(SigningKeys::load_or_generate(&key, now_unix_ms)?);
        // Opened before it is read: what a crash tore off is cut by the writer.
        let (chain, _) = SegmentWriter::open(&directory, keys.clone(), OPTIONS)?;
        // A chain that was never written has no segment to verify.
        if chain.head() != Head::START {
            verify(&directory, keys.verifying(), Expect::OPEN, visit)?;
        }
        Ok(Self { directory, keys, chain: Some(chain), waiting: VecDeque::new() })
    }

    /// Appends entries behind those that wait, and makes all of them durable.
    ///
    /// # Errors
    /// The disk's; then they wait, and go with the next ones.
    pub fn append(&mut self, entries: Vec<Entry>) -> Result<(), LedgerError> {
        let room = WAITING_MAX.saturating_sub(self.waiting.len());
        let lost = entries.len() > room;
        self.waiting.extend(entries.into_iter().take(room));
        if self.waiting.is_empty() {
            return Ok(());
        }
        let written = self.write_waiting();
        if written.is_err() {
            // What the disk holds may be unknown: it is read again before it is written.
            self.chain = None;
        }
        written.and(if lost { Err(LedgerError::Full) } else { Ok(()) })
    }

    fn write_waiting(&mut self) -> Result<(), LedgerError> {
        let chain = match &mut self.chain {
            Some(chain) => chain,
            None => {
                let (chain, _) = SegmentWriter::open(&self.directory, self.keys.clone(), OPTIONS)?;
                let mut last = 0;
                if chain.head() != Head::START {
                    verify(&self.directory, self.keys.verifying(), Expect::OPEN, |entry| last = entry.id)?;
                }
                while self.waiting.front().is_some_and(|first| first.id <= last) {
                    self.waiting.pop_front();
                }
                self.chain.insert(chain)
            }
        };
        for entry in &self.waiting {
            chain.append(&write(entry)?)?;
        }
        chain.flush()?;
        self.waiting.clear();
        Ok(())
    }

    /// Entries that wait for the disk.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Signs what is in it.
    ///
    /// # Errors
    /// The disk's.
    pub fn seal(&mut self) -> Result<(), LedgerError> {
        self.append(Vec::new())?;
        if let Some(chain) = &mut self.chain {
            chain.seal()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    fn entry(id: u64) -> Entry {
        Entry { id, at_unix_ms: 7, event: Event::Opened { incident: id }, cites: (1..id).rev().take(2).collect() }
    }

    #[test]
    fn entries_stand_in_their_order_over_restarts() {
        let state = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(state.path(), 1, |_| panic!("it is new")).unwrap();
        ledger.append(vec![entry(1), entry(2)]).unwrap();
        ledger.append(vec![entry(3)]).unwrap();
        ledger.seal().unwrap();
        drop(ledger);
        let mut seen = Vec::new();
        let mut ledger = Ledger::open(state.path(), 1, |entry| seen.push(entry)).unwrap();
        assert_eq!(seen, [entry(1), entry(2), entry(3)]);
        ledger.append(vec![entry(4)]).unwrap();
        let mut count = 0;
        verify(&state.path().join(DIRECTORY), ledger.keys.verifying(), Expect::OPEN, |_| count += 1).unwrap();
        assert_eq!(count, 4);
    }

    #[test]
    fn what_a_failed_disk_refused_follows_when_it_is_well() {
        let state = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(state.path(), 1, |_| {}).unwrap();
        ledger.append(vec![entry(1)]).unwrap();
        // Another process holds the chain, as far as the ledger can tell: it cannot open it again.
        let held = ledger.chain.take();
        assert!(ledger.append(vec![entry(2)]).is_err());
        assert!(ledger.append(vec![entry(3)]).is_err());
        assert_eq!(ledger.waiting(), 2);
        drop(held);
        ledger.append(vec![entry(4)]).unwrap();
        let mut seen = Vec::new();
        verify(&state.path().join(DIRECTORY), ledger.keys.verifying(), Expect::OPEN, |entry| seen.push(entry.id))
            .unwrap();
        assert_eq!((seen, ledger.waiting()), (vec![1, 2, 3, 4], 0));
    }
}
