//! Finding offsets by time, for ListOffsets.

use super::store::{PartitionStore, Shared};
use super::{ReadError, StoreError};
use crate::standin::log::SegmentSummary;
use crate::wire::batch::Batch;

/// Bytes read at once while searching.
const SEARCH_BYTES: usize = 256 << 10;

/// What ListOffsets may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeQuery {
    /// -1: the high watermark.
    Latest,
    /// -2: the log start.
    Earliest,
    /// -3: the first record that has the newest time.
    MaxTimestamp,
    /// The first record of this time or later, milliseconds since 1970.
    At(i64),
}

/// An offset that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The offset.
    pub offset: i64,
    /// The record's time; -1 for [`TimeQuery::Latest`] and [`TimeQuery::Earliest`], as in Kafka.
    pub timestamp: i64,
    /// The leader epoch there; -1 if it is not known.
    pub leader_epoch: i32,
}

impl PartitionStore {
    /// The offset that a time stands for; `None` if no record is so late. May block.
    ///
    /// # Errors
    /// A batch that must be looked into is damaged, or the disk refuses.
    pub fn offset_for_timestamp(&self, query: TimeQuery) -> Result<Option<TimestampOffset>, ReadError> {
        match query {
            TimeQuery::Latest => {
                let inner = self.shared.inner();
                let leader_epoch = inner.log.epochs().latest().unwrap_or(-1);
                Ok(Some(TimestampOffset { offset: inner.log.high_watermark(), timestamp: -1, leader_epoch }))
            }
            TimeQuery::Earliest => {
                let inner = self.shared.inner();
                let offset = inner.log.log_start();
                let leader_epoch = inner.log.epochs().epoch_at(offset).unwrap_or(-1);
                Ok(Some(TimestampOffset { offset, timestamp: -1, leader_epoch }))
            }
            TimeQuery::At(timestamp) => self.first_at(timestamp),
            TimeQuery::MaxTimestamp => match self.max_timestamp()? {
                Some(newest) => self.first_at(newest),
                None => Ok(None),
            },
        }
    }

    fn first_at(&self, timestamp: i64) -> Result<Option<TimestampOffset>, ReadError> {
        let segments = self.shared.inner().summaries();
        for segment in segments {
            if segment.max_timestamp < timestamp {
                continue;
            }
            let from = self.shared.search_from(&segment, timestamp)?;
            let found = self.search(from, segment.end_offset, |batch, log_start| {
                if batch.header().max_timestamp < timestamp {
                    return Ok(None);
                }
                first_record(batch, timestamp, log_start, self.shared.decompressed_bytes_max())
            })?;
            if let Some((offset, timestamp)) = found {
                let leader_epoch = self.leader_epoch_at(offset).unwrap_or(-1);
                return Ok(Some(TimestampOffset { offset, timestamp, leader_epoch }));
            }
        }
        Ok(None)
    }

    /// The newest time among the records that consumers may read.
    fn max_timestamp(&self) -> Result<Option<i64>, ReadError> {
        let (log_start, high_watermark, segments) = {
            let inner = self.shared.inner();
            (inner.log.log_start(), inner.log.high_watermark(), inner.summaries())
        };
        let mut newest = None;
        for segment in segments {
            if newest.is_some_and(|newest| segment.max_timestamp <= newest) || segment.max_timestamp < 0 {
                continue;
            }
            if segment.base_offset >= log_start && segment.end_offset <= high_watermark {
                newest = newest.max(Some(segment.max_timestamp));
                continue;
            }
            // Part of the segment cannot be read: look at what can.
            let bytes_max = self.shared.decompressed_bytes_max();
            self.search(segment.base_offset, segment.end_offset, |batch, log_start| {
                let found = if batch.header().base_offset >= log_start {
                    Some(batch.header().max_timestamp)
                } else {
                    let mut rest = Vec::new();
                    for record in batch.records(bytes_max) {
                        let record = record.map_err(|_| UNREADABLE(batch))?;
                        rest.extend((record.offset >= log_start).then_some(record.timestamp));
                    }
                    rest.into_iter().max()
                };
                newest = newest.max(found.filter(|time| *time >= 0));
                Ok(None::<()>)
            })?;
        }
        Ok(newest)
    }

    /// Looks at the batches from `from` to `end` until `look` finds something.
    fn search<T>(
        &self,
        from: i64,
        end: i64,
        mut look: impl FnMut(&Batch, i64) -> Result<Option<T>, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        let mut offset = from;
        loop {
            // The start may pass by while we search.
            offset = offset.max(self.log_start());
            let read = self.read_below(offset, SEARCH_BYTES, true, end)?;
            if read.chunks.is_empty() {
                return Ok(None);
            }
            for mut chunk in read.chunks {
                while !chunk.is_empty() {
                    let batch = Batch::split_first(&mut chunk)
                        .map_err(|_| ReadError::Corrupt { offset, reason: "a chunk does not end with a batch" })?;
                    if let Some(found) = look(&batch, read.log_start)? {
                        return Ok(Some(found));
                    }
                    offset = batch.header().next_offset();
                }
            }
        }
    }
}

const UNREADABLE: fn(&Batch) -> ReadError =
    |batch| ReadError::Corrupt { offset: batch.header().base_offset, reason: "its records cannot be read" };

fn first_record(
    batch: &Batch,
    timestamp: i64,
    log_start: i64,
    bytes_max: usize,
) -> Result<Option<(i64, i64)>, ReadError> {
    for record in batch.records(bytes_max) {
        let record = record.map_err(|_| UNREADABLE(batch))?;
        if record.timestamp >= timestamp && record.offset >= log_start {
            return Ok(Some((record.offset, record.timestamp)));
        }
    }
    Ok(None)
}

impl Shared {
    fn decompressed_bytes_max(&self) -> usize {
        self.inner().log.config().decompressed_bytes_max
    }

    /// Where in a segment to begin the search for a time.
    fn search_from(&self, segment: &SegmentSummary, timestamp: i64) -> Result<i64, StoreError> {
        let sealed = {
            let inner = self.inner();
            if segment.base_offset == inner.active.base_offset {
                return Ok(inner.active.index.before_time(timestamp).unwrap_or(segment.base_offset));
            }
            inner.sealed.iter().find(|sealed| sealed.base_offset == segment.base_offset).cloned()
        };
        // Gone by now: the search begins at the log start.
        let Some(sealed) = sealed else { return Ok(segment.base_offset) };
        Ok(self.open_sealed(&sealed)?.index.before_time(timestamp).unwrap_or(segment.base_offset))
    }
}
