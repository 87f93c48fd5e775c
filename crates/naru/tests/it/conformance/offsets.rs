//! ListOffsets and OffsetForLeaderEpoch.

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::offset_for_leader_epoch_response::EpochEndOffset;
use kafka_protocol::messages::{ListOffsetsRequest, OffsetForLeaderEpochRequest};

use super::batch::{Batch, GZIP, LZ4, SNAPPY, ZSTD};
use super::broker::{Broker, EARLIEST, LATEST, Topic, now_ms, topic_name};
use super::code::*;

/// ListOffsets' name for the record with the largest time.
const MAX_TIMESTAMP: i64 = -3;

impl Broker {
    pub fn end_of_epoch(&mut self, version: i16, topic: &Topic, current: i32, epoch: i32) -> EpochEndOffset {
        let asked = OffsetForLeaderPartition::default().with_current_leader_epoch(current).with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default().with_topic(topic.name.clone()).with_partitions(vec![asked]);
        let request = OffsetForLeaderEpochRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        self.call(version, &request).topics.remove(0).partitions.remove(0)
    }
}

#[test]
fn an_offset_is_found_by_time_also_inside_a_compressed_batch() {
    let mut broker = Broker::shared();
    for codec in [0, GZIP, SNAPPY, LZ4, ZSTD] {
        let topic = broker.topic("time");
        let begin = now_ms() - 100_000;
        // Offsets 0 to 2, then 3 and 4; times need not rise.
        let first: [(i64, &[u8]); 3] = [(begin, b"a"), (begin + 10, b"b"), (begin + 20, b"c")];
        let second: [(i64, &[u8]); 2] = [(begin + 40, b"d"), (begin + 30, b"e")];
        for records in [&first[..], &second[..]] {
            broker.append_batch(&topic, 0, &Batch::timed(records).compressed(codec));
        }
        let rows = [
            (begin - 1, (0, begin)),
            (begin, (0, begin)),
            (begin + 5, (1, begin + 10)),
            (begin + 10, (1, begin + 10)),
            (begin + 11, (2, begin + 20)),
            (begin + 21, (3, begin + 40)),
            (begin + 40, (3, begin + 40)),
            (begin + 41, (-1, -1)),
            (MAX_TIMESTAMP, (3, begin + 40)),
            (EARLIEST, (0, -1)),
            (LATEST, (5, -1)),
        ];
        for (time, expect) in rows {
            let answer = broker.list_offset(&topic, 0, time);
            let at = time - begin;
            assert_eq!((answer.error_code, answer.offset, answer.timestamp), (0, expect.0, expect.1), "{codec} {at}");
            // The offset's epoch is told only where there is an offset.
            assert_eq!(answer.leader_epoch, if expect.0 == -1 { -1 } else { 0 }, "{codec} {at}");
        }
    }
}

#[test]
fn an_empty_log_has_ends_but_no_times() {
    let mut broker = Broker::shared();
    let topic = broker.topic("empty");
    for (time, expect) in [(EARLIEST, 0), (LATEST, 0), (0, -1), (MAX_TIMESTAMP, -1)] {
        let answer = broker.list_offset(&topic, 0, time);
        assert_eq!((answer.error_code, answer.offset, answer.timestamp), (0, expect, -1), "{time}");
    }
}

#[test]
fn times_below_the_log_start_are_not_found() {
    let mut broker = Broker::shared();
    let topic = broker.topic("below");
    let begin = now_ms() - 100_000;
    for n in 0..3 {
        broker.append_batch(&topic, 0, &Batch::of(begin + n * 10, &["x"]));
    }
    assert_eq!(broker.delete_records(&topic, 0, 2), (0, 2));
    let answer = broker.list_offset(&topic, 0, begin);
    assert_eq!((answer.error_code, answer.offset, answer.timestamp), (0, 2, begin + 20));
}

#[test]
fn a_topic_may_take_the_brokers_time() {
    let mut broker = Broker::shared();
    let topic = broker.topic_with("append-time", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let answer = broker.produce(&topic, 0, Batch::of(1000, &["a", "b"]).encode());
    assert_eq!(answer.error_code, 0);
    // The broker's clock is not this process's, but close to it.
    assert!((answer.log_append_time_ms - now_ms()).abs() < 10_000, "{answer:?}");
    let stored = &broker.batches(&topic, 0, 0)[0];
    assert_eq!((stored.attributes & 8, stored.max_timestamp), (8, answer.log_append_time_ms));
    let found = broker.list_offset(&topic, 0, answer.log_append_time_ms);
    assert_eq!((found.offset, found.timestamp), (0, answer.log_append_time_ms));
}

#[test]
fn every_version_of_list_offsets_works() {
    let mut broker = Broker::shared();
    let topic = broker.topic("versions");
    broker.append(&topic, 0, &["a", "b", "c"]);
    for version in 1..=9 {
        for (timestamp, expect) in [(EARLIEST, 0), (LATEST, 3)] {
            let asked = ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(timestamp);
            let asked = ListOffsetsTopic::default().with_name(topic.name.clone()).with_partitions(vec![asked]);
            let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
            let answer = &broker.call(version, &request).topics[0].partitions[0];
            assert_eq!((answer.error_code, answer.offset), (0, expect), "version {version}");
        }
    }
}

#[test]
fn what_is_not_there_has_no_offsets() {
    let mut broker = Broker::shared();
    let topic = broker.topic("there");
    let missing = Topic { name: topic_name("no-such-topic"), ..topic.clone() };
    for (topic, partition) in [(&missing, 0), (&topic, 9)] {
        assert_eq!(broker.list_offset(topic, partition, LATEST).error_code, UNKNOWN_TOPIC_OR_PARTITION);
    }
    for (topic, expect) in [(&missing, UNKNOWN_TOPIC_OR_PARTITION), (&topic, 0)] {
        assert_eq!(broker.end_of_epoch(4, topic, -1, 0).error_code, expect);
    }
}

#[test]
fn the_end_of_an_epoch_is_where_the_next_one_began() {
    let mut broker = Broker::shared();
    let topic = broker.topic("epoch");
    broker.append(&topic, 0, &["a", "b"]);
    // (current epoch of the client, epoch asked) -> (error, epoch, end); a fresh topic has only epoch 0.
    let rows = [
        ((-1, 0), (0, 0, 2)),
        ((0, 0), (0, 0, 2)),
        ((-1, 5), (0, -1, -1)),
        ((0, 5), (0, -1, -1)),
        ((5, 0), (UNKNOWN_LEADER_EPOCH, -1, -1)),
    ];
    for version in 2..=4 {
        for ((current, epoch), expect) in rows {
            let answer = broker.end_of_epoch(version, &topic, current, epoch);
            let got = (answer.error_code, answer.leader_epoch, answer.end_offset);
            assert_eq!(got, expect, "version {version}, current {current}, epoch {epoch}");
        }
    }
}
