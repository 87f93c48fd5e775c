//! Reading batches: from memory if they are there, else from the segment files.

use std::sync::Arc;

use bytes::Bytes;
use naru_model::invariant;

use super::disk::OpenSegment;
use super::index::Index;
use super::store::{Held, Inner, PartitionStore, Sealed, Shared};
use super::walk::{EpochRule, Expect, Step, Walker};
use super::{Flush, ReadError, StoreError, segment};
use crate::standin::log::LeaderEpochs;

/// How often a read is tried while retention and compaction may replace the segment under it. Each failure needs
/// another such replacement within the read, so the second is hardly ever used.
const ATTEMPTS: usize = 3;

/// Bytes read at once while a segment's index is made again.
const REBUILD_BYTES: usize = 256 << 10;

/// What a fetch gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOut {
    /// Whole batches, in order and without overlap; a chunk may hold several. The first one holds the offset asked for,
    /// perhaps not at its beginning.
    pub chunks: Vec<Bytes>,
    /// The offset up to which consumers may read.
    pub high_watermark: i64,
    /// The first offset that can be read.
    pub log_start: i64,
    /// The offset that the next record gets.
    pub log_end: i64,
}

impl ReadOut {
    /// Bytes in all chunks.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }
}

impl PartitionStore {
    /// The batches from the one that holds `offset` on, up to `bytes_max` bytes; if `min_one`, at least one, however
    /// large. Nothing at or above the high watermark. May block, if the batches are not in memory.
    ///
    /// # Errors
    /// The offset is out of range, the bytes there are damaged, or the disk refuses.
    pub fn read(&self, offset: i64, bytes_max: usize, min_one: bool) -> Result<ReadOut, ReadError> {
        self.read_below(offset, bytes_max, min_one, i64::MAX)
    }

    /// As [`Self::read`], and nothing at or above `end`.
    pub(super) fn read_below(
        &self,
        offset: i64,
        bytes_max: usize,
        min_one: bool,
        end: i64,
    ) -> Result<ReadOut, ReadError> {
        let shared = &self.shared;
        for _ in 0..ATTEMPTS {
            let mut inner = shared.inner();
            let (mut out, files) = match shared.begin_read(&mut inner, offset, bytes_max, min_one, end)? {
                (out, None) => return Ok(out),
                (out, Some(files)) => (out, files),
            };
            drop(inner);
            match files.read(shared, offset, bytes_max, min_one) {
                Ok(chunks) => {
                    out.chunks = chunks;
                    return Ok(out);
                }
                // Of files that were replaced or removed meanwhile, an error says nothing.
                Err(error) if files.are_in(&shared.inner()) => return Err(error),
                Err(_) => {}
            }
        }
        // With the log locked no file is replaced: appends wait this once.
        let mut inner = shared.inner();
        let (mut out, files) = shared.begin_read(&mut inner, offset, bytes_max, min_one, end)?;
        if let Some(files) = files {
            out.chunks = files.read(shared, offset, bytes_max, min_one)?;
        }
        Ok(out)
    }
}

enum Source {
    Memory(Vec<Bytes>),
    Files(Files),
}

/// Where to read, with all that is needed without the lock.
struct Files {
    segments: Vec<Place>,
    epochs: LeaderEpochs,
    log_start: i64,
    end: i64,
}

enum Place {
    Sealed(Sealed),
    Active(Arc<OpenSegment>),
}

impl Shared {
    /// What a read gets from memory, or the files to read it from.
    fn begin_read(
        &self,
        inner: &mut Inner,
        offset: i64,
        bytes_max: usize,
        min_one: bool,
        end: i64,
    ) -> Result<(ReadOut, Option<Files>), ReadError> {
        inner.usable()?;
        inner.unread_bytes = 0;
        let (log_start, log_end) = (inner.log.log_start(), inner.log.log_end());
        if !(log_start..=log_end).contains(&offset) {
            return Err(ReadError::OutOfRange { offset, log_start, log_end });
        }
        let high_watermark = inner.log.high_watermark();
        let mut out = ReadOut { chunks: Vec::new(), high_watermark, log_start, log_end };
        let end = end.min(high_watermark);
        if offset >= end || (bytes_max == 0 && !min_one) {
            return Ok((out, None));
        }
        match self.locate(inner, offset, end, bytes_max, min_one) {
            Source::Memory(chunks) => {
                out.chunks = chunks;
                Ok((out, None))
            }
            Source::Files(files) => Ok((out, Some(files))),
        }
    }

