//! What is appended and what is refused, against a table and against a simple model.

#![allow(clippy::unwrap_used)] // a test panics on failure

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::wire::batch::{Batch, BatchHeader};
use crate::wire::record::BatchBuilder;
use crate::wire::{Compression, ErrorCode};

const NOW_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn builder(times: &[i64]) -> BatchBuilder {
    with(BatchBuilder::new(Compression::None), times)
}

fn with(mut builder: BatchBuilder, times: &[i64]) -> BatchBuilder {
    for time in times {
        builder.push(*time, Some(b"k"), Some(b"v"), &[]).unwrap();
    }
    builder
}

fn batch(builder: BatchBuilder) -> Batch {
    Batch::split_first(&mut builder.build().unwrap()).unwrap()
}

/// The batch with another header, its checksum right.
fn altered(batch: &Batch, alter: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = *batch.header();
    alter(&mut header);
    header.crc = crc32c::crc32c_append(crc32c::crc32c(&header.encode()[21..]), &batch.payload());
    [&header.encode()[..], &batch.payload()[..]].concat().into()
}

fn admit(log: &Log, batch: &Batch, leader_epoch: i32, now_ms: i64) -> Result<Admission, Refusal> {
    log.admit(&validate(batch, log.config(), now_ms)?, leader_epoch, now_ms)
}

/// What a Produce request with these bytes is answered by an empty log.
fn answer(records: Bytes, config: &LogConfig) -> ErrorCode {
    let log = Log::new(config.clone());
    match single_batch(records, 9).and_then(|batch| admit(&log, &batch, 0, NOW_MS)) {
        Ok(_) => ErrorCode::NONE,
        Err(refusal) => refusal.code(),
    }
}

#[test]
fn a_batch_is_refused_with_the_code_that_kafka_answers() {
    let check = |name: &str, records: Bytes, expect| {
        assert_eq!(answer(records, &LogConfig::default()), expect, "{name}");
    };
    let good = batch(builder(&[NOW_MS, NOW_MS]));
    let bytes = good.bytes().clone();
    check("good", bytes.clone(), ErrorCode::NONE);
    check("none", Bytes::new(), ErrorCode::INVALID_RECORD);
    check("two", [&bytes[..], &bytes[..]].concat().into(), ErrorCode::INVALID_RECORD);
    check("cut", bytes.slice(..bytes.len() - 1), ErrorCode::INVALID_RECORD);
    let mut corrupt = bytes.to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    check("checksum", corrupt.into(), ErrorCode::CORRUPT_MESSAGE);
    let mut old = bytes.to_vec();
    old[16] = 1;
    check("format 1", old.into(), ErrorCode::INVALID_RECORD);

    let header = |alter: fn(&mut BatchHeader)| altered(&good, alter);
    check("base offset", header(|h| h.base_offset = 5), ErrorCode::INVALID_RECORD);
    check("leader epoch", header(|h| h.partition_leader_epoch = 77), ErrorCode::NONE);
    check("gap", header(|h| h.last_offset_delta = 2), ErrorCode::INVALID_RECORD);
    check("backwards", header(|h| h.last_offset_delta = -1), ErrorCode::INVALID_RECORD);
    check("more declared", header(|h| (h.record_count, h.last_offset_delta) = (3, 2)), ErrorCode::INVALID_RECORD);
    check("fewer declared", header(|h| (h.record_count, h.last_offset_delta) = (1, 0)), ErrorCode::INVALID_RECORD);
    check("no sequence", header(|h| h.producer_id = 1), ErrorCode::INVALID_RECORD);
    check("broker's time", header(|h| h.attributes |= 8), ErrorCode::INVALID_TIMESTAMP);
    check("not lz4", header(|h| h.attributes |= 3), ErrorCode::INVALID_RECORD);
    check("control", batch(builder(&[NOW_MS]).control()).into_bytes(), ErrorCode::INVALID_RECORD);
    check(
        "transactional",
        batch(builder(&[NOW_MS]).transactional()).into_bytes(),
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    );
    let mut gap = BatchBuilder::new(Compression::Lz4);
    gap.push_at(0, NOW_MS, None, None, &[]).unwrap();
    gap.push_at(2, NOW_MS, None, None, &[]).unwrap();
    check("gap inside", altered(&batch(gap), |h| h.last_offset_delta = 1), ErrorCode::INVALID_RECORD);
}

#[test]
fn the_topic_says_how_large_and_how_old_a_batch_may_be() {
    let check = |time: i64, config: LogConfig, expect| {
        assert_eq!(answer(batch(builder(&[time])).into_bytes(), &config), expect, "{time}: {config:?}");
    };
    let default = LogConfig::default;
    check(NOW_MS + HOUR_MS, default(), ErrorCode::NONE);
    check(NOW_MS + HOUR_MS + 1, default(), ErrorCode::INVALID_TIMESTAMP);
    check(NOW_MS + HOUR_MS + 1, LogConfig { timestamp_after_max_ms: i64::MAX, ..default() }, ErrorCode::NONE);
    check(0, default(), ErrorCode::NONE);
    check(NOW_MS - 11, LogConfig { timestamp_before_max_ms: 10, ..default() }, ErrorCode::INVALID_TIMESTAMP);
    check(-1, LogConfig { timestamp_before_max_ms: 10, ..default() }, ErrorCode::NONE);
    let stamped = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..default() };
    check(NOW_MS + 10 * HOUR_MS, stamped, ErrorCode::NONE);
    let size = batch(builder(&[NOW_MS])).bytes().len();
    check(NOW_MS, LogConfig { batch_bytes_max: size, ..default() }, ErrorCode::NONE);
    check(NOW_MS, LogConfig { batch_bytes_max: size - 1, ..default() }, ErrorCode::MESSAGE_TOO_LARGE);
    check(NOW_MS, LogConfig { segment_bytes: size as u64 - 1, ..default() }, ErrorCode::RECORD_LIST_TOO_LARGE);
}

