//! Produce: what is appended, what is refused, and with which error.

use bytes::Bytes;
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest};

use super::batch::{Batch, CONTROL, TRANSACTIONAL, ZSTD};
use super::broker::{Broker, Topic, now_ms, produce_request, topic_name, until};
use super::code::*;
use super::raw::Raw;
use super::subject::{self, Subject, subject};
use super::versions;

/// No broker allots ids this high.
const FOREIGN_ID: i64 = 1 << 62;

fn batch(value: &str) -> Batch {
    Batch::of(now_ms(), &[value])
}

/// Sends batches in order to one new partition; expects (error, offset) of each, offset -1 with an error.
fn check(row: &str, sent: &[Bytes], expect: &[(i16, i64)]) -> (Broker, Topic) {
    let mut broker = Broker::shared();
    let topic = broker.topic("produce");
    let answers: Vec<(i16, i64)> = sent
        .iter()
        .map(|records| broker.produce(&topic, 0, records.clone()))
        .map(|answer| (answer.error_code, answer.base_offset))
        .collect();
    assert_eq!(answers, expect, "{row}");
    (broker, topic)
}

#[test]
fn a_producer_id_that_was_never_allotted_is_accepted() {
    check("2^62", &[batch("a").producer(FOREIGN_ID, 0, 0).encode()], &[(0, 0)]);
}

#[test]
fn the_same_sequence_again_is_answered_with_the_old_offset_and_not_written() {
    let first = batch("first").producer(FOREIGN_ID, 0, 0).encode();
    let other = batch("other bytes").producer(FOREIGN_ID, 0, 0).encode();
    let (mut broker, topic) = check("same sequence", &[first, other], &[(0, 0), (0, 0)]);
    assert_eq!(broker.values(&topic, 0), ["first"]);
}

