//! The newest batches of a partition, so that live consumers do not touch the brokers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use naru_kafka::wire::batch::HEADER_BYTES;
use naru_kafka::wire::{Batch, RecordData};

use crate::sequence::Outgoing;

/// What all caches together hold, and may hold.
#[derive(Debug)]
pub(crate) struct CacheMemory {
    held_bytes: AtomicUsize,
    bytes_max: usize,
}

impl CacheMemory {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { held_bytes: AtomicUsize::new(0), bytes_max }
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    fn is_full(&self) -> bool {
        self.held_bytes() > self.bytes_max
    }
}

/// An entry beside its bytes: itself, and what two allocations with their counters cost.
const ENTRY_BYTES: usize = size_of::<Cached>() + 2 * 48;

#[derive(Debug)]
struct Cached {
    base_offset: i64,
    next_offset: i64,
    /// As consumers get it: the relay's epoch in place of a broker's (RELAY-8).
    header: Bytes,
    payload: Bytes,
}

impl Cached {
    /// What it holds of memory: a batch of one small record is mostly what surrounds it.
    fn size(&self) -> usize {
        ENTRY_BYTES + self.header.len() + self.payload.len()
    }

    fn encoded_bytes(&self) -> usize {
        self.header.len() + self.payload.len()
    }
}

