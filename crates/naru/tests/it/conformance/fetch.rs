//! Fetch: what comes back, how much of it, and when.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::FetchPartition;

use super::batch::{Batch, GZIP, LZ4, SNAPPY, ZSTD};
use super::broker::{Broker, Fetch, Topic, fetch_request, now_ms, topic_name};
use super::code::*;
use super::versions;

/// Three batches of about 1000 bytes each: offsets 0-1, 2-3, 4-5.
fn three_batches(hint: &str) -> (Broker, Topic, usize) {
    let mut broker = Broker::shared();
    let topic = broker.topic(hint);
    let batch = Batch::of(now_ms(), &["x".repeat(450), "y".repeat(450)]);
    for offset in [0, 2, 4] {
        assert_eq!(broker.append_batch(&topic, 0, &batch), offset);
    }
    let batch_bytes = batch.encode().len();
    (broker, topic, batch_bytes)
}

fn offsets(records: Option<Bytes>) -> Vec<i64> {
    Batch::decode_all(records.unwrap_or_default()).iter().map(|batch| batch.base_offset).collect()
}

#[test]
fn every_codec_passes_through_unchanged() {
    let mut broker = Broker::shared();
    let topic = broker.topic("codec");
    let values: Vec<String> = (0..50).map(|n| format!("value {n} {}", "z".repeat(n))).collect();
    for (offset, codec) in [(0, 0), (50, GZIP), (100, SNAPPY), (150, LZ4), (200, ZSTD)] {
        let mut sent = Batch::of(now_ms(), &values).compressed(codec).producer(7, 1, 0);
        sent.producer_id += i64::from(codec);
        assert_eq!(broker.append_batch(&topic, 0, &sent), offset, "codec {codec}");
        // The broker fills in where the batch stands; everything else is what was sent.
        (sent.base_offset, sent.leader_epoch) = (offset, 0);
        assert_eq!(broker.batches(&topic, 0, offset), [sent], "codec {codec}");
    }
}

#[test]
fn a_fetch_inside_a_batch_returns_the_whole_batch() {
    let (mut broker, topic, _) = three_batches("inside");
    for (offset, expect) in [(0, vec![0, 2, 4]), (1, vec![0, 2, 4]), (2, vec![2, 4]), (5, vec![4]), (6, vec![])] {
        let answer = broker.fetch(&topic, 0, offset);
        assert_eq!((answer.error_code, answer.high_watermark, answer.log_start_offset), (0, 6, 0));
        assert_eq!(answer.last_stable_offset, 6);
        assert_eq!(offsets(answer.records), expect, "from {offset}");
    }
}

#[test]
fn a_fetch_is_cut_at_its_limits_but_never_starves() {
    let (mut broker, topic, batch_bytes) = three_batches("cut");
    let two_and_a_bit = i32::try_from(batch_bytes * 2 + 100).unwrap();
    let rows = [
        (Fetch { partition_max_bytes: two_and_a_bit, ..Fetch::default() }, vec![0, 2]),
        (Fetch { max_bytes: two_and_a_bit, ..Fetch::default() }, vec![0, 2]),
        (Fetch { partition_max_bytes: 10, ..Fetch::default() }, vec![0]),
        (Fetch { max_bytes: 10, ..Fetch::default() }, vec![0]),
        (Fetch { max_bytes: 0, ..Fetch::default() }, vec![0]),
    ];
    for (how, expect) in rows {
        let answer = broker.fetch_with(&topic, 0, 0, how);
        assert_eq!((answer.error_code, offsets(answer.records)), (0, expect), "{how:?}");
    }
}

#[test]
fn one_fetch_reads_several_partitions_in_the_order_asked() {
    let mut broker = Broker::shared();
    let topic = broker.topic_with("several", 3, &[]);
    for partition in 0..3 {
        broker.append(&topic, partition, &[&"x".repeat(1000)]);
    }
    let ask = |max_bytes: i32| {
        let mut request = fetch_request(&topic, 2, 0, Fetch { max_bytes, ..Fetch::default() });
        for partition in [0, 1] {
            let asked = FetchPartition::default().with_partition(partition).with_current_leader_epoch(-1);
            request.topics[0].partitions.push(asked.with_log_start_offset(-1).with_partition_max_bytes(1 << 20));
        }
        request
    };
    for (max_bytes, expect) in [(1 << 20, [(2, 1), (0, 1), (1, 1)]), (1, [(2, 1), (0, 0), (1, 0)])] {
        let answer = broker.call(12, &ask(max_bytes));
        let got: Vec<_> = answer.responses[0]
            .partitions
            .iter()
            .map(|partition| (partition.partition_index, offsets(partition.records.clone()).len()))
            .collect();
        assert_eq!(got, expect, "at most {max_bytes} bytes");
    }
}

