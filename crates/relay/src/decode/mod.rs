//! What a client sent, checked before the active side sees it: whatever either side could refuse is refused here first.

use bytes::Bytes;
use naru_kafka::wire::{Batch, Compression, ErrorCode, RecordData, WireError};

use crate::sequence::Refusal;

/// The first version of Produce in which zstd may be used.
const ZSTD_FROM: i16 = 7;
/// A batch that is a smaller part of its request than this gets memory of its own: it may be kept for long, and holds
/// the whole request. So nothing holds more than twice what it counts for.
const PART_MIN: usize = 2;
/// A batch below this size gets memory of its own as well: a small request is read into a buffer of 16 KiB, all of which
/// the batch would hold. To copy so little costs less than to answer the request.
const OWN_BYTES_MIN: usize = 8 << 10;

/// What a batch is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Of the request.
    pub(crate) version: i16,
    /// Largest that both sides take, bytes.
    pub(crate) batch_bytes_max: usize,
    /// Size of the request that the batch stands in.
    pub(crate) frame_bytes: usize,
    /// Latest time that a record may have, milliseconds since 1970.
    pub(crate) timestamp_max: i64,
}

/// The one batch of a partition, checked.
pub(crate) fn batch(records: &RecordData, limits: &Limits) -> Result<Batch, Refusal> {
    let refused = |code, why| Err(Refusal { code, why });
    let mut data = match records {
        RecordData::Null => return refused(ErrorCode::INVALID_RECORD, "no records"),
        data => data.to_bytes(),
    };
    if data.is_empty() {
        return refused(ErrorCode::INVALID_RECORD, "no records");
    }
    let batch = Batch::split_first(&mut data).map_err(unreadable)?;
    let header = batch.header();
    if header.compression() == Ok(Compression::Zstd) && limits.version < ZSTD_FROM {
        return refused(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, "zstd in a version that has none");
    }
    if !data.is_empty() {
        return refused(ErrorCode::INVALID_RECORD, "more than one batch for a partition");
    }
    if header.is_transactional() {
        return refused(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactions are not served by this relay");
    }
    if header.base_offset != 0 {
        return refused(ErrorCode::INVALID_RECORD, "a base offset other than 0");
    }
    let size = batch.bytes().len();
    if size > limits.batch_bytes_max {
        return refused(ErrorCode::MESSAGE_TOO_LARGE, "larger than a side takes");
    }
    batch.verify_crc().map_err(unreadable)?;
    if header.is_control() {
        return refused(ErrorCode::INVALID_RECORD, "a control batch from a client");
    }
    if header.record_count < 1 || header.last_offset_delta != header.record_count - 1 {
        return refused(ErrorCode::INVALID_RECORD, "no records, or offsets with gaps");
    }
    if header.has_producer() && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return refused(ErrorCode::INVALID_RECORD, "a producer without epoch or sequence");
    }
    if header.timestamp_type() == naru_kafka::wire::batch::TimestampType::LogAppendTime {
        return refused(ErrorCode::INVALID_TIMESTAMP, "log append time from a client");
    }
    if header.max_timestamp > limits.timestamp_max {
        return refused(ErrorCode::INVALID_TIMESTAMP, "a time too far ahead");
    }
    if size < OWN_BYTES_MIN || size < limits.frame_bytes / PART_MIN {
        let mut own = Bytes::copy_from_slice(batch.bytes());
        return Batch::split_first(&mut own).map_err(unreadable);
    }
    Ok(batch)
}