/// Batches without a gap between them, oldest first, all of them below the gate.
#[derive(Debug)]
pub(crate) struct Cache {
    batches: VecDeque<Cached>,
    bytes: usize,
    bytes_max: usize,
    memory: Arc<CacheMemory>,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize, memory: Arc<CacheMemory>) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, bytes_max, memory }
    }

    /// Takes a batch that went below the gate; lets the oldest go where there is no room.
    pub(crate) fn push(&mut self, batch: &Outgoing) {
        let header = &batch.header;
        if self.batches.back().is_some_and(|newest| newest.next_offset != header.base_offset) {
            self.clear();
        }
        let (encoded, payload) = match &batch.data {
            RecordData::Stamped { header, payload } => (Bytes::copy_from_slice(header), payload.clone()),
            other => {
                let mut whole = other.to_bytes();
                (whole.split_to(HEADER_BYTES.min(whole.len())), whole)
            }
        };
        let (base_offset, next_offset) = (header.base_offset, header.next_offset());
        let cached = Cached { base_offset, next_offset, header: encoded, payload };
        self.bytes += cached.size();
        self.memory.held_bytes.fetch_add(cached.size(), Ordering::Relaxed);
        self.batches.push_back(cached);
        while self.bytes > self.bytes_max || (self.memory.is_full() && !self.batches.is_empty()) {
            self.drop_oldest();
        }
    }

    /// Batches from the one that holds `from`, below `gate`, up to `bytes_max` but at least one if `one` is set. None if
    /// `from` is not in the cache.
    ///
    /// The gate is the one that the reader is told of. The cache may be ahead of it by a batch that the next look shows: who
    /// was given that one and asked on from there, while the gate was still the old, would be told that there is no such
    /// offset, and begin its log anew.
    pub(crate) fn read(&self, from: i64, gate: i64, bytes_max: usize, one: bool) -> Option<Vec<Bytes>> {
        let first = self.batches.partition_point(|batch| batch.next_offset <= from);
        if self.batches.get(first).is_none_or(|batch| batch.base_offset > from) {
            return None;
        }
        let mut chunks = Vec::new();
        let mut bytes = 0;
        for batch in self.batches.range(first..).take_while(|batch| batch.next_offset <= gate) {
            bytes += batch.encoded_bytes();
            if bytes > bytes_max && !(one && chunks.is_empty()) {
                break;
            }
            chunks.extend([batch.header.clone(), batch.payload.clone()]);
        }
        Some(chunks)
    }

    /// Forgets what is at an offset or above it: an `async` topic was taken over.
    pub(crate) fn forget_from(&mut self, offset: i64) {
        while self.batches.back().is_some_and(|newest| newest.next_offset > offset) {
            if let Some(newest) = self.batches.pop_back() {
                self.forgotten(&newest);
            }
        }
    }

    fn forgotten(&mut self, batch: &Cached) {
        self.bytes -= batch.size();
        self.memory.held_bytes.fetch_sub(batch.size(), Ordering::Relaxed);
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.batches.pop_front() {
            self.forgotten(&oldest);
        }
    }

    fn clear(&mut self) {
        while !self.batches.is_empty() {
            self.drop_oldest();
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A batch as consumers get it: batches carry epoch 0, the least that any client takes for an older one (RELAY-8).
pub(crate) fn shown_to_consumers(batch: &Batch) -> RecordData {
    batch.with_offset(batch.header().base_offset, 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_kafka::wire::{BatchBuilder, Compression};

    use super::*;

    fn batch(base_offset: i64, records: i64) -> Outgoing {
        let mut builder = BatchBuilder::new(Compression::None).base_offset(base_offset);
        for _ in 0..records {
            builder.push(1, None, Some(&[7; 100]), &[]).unwrap();
        }
        let batch = Batch::split_first(&mut builder.build().unwrap()).unwrap();
        Outgoing { header: *batch.header(), data: shown_to_consumers(&batch) }
    }

    fn offsets(cache: &Cache, from: i64, bytes_max: usize, one: bool) -> Option<Vec<i64>> {
        let mut data = RecordData::Chunks(cache.read(from, i64::MAX, bytes_max, one)?).to_bytes();
        let mut offsets = Vec::new();
        while !data.is_empty() {
            let batch = Batch::split_first(&mut data).unwrap();
            batch.verify_crc().unwrap();
            assert_eq!(batch.header().partition_leader_epoch, 0);
            offsets.push(batch.header().base_offset);
        }
        Some(offsets)
    }

    #[test]
    fn whole_batches_come_from_the_one_that_holds_the_offset() {
        let mut cache = Cache::new(1 << 20, Arc::new(CacheMemory::new(1 << 20)));
        for base in [10, 12, 14] {
            cache.push(&batch(base, 2));
        }
        let one = batch(10, 2).data.len();
        let check = |from, bytes_max, first, expect: Option<&[i64]>| {
            assert_eq!(offsets(&cache, from, bytes_max, first), expect.map(<[i64]>::to_vec), "{from} {bytes_max}");
        };
        check(9, 1 << 20, true, None);
        check(10, 1 << 20, true, Some(&[10, 12, 14]));
        check(13, 1 << 20, true, Some(&[12, 14]));
        check(13, one, false, Some(&[12]));
        check(13, 1, true, Some(&[12]));
        check(13, 1, false, Some(&[]));
        check(16, 1 << 20, true, None);
    }

    #[test]
    fn nobody_is_given_what_the_gate_that_he_is_told_of_does_not_cover() {
        let mut cache = Cache::new(1 << 20, Arc::new(CacheMemory::new(1 << 20)));
        for base in [10, 12, 14] {
            cache.push(&batch(base, 2));
        }
        let check = |gate: i64, expect: usize| {
            let chunks = cache.read(10, gate, 1 << 20, true).unwrap();
            // A header and a payload each.
            assert_eq!(chunks.len() / 2, expect, "{gate}");
        };
        check(10, 0);
        check(12, 1);
        check(14, 2);
        check(16, 3);
    }

    #[test]
    fn the_oldest_goes_when_its_own_or_the_shared_memory_is_full_and_a_gap_empties_it() {
        let one = ENTRY_BYTES + batch(0, 2).data.len();
        let memory = Arc::new(CacheMemory::new(3 * one));
        let (mut a, mut b) = (Cache::new(2 * one, Arc::clone(&memory)), Cache::new(9 * one, Arc::clone(&memory)));
        for base in [0, 2, 4] {
            a.push(&batch(base, 2));
            b.push(&batch(base, 2));
        }
        assert_eq!(offsets(&a, 0, 1 << 20, true), None);
        assert!(memory.held_bytes() <= 3 * one);
        a.push(&batch(50, 2));
        assert_eq!(offsets(&a, 4, 1 << 20, true), None);
        assert_eq!(offsets(&a, 50, 1 << 20, true), Some(vec![50]));
        b.forget_from(3);
        assert_eq!(offsets(&b, 4, 1 << 20, true), None);
        drop((a, b));
        assert_eq!(memory.held_bytes(), 0);
    }
}
