//! Produce and Fetch against `kafka-protocol`: the same bytes both ways in every version, and no panic on any part
//! of them.
#![allow(clippy::unwrap_used)] // a test panics on failure

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::messages::{fetch_request, fetch_response, produce_request, produce_response};
use kafka_protocol::protocol::{Decodable, Encodable};

use proptest::prelude::*;

use super::fetch::{FetchRequest, FetchResponse, FetchedPartition};
use super::produce::{ProducePartition, ProduceRequest, ProduceResponse};
use super::write::put_uvarlong;
use super::{ApiKey, OutFrame, RecordData, StrBytes, Tags, Topic, TopicId, TopicTable, WireError, tags};

/// The first version of Produce and Fetch with tagged fields.
const PRODUCE_FLEXIBLE: i16 = 9;
const FETCH_FLEXIBLE: i16 = 12;

fn text(value: &'static str) -> StrBytes {
    StrBytes::from_static_str(value)
}

/// Tagged fields that nobody knows.
fn unknown(flexible: bool) -> BTreeMap<i32, Bytes> {
    let tags = [(30, Bytes::from_static(b"first")), (1_000, Bytes::new()), (70_000, Bytes::from_static(&[7; 200]))];
    if flexible { BTreeMap::from(tags) } else { BTreeMap::new() }
}

pub(super) fn produce_request(version: i16) -> theirs::ProduceRequest {
    let tags = unknown(version >= PRODUCE_FLEXIBLE);
    let partition = |index, records| {
        produce_request::PartitionProduceData::default()
            .with_index(index)
            .with_records(records)
            .with_unknown_tagged_fields(tags.clone())
    };
    let topic = |name, id: u128, partitions| {
        let topic = produce_request::TopicProduceData::default()
            .with_partition_data(partitions)
            .with_unknown_tagged_fields(tags.clone());
        if version >= 13 {
            topic.with_topic_id(uuid::Uuid::from_u128(id))
        } else {
            topic.with_name(theirs::TopicName(text(name)))
        }
    };
    theirs::ProduceRequest::default()
        .with_transactional_id(Some(theirs::TransactionalId(text("transfer-1"))))
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![
            topic(
                "payments",
                1,
                vec![
                    partition(0, Some(Bytes::from_static(&[1; 1_000]))),
                    partition(7, None),
                    partition(8, Some(Bytes::from_static(b"small"))),
                ],
            ),
            topic("", 2, vec![]),
            topic("gifts", u128::MAX, vec![partition(i32::MAX, Some(Bytes::new()))]),
        ])
        .with_unknown_tagged_fields(tags)
}

pub(super) fn produce_response(version: i16) -> theirs::ProduceResponse {
    let tags = unknown(version >= PRODUCE_FLEXIBLE);
    let mut partition = produce_response::PartitionProduceResponse::default()
        .with_index(3)
        .with_error_code(6)
        .with_base_offset(1 << 40)
        .with_log_append_time_ms(1_700_000_000_000)
        .with_unknown_tagged_fields(tags.clone());
    if version >= 5 {
        partition = partition.with_log_start_offset(12);
    }
    if version >= 8 {
        let error = produce_response::BatchIndexAndErrorMessage::default()
            .with_batch_index(4)
            .with_unknown_tagged_fields(tags.clone());
        partition = partition
            .with_record_errors(vec![error.clone(), error.with_batch_index_error_message(Some(text("too old")))])
            .with_error_message(Some(text("not the leader")));
    }
    if version >= 10 {
        let leader = produce_response::LeaderIdAndEpoch::default()
            .with_leader_id(theirs::BrokerId(2))
            .with_leader_epoch(9)
            .with_unknown_tagged_fields(tags.clone());
        partition = partition.with_current_leader(leader);
    }
    let mut topic = produce_response::TopicProduceResponse::default()
        .with_partition_responses(vec![partition, produce_response::PartitionProduceResponse::default()])
        .with_unknown_tagged_fields(tags.clone());
    if version >= 13 {
        topic = topic.with_topic_id(uuid::Uuid::from_u128(99));
    } else {
        topic = topic.with_name(theirs::TopicName(text("payments")));
    }
    let mut response = theirs::ProduceResponse::default()
        .with_responses(vec![topic])
        .with_throttle_time_ms(5)
        .with_unknown_tagged_fields(tags.clone());
    if version >= 10 {
        let endpoint = produce_response::NodeEndpoint::default()
            .with_node_id(theirs::BrokerId(2))
            .with_host(text("b2.example"))
            .with_port(9092)
            .with_unknown_tagged_fields(tags);
        response = response.with_node_endpoints(vec![endpoint.clone(), endpoint.with_rack(Some(text("r1")))]);
    }
    response
}