#[test]
fn the_last_five_batches_of_a_producer_are_known_as_duplicates_and_no_more() {
    let nth = |sequence: i32| batch("x").producer(FOREIGN_ID, 0, sequence).encode();
    let sent: Vec<Bytes> = (0..6).chain(1..6).chain([0]).map(nth).collect();
    let mut expect: Vec<(i16, i64)> = (0..6).chain(1..6).map(|offset| (0, offset)).collect();
    // The sixth from the end was forgotten: it is below the last sequence, so it can only be out of order.
    expect.push((OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
    check("window", &sent, &expect);
}

#[test]
fn an_unknown_producer_may_start_at_any_sequence() {
    check("sequence 7", &[batch("a").producer(FOREIGN_ID, 0, 7).encode()], &[(0, 0)]);
}

#[test]
fn a_sequence_wraps_to_zero_after_the_largest() {
    let sent = [i32::MAX, 0].map(|sequence| batch("a").producer(FOREIGN_ID, 0, sequence).encode());
    check("wrap", &sent, &[(0, 0), (0, 1)]);
    let three = Batch::of(now_ms(), &["a", "b", "c"]).producer(FOREIGN_ID, 0, i32::MAX - 1);
    check("wrap inside", &[three.encode(), batch("d").producer(FOREIGN_ID, 0, 1).encode()], &[(0, 0), (0, 3)]);
}

#[test]
fn sequences_and_epochs_follow_the_rules() {
    const GAP: (i16, i64) = (OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
    const FENCED: (i16, i64) = (INVALID_PRODUCER_EPOCH, -1);
    /// What the case shows; (epoch, sequence) sent in order; (error, offset) expected.
    type Row<'a> = (&'a str, &'a [(i16, i32)], &'a [(i16, i64)]);
    let rows: [Row<'_>; 8] = [
        ("a gap in the sequence", &[(0, 0), (0, 2)], &[(0, 0), GAP]),
        ("the gap is filled", &[(0, 0), (0, 2), (0, 1), (0, 2)], &[(0, 0), GAP, (0, 1), (0, 2)]),
        ("a higher epoch at sequence 0", &[(0, 0), (1, 0)], &[(0, 0), (0, 1)]),
        ("a higher epoch at sequence 5", &[(0, 0), (1, 5)], &[(0, 0), GAP]),
        ("a lower epoch", &[(3, 0), (2, 1)], &[(0, 0), FENCED]),
        ("a lower epoch after a rise", &[(0, 0), (1, 0), (0, 1)], &[(0, 0), (0, 1), FENCED]),
        ("an epoch used again says duplicate", &[(0, 0), (0, 1), (0, 0)], &[(0, 0), (0, 1), (0, 0)]),
        ("no epoch follows the largest", &[(i16::MAX, 0), (0, 0)], &[(0, 0), FENCED]),
    ];
    for (row, sent, expect) in rows {
        let sent: Vec<Bytes> =
            sent.iter().map(|(epoch, sequence)| batch(row).producer(FOREIGN_ID, *epoch, *sequence).encode()).collect();
        check(row, &sent, expect);
    }
}

#[test]
fn a_refused_batch_makes_the_following_sequences_fail() {
    let mut broker = Broker::shared();
    let topic = broker.topic_with("refused", 1, &[("max.message.bytes", "1000")]);
    let large = Batch::of(now_ms(), &["x".repeat(2000)]);
    let sent = [
        (batch("a").producer(FOREIGN_ID, 0, 0), 0),
        (large.producer(FOREIGN_ID, 0, 1), MESSAGE_TOO_LARGE),
        (batch("b").producer(FOREIGN_ID, 0, 2), OUT_OF_ORDER_SEQUENCE_NUMBER),
        (batch("c").producer(FOREIGN_ID, 0, 3), OUT_OF_ORDER_SEQUENCE_NUMBER),
        (batch("d").producer(FOREIGN_ID, 0, 1), 0),
    ];
    for (batch, expect) in sent {
        assert_eq!(broker.produce(&topic, 0, batch.encode()).error_code, expect, "sequence {}", batch.base_sequence);
    }
}

#[test]
fn records_that_break_the_format_are_refused() {
    let good = batch("a");
    let two = [good.encode(), good.encode()].concat();
    let with = |change: fn(&mut Batch)| {
        let mut batch = Batch::of(now_ms(), &["a", "b"]);
        change(&mut batch);
        batch.encode()
    };
    let mut corrupt = good.encode().to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    let cut = good.encode().slice(..good.encode().len() - 1);
    let rows: [(&str, Bytes, i16); 11] = [
        ("two batches for one partition", two.into(), INVALID_RECORD),
        ("a base offset other than 0", with(|batch| batch.base_offset = 5), INVALID_RECORD),
        ("offsets with a gap", with(|batch| batch.last_offset_delta = 2), INVALID_RECORD),
        ("more records than the header counts", with(|batch| batch.count = 1), INVALID_RECORD),
        ("no record", with(|batch| (batch.count, batch.payload) = (0, Bytes::new())), INVALID_RECORD),
        ("a control batch", with(|batch| batch.attributes = CONTROL), INVALID_RECORD),
        (
            "the transactional bit without a transaction",
            with(|batch| {
                batch.attributes = TRANSACTIONAL;
                (batch.producer_id, batch.producer_epoch, batch.base_sequence) = (FOREIGN_ID, 0, 0);
            }),
            TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ),
        ("an older message format", with(|batch| batch.magic = 1), INVALID_RECORD),
        ("a bit flipped", corrupt.into(), CORRUPT_MESSAGE),
        ("a batch cut short", cut, INVALID_RECORD),
        ("no batch", Bytes::new(), INVALID_RECORD),
    ];
    for (row, sent, expect) in rows {
        let (mut broker, topic) = check(row, &[sent], &[(expect, -1)]);
        assert_eq!(broker.ends(&topic, 0), (0, 0), "{row}");
    }
}

#[test]
fn the_leader_epoch_in_a_batch_is_overwritten() {
    let mut sent = batch("a");
    sent.leader_epoch = 77;
    let (mut broker, topic) = check("leader epoch", &[sent.encode()], &[(0, 0)]);
    assert_eq!(broker.batches(&topic, 0, 0)[0].leader_epoch, 0);
}

#[test]
fn an_oversized_batch_is_refused_and_nothing_is_written() {
    let mut broker = Broker::shared();
    // The default of max.message.bytes is 1 MiB and 12 bytes.
    let default = broker.topic("large");
    let small = broker.topic_with("large", 1, &[("max.message.bytes", "200")]);
    let rows = [(&default, 1_048_588 + 1, 10), (&default, 1_048_588, 0), (&small, 201, 10), (&small, 200, 0)];
    for (topic, batch_bytes, expect) in rows {
        let answer = broker.produce(topic, 0, batch_of_bytes(batch_bytes));
        assert_eq!(answer.error_code, expect, "{batch_bytes} bytes");
    }
    assert_eq!((broker.ends(&default, 0), broker.ends(&small, 0)), ((0, 1), (0, 1)));
}

/// A batch of exactly that size.
fn batch_of_bytes(batch_bytes: usize) -> Bytes {
    let guess = batch("").encode().len();
    (0..8)
        .map(|less| Batch::of(now_ms(), &["x".repeat(batch_bytes - guess - less)]).encode())
        .find(|batch| batch.len() == batch_bytes)
        .unwrap()
}

#[test]
fn what_is_not_there_is_answered_per_partition() {
    let mut broker = Broker::shared();
    let topic = broker.topic("there");
    let missing = Topic { name: topic_name("no-such-topic"), created: topic.created.clone() };
    let answer = broker.produce(&missing, 0, batch("a").encode());
    assert_eq!((answer.error_code, answer.base_offset), (UNKNOWN_TOPIC_OR_PARTITION, -1));
    let answer = broker.produce(&topic, 9, batch("a").encode());
    assert_eq!((answer.error_code, answer.index), (UNKNOWN_TOPIC_OR_PARTITION, 9));
}

#[test]
fn one_request_holds_many_partitions_and_each_has_its_own_answer() {
    let mut broker = Broker::shared();
    let (first, second) = (broker.topic_with("many", 2, &[]), broker.topic("many"));
    let missing = Topic { name: topic_name("no-such-topic"), ..first.clone() };
    let mut corrupt = batch("a").encode().to_vec();
    corrupt[60] ^= 1;
    let parts = [
        (&first, 1, batch("a").encode(), (0, 0)),
        (&first, 0, corrupt.into(), (CORRUPT_MESSAGE, -1)),
        (&second, 0, batch("b").encode(), (0, 0)),
        (&missing, 0, batch("c").encode(), (UNKNOWN_TOPIC_OR_PARTITION, -1)),
    ];
    let mut request = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000);
    for (topic, partition, records, _) in &parts {
        let mut one = produce_request(topic, *partition, records.clone());
        match request.topic_data.iter_mut().find(|data| data.name == topic.name) {
            Some(data) => data.partition_data.append(&mut one.topic_data[0].partition_data),
            None => request.topic_data.append(&mut one.topic_data),
        }
    }
    let answer = broker.call(7, &request);
    for (topic, partition, _, expect) in &parts {
        let answer = answer.responses.iter().find(|answer| answer.name == topic.name).unwrap();
        let answer = answer.partition_responses.iter().find(|answer| answer.index == *partition).unwrap();
        assert_eq!((answer.error_code, answer.base_offset), *expect, "{:?} {partition}", topic.name);
    }
}

#[test]
fn requests_in_flight_on_one_connection_are_done_in_their_order() {
    let mut broker = Broker::shared();
    let topic = broker.topic("flight");
    let sent: Vec<_> = (0..50)
        .map(|sequence| {
            let batch = batch(&sequence.to_string()).producer(FOREIGN_ID, 0, sequence);
            broker.send(7, &produce_request(&topic, 0, batch.encode()))
        })
        .collect();
    for (offset, pending) in (0..).zip(&sent) {
        let answer = &broker.receive(pending).responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
    }
    let expect: Vec<String> = (0..50).map(|sequence| sequence.to_string()).collect();
    assert_eq!(broker.values(&topic, 0), expect);
}

#[test]
fn a_topic_id_that_is_gone_is_unknown() {
    let mut broker = Broker::shared();
    if !versions::offered(&mut broker, 0).contains(&13) {
        return; // 3.9.2 names topics in Produce
    }
    let topic = broker.topic("gone");
    broker.delete_topic(&topic);
    let request = produce_request(&topic, 0, batch("a").encode());
    let answer = broker.call(13, &request);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, UNKNOWN_TOPIC_ID);
}

