//! The state of one partition log, and the decisions about it.

use naru_model::invariant;

use super::validate::LOG_APPEND_TIME_BIT;
use super::{
    DuplicateOf, EpochEnd, Expired, LeaderEpochs, LogConfig, ProducerTable, Refusal, RetainedBatch, SegmentSummary,
    SequenceVerdict, TimestampType, Validated, expired,
};
use crate::wire::batch::{Batch, BatchHeader};

/// One partition log, without its records.
#[derive(Debug, Clone)]
pub struct Log {
    config: LogConfig,
    log_start: i64,
    high_watermark: i64,
    log_end: i64,
    leader_epoch: i32,
    epochs: LeaderEpochs,
    producers: ProducerTable,
}

/// What is to be done with a batch that was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Write it, stamped, then tell [`Log::appended`].
    Append(Entry),
    /// Write nothing: answer with the offset that it has already.
    Duplicate(DuplicateOf),
}

/// A batch's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What the broker writes into the batch.
    pub stamp: Stamp,
    /// Offset of its last record.
    pub last_offset: i64,
    /// The newest time among its records, milliseconds since 1970; -1 if they have none.
    pub max_timestamp: i64,
    producer: Option<(i64, i16, i32, i32)>,
}

impl Entry {
    /// The offset after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset + 1
    }
}

/// The fields of a batch that belong to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Offset of the first record.
    pub base_offset: i64,
    /// The leader's epoch; whatever the producer wrote there is overwritten.
    pub leader_epoch: i32,
    /// The time of appending, if the topic's timestamps are the broker's.
    pub log_append_time: Option<i64>,
    /// The newest time among the records, if the producer's header said otherwise.
    pub max_timestamp: Option<i64>,
}

impl Stamp {
    /// The header of the batch with the broker's fields. The checksum is computed again only if what it covers changed.
    pub fn header(&self, batch: &Batch) -> BatchHeader {
        let mut header = *batch.header();
        header.base_offset = self.base_offset;
        header.partition_leader_epoch = self.leader_epoch;
        if self.log_append_time.is_some() {
            header.attributes |= LOG_APPEND_TIME_BIT;
        }
        if let Some(max_timestamp) = self.log_append_time.or(self.max_timestamp) {
            header.max_timestamp = max_timestamp;
            let covered = crc32c::crc32c(&header.encode()[CHECKED_FROM..]);
            header.crc = crc32c::crc32c_append(covered, &batch.payload());
        }
        header
    }
}

// The checksum covers a batch from its attributes on.
const CHECKED_FROM: usize = 21;

impl Log {
    /// An empty log that begins at offset 0.
    pub fn new(config: LogConfig) -> Self {
        Self {
            config,
            log_start: 0,
            high_watermark: 0,
            log_end: 0,
            leader_epoch: 0,
            epochs: LeaderEpochs::default(),
            producers: ProducerTable::default(),
        }
    }

    /// A log as a checkpoint describes it at `log_end`; batches above it are entered with [`Log::replay`].
    pub fn restore(
        config: LogConfig,
        log_start: i64,
        log_end: i64,
        epochs: LeaderEpochs,
        producers: ProducerTable,
    ) -> Self {
        let leader_epoch = epochs.latest().unwrap_or(0);
        let high_watermark = log_end;
        Self { config, log_start, high_watermark, log_end, leader_epoch, epochs, producers }
    }

    /// What to do with a batch from a producer at `now_ms`. Nothing changes until [`Log::appended`].
    ///
    /// # Errors
    /// A [`Refusal`], with the code that answers the producer.
    pub fn admit(&self, batch: &Validated<'_>, leader_epoch: i32, now_ms: i64) -> Result<Admission, Refusal> {
        let Validated { batch, max_timestamp: newest } = *batch;
        if leader_epoch < self.leader_epoch {
            return Err(Refusal::OldLeader { asked: leader_epoch, current: self.leader_epoch });
        }
        let header = batch.header();
        let producer = (header.producer_id >= 0)
            .then(|| (header.producer_id, header.producer_epoch, header.base_sequence, header.last_sequence()));
        if let Some((id, epoch, first, last)) = producer
            && let SequenceVerdict::Duplicate(of) = self.producers.check(id, epoch, first, last)?
        {
            return Ok(Admission::Duplicate(of));
        }
        let Some(last_offset) = self.log_end.checked_add(i64::from(header.last_offset_delta)) else {
            return Err(Refusal::Invalid("no offsets are left"));
        };
        let log_append_time = (self.config.timestamp_type == TimestampType::LogAppendTime).then_some(now_ms);
        let max_timestamp = (newest != header.max_timestamp).then_some(newest);
        Ok(Admission::Append(Entry {
            stamp: Stamp { base_offset: self.log_end, leader_epoch, log_append_time, max_timestamp },
            last_offset,
            max_timestamp: log_append_time.unwrap_or(newest),
            producer,
        }))
    }