#[test]
fn zstd_needs_a_later_produce() {
    let zstd = batch(with(BatchBuilder::new(Compression::Zstd), &[NOW_MS])).into_bytes();
    let refused = single_batch(zstd.clone(), 6).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
    assert!(single_batch(zstd, 7).is_ok());
}

#[test]
fn the_broker_stamps_its_own_fields_and_leaves_the_records() {
    let sent = batch(builder(&[NOW_MS - 5, NOW_MS]));
    let lied = altered(&sent, |header| (header.partition_leader_epoch, header.max_timestamp) = (77, 3));
    let sent = single_batch(lied, 9).unwrap();
    for (timestamp_type, max_timestamp) in
        [(TimestampType::CreateTime, NOW_MS), (TimestampType::LogAppendTime, NOW_MS + 9)]
    {
        let log = Log::new(LogConfig { timestamp_type, ..LogConfig::default() });
        let Admission::Append(entry) = admit(&log, &sent, 4, NOW_MS + 9).unwrap() else { panic!("a duplicate") };
        let header = entry.stamp.header(&sent);
        assert_eq!((header.base_offset, header.partition_leader_epoch), (0, 4));
        assert_eq!((header.max_timestamp, entry.max_timestamp), (max_timestamp, max_timestamp));
        let mut bytes = Bytes::from([&header.encode()[..], &sent.payload()[..]].concat());
        assert_eq!(Batch::split_first(&mut bytes).unwrap().verify_crc(), Ok(()), "{timestamp_type:?}");
    }
}

/// A batch of the model: who sent it, and where it went.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sent {
    id: i64,
    epoch: i16,
    first: i32,
    count: i32,
    base_offset: i64,
}

/// What the facts say, by looking through everything that was ever appended.
fn expected(appended: &[Sent], sent: Sent) -> Result<Option<i64>, ErrorCode> {
    let of_id: Vec<_> = appended.iter().filter(|batch| batch.id == sent.id).collect();
    let Some(last) = of_id.last() else { return Ok(None) };
    let remembered = of_id.iter().rev().take_while(|batch| batch.epoch == last.epoch).take(5);
    let same = |batch: &&&&Sent| (batch.epoch, batch.first, batch.count) == (sent.epoch, sent.first, sent.count);
    if let Some(batch) = remembered.into_iter().find(|batch| same(&batch)) {
        return Ok(Some(batch.base_offset));
    }
    let next = if sent.epoch > last.epoch { 0 } else { last.first + last.count };
    match sent.epoch < last.epoch {
        true => Err(ErrorCode::INVALID_PRODUCER_EPOCH),
        false if sent.first != next => Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        false => Ok(None),
    }
}

#[test]
fn any_sequence_of_batches_is_judged_as_by_looking_through_the_whole_log() {
    let step = (0_i64..3, 0_i16..3, 0_i32..12, 1_i32..3, 0_u8..12);
    let mut runner = TestRunner::new(Config::with_cases(300));
    let run = runner.run(&proptest::collection::vec(step, 1..120), |steps| {
        let mut log = Log::new(LogConfig::default());
        let mut appended: Vec<Sent> = Vec::new();
        let mut headers: Vec<BatchHeader> = Vec::new();
        for (id, epoch, first, count, event) in steps {
            match event {
                // A restart from nothing but the log.
                0 => {
                    log = Log::new(LogConfig::default());
                    headers.iter().for_each(|header| log.replay(header));
                    log.raise_high_watermark(i64::MAX);
                }
                1 => {
                    let before = log.log_start() + i64::from(first);
                    let moved = log.delete_records_before(before);
                    let high_watermark = log.high_watermark();
                    prop_assert_eq!(moved, if before <= high_watermark { Ok(before) } else { Err(high_watermark) });
                }
                2 => log.raise_high_watermark(log.log_end()),
                _ => {}
            }
            // Mostly what comes next, so that the log grows.
            let last = appended.iter().rfind(|batch| batch.id == id);
            let (epoch, first) = match last {
                Some(last) if event > 5 => (last.epoch, last.first + last.count),
                _ => (epoch, first),
            };
            let times = vec![NOW_MS; usize::try_from(count).unwrap()];
            let batch = batch(with(BatchBuilder::new(Compression::None).producer(id, epoch, first), &times));
            let sent = Sent { id, epoch, first, count, base_offset: log.log_end() };
            let found = match admit(&log, &batch, 0, NOW_MS) {
                Ok(Admission::Append(entry)) => {
                    prop_assert_eq!(entry.stamp.base_offset, headers.last().map_or(0, BatchHeader::next_offset));
                    headers.push(entry.stamp.header(&batch));
                    log.appended(&entry);
                    Ok(None)
                }
                Ok(Admission::Duplicate(of)) => Ok(Some(of.0.base_offset)),
                Err(refusal) => Err(refusal.code()),
            };
            prop_assert_eq!(found, expected(&appended, sent), "{:?}", sent);
            if found == Ok(None) {
                appended.push(sent);
            }
            prop_assert!(log.log_start() <= log.high_watermark() && log.high_watermark() <= log.log_end());
        }
        Ok(())
    });
    run.unwrap();
}
