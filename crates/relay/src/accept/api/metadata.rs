//! Metadata: this relay is the one broker, and the leader of everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_kafka::serve::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use naru_kafka::serve::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use naru_kafka::wire::{ErrorCode, TopicId};

use super::{OPERATIONS_NOT_ASKED, once, text, uuid};
use crate::accept::Call;
use crate::accept::dispatch::Api;
use crate::relay::Relay;
use crate::security::{Operation, Resource};
use crate::served::ServedTopic;
use crate::topics::show::{Wanted, create};

/// From this version on a topic that is only known by its identity has no name.
const NULLABLE_NAME_FROM: i16 = 12;

/// Before this version a client cannot say whether a topic is to be made.
const CREATION_ASKED_FROM: i16 = 4;

/// Brokers make a directory of the name and a partition's number.
const NAME_BYTES_MAX: usize = 249;

pub(crate) struct Metadata;

impl Api for Metadata {
    type Request = MetadataRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> MetadataResponse {
        let relay = call.relay;
        // Version 0 asks for everything with an empty list, later ones with none.
        let asked = request.topics.filter(|topics| call.version >= 1 || !topics.is_empty());
        if let Some(asked) = &asked
            && relay.config.auto_create_topics
            && (request.allow_auto_topic_creation || call.version < CREATION_ASKED_FROM)
        {
            let may = |name: &&TopicName| call.session.caller.may(Operation::Create, Resource::Topic(name));
            for name in asked.iter().filter_map(|one| one.name.as_ref()).filter(may) {
                if relay.served.get(name).is_none() {
                    create_asked(relay, name).await;
                }
            }
        }
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
                        Some(name) if !is_topic_name(&name) => {
                            missing(ErrorCode::INVALID_TOPIC_EXCEPTION).with_name(Some(name))
                        }
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

/// A topic that is asked for and is to be there by that. What stands in the way is logged: the client asks again.
async fn create_asked(relay: &Arc<Relay>, name: &str) {
    let wanted = Wanted { name: name.to_owned(), partitions: -1, replication: -1, configs: BTreeMap::new() };
    match create(relay, wanted, false).await {
        Ok(_) => tracing::info!(topic = name, "a topic was made because it was asked for"),
        // Somebody else asked first.
        Err(error) if error.code() == ErrorCode::TOPIC_ALREADY_EXISTS => {}
        Err(error) => {
            tracing::info!(
                topic = name,
                error = &error as &dyn std::error::Error,
                "a topic that is asked for is not made"
            );
        }
    }
}

/// What brokers take for a topic's name.
fn is_topic_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed)
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
