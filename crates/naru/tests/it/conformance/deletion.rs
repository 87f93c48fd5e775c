//! Records that go: DeleteRecords, retention, compaction, and starting a log in the middle.

use std::time::Instant;

use super::batch::{Batch, GZIP, ZSTD};
use super::broker::{Broker, Topic, now_ms, topic_name, until};
use super::code::*;

const DAY_MS: i64 = 24 * 3_600_000;

#[test]
fn records_are_deleted_up_to_an_offset() {
    let mut broker = Broker::shared();
    let topic = broker.topic("delete");
    broker.append(&topic, 0, &["a", "b", "c"]);
    broker.append(&topic, 0, &["d", "e"]);
    let rows = [
        (1, (0, 1), (1, 5)),
        // Inside a batch: the batch is still served whole, the log starts at the offset.
        (4, (0, 4), (4, 5)),
        // Back is not an error and changes nothing.
        (2, (0, 4), (4, 5)),
        (6, (OFFSET_OUT_OF_RANGE, -1), (4, 5)),
        (-2, (OFFSET_OUT_OF_RANGE, -1), (4, 5)),
        // To the high watermark.
        (-1, (0, 5), (5, 5)),
    ];
    for (before, expect, ends) in rows {
        assert_eq!(broker.delete_records(&topic, 0, before), expect, "before {before}");
        assert_eq!(broker.ends(&topic, 0), ends, "before {before}");
        assert_eq!(broker.fetch(&topic, 0, ends.0).log_start_offset, ends.0);
    }
    assert_eq!(broker.append(&topic, 0, &["f"]), 5);
    assert_eq!(broker.values(&topic, 5), ["f"]);
    let missing = Topic { name: topic_name("no-such-topic"), ..topic.clone() };
    assert_eq!(broker.delete_records(&missing, 0, 0).0, UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn a_log_can_be_started_in_the_middle() {
    const RECORDS: i64 = 1_000_000;
    let mut broker = Broker::shared();
    let topic = broker.topic("middle");
    let empty = Batch::of(now_ms(), &vec![""; usize::try_from(RECORDS).unwrap()]);
    let packed = empty.clone().compressed(ZSTD).encode();
    assert!(packed.len() < 1_000_000, "{} bytes", packed.len());
    let began = Instant::now();
    assert_eq!(broker.produce(&topic, 0, packed).error_code, 0);
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    let by_gzip = broker.produce(&topic, 0, empty.compressed(GZIP).encode());
    assert_eq!(by_gzip.error_code, MESSAGE_TOO_LARGE, "gzip packs less tightly");
    assert_eq!(broker.ends(&topic, 0), (0, RECORDS));
    assert_eq!(broker.delete_records(&topic, 0, 765_432), (0, 765_432));
    assert_eq!(broker.delete_records(&topic, 0, RECORDS), (0, RECORDS));
    assert_eq!(broker.append(&topic, 0, &["wanted"]), RECORDS);
    assert_eq!(broker.ends(&topic, 0), (RECORDS, RECORDS + 1));
    assert_eq!(broker.fetch(&topic, 0, RECORDS - 1).error_code, OFFSET_OUT_OF_RANGE);
    assert_eq!(broker.values(&topic, RECORDS), ["wanted"]);
}

#[test]
fn retention_by_size_drops_whole_segments() {
    let mut broker = Broker::shared();
    let topic = broker.topic_with("size", 1, &[("segment.bytes", "1048576"), ("retention.bytes", "1048576")]);
    let half = "x".repeat(500_000);
    for offset in 0..12 {
        assert_eq!(broker.append(&topic, 0, &[&half]), offset);
    }
    let start = until("old segments are dropped", || Some(broker.ends(&topic, 0).0).filter(|start| *start >= 8));
    assert_eq!(broker.ends(&topic, 0).1, 12, "the end stays");
    assert!(start < 12, "the newest segment stays");
    assert_eq!(broker.fetch(&topic, 0, 0).error_code, OFFSET_OUT_OF_RANGE);
    assert_eq!(broker.batches(&topic, 0, start)[0].base_offset, start);
}

#[test]
fn retention_by_time_goes_by_the_time_in_the_records() {
    let mut broker = Broker::shared();
    let topic = broker.topic_with("time", 1, &[("retention.ms", "3600000")]);
    let fresh = broker.topic_with("time", 1, &[("retention.ms", "3600000")]);
    let unlimited = broker.topic_with("time", 1, &[("retention.ms", "-1")]);
    for topic in [&topic, &unlimited] {
        broker.append_batch(topic, 0, &Batch::of(now_ms() - 2 * DAY_MS, &["old", "old"]));
    }
    broker.append(&fresh, 0, &["new"]);
    until("the old records are gone", || (broker.ends(&topic, 0) == (2, 2)).then_some(()));
    assert_eq!(broker.append(&topic, 0, &["next"]), 2);
    assert_eq!(broker.values(&topic, 2), ["next"]);
    assert_eq!((broker.ends(&fresh, 0), broker.ends(&unlimited, 0)), ((0, 1), (0, 2)));
}

#[test]
fn compaction_keeps_the_last_value_of_a_key_at_its_offset() {
    let mut broker = Broker::shared();
    let configs = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.01"), ("segment.ms", "1")];
    let topic = broker.topic_with("compact", 1, &configs);
    let records: [(&[u8], &str); 5] = [(b"a", "1"), (b"b", "1"), (b"a", "2"), (b"b", "2"), (b"end", "1")];
    for (key, value) in records {
        // One segment each: the last one is never compacted.
        let sent = Batch::keyed(now_ms(), key, value.as_bytes());
        broker.append_batch(&topic, 0, &sent);
        until("the clock moves on", || (now_ms() > sent.max_timestamp + 2).then_some(()));
    }
    until("only the last values are left", || {
        let batches = broker.batches(&topic, 0, 0);
        let kept: Vec<i64> = batches.iter().filter(|batch| batch.count > 0).map(|batch| batch.base_offset).collect();
        (kept == [2, 3, 4]).then_some(())
    });
    assert_eq!(broker.ends(&topic, 0), (0, 5));
    // A record without a key cannot be compacted.
    assert_eq!(broker.produce(&topic, 0, Batch::of(now_ms(), &["no key"]).encode()).error_code, INVALID_RECORD);
}

#[test]
fn a_producer_is_forgotten_by_the_time_in_its_batches() {
    const ID: i64 = 4242;
    let mut broker = Broker::shared();
    let topic = broker.topic_with("expiry", 1, &[("retention.ms", "-1")]);
    let (old, new) = (Batch::of(now_ms() - 2 * DAY_MS, &["old"]), Batch::of(now_ms(), &["new"]));
    assert_eq!(broker.append_batch(&topic, 0, &new.producer(ID + 1, 0, 0)), 0);
    let old = old.producer(ID, 0, 0);
    assert_eq!(broker.append_batch(&topic, 0, &old), 1);
    // The same batch is a duplicate until the broker looks for expired producers; then it is appended again.
    until("the producer is forgotten", || {
        let offset = broker.append_batch(&topic, 0, &old);
        assert!([1, 2].contains(&offset), "{offset}");
        (offset == 2).then_some(())
    });
    let again = Batch::of(now_ms(), &["new"]).producer(ID + 1, 0, 0);
    assert_eq!(broker.append_batch(&topic, 0, &again), 0, "one with recent batches is remembered");
}