    fn locate(&self, inner: &Inner, offset: i64, end: i64, bytes_max: usize, min_one: bool) -> Source {
        if let Some(chunks) = from_held(inner, offset, end, bytes_max, min_one) {
            return Source::Memory(chunks);
        }
        if let Some(chunks) = self.disk.cache.read(self.id, offset, end, bytes_max, min_one) {
            return Source::Memory(chunks);
        }
        // What is held is above the file's end, and is read by the next fetch.
        let end = inner.held.front().map_or(end, |held| end.min(held.base_offset));
        let first = inner.sealed.partition_point(|sealed| sealed.base_offset <= offset).saturating_sub(1);
        let mut segments = Vec::new();
        if offset < inner.active.base_offset {
            for sealed in inner.sealed.iter().skip(first) {
                segments.push(Place::Sealed(sealed.clone()));
                // Only a compacted segment may have nothing at the offset, and then the next one is read.
                if !sealed.compacted {
                    break;
                }
            }
        }
        segments.push(Place::Active(Arc::new(self.open_active(inner, offset))));
        Source::Files(Files { segments, epochs: inner.log.epochs().clone(), log_start: inner.log.log_start(), end })
    }

    fn open_active(&self, inner: &Inner, offset: i64) -> OpenSegment {
        let active = &inner.active;
        // Under `Fsync` what is behind the durable end may be cut off while it is read.
        let limit = match self.flush {
            Flush::Fsync => inner.durable_position.unwrap_or(segment::HEADER_BYTES),
            Flush::Write => active.index.end_position,
        };
        let limit = inner.held.front().map_or(limit, |held| limit.min(held.position));
        OpenSegment {
            file: Arc::clone(&active.file),
            path: active.path.clone(),
            index: Arc::new(active.index.around(offset, limit)),
        }
    }

    pub(super) fn open_sealed(&self, sealed: &Sealed) -> Result<Arc<OpenSegment>, StoreError> {
        if let Some(open) = self.disk.segments.get(sealed.id) {
            return Ok(open);
        }
        let file = Arc::new(segment::open(&sealed.path)?);
        let saved = Index::load(&segment::index_path(&sealed.path))?;
        let usable = |index: &Index| index.is_dense() == sealed.compacted && index.end_position == sealed.size_bytes;
        let index = match saved.filter(usable) {
            Some(index) => index,
            None => rebuild(&file, sealed)?,
        };
        let open = Arc::new(OpenSegment { file, path: sealed.path.clone(), index: Arc::new(index) });
        self.disk.segments.insert(sealed.id, Arc::clone(&open));
        Ok(open)
    }
}

/// Makes a closed segment's index again, passing over what is damaged.
fn rebuild(file: &std::fs::File, sealed: &Sealed) -> Result<Index, StoreError> {
    let mut index = Index::new(sealed.base_offset, segment::HEADER_BYTES, sealed.compacted);
    let mut walker = Walker::new(file, &sealed.path, segment::HEADER_BYTES, sealed.size_bytes, REBUILD_BYTES);
    loop {
        let expect = Expect {
            next_offset: index.end_offset,
            end_offset: sealed.end_offset,
            base_max: i64::MAX,
            gaps: sealed.compacted,
            epochs: EpochRule::AtLeast(0),
            index: None,
        };
        let found = match walker.next(&expect)? {
            Step::Batch(batch, position) => Some((batch, position)),
            Step::End => None,
            Step::Unsound(_) => walker.resync(&expect, sealed.end_offset)?,
        };
        let Some((batch, position)) = found else {
            index.skip(sealed.size_bytes, index.end_offset);
            return Ok(index);
        };
        let header = batch.header();
        index.skip(position, header.base_offset);
        index.note(header.base_offset, header.next_offset(), header.size_bytes() as u64, header.max_timestamp);
    }
}

fn from_held(inner: &Inner, offset: i64, end: i64, bytes_max: usize, min_one: bool) -> Option<Vec<Bytes>> {
    let first = inner.held.partition_point(|held| held.last_offset < offset);
    inner.held.get(first).filter(|held| held.base_offset <= offset)?;
    let mut bytes = 0;
    let fits = |(index, held): &(usize, &Held)| {
        bytes += held.bytes.len();
        held.last_offset < end && (bytes <= bytes_max || (min_one && *index == 0))
    };
    Some(inner.held.iter().skip(first).enumerate().take_while(fits).map(|(_, held)| held.bytes.clone()).collect())
}

impl Files {
    fn read(&self, shared: &Shared, offset: i64, bytes_max: usize, min_one: bool) -> Result<Vec<Bytes>, ReadError> {
        let ends = self.segments.iter().skip(1).map(|place| match place {
            Place::Sealed(sealed) => sealed.base_offset,
            Place::Active(_) => self.active_base(),
        });
        for (place, next_base) in self.segments.iter().zip(ends.map(Some).chain([None])) {
            let (open, base) = match place {
                Place::Sealed(sealed) => (shared.open_sealed(sealed)?, sealed.base_offset),
                Place::Active(open) => (Arc::clone(open), self.active_base()),
            };
            let from = offset.max(base);
            if from >= self.end {
                break;
            }
            let end_offset = next_base.unwrap_or(i64::MAX);
            let chunks = self.read_segment(&open, from, end_offset, bytes_max, min_one)?;
            if let Some(chunks) = chunks {
                return Ok(chunks);
            }
        }
        Ok(Vec::new())
    }