pub(super) fn fetch_request(version: i16) -> theirs::FetchRequest {
    let tags = unknown(version >= FETCH_FLEXIBLE);
    let mut partition = fetch_request::FetchPartition::default()
        .with_partition(5)
        .with_fetch_offset(1 << 33)
        .with_partition_max_bytes(1 << 20)
        .with_unknown_tagged_fields(tags.clone());
    if version >= 5 {
        partition = partition.with_log_start_offset(4);
    }
    if version >= 9 {
        partition = partition.with_current_leader_epoch(3);
    }
    if version >= 12 {
        partition = partition.with_last_fetched_epoch(2);
    }
    if version >= 17 {
        partition = partition.with_replica_directory_id(uuid::Uuid::from_u128(5));
    }
    if version >= 18 {
        partition = partition.with_high_watermark(77);
    }
    let plain = fetch_request::FetchPartition::default().with_partition(6);
    let mut topic = fetch_request::FetchTopic::default()
        .with_partitions(vec![partition, plain])
        .with_unknown_tagged_fields(tags.clone());
    let mut forgotten = fetch_request::ForgottenTopic::default()
        .with_partitions(vec![1, 2, 3])
        .with_unknown_tagged_fields(tags.clone());
    if version >= 13 {
        topic = topic.with_topic_id(uuid::Uuid::from_u128(8));
        forgotten = forgotten.with_topic_id(uuid::Uuid::from_u128(9));
    } else {
        topic = topic.with_topic(theirs::TopicName(text("payments")));
        forgotten = forgotten.with_topic(theirs::TopicName(text("gone")));
    }
    let mut request = theirs::FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_isolation_level(1)
        .with_topics(vec![topic])
        .with_unknown_tagged_fields(tags.clone());
    if version >= 7 {
        request = request.with_session_id(44).with_session_epoch(2).with_forgotten_topics_data(vec![forgotten]);
    }
    if version >= 11 {
        request = request.with_rack_id(text("r1"));
    }
    if version >= 12 {
        request = request.with_cluster_id(Some(text("cluster")));
    }
    if version <= 14 {
        request.with_replica_id(theirs::BrokerId(3))
    } else {
        let state = fetch_request::ReplicaState::default()
            .with_replica_id(theirs::BrokerId(3))
            .with_replica_epoch(11)
            .with_unknown_tagged_fields(tags);
        request.with_replica_state(state)
    }
}

pub(super) fn fetch_response(version: i16) -> theirs::FetchResponse {
    let tags = unknown(version >= FETCH_FLEXIBLE);
    let aborted = fetch_response::AbortedTransaction::default()
        .with_producer_id(theirs::ProducerId(4))
        .with_first_offset(8)
        .with_unknown_tagged_fields(tags.clone());
    let mut partition = fetch_response::PartitionData::default()
        .with_partition_index(2)
        .with_error_code(0)
        .with_high_watermark(100)
        .with_last_stable_offset(90)
        .with_aborted_transactions(Some(vec![aborted.clone(), aborted]))
        .with_records(Some(Bytes::from_static(&[3; 2_000])))
        .with_unknown_tagged_fields(tags.clone());
    if version >= 5 {
        partition = partition.with_log_start_offset(1);
    }
    if version >= 11 {
        partition = partition.with_preferred_read_replica(theirs::BrokerId(7));
    }
    if version >= 12 {
        partition = partition
            .with_diverging_epoch(
                fetch_response::EpochEndOffset::default()
                    .with_epoch(1)
                    .with_end_offset(50)
                    .with_unknown_tagged_fields(tags.clone()),
            )
            .with_current_leader(
                fetch_response::LeaderIdAndEpoch::default()
                    .with_leader_id(theirs::BrokerId(1))
                    .with_leader_epoch(6)
                    .with_unknown_tagged_fields(tags.clone()),
            )
            .with_snapshot_id(
                fetch_response::SnapshotId::default()
                    .with_end_offset(30)
                    .with_epoch(2)
                    .with_unknown_tagged_fields(tags.clone()),
            );
    }
    let none = fetch_response::PartitionData::default()
        .with_aborted_transactions(None)
        .with_preferred_read_replica(theirs::BrokerId(-1))
        .with_records(None);
    let mut topic = fetch_response::FetchableTopicResponse::default()
        .with_partitions(vec![partition, none])
        .with_unknown_tagged_fields(tags.clone());
    if version >= 13 {
        topic = topic.with_topic_id(uuid::Uuid::from_u128(8));
    } else {
        topic = topic.with_topic(theirs::TopicName(text("payments")));
    }
    let mut response = theirs::FetchResponse::default()
        .with_throttle_time_ms(1)
        .with_responses(vec![topic])
        .with_unknown_tagged_fields(tags.clone());
    if version >= 7 {
        response = response.with_error_code(0).with_session_id(44);
    }
    if version >= 16 {
        let endpoint = fetch_response::NodeEndpoint::default()
            .with_node_id(theirs::BrokerId(1))
            .with_host(text("b1.example"))
            .with_port(9093)
            .with_rack(Some(text("r2")))
            .with_unknown_tagged_fields(tags);
        response = response.with_node_endpoints(vec![endpoint]);
    }
    response
}

