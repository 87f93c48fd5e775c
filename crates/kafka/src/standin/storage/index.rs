//! A segment's sparse index of offsets and times. It can always be made again from the segment.

use std::path::Path;

use super::StoreError;
use super::atomic::{read_if_there, replace};

/// Bytes of segment between two entries: a read scans at most so much before its first batch, and a segment of 1 GiB
/// has an index of 800 KB.
pub(super) const INTERVAL_BYTES: u64 = 32 << 10;

/// A batch that can be found without scanning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// Its base offset.
    pub offset: i64,
    /// Where it stands in the file.
    pub position: u64,
    /// The newest time among the records before it in the segment; -1 if there are none.
    pub max_timestamp_before: i64,
}

/// The index of one segment, up to `end_position`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    /// Ordered in every column; the first entry is the first batch.
    entries: Vec<IndexEntry>,
    /// Every batch has an entry, as in a compacted segment, whose offsets have gaps.
    dense: bool,
    /// Where the indexed part of the file ends.
    pub end_position: u64,
    /// The offset after the indexed part.
    pub end_offset: i64,
    /// The newest time in the indexed part; -1 if there is none.
    pub max_timestamp: i64,
    /// The newest time in the first batch, from which `segment.ms` counts.
    pub first_timestamp: i64,
}

const MAGIC: [u8; 8] = *b"NARUIDX\0";
const VERSION: u32 = 1;
const FIXED_BYTES: usize = 8 + 4 + 4 + 4 * 8;
const ENTRY_BYTES: usize = 3 * 8;

impl Index {
    /// The index of a segment without batches.
    pub fn new(base_offset: i64, position: u64, dense: bool) -> Self {
        Self {
            entries: Vec::new(),
            dense,
            end_position: position,
            end_offset: base_offset,
            max_timestamp: -1,
            first_timestamp: -1,
        }
    }

    /// Enters the batch at `end_position`.
    pub fn note(&mut self, base_offset: i64, next_offset: i64, size: u64, max_timestamp: i64) {
        let position = self.end_position;
        if self.dense || self.entries.last().is_none_or(|last| position - last.position >= INTERVAL_BYTES) {
            let max_timestamp_before = self.max_timestamp;
            self.entries.push(IndexEntry { offset: base_offset, position, max_timestamp_before });
        }
        if self.entries.len() == 1 && self.entries[0].position == position {
            self.first_timestamp = max_timestamp;
        }
        self.end_position = position + size;
        self.end_offset = next_offset;
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
    }

    /// Passes bytes that hold no batch that can be read.
    pub fn skip(&mut self, position: u64, next_offset: i64) {
        self.end_position = position;
        self.end_offset = next_offset;
    }

    /// Forgets the batches from `position` on, where `end_offset` stands. The newest time stays as it was: too late is safe
    /// for retention, and a search by time only begins earlier.
    pub fn cut(&mut self, position: u64, end_offset: i64) {
        self.entries.retain(|entry| entry.position < position);
        self.end_position = position;
        self.end_offset = end_offset;
    }

    /// The last entry at or below an offset, and where the following entry stands.
    pub fn floor(&self, offset: i64) -> Option<(IndexEntry, u64)> {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        let next = self.entries.get(after).map_or(self.end_position, |entry| entry.position);
        // Compaction may have removed what the segment began with.
        let entry = self.entries.get(after.saturating_sub(1))?;
        // Where a search by offset would stop: never before the entry, nor behind what is indexed.
        Some((*entry, next.clamp(entry.position, self.end_position.max(entry.position))))
    }

    /// The part of the index that a read at `offset` needs.
    pub fn around(&self, offset: i64, end_position: u64) -> Self {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        let upto = (after + 1).min(self.entries.len());
        Self { entries: self.entries[after.saturating_sub(1)..upto].to_vec(), end_position, ..*self }
    }

    /// The offset of an entry at or before the first batch that has a record of time `timestamp` or later.
    pub fn before_time(&self, timestamp: i64) -> Option<i64> {
        let after = self.entries.partition_point(|entry| entry.max_timestamp_before < timestamp);
        self.entries.get(after.saturating_sub(1)).map(|entry| entry.offset)
    }