    /// Whether every closed segment here is still one of the partition's, and not replaced by what compaction left.
    fn are_in(&self, inner: &Inner) -> bool {
        self.segments.iter().all(|place| match place {
            Place::Sealed(sealed) => inner.sealed.iter().any(|other| other.id == sealed.id),
            Place::Active(_) => true,
        })
    }

    fn active_base(&self) -> i64 {
        match self.segments.last() {
            Some(Place::Active(open)) => segment::base_of(&open.path).unwrap_or(i64::MAX),
            _ => i64::MAX,
        }
    }

    /// `None` if the segment holds nothing from `offset` on.
    fn read_segment(
        &self,
        open: &OpenSegment,
        offset: i64,
        end_offset: i64,
        bytes_max: usize,
        min_one: bool,
    ) -> Result<Option<Vec<Bytes>>, ReadError> {
        let index = &open.index;
        let lost = ReadError::Corrupt { offset, reason: "its batch is not in the segment" };
        let Some((entry, next_entry)) = index.floor(offset) else {
            return if index.is_dense() { Ok(None) } else { Err(lost) };
        };
        if entry.offset > offset && !index.is_dense() {
            return Err(lost);
        }
        let seek_bytes = usize::try_from(next_entry - entry.position).unwrap_or(usize::MAX);
        let window = seek_bytes.saturating_add(bytes_max);
        let mut walker = Walker::new(&open.file, &open.path, entry.position, index.end_position, window);
        let mut expected = entry.offset;
        let mut gaps = index.is_dense();
        let mut chunks: Vec<Bytes> = Vec::new();
        let (mut bytes, mut chunk_at) = (0, 0);
        loop {
            let expect = Expect {
                next_offset: expected,
                end_offset,
                base_max: i64::MAX,
                gaps,
                epochs: EpochRule::AsKnown { epochs: &self.epochs, log_start: self.log_start },
                index: index.is_dense().then_some(index),
            };
            let (batch, position) = match walker.next(&expect)? {
                Step::Batch(batch, position) => (batch, position),
                Step::End if gaps => return Ok((!chunks.is_empty()).then_some(chunks)),
                Step::End if !chunks.is_empty() => return Ok(Some(chunks)),
                Step::End => return Err(lost),
                // What comes before the damage is served; the next fetch begins at it.
                Step::Unsound(_) if !chunks.is_empty() => return Ok(Some(chunks)),
                Step::Unsound(unsound) => {
                    let corrupt = ReadError::Corrupt { offset, reason: unsound.reason };
                    walker.resync(&expect, offset)?.ok_or(corrupt)?
                }
            };
            gaps = index.is_dense();
            let header = *batch.header();
            expected = header.next_offset();
            if header.last_offset() < offset {
                continue;
            }
            let size = batch.bytes().len();
            let fits = bytes + size <= bytes_max || (min_one && chunks.is_empty());
            if header.next_offset() > self.end || !fits {
                return Ok(Some(chunks));
            }
            invariant!(BROKER_2, batch.verify_crc().is_ok(), "{} offset {offset}", open.path.display());
            bytes += size;
            // Batches that were read together go out together.
            match (chunks.last_mut(), walker.slice(chunk_at, walker.position())) {
                (Some(last), Some(joined)) => *last = joined,
                _ => {
                    chunk_at = position;
                    chunks.push(batch.into_bytes());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure
    use super::super::tests::{directory, filled, plain};
    use super::*;
    use crate::standin::log::LogConfig;

    #[test]
    fn an_error_from_files_that_compaction_removed_is_known_as_such() {
        let dir = directory();
        let segment_bytes = 3 * plain(&["0"]).bytes().len() as u64;
        let log = LogConfig { cleanup_delete: false, cleanup_compact: true, segment_bytes, ..LogConfig::default() };
        let store = filled(dir.path(), log, 10);
        let shared = &store.shared;
        shared.disk.cache.cut(shared.id, 0);
        let source = shared.locate(&shared.inner(), 0, 10, 1, true);
        let Source::Files(files) = source else { panic!("nothing is in memory") };
        assert!(files.are_in(&shared.inner()));
        assert!(store.compact(0).unwrap() > 0);
        assert!(files.read(shared, 0, 1, true).is_err());
        assert!(!files.are_in(&shared.inner()));
        assert!(store.read(0, 1, true).is_ok());
    }
}
