//! The newest batches in memory, so that consumers that keep up read no file.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// The newest batches of all partitions of a broker, bounded together: the oldest batch goes first, whosever it is.
#[derive(Debug)]
pub(super) struct BatchCache {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    // By partition and base offset.
    batches: BTreeMap<(u64, i64), Cached>,
    // In the order of insertion. May name batches that are gone.
    order: VecDeque<(u64, i64)>,
    bytes: usize,
}

#[derive(Debug)]
struct Cached {
    last_offset: i64,
    bytes: Bytes,
}

// The cost of an entry besides its batch: both collections' slots.
const ENTRY_BYTES: usize = 128;

impl BatchCache {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Most memory for batches, bytes.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Keeps a batch. Its bytes must not be a slice of something larger.
    pub fn insert(&self, partition: u64, base_offset: i64, last_offset: i64, bytes: Bytes) {
        let cost = bytes.len() + ENTRY_BYTES;
        if cost > self.bytes_max {
            return;
        }
        let mut state = self.state();
        while state.bytes + cost > self.bytes_max {
            let Some(oldest) = state.order.pop_front() else { break };
            state.remove(oldest);
        }
        let key = (partition, base_offset);
        state.remove(key);
        state.batches.insert(key, Cached { last_offset, bytes });
        state.order.push_back(key);
        state.bytes += cost;
    }

    /// The batches from the one that holds `offset` on, without gaps, below `end`, up to `bytes_max` but at least one if
    /// `min_one`. `None` if that first one is not here.
    pub fn read(&self, partition: u64, offset: i64, end: i64, bytes_max: usize, min_one: bool) -> Option<Vec<Bytes>> {
        let state = self.state();
        let (&(_, base), first) = state.batches.range((partition, i64::MIN)..=(partition, offset)).next_back()?;
        if first.last_offset < offset || first.last_offset >= end {
            return None;
        }
        let mut chunks = Vec::new();
        let (mut bytes, mut expected) = (0, base);
        for (&(_, base), batch) in state.batches.range((partition, base)..=(partition, i64::MAX)) {
            let fits = bytes + batch.bytes.len() <= bytes_max || (min_one && chunks.is_empty());
            if base != expected || batch.last_offset >= end || !fits {
                break;
            }
            bytes += batch.bytes.len();
            expected = batch.last_offset + 1;
            chunks.push(batch.bytes.clone());
        }
        Some(chunks)
    }

    /// Forgets a partition's batches from `offset` on.
    pub fn cut(&self, partition: u64, offset: i64) {
        self.forget(partition, offset, i64::MAX);
    }

    /// Forgets a partition's batches below `offset`.
    pub fn cut_below(&self, partition: u64, offset: i64) {
        self.forget(partition, i64::MIN, offset - 1);
    }

    fn forget(&self, partition: u64, first: i64, last: i64) {
        let mut state = self.state();
        let keys: Vec<_> = state.batches.range((partition, first)..=(partition, last)).map(|(key, _)| *key).collect();
        for key in &keys {
            state.remove(*key);
        }
        if !keys.is_empty() {
            state.order.retain(|&(owner, base)| owner != partition || !(first..=last).contains(&base));
        }
    }
}

impl State {
    fn remove(&mut self, key: (u64, i64)) {
        if let Some(gone) = self.batches.remove(&key) {
            self.bytes -= gone.bytes.len() + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure
    use super::*;

    fn cache(batches: usize) -> BatchCache {
        let cache = BatchCache::new(batches * (100 + ENTRY_BYTES));
        for base in [0, 10, 20] {
            cache.insert(1, base, base + 9, Bytes::from(vec![0; 100]));
        }
        cache
    }

    #[test]
    fn reads_whole_batches_without_gaps_below_the_end() {
        let cache = cache(9);
        let check = |offset, end, bytes_max, min_one, expect: Option<usize>| {
            let found = cache.read(1, offset, end, bytes_max, min_one).map(|chunks| chunks.len());
            assert_eq!(found, expect, "offset {offset} end {end} max {bytes_max}");
        };
        check(0, 30, 1_000, true, Some(3));
        check(5, 30, 1_000, true, Some(3));
        check(10, 30, 1_000, true, Some(2));
        check(10, 20, 1_000, true, Some(1));
        check(0, 30, 200, true, Some(2));
        check(0, 30, 99, true, Some(1));
        check(0, 30, 99, false, Some(0));
        check(30, 40, 1_000, true, None);
        check(0, 5, 1_000, true, None);
        assert!(cache.read(2, 0, 30, 1_000, true).is_none());
    }

    #[test]
    fn the_oldest_batch_goes_first_whosever_it_is() {
        let cache = cache(3);
        cache.insert(2, 0, 9, Bytes::from(vec![0; 100]));
        assert!(cache.read(1, 0, 30, 1_000, true).is_none());
        assert_eq!(cache.read(1, 10, 30, 1_000, true).unwrap().len(), 2);
        assert!(cache.state().bytes <= cache.bytes_max);
    }

    #[test]
    fn what_was_cut_is_not_served() {
        let cache = cache(9);
        cache.cut(1, 10);
        assert_eq!(cache.read(1, 0, 30, 1_000, true).unwrap().len(), 1);
        assert!(cache.read(1, 10, 30, 1_000, true).is_none());
    }
}