/// The bytes of their encoder are read by ours, written again the same, and read again by theirs. Every beginning of
/// them is refused, every byte changed is at least survived.
fn check_golden<T: Encodable + Decodable + PartialEq + Debug, O: PartialEq + Debug>(
    api: ApiKey,
    message: impl Fn(i16) -> T,
    decode: fn(i16, Bytes) -> Result<O, WireError>,
    encode: fn(&O, i16, &mut OutFrame) -> Result<(), WireError>,
) {
    for version in api.versions() {
        let message = message(version);
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes, version).unwrap();
        let bytes = bytes.freeze();
        let ours = decode(version, bytes.clone()).unwrap_or_else(|error| panic!("{api:?} {version}: {error}"));
        let mut out = OutFrame::new();
        encode(&ours, version, &mut out).unwrap();
        let written = out.to_bytes();
        assert_eq!(written, bytes, "{api:?} {version}");
        let mut rest = written;
        assert_eq!(T::decode(&mut rest, version).unwrap(), message, "{api:?} {version}");

        for cut in 0..bytes.len() {
            assert!(decode(version, bytes.slice(..cut)).is_err(), "{api:?} {version} cut at {cut}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(decode(version, longer.into()).is_err(), "{api:?} {version} with a byte too many");
        for at in 0..bytes.len() {
            for flip in [0x80, 0xff, 0x01] {
                let mut changed = bytes.to_vec();
                changed[at] ^= flip;
                if let Ok(read) = decode(version, changed.into()) {
                    let mut out = OutFrame::new();
                    encode(&read, version, &mut out).unwrap();
                }
            }
        }
    }
    for version in [api.versions().start() - 1, api.versions().end() + 1, i16::MIN, i16::MAX] {
        assert_eq!(decode(version, Bytes::new()).map(|_| ()), Err(WireError::Unsupported { api: api as i16, version }));
    }
}

fn any_tags() -> impl Strategy<Value = Tags> {
    prop::collection::btree_map(10..u32::MAX, prop::collection::vec(any::<u8>(), 0..9), 0..3).prop_map(|fields| {
        let mut raw = Vec::new();
        for (tag, value) in &fields {
            put_uvarlong(&mut raw, u64::from(*tag));
            put_uvarlong(&mut raw, value.len() as u64);
            raw.extend_from_slice(value);
        }
        if fields.is_empty() { Tags::default() } else { tags::raw(fields.len() as u32, raw.into()) }
    })
}

fn any_table<P: Debug>(partition: impl Strategy<Value = P>) -> impl Strategy<Value = TopicTable<P>> {
    let topic = ("[a-z]{0,9}", any::<[u8; 16]>(), any_tags(), prop::collection::vec(partition, 0..4));
    prop::collection::vec(topic, 0..4).prop_map(|topics| {
        let mut table = TopicTable::new();
        for (name, id, tags, partitions) in topics {
            table.push_topic(Topic { name: name.into(), id: TopicId(id), tags });
            partitions.into_iter().for_each(|partition| table.push(partition));
        }
        table
    })
}

fn any_records() -> impl Strategy<Value = RecordData> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..600).prop_map(Bytes::from);
    prop_oneof![
        Just(RecordData::Null),
        bytes().prop_map(RecordData::Whole),
        prop::collection::vec(bytes(), 0..3).prop_map(RecordData::Chunks),
    ]
}

proptest! {
    /// What is written and read is written again as the same bytes.
    #[test]
    fn messages_of_any_content_come_back(
        requested in any_table((any::<i32>(), any_records(), any_tags())
            .prop_map(|(index, records, tags)| ProducePartition { index, records, tags })),
        fetched in any_table((any::<i32>(), any::<i64>(), any_records(), any_tags())
            .prop_map(|(partition, high_watermark, records, tags)| FetchedPartition {
                partition, high_watermark, records, tags, ..FetchedPartition::default()
            })),
        tags in any_tags(),
        produce_version in 3..=13_i16,
        fetch_version in 4..=18_i16,
    ) {
        let request = ProduceRequest { topics: requested, tags: tags.clone(), ..ProduceRequest::default() };
        check_again(produce_version, &request, ProduceRequest::decode, ProduceRequest::encode);
        let response = FetchResponse { topics: fetched, tags, ..FetchResponse::default() };
        check_again(fetch_version, &response, FetchResponse::decode, FetchResponse::encode);
    }
}