#[test]
fn acks_are_all_one_or_none() {
    let mut broker = Broker::shared();
    let topic = broker.topic("acks");
    for (acks, expect) in
        [(-1, (0, 0)), (1, (0, 1)), (2, (INVALID_REQUIRED_ACKS, -1)), (-2, (INVALID_REQUIRED_ACKS, -1))]
    {
        let request = produce_request(&topic, 0, batch("a").encode()).with_acks(acks);
        let answer = broker.call(7, &request).responses.remove(0).partition_responses.remove(0);
        assert_eq!((answer.error_code, answer.base_offset), expect, "acks={acks}");
    }
    // acks=0 has no answer: the next answer on this connection belongs to the next request.
    let request = produce_request(&topic, 0, batch("silent").encode()).with_acks(0);
    let _unanswered = broker.send::<ProduceRequest>(7, &request);
    until("the unanswered record is there", || (broker.ends(&topic, 0) == (0, 3)).then_some(()));
}

#[test]
fn a_refused_record_without_an_answer_closes_the_connection() {
    let mut broker = Broker::shared();
    let topic = broker.topic("acks");
    let mut raw = Raw::connect(subject::shared());
    let request = produce_request(&topic, 9, batch("lost").encode()).with_acks(0);
    let _unanswered = raw.send::<ProduceRequest>(7, &request);
    assert_eq!(raw.read_frame(), None);
}

