//! Topics: making, growing, deleting and describing them.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeProducersRequest, MetadataRequest,
};

use super::batch::Batch;
use super::broker::{Broker, Topic, creatable, now_ms, topic_name, unique, until};
use super::code::*;

impl Broker {
    /// Metadata v12 of one topic by name, without creating it.
    fn describe(&mut self, name: &str) -> MetadataResponseTopic {
        self.call(12, &by_name(name)).topics.remove(0)
    }

    fn grow(&mut self, name: &str, count: i32, validate_only: bool) -> i16 {
        let topic = CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic.with_assignments(None)])
            .with_timeout_ms(10_000)
            .with_validate_only(validate_only);
        self.call(3, &request).results[0].error_code
    }
}

fn by_name(name: &str) -> MetadataRequest {
    let asked = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false)
}

#[test]
fn a_topic_that_cannot_be_is_refused_with_the_reason() {
    let mut broker = Broker::shared();
    let there = broker.topic("already");
    let dotted = unique("with.dot");
    assert_eq!(broker.create(creatable(&dotted, 1, &[]), false).error_code, 0);
    let name = unique("refused");
    let rows = [
        (creatable("", 1, &[]), INVALID_TOPIC),
        (creatable(".", 1, &[]), INVALID_TOPIC),
        (creatable("..", 1, &[]), INVALID_TOPIC),
        (creatable("a/b", 1, &[]), INVALID_TOPIC),
        (creatable("a b", 1, &[]), INVALID_TOPIC),
        (creatable(&"n".repeat(250), 1, &[]), INVALID_TOPIC),
        (creatable(&dotted.replace('.', "_"), 1, &[]), INVALID_TOPIC),
        (creatable(&there.name, 1, &[]), TOPIC_ALREADY_EXISTS),
        (creatable(&name, 0, &[]), INVALID_PARTITIONS),
        (creatable(&name, -2, &[]), INVALID_PARTITIONS),
        (creatable(&name, 1, &[]).with_replication_factor(0), INVALID_REPLICATION_FACTOR),
        (creatable(&name, 1, &[]).with_replication_factor(2), INVALID_REPLICATION_FACTOR),
        (creatable(&name, 1, &[("no.such.option", "1")]), INVALID_CONFIG),
        (creatable(&name, 1, &[("retention.ms", "soon")]), INVALID_CONFIG),
        (creatable(&name, 1, &[("retention.ms", "-2")]), INVALID_CONFIG),
        (creatable(&name, 1, &[("cleanup.policy", "shred")]), INVALID_CONFIG),
    ];
    for (topic, expect) in rows {
        for validate_only in [true, false] {
            let answer = broker.create(topic.clone(), validate_only);
            assert_eq!(answer.error_code, expect, "{topic:?}: {answer:?}");
        }
    }
    assert_eq!(broker.describe(&name).error_code, UNKNOWN_TOPIC_OR_PARTITION);
    let twice = CreateTopicsRequest::default()
        .with_topics(vec![creatable(&name, 1, &[]), creatable(&name, 2, &[])])
        .with_timeout_ms(10_000);
    let answer = broker.call(7, &twice);
    assert!(answer.topics.iter().all(|topic| topic.error_code == INVALID_REQUEST), "{answer:?}");
}

#[test]
fn every_version_of_create_topics_creates() {
    let mut broker = Broker::shared();
    for version in 2..=7 {
        let name = unique("versions");
        for (validate_only, expect) in [(true, UNKNOWN_TOPIC_OR_PARTITION), (false, 0)] {
            let request = CreateTopicsRequest::default()
                .with_topics(vec![creatable(&name, 2, &[("retention.ms", "60000")])])
                .with_timeout_ms(10_000)
                .with_validate_only(validate_only);
            let answer = broker.call(version, &request).topics.remove(0);
            assert_eq!(answer.error_code, 0, "version {version}: {answer:?}");
            if version >= 5 {
                assert_eq!((answer.num_partitions, answer.replication_factor), (2, 1), "version {version}");
                let configs = answer.configs.unwrap();
                let retention = configs.iter().find(|config| config.name.as_str() == "retention.ms").unwrap();
                assert_eq!(retention.value.as_deref(), Some("60000"));
            }
            until("metadata follows", || (broker.describe(&name).error_code == expect).then_some(()));
        }
        assert_eq!(broker.describe(&name).partitions.len(), 2);
    }
}

