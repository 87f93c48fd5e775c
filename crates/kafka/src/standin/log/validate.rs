//! What a batch from a producer must look like.

use bytes::Bytes;

use super::{LogConfig, ProducerError, TimestampType};
use crate::wire::WireError;
use crate::wire::batch::{Batch, BatchHeader};
use crate::wire::error_code::ErrorCode;

/// Produce versions from this on may carry zstd.
const ZSTD_SINCE_PRODUCE_VERSION: i16 = 7;

/// The time of a record that has none.
const NO_TIMESTAMP: i64 = -1;

/// Why a batch is not appended: always the producer's side. The code says whether a retry can help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are not a batch, or their checksum does not match: they may have been damaged on the way.
    #[error("the batch cannot be read")]
    Corrupt(#[source] WireError),
    /// The batch contradicts itself or holds what a producer may not write.
    #[error("invalid record: {0}")]
    Invalid(&'static str),
    /// The records inside the batch cannot be read.
    #[error("the records of the batch cannot be read")]
    Unreadable(#[source] WireError),
    /// The batch is larger than the topic or a segment allows.
    #[error("batch of {size} bytes, {limit} allowed")]
    TooLarge {
        /// Size of the batch, bytes.
        size: usize,
        /// What the topic allows, bytes.
        limit: usize,
    },
    /// The batch would not fit into an empty segment.
    #[error("batch of {size} bytes, a segment holds {limit}")]
    LargerThanSegment {
        /// Size of the batch, bytes.
        size: usize,
        /// `segment.bytes`.
        limit: u64,
    },
    /// A record's time is too far from the broker's, or the batch claims that a broker set it.
    #[error("timestamp {timestamp}: {reason}")]
    Timestamp {
        /// The time found.
        timestamp: i64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A transactional batch: this broker offers no transactions.
    #[error("a transactional batch without a transaction")]
    Transactional,
    /// The compression is not allowed in this version of Produce.
    #[error("zstd needs Produce version {ZSTD_SINCE_PRODUCE_VERSION}, got {version}")]
    CompressionVersion {
        /// The request's version.
        version: i16,
    },
    /// The producer's sequence or epoch does not fit.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// The append names a leader epoch that has ended.
    #[error("leader epoch {asked} has ended, now {current}")]
    OldLeader {
        /// The epoch of the append.
        asked: i32,
        /// The epoch of this log.
        current: i32,
    },
}

impl Refusal {
    /// The code that answers the producer.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Corrupt(_) => ErrorCode::CORRUPT_MESSAGE,
            Self::Invalid(_) | Self::Unreadable(_) => ErrorCode::INVALID_RECORD,
            Self::TooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
            Self::LargerThanSegment { .. } => ErrorCode::RECORD_LIST_TOO_LARGE,
            Self::Timestamp { .. } => ErrorCode::INVALID_TIMESTAMP,
            Self::Transactional => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            Self::CompressionVersion { .. } => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            Self::Producer(ProducerError::OutOfOrder { .. }) => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
            Self::Producer(ProducerError::OldEpoch { .. }) => ErrorCode::INVALID_PRODUCER_EPOCH,
            Self::OldLeader { .. } => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        }
    }
}

/// The one batch that a Produce request of `version` may carry for a partition.
///
/// # Errors
/// None, two, or one in an older format: invalid record, as Kafka answers. zstd before Produce version 7.
pub fn single_batch(mut records: Bytes, version: i16) -> Result<Batch, Refusal> {
    if records.is_empty() {
        return Err(Refusal::Invalid("a partition without a batch"));
    }
    let batch = match Batch::split_first(&mut records) {
        Ok(batch) => batch,
        Err(WireError::BadMagic { .. }) => return Err(Refusal::Invalid("a format other than 2")),
        Err(WireError::Truncated { .. }) => return Err(Refusal::Invalid("a batch that ends early")),
        Err(length @ WireError::BadLength { .. }) => return Err(Refusal::Corrupt(length)),
        Err(other) => return Err(Refusal::Unreadable(other)),
    };
    if batch.header().attributes & COMPRESSION_BITS == COMPRESSION_ZSTD && version < ZSTD_SINCE_PRODUCE_VERSION {
        return Err(Refusal::CompressionVersion { version });
    }
    if !records.is_empty() {
        return Err(Refusal::Invalid("more than one batch for a partition"));
    }
    Ok(batch)
}

const COMPRESSION_BITS: i16 = 0b0111;
const COMPRESSION_ZSTD: i16 = 4;
pub(super) const LOG_APPEND_TIME_BIT: i16 = 0b1000;

/// A batch that was found sound by [`validate`], and what its records say.
#[derive(Debug, Clone, Copy)]
pub struct Validated<'a> {
    pub(super) batch: &'a Batch,
    pub(super) max_timestamp: i64,
}