    /// Enters a batch that was written as [`Log::admit`] said.
    pub fn appended(&mut self, entry: &Entry) {
        let Stamp { base_offset, leader_epoch, .. } = entry.stamp;
        invariant!(BROKER_4, base_offset == self.log_end, "appended at {base_offset}, log end {}", self.log_end);
        if let Some((id, epoch, first, last)) = entry.producer {
            invariant!(
                BROKER_3,
                matches!(self.producers.check(id, epoch, first, last), Ok(SequenceVerdict::Next)),
                "producer {id} epoch {epoch} sequence {first} at {base_offset}"
            );
            self.producers.note(
                id,
                epoch,
                RetainedBatch {
                    first_sequence: first,
                    last_sequence: last,
                    base_offset,
                    last_offset: entry.last_offset,
                    max_timestamp: entry.max_timestamp,
                },
            );
        }
        self.leader_epoch = leader_epoch;
        self.epochs.note(leader_epoch, base_offset);
        self.log_end = entry.next_offset();
    }

    /// Notes that a batch could not be written. If its producer was not known, only the same sequence may come next:
    /// otherwise the batch behind it, already on its way, would be taken as the first, and this one be lost.
    pub fn append_failed(&mut self, entry: &Entry) {
        if let Some((id, epoch, first, _)) = entry.producer {
            self.producers.note_failed(id, epoch, first, entry.max_timestamp);
        }
    }

    /// Enters a batch that recovery found after the checkpoint. It was admitted once; it is not judged again.
    pub fn replay(&mut self, header: &BatchHeader) {
        let base_offset = header.base_offset;
        invariant!(BROKER_4, base_offset >= self.log_end, "found at {base_offset}, log end {}", self.log_end);
        if header.producer_id >= 0 && !header.is_control() {
            self.producers.note(
                header.producer_id,
                header.producer_epoch,
                RetainedBatch {
                    first_sequence: header.base_sequence,
                    last_sequence: header.last_sequence(),
                    base_offset,
                    last_offset: header.last_offset(),
                    max_timestamp: header.max_timestamp,
                },
            );
        }
        self.epochs.note(header.partition_leader_epoch, base_offset);
        self.leader_epoch = self.leader_epoch.max(header.partition_leader_epoch);
        self.log_end = header.next_offset();
    }

    /// Passes offsets that recovery found to be damaged: they stay taken, though nothing can be read there.
    pub fn skip_damaged(&mut self, next_offset: i64) {
        self.log_end = self.log_end.max(next_offset);
    }

    /// Begins a new leader epoch. The epoch never falls.
    pub fn raise_leader_epoch(&mut self, leader_epoch: i32) {
        self.leader_epoch = self.leader_epoch.max(leader_epoch);
    }

    /// Goes back to an epoch, because a later one could not be made durable; unless a batch carries that one already.
    pub fn withdraw_leader_epoch(&mut self, leader_epoch: i32) {
        if self.epochs.latest().is_none_or(|latest| latest <= leader_epoch) {
            self.leader_epoch = self.leader_epoch.min(leader_epoch);
        }
    }

    /// Lets consumers see up to `offset`. The high watermark never falls and never passes the log end.
    pub fn raise_high_watermark(&mut self, offset: i64) {
        self.high_watermark = self.high_watermark.max(offset.min(self.log_end));
    }

    /// Moves the log start to `before`, for DeleteRecords; -1 means the high watermark.
    ///
    /// # Errors
    /// The high watermark, if `before` lies above it or below -1: offset out of range.
    pub fn delete_records_before(&mut self, before: i64) -> Result<i64, i64> {
        let before = if before == -1 { self.high_watermark } else { before };
        if !(0..=self.high_watermark).contains(&before) {
            return Err(self.high_watermark);
        }
        self.raise_log_start(before);
        Ok(self.log_start)
    }

    /// Moves the log start up, never down.
    pub fn raise_log_start(&mut self, log_start: i64) {
        if log_start > self.log_start {
            self.log_start = log_start;
            self.log_end = self.log_end.max(log_start);
            self.high_watermark = self.high_watermark.max(log_start);
            self.epochs.cut_start(log_start);
        }
    }

    /// Cuts a tail that nobody was told of: offsets from `log_end` on are free again.
    pub fn truncate(&mut self, log_end: i64) {
        invariant!(
            BROKER_4,
            log_end >= self.high_watermark,
            "cut to {log_end}, high watermark {}",
            self.high_watermark
        );
        self.log_end = log_end;
        self.epochs.cut_end(log_end);
        self.producers.cut_end(log_end);
    }

    /// Forgets producers whose last batch is dated too far back; how many they were. To be called every
    /// [`PRODUCER_EXPIRY_CHECK_MS`](super::PRODUCER_EXPIRY_CHECK_MS), and after a restart.
    pub fn expire_producers(&mut self, now_ms: i64) -> usize {
        self.producers.expire(now_ms, self.config.producer_expiry_ms)
    }

    /// Which of the oldest segments may go at `now_ms`.
    pub fn expired(&self, segments: &[SegmentSummary], now_ms: i64) -> Expired {
        expired(segments, self.log_start, self.high_watermark, &self.config, now_ms)
    }

    /// Where `leader_epoch` ended, for OffsetForLeaderEpoch.
    pub fn end_of_epoch(&self, leader_epoch: i32) -> EpochEnd {
        self.epochs.end_of(leader_epoch, self.leader_epoch, self.log_end)
    }

    /// The first offset that can be read.
    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    /// The offset up to which consumers may read.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// The offset that the next record gets.
    pub fn log_end(&self) -> i64 {
        self.log_end
    }

    /// The leader epoch of the next record.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Epochs with their start offsets.
    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// The producers known.
    pub fn producers(&self) -> &ProducerTable {
        &self.producers
    }

    /// The configuration in force.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Puts another configuration in force, from the next batch on.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }
}