    /// Whether a dense index knows this batch; a sparse one cannot say.
    pub fn may_hold(&self, base_offset: i64, position: u64) -> bool {
        !self.dense
            || self
                .entries
                .binary_search_by_key(&base_offset, |entry| entry.offset)
                .is_ok_and(|found| self.entries[found].position == position)
    }

    /// Whether the index lists every batch.
    pub fn is_dense(&self) -> bool {
        self.dense
    }

    /// Memory held, bytes.
    pub fn bytes(&self) -> usize {
        self.entries.len() * ENTRY_BYTES
    }

    /// Writes the index to its file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), StoreError> {
        let mut out = Vec::with_capacity(FIXED_BYTES + self.bytes() + 4);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&u32::from(self.dense).to_be_bytes());
        out.extend_from_slice(&self.end_position.to_be_bytes());
        out.extend_from_slice(&self.end_offset.to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.to_be_bytes());
        out.extend_from_slice(&self.first_timestamp.to_be_bytes());
        for entry in &self.entries {
            out.extend_from_slice(&entry.offset.to_be_bytes());
            out.extend_from_slice(&entry.position.to_be_bytes());
            out.extend_from_slice(&entry.max_timestamp_before.to_be_bytes());
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        replace(path, &out)
    }

    /// Reads an index file. `None` if there is none, or one that cannot be used: the segment is scanned then.
    pub fn load(path: &Path) -> Result<Option<Self>, StoreError> {
        Ok(read_if_there(path)?.and_then(|bytes| Self::decode(&bytes)))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
            return None;
        }
        let (fixed, entries) = body.split_at_checked(FIXED_BYTES)?;
        let word = |at: usize| fixed[at..].first_chunk::<8>().copied().map(u64::from_be_bytes);
        let half = |at: usize| fixed[at..].first_chunk::<4>().copied().map(u32::from_be_bytes);
        if fixed[..8] != MAGIC || half(8)? != VERSION || entries.len() % ENTRY_BYTES != 0 {
            return None;
        }
        let entries = entries
            .chunks_exact(ENTRY_BYTES)
            .map(|entry| {
                let word = |at: usize| entry[at..].first_chunk::<8>().copied().map(u64::from_be_bytes);
                Some(IndexEntry {
                    offset: word(0)?.cast_signed(),
                    position: word(8)?,
                    max_timestamp_before: word(16)?.cast_signed(),
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            entries,
            dense: half(12)? != 0,
            end_position: word(16)?,
            end_offset: word(24)?.cast_signed(),
            max_timestamp: word(32)?.cast_signed(),
            first_timestamp: word(40)?.cast_signed(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure
    use super::*;

    fn index(dense: bool) -> Index {
        let mut index = Index::new(100, 24, dense);
        for n in 0..100 {
            index.note(100 + n * 10, 110 + n * 10, 4_096, if n == 50 { 9_999 } else { n });
        }
        index
    }

    #[test]
    fn finds_the_entry_before_an_offset_and_a_time() {
        let index = index(false);
        let (entry, next) = index.floor(500).unwrap();
        assert!(entry.offset <= 500 && next - entry.position <= INTERVAL_BYTES);
        assert_eq!(index.floor(50).unwrap().0.offset, 100);
        assert_eq!(index.before_time(-1), Some(100));
        let at = index.before_time(9_999).unwrap();
        assert!((520..=600).contains(&at), "{at}");
        assert_eq!((index.end_offset, index.max_timestamp, index.first_timestamp), (1_100, 9_999, 0));
    }

    #[test]
    fn a_dense_index_knows_every_batch() {
        let index = index(true);
        assert!(index.may_hold(110, 24 + 4_096));
        assert!(!index.may_hold(111, 24 + 4_096));
        assert!(!index.may_hold(110, 24));
    }

    #[test]
    fn a_file_that_was_changed_anywhere_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.index");
        assert_eq!(Index::load(&path).unwrap(), None);
        let index = index(false);
        index.save(&path).unwrap();
        assert_eq!(Index::load(&path).unwrap(), Some(index));
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(Index::decode(&bad), None, "byte {at}");
            assert_eq!(Index::decode(&good[..at]), None, "cut at {at}");
        }
    }
}