#[test]
fn defaults_are_the_brokers() {
    let mut broker = Broker::shared();
    let answer = broker.create(creatable(&unique("defaults"), -1, &[]).with_replication_factor(-1), false);
    assert_eq!((answer.error_code, answer.num_partitions, answer.replication_factor), (0, 1, 1));
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    let mut broker = Broker::shared();
    let topic = broker.topic_with("grow", 2, &[]);
    let name = topic.name.to_string();
    for (count, expect) in [(1, INVALID_PARTITIONS), (2, INVALID_PARTITIONS), (0, INVALID_PARTITIONS), (3, 0)] {
        assert_eq!(broker.grow(&name, count, true), expect, "{count}, only validated");
    }
    assert_eq!(broker.grow("no-such-topic", 3, false), UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(broker.describe(&name).partitions.len(), 2);
    assert_eq!(broker.grow(&name, 4, false), 0);
    broker.wait_for_leader(&topic, 3);
    assert_eq!(broker.append(&topic, 3, &["a"]), 0);
    assert_eq!(broker.grow(&name, 3, false), INVALID_PARTITIONS);
}

#[test]
fn a_topic_is_deleted_by_name_or_id_and_its_name_can_be_used_again() {
    let mut broker = Broker::shared();
    for version in 1..=6 {
        let topic = broker.topic("deleted");
        broker.append(&topic, 0, &["old"]);
        let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
        let request = if version < 6 {
            request.with_topic_names(vec![topic.name.clone()])
        } else {
            request.with_topics(vec![DeleteTopicState::default().with_name(None).with_topic_id(topic.created.topic_id)])
        };
        assert_eq!(broker.call(version, &request).responses[0].error_code, 0, "version {version}");
        let gone = if version < 6 { UNKNOWN_TOPIC_OR_PARTITION } else { UNKNOWN_TOPIC_ID };
        assert_eq!(broker.call(version, &request).responses[0].error_code, gone, "version {version}");
        let again = broker.create(creatable(&topic.name, 1, &[]), false);
        assert_eq!(again.error_code, 0, "version {version}");
        assert_ne!(again.topic_id, topic.created.topic_id);
        let again = Topic { name: topic.name.clone(), created: again };
        until("the new log is empty", || {
            let answer = broker.list_offset(&again, 0, super::broker::LATEST);
            ((answer.error_code, answer.offset) == (0, 0)).then_some(())
        });
    }
}

#[test]
fn every_version_of_metadata_describes_the_cluster() {
    let mut broker = Broker::shared();
    let topic = broker.topic_with("metadata", 2, &[]);
    for version in 0..=12 {
        // Below version 4 the request cannot forbid what the topic's presence makes needless.
        let request = by_name(&topic.name).with_allow_auto_topic_creation(version < 4);
        let answer = broker.call(version, &request);
        let node = &answer.brokers[0];
        assert_eq!((answer.brokers.len(), node.node_id.0, node.host.as_str()), (1, 1, "127.0.0.1"), "{version}");
        if version >= 1 {
            assert_eq!(answer.controller_id.0, 1, "version {version}");
        }
        if version >= 2 {
            assert_eq!(answer.cluster_id.as_deref(), Some("naru-cluster-000000001"), "version {version}");
        }
        let described = &answer.topics[0];
        assert_eq!((described.error_code, described.is_internal), (0, false), "version {version}");
        if version >= 10 {
            assert_eq!(described.topic_id, topic.created.topic_id);
        }
        let mut partitions = described.partitions.clone();
        partitions.sort_by_key(|partition| partition.partition_index);
        assert_eq!(partitions.len(), 2);
        for (index, partition) in (0..).zip(&partitions) {
            assert_eq!((partition.error_code, partition.partition_index, partition.leader_id.0), (0, index, 1));
            assert_eq!((partition.replica_nodes[0].0, partition.isr_nodes[0].0), (1, 1));
            if version >= 7 {
                assert_eq!(partition.leader_epoch, 0, "version {version}");
            }
        }
    }
}

#[test]
fn metadata_tells_all_topics_some_or_none() {
    let mut broker = Broker::shared();
    let topic = broker.topic("listed");
    let mut names = |version: i16, request: &MetadataRequest| -> Vec<String> {
        let topics = broker.call(version, request).topics;
        topics.iter().map(|topic| topic.name.as_ref().unwrap().to_string()).collect()
    };
    let all = MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(true);
    let none = MetadataRequest::default().with_topics(Some(Vec::new())).with_allow_auto_topic_creation(true);
    assert!(names(0, &none).contains(&topic.name.to_string()), "version 0 asks for all by an empty list");
    for version in 1..=12 {
        assert!(names(version, &all).contains(&topic.name.to_string()), "version {version}");
        assert!(names(version, &none).is_empty(), "version {version}");
    }
    for (name, expect) in [("no-such-topic", UNKNOWN_TOPIC_OR_PARTITION), ("not/a/name", INVALID_TOPIC)] {
        let answer = broker.describe(name);
        assert_eq!((answer.error_code, answer.partitions.len()), (expect, 0), "{name}");
    }
    let by_id = |topic: &Topic| {
        let asked = MetadataRequestTopic::default().with_name(None).with_topic_id(topic.created.topic_id);
        MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false)
    };
    let found = broker.call(12, &by_id(&topic)).topics.remove(0);
    assert_eq!((found.error_code, found.name), (0, Some(topic.name.clone())));
    broker.delete_topic(&topic);
    assert_eq!(broker.call(12, &by_id(&topic)).topics[0].error_code, UNKNOWN_TOPIC_ID);
}