#[test]
fn times_far_ahead_are_refused_by_default_since_kafka_4() {
    const HOUR_MS: i64 = 3_600_000;
    let refused = if subject() == Subject::Kafka3 { 0 } else { INVALID_TIMESTAMP };
    let mut broker = Broker::shared();
    let topic = broker.topic("ahead");
    let open = broker.topic_with(
        "ahead",
        1,
        &[
            ("message.timestamp.after.max.ms", "9223372036854775807"),
            ("message.timestamp.before.max.ms", "9223372036854775807"),
        ],
    );
    for (ahead_ms, expect) in [(0, 0), (HOUR_MS - 60_000, 0), (HOUR_MS + 60_000, refused), (-365 * 24 * HOUR_MS, 0)] {
        let sent = Batch::of(now_ms() + ahead_ms, &["a"]).encode();
        assert_eq!(broker.produce(&topic, 0, sent.clone()).error_code, expect, "{ahead_ms} ms ahead");
        assert_eq!(broker.produce(&open, 0, sent).error_code, 0, "{ahead_ms} ms ahead, no limit");
    }
}

#[test]
fn the_broker_allots_small_producer_ids_that_count_up() {
    let mut broker = Broker::shared();
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let mut allot = || {
        // The first answers may be retriable: the broker fetches a block of ids from the controller.
        until("an id is allotted", || {
            let answer = broker.call(4, &request);
            (answer.error_code == 0).then_some((answer.producer_id.0, answer.producer_epoch))
        })
    };
    let ((first, epoch), (second, _)) = (allot(), allot());
    assert_eq!(epoch, 0);
    assert!((0..1_000_000).contains(&first), "{first}");
    // Another test may take ids in between.
    assert!(first < second && second < first + 100, "{first}, {second}");
}

#[test]
fn every_version_of_produce_appends() {
    let mut broker = Broker::shared();
    let topic = broker.topic("versions");
    let offered = versions::offered(&mut broker, 0);
    // What 3.9.2 offers is the least that a client may count on; 4.3.1 adds topic ids.
    assert!(offered.contains(&11), "{offered:?}");
    for (offset, version) in (3..=13).filter(|version| offered.contains(version)).enumerate() {
        let answer = broker.call(version, &produce_request(&topic, 0, batch("a").encode()));
        let answer = &answer.responses[0].partition_responses[0];
        let expect = (0, i64::try_from(offset).unwrap(), -1);
        assert_eq!((answer.error_code, answer.base_offset, answer.log_append_time_ms), expect, "version {version}");
        if version >= 5 {
            assert_eq!(answer.log_start_offset, 0, "version {version}");
        }
    }
}

#[test]
fn zstd_needs_version_seven() {
    let mut broker = Broker::shared();
    let topic = broker.topic("zstd");
    for (version, expect) in [(6, UNSUPPORTED_COMPRESSION_TYPE), (7, 0)] {
        let request = produce_request(&topic, 0, batch("a").compressed(ZSTD).encode());
        let answer = broker.call(version, &request);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, expect, "version {version}");
    }
}