fn unreadable(error: WireError) -> Refusal {
    match error {
        WireError::BadCrc { .. } => Refusal { code: ErrorCode::CORRUPT_MESSAGE, why: "checksum fails" },
        // As Kafka answers each.
        WireError::BadMagic { .. } => Refusal { code: ErrorCode::INVALID_RECORD, why: "a format other than 2" },
        WireError::Truncated { .. } => Refusal { code: ErrorCode::INVALID_RECORD, why: "a batch that ends early" },
        WireError::BadLength { .. } => Refusal { code: ErrorCode::CORRUPT_MESSAGE, why: "a length that cannot be" },
        _ => Refusal { code: ErrorCode::INVALID_RECORD, why: "not a batch" },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_kafka::wire::BatchBuilder;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn built(codec: Compression, change: impl FnOnce(BatchBuilder) -> BatchBuilder) -> Vec<u8> {
        let mut builder = change(BatchBuilder::new(codec));
        for _ in 0..3 {
            builder.push(NOW, None, Some(&[7; 50]), &[]).unwrap();
        }
        builder.build().unwrap().to_vec()
    }

    fn check(bytes: Vec<u8>, expect: Result<(), ErrorCode>) {
        let limits = Limits { version: 6, batch_bytes_max: 1_000, frame_bytes: 1_000, timestamp_max: NOW };
        let checked = batch(&RecordData::Whole(bytes.into()), &limits);
        assert_eq!(checked.as_ref().map(|_| ()).map_err(|refusal| refusal.code), expect, "{checked:?}");
    }

    #[test]
    fn what_either_side_could_refuse_is_refused_first() {
        let plain = || built(Compression::None, |builder| builder);
        let with = |change: fn(BatchBuilder) -> BatchBuilder| built(Compression::None, change);
        let broken = |at: usize| {
            let mut bytes = plain();
            bytes[at] ^= 1;
            bytes
        };
        check(plain(), Ok(()));
        check(with(|builder| builder.producer(1 << 61, 0, 7)), Ok(()));
        check(Vec::new(), Err(ErrorCode::INVALID_RECORD));
        check([plain(), plain()].concat(), Err(ErrorCode::INVALID_RECORD));
        check(broken(100), Err(ErrorCode::CORRUPT_MESSAGE));
        check(broken(7), Err(ErrorCode::INVALID_RECORD));
        check(with(BatchBuilder::control), Err(ErrorCode::INVALID_RECORD));
        check(with(BatchBuilder::transactional), Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
        check(with(|builder| builder.last_offset_delta(9)), Err(ErrorCode::INVALID_RECORD));
        check(built(Compression::Zstd, |builder| builder), Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE));
        let mut late = BatchBuilder::new(Compression::None);
        late.push(NOW + 1, None, None, &[]).unwrap();
        check(late.build().unwrap().to_vec(), Err(ErrorCode::INVALID_TIMESTAMP));
        let mut large = BatchBuilder::new(Compression::None);
        large.push(NOW, None, Some(&[7; 1_000]), &[]).unwrap();
        check(large.build().unwrap().to_vec(), Err(ErrorCode::MESSAGE_TOO_LARGE));
    }

    #[test]
    fn a_wall_clock_that_jumps_refuses_what_lies_ahead_of_it_and_nothing_else() {
        let hour = 3_600_000;
        let check = |clock: i64, expect: Result<(), ErrorCode>| {
            let limits = Limits { version: 6, batch_bytes_max: 1_000, frame_bytes: 1_000, timestamp_max: clock + hour };
            let bytes = built(Compression::None, |builder| builder);
            let checked = batch(&RecordData::Whole(bytes.into()), &limits).map(drop);
            assert_eq!(checked.map_err(|refusal| refusal.code), expect, "clock {clock}, record {NOW}");
        };
        check(NOW, Ok(()));
        check(NOW + 1_000 * hour, Ok(()));
        check(NOW - hour, Ok(()));
        check(NOW - hour - 1, Err(ErrorCode::INVALID_TIMESTAMP));
    }

    #[test]
    fn a_batch_that_is_kept_keeps_no_more_memory_than_it_counts_for() {
        let check = |value_bytes: usize, part: usize, shares: bool| {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.push(NOW, None, Some(&vec![7; value_bytes]), &[]).unwrap();
            let whole: Bytes = builder.build().unwrap();
            let frame_bytes = part * whole.len();
            let limits = Limits { version: 6, batch_bytes_max: 1 << 20, frame_bytes, timestamp_max: NOW };
            let kept = batch(&RecordData::Whole(whole.clone()), &limits).unwrap();
            assert_eq!(kept.bytes().as_ptr() == whole.as_ptr(), shares, "{value_bytes} bytes, a part of {part}");
        };
        check(10, 1, false);
        check(7 << 10, 1, false);
        check(8 << 10, 1, true);
        check(8 << 10, 3, false);
    }
}