#[test]
fn the_cluster_is_described() {
    let mut broker = Broker::shared();
    for version in 0..=1 {
        let answer = broker.call(version, &DescribeClusterRequest::default().with_endpoint_type(1));
        let got = (answer.error_code, answer.cluster_id.as_str(), answer.brokers.len(), answer.brokers[0].broker_id.0);
        assert_eq!(got, (0, "naru-cluster-000000001", 1, 1), "version {version}");
    }
}

#[test]
fn producers_are_described_by_their_last_batch() {
    let mut broker = Broker::shared();
    let topic = broker.topic("producers");
    let time = now_ms();
    broker.append(&topic, 0, &["no producer"]);
    broker.append_batch(&topic, 0, &Batch::of(time, &["a", "b", "c"]).producer(70, 2, 10));
    broker.append_batch(&topic, 0, &Batch::of(time, &["d"]).producer(71, 0, 0));
    broker.append_batch(&topic, 0, &Batch::of(time + 1, &["e"]).producer(70, 2, 13));
    let asked = TopicRequest::default().with_name(topic.name.clone()).with_partition_indexes(vec![0, 9]);
    let answer = broker.call(0, &DescribeProducersRequest::default().with_topics(vec![asked]));
    let partitions = &answer.topics[0].partitions;
    let mut states: Vec<_> = partitions[0]
        .active_producers
        .iter()
        .map(|state| (state.producer_id.0, state.producer_epoch, state.last_sequence, state.last_timestamp))
        .collect();
    states.sort_unstable();
    assert_eq!(states, [(70, 2, 13, time + 1), (71, 0, 0, time)]);
    assert!(partitions[0].active_producers.iter().all(|state| state.current_txn_start_offset == -1));
    assert_eq!((partitions[0].error_code, partitions[1].error_code), (0, UNKNOWN_TOPIC_OR_PARTITION));
}