/// Checks a batch in Kafka's order: the header, then the checksum, then every record. Needs nothing of the log but its
/// configuration, so that the log need not be locked while a large batch is decompressed.
///
/// # Errors
/// A [`Refusal`], with the code that answers the producer.
pub fn validate<'a>(batch: &'a Batch, config: &LogConfig, now_ms: i64) -> Result<Validated<'a>, Refusal> {
    let header = batch.header();
    if header.is_transactional() {
        return Err(Refusal::Transactional);
    }
    if header.base_offset != 0 {
        return Err(Refusal::Invalid("a base offset other than 0"));
    }
    let size = header.size_bytes();
    if size > config.batch_bytes_max {
        return Err(Refusal::TooLarge { size, limit: config.batch_bytes_max });
    }
    batch.verify_crc().map_err(Refusal::Corrupt)?;
    check_shape(header)?;
    if header.attributes & LOG_APPEND_TIME_BIT != 0 {
        let reason = "a producer cannot set the time of appending";
        return Err(Refusal::Timestamp { timestamp: header.max_timestamp, reason });
    }
    let max_timestamp = check_records(batch, config, now_ms)?;
    if size as u64 > config.segment_bytes {
        return Err(Refusal::LargerThanSegment { size, limit: config.segment_bytes });
    }
    Ok(Validated { batch, max_timestamp })
}

fn check_shape(header: &BatchHeader) -> Result<(), Refusal> {
    if header.last_offset_delta < 0 {
        return Err(Refusal::Invalid("offsets that run backwards"));
    }
    if header.record_count <= 0 {
        return Err(Refusal::Invalid("a batch without records"));
    }
    if header.last_offset_delta != header.record_count - 1 {
        return Err(Refusal::Invalid("offsets with a gap"));
    }
    if header.is_control() {
        return Err(Refusal::Invalid("a control batch"));
    }
    if header.producer_id >= 0 && header.base_sequence < 0 {
        return Err(Refusal::Invalid("a producer id without a sequence"));
    }
    Ok(())
}

/// Checks every record; the newest time among them.
fn check_records(batch: &Batch, config: &LogConfig, now_ms: i64) -> Result<i64, Refusal> {
    let header = batch.header();
    let mut expected_offset = header.base_offset;
    let mut max_timestamp = NO_TIMESTAMP;
    for record in batch.records(config.decompressed_bytes_max) {
        let record = record.map_err(Refusal::Unreadable)?;
        if record.offset != expected_offset {
            return Err(Refusal::Invalid("offsets with a gap"));
        }
        expected_offset += 1;
        if config.cleanup_compact && record.key.is_none() {
            return Err(Refusal::Invalid("a record without a key in a compacted topic"));
        }
        check_timestamp(record.timestamp, config, now_ms)?;
        max_timestamp = max_timestamp.max(record.timestamp);
    }
    if expected_offset - header.base_offset != i64::from(header.record_count) {
        return Err(Refusal::Invalid("fewer records than the batch declares"));
    }
    Ok(max_timestamp)
}

fn check_timestamp(timestamp: i64, config: &LogConfig, now_ms: i64) -> Result<(), Refusal> {
    if config.timestamp_type == TimestampType::LogAppendTime || timestamp == NO_TIMESTAMP {
        return Ok(());
    }
    if now_ms.saturating_sub(timestamp) > config.timestamp_before_max_ms {
        return Err(Refusal::Timestamp { timestamp, reason: "further back than message.timestamp.before.max.ms" });
    }
    if timestamp.saturating_sub(now_ms) > config.timestamp_after_max_ms {
        return Err(Refusal::Timestamp { timestamp, reason: "further ahead than message.timestamp.after.max.ms" });
    }
    Ok(())
}
