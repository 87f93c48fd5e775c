//! Metadata: this relay is the one broker, and the leader of everything.

use naru_kafka::serve::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use naru_kafka::serve::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use naru_kafka::wire::{ErrorCode, TopicId};

use super::{OPERATIONS_NOT_ASKED, once, text, uuid};
use crate::accept::Call;
use crate::accept::dispatch::Api;
use crate::relay::Relay;
use crate::served::ServedTopic;

/// From this version on a topic that is only known by its identity has no name.
const NULLABLE_NAME_FROM: i16 = 12;

pub(crate) struct Metadata;

impl Api for Metadata {
    type Request = MetadataRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> MetadataResponse {
        let relay = call.relay;
        // Version 0 asks for everything with an empty list, later ones with none.
        let asked = request.topics.filter(|topics| call.version >= 1 || !topics.is_empty());
        let topics = match asked {
            None => relay.served.all().iter().map(|topic| shown(relay, topic)).collect(),
            Some(asked) => once(asked, |one| (one.name.clone(), *one.topic_id.as_bytes()))
                .into_iter()
                .map(|one| {
                    let id = TopicId(*one.topic_id.as_bytes());
                    let found = match &one.name {
                        Some(name) => relay.served.get(name),
                        None => relay.served.by_id(id),
                    };
                    if let Some(topic) = found {
                        return shown(relay, &topic);
                    }
                    // It may have been made a moment ago.
                    relay.discover.notify_one();
                    match one.name {
                        Some(name) => missing(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).with_name(Some(name)),
                        None => {
                            let name = (call.version < NULLABLE_NAME_FROM).then(TopicName::default);
                            missing(ErrorCode::UNKNOWN_TOPIC_ID).with_topic_id(uuid(id)).with_name(name)
                        }
                    }
                })
                .collect(),
        };
        let (host, port) = relay.endpoint(call.session.local);
        let node = MetadataResponseBroker::default()
            .with_node_id(BrokerId(relay.config.node_id))
            .with_host(text(host))
            .with_port(i32::from(port));
        MetadataResponse::default()
            .with_brokers(vec![node])
            .with_cluster_id(Some(text(relay.cluster_id.clone())))
            .with_controller_id(BrokerId(relay.config.node_id))
            .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED)
            .with_topics(topics)
    }
}

fn missing(code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_error_code(code.0).with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
}

fn shown(relay: &Relay, topic: &ServedTopic) -> MetadataResponseTopic {
    let node = BrokerId(relay.config.node_id);
    let partitions = topic.partitions.iter().map(|partition| {
        MetadataResponsePartition::default()
            .with_partition_index(partition.at().partition)
            .with_leader_id(node)
            .with_leader_epoch(relay.epoch)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
    });
    missing(ErrorCode::NONE)
        .with_name(Some(TopicName(text(topic.name.to_string()))))
        .with_topic_id(uuid(topic.id))
        .with_partitions(partitions.collect())
}