fn check_again<O>(
    version: i16,
    message: &O,
    decode: fn(i16, Bytes) -> Result<O, WireError>,
    encode: fn(&O, i16, &mut OutFrame) -> Result<(), WireError>,
) {
    let mut once = OutFrame::new();
    encode(message, version, &mut once).unwrap();
    let read = decode(version, once.to_bytes()).unwrap();
    let mut twice = OutFrame::new();
    encode(&read, version, &mut twice).unwrap();
    assert_eq!(twice.to_bytes(), once.to_bytes());
}

#[test]
fn produce_requests_are_those_of_kafka_protocol() {
    check_golden(ApiKey::Produce, produce_request, ProduceRequest::decode, ProduceRequest::encode);
}

#[test]
fn produce_answers_are_those_of_kafka_protocol() {
    check_golden(ApiKey::Produce, produce_response, ProduceResponse::decode, ProduceResponse::encode);
}

#[test]
fn fetch_requests_are_those_of_kafka_protocol() {
    check_golden(ApiKey::Fetch, fetch_request, FetchRequest::decode, FetchRequest::encode);
}

#[test]
fn fetch_answers_are_those_of_kafka_protocol() {
    check_golden(ApiKey::Fetch, fetch_response, FetchResponse::decode, FetchResponse::encode);
}

#[test]
fn record_data_is_not_copied_in_either_direction() {
    let message = fetch_response(12);
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, 12).unwrap();
    let body = bytes.freeze();
    let range = body.as_ptr_range();
    let response = FetchResponse::decode(12, body.clone()).unwrap();
    let (_, partition) = response.topics.flat().next().unwrap();
    let RecordData::Whole(records) = &partition.records else { panic!("{:?}", partition.records) };
    assert!(range.contains(&records.as_ptr()));
    let mut out = OutFrame::new();
    response.encode(12, &mut out).unwrap();
    assert!(out.into_chunks().iter().any(|chunk| chunk.as_ptr() == records.as_ptr()));
}

#[test]
fn record_data_in_pieces_is_written_as_one() {
    let mut response = FetchResponse::decode(4, {
        let mut bytes = BytesMut::new();
        fetch_response(4).encode(&mut bytes, 4).unwrap();
        bytes.freeze()
    })
    .unwrap();
    let mut whole = OutFrame::new();
    response.encode(4, &mut whole).unwrap();
    for (_, partitions) in response.topics.iter_mut() {
        for partition in partitions {
            let data = partition.records.to_bytes();
            if !data.is_empty() {
                partition.records = vec![data.slice(..1), data.slice(1..700), data.slice(700..)].into();
            }
        }
    }
    let mut pieces = OutFrame::new();
    response.encode(4, &mut pieces).unwrap();
    assert_eq!(pieces.to_bytes(), whole.to_bytes());
}

#[test]
fn tags_of_another_version_and_absurd_counts_are_refused() {
    // Fetch request 12: cluster id is known, the replica state (tag 1) came with 15.
    let mut head = vec![0xff, 0xff, 0xff, 0xff];
    head.extend([0; 13]);
    head.extend([0; 4]);
    head.extend([0xff; 4]);
    head.extend([1, 1, 1]);
    let with_tags = |tags: &[u8]| FetchRequest::decode(12, [head.as_slice(), tags].concat().into());
    assert!(with_tags(&[0]).is_ok());
    assert!(with_tags(&[1, 0, 2, 2, b'x']).is_ok());
    assert_eq!(with_tags(&[1, 1, 1, 0]), Err(WireError::BadTag { field: "FetchRequest tags", tag: 1 }));
    assert_eq!(with_tags(&[1, 0, 3, 2, b'x', 0]), Err(WireError::Trailing { field: "FetchRequest tags", left: 1 }));
    assert_eq!(
        with_tags(&[0xff, 0xff, 0xff, 0xff, 0x0f]),
        Err(WireError::BadCount { field: "FetchRequest tags", count: i64::from(u32::MAX), max: 64 })
    );
    let mut absurd = vec![0xff, 0xff, 0, 1, 0, 0, 0, 9];
    absurd.extend([0x7f, 0xff, 0xff, 0xff, 0, 0]);
    assert_eq!(
        ProduceRequest::decode(7, absurd.into()),
        Err(WireError::BadCount { field: "topics", count: i64::from(i32::MAX), max: 1 })
    );
}