#[test]
fn a_fetch_waits_for_its_minimum_and_no_longer() {
    let (mut broker, topic, batch_bytes) = three_batches("wait");
    let all = i32::try_from(batch_bytes * 3).unwrap();
    // (from, minimum, longest wait, waits to the end); the long wait is one that no test run would overlook.
    let rows = [
        (6, 0, 20_000, false),
        (6, 1, 400, true),
        (0, 1, 20_000, false),
        (0, all, 20_000, false),
        (0, all + 1, 400, true),
    ];
    for (offset, min_bytes, max_wait_ms, waits) in rows {
        let began = Instant::now();
        let how = Fetch { min_bytes, max_wait_ms, ..Fetch::default() };
        let answer = broker.fetch_with(&topic, 0, offset, how);
        let took = began.elapsed();
        let bound = Duration::from_secs(10);
        assert!(took < bound && (!waits || took >= Duration::from_millis(390)), "from {offset}, {how:?}: {took:?}");
        assert_eq!((answer.error_code, offsets(answer.records).len()), (0, if offset == 0 { 3 } else { 0 }));
    }
}

#[test]
fn a_waiting_fetch_is_woken_by_a_record() {
    let (mut broker, topic, _) = three_batches("wake");
    let how = Fetch { max_wait_ms: 20_000, min_bytes: 1, ..Fetch::default() };
    let began = Instant::now();
    let waiting = broker.send(12, &fetch_request(&topic, 0, 6, how));
    Broker::shared().append(&topic, 0, &["wakes"]);
    let mut answer = broker.receive(&waiting);
    let partition = answer.responses.remove(0).partitions.remove(0);
    assert_eq!((offsets(partition.records), partition.high_watermark), (vec![6], 7));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_offset_outside_the_log_is_out_of_range() {
    let (mut broker, topic, _) = three_batches("range");
    assert_eq!(broker.delete_records(&topic, 0, 3), (0, 3));
    let rows = [(-1, OFFSET_OUT_OF_RANGE), (2, OFFSET_OUT_OF_RANGE), (3, 0), (6, 0), (7, OFFSET_OUT_OF_RANGE)];
    for (offset, expect) in rows {
        // An error is answered at once, whatever the fetch would wait for.
        let how = Fetch { max_wait_ms: if expect == 0 { 0 } else { 20_000 }, min_bytes: 1, ..Fetch::default() };
        let answer = broker.fetch_with(&topic, 0, offset, how);
        assert_eq!(answer.error_code, expect, "from {offset}");
        if expect != 0 {
            assert_eq!((answer.high_watermark, answer.log_start_offset), (-1, -1), "from {offset}");
        }
    }
}

#[test]
fn what_is_not_there_is_answered_per_partition() {
    let mut broker = Broker::shared();
    let topic = broker.topic("there");
    let missing = Topic { name: topic_name("no-such-topic"), ..topic.clone() };
    assert_eq!(broker.fetch(&missing, 0, 0).error_code, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(broker.fetch(&topic, 9, 0).error_code, UNKNOWN_TOPIC_OR_PARTITION);
    let by_id = Fetch { version: 13, ..Fetch::default() };
    assert_eq!(broker.fetch_with(&topic, 9, 0, by_id).error_code, UNKNOWN_TOPIC_OR_PARTITION);
    broker.delete_topic(&topic);
    assert_eq!(broker.fetch_with(&topic, 0, 0, by_id).error_code, UNKNOWN_TOPIC_ID);
}

#[test]
fn a_leader_epoch_from_the_future_is_unknown() {
    let (mut broker, topic, _) = three_batches("epoch");
    for (leader_epoch, expect) in [(-1, 0), (0, 0), (5, UNKNOWN_LEADER_EPOCH)] {
        let how = Fetch { leader_epoch, ..Fetch::default() };
        assert_eq!(broker.fetch_with(&topic, 0, 0, how).error_code, expect, "epoch {leader_epoch}");
    }
}

#[test]
fn sessions_are_optional_and_unknown_ones_refused() {
    const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
    let (mut broker, topic, _) = three_batches("session");
    for (session_id, session_epoch, expect) in
        [(0, -1, (0, 3)), (0, 0, (0, 3)), (1_234_567, 3, (FETCH_SESSION_ID_NOT_FOUND, 0))]
    {
        let request = fetch_request(&topic, 0, 0, Fetch::default());
        let answer = broker.call(12, &request.with_session_id(session_id).with_session_epoch(session_epoch));
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        let batches: usize = partitions.map(|partition| offsets(partition.records.clone()).len()).sum();
        assert_eq!((answer.error_code, batches), expect, "session {session_id}, epoch {session_epoch}");
    }
}

#[test]
fn every_version_of_fetch_reads() {
    let (mut broker, topic, _) = three_batches("versions");
    let offered = versions::offered(&mut broker, 1);
    assert!(offered.contains(&4) && offered.contains(&16), "{offered:?}");
    for version in (4..=17).filter(|version| offered.contains(version)) {
        for isolation_level in [0, 1] {
            let request = fetch_request(&topic, 0, 2, Fetch::default()).with_isolation_level(isolation_level);
            let answer = broker.call(version, &request);
            let partition = &answer.responses[0].partitions[0];
            let got = (answer.error_code, partition.error_code, partition.high_watermark);
            assert_eq!(got, (0, 0, 6), "version {version}");
            assert_eq!(offsets(partition.records.clone()), [2, 4], "version {version}");
        }
    }
}
