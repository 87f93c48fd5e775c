//! Metadata: the one node, and the topics asked for; topics that are missing are made if the broker is set to.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};

use super::{Api, OPERATIONS_NOT_ASKED, once, text, uuid};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::standin::server::topics::{NewTopic, Topic};
use crate::wire::{ErrorCode, TopicId};

/// From this version on a topic that is only known by its identity has no name.
const NULLABLE_NAME_FROM: i16 = 12;

pub(crate) struct Metadata;

impl Api for Metadata {
    type Request = MetadataRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> MetadataResponse {
        // Version 0 asks for everything with an empty list, later ones with none.
        let asked = request.topics.filter(|topics| caller.version >= 1 || !topics.is_empty());
        let mut topics = Vec::new();
        match asked {
            None => topics.extend(broker.topics.all().iter().map(|topic| shown(broker, topic))),
            Some(asked) => {
                for one in once(asked, |one| (one.name.clone(), *one.topic_id.as_bytes())) {
                    let id = TopicId(*one.topic_id.as_bytes());
                    topics.push(match &one.name {
                        Some(name) => by_name(broker, name, request.allow_auto_topic_creation).await,
                        None => match broker.topics.get_by_id(id) {
                            Some(topic) => shown(broker, &topic),
                            None => {
                                let name = (caller.version < NULLABLE_NAME_FROM).then(TopicName::default);
                                missing(ErrorCode::UNKNOWN_TOPIC_ID).with_topic_id(uuid(id)).with_name(name)
                            }
                        },
                    });
                }
            }
        }
        let (host, port) = broker.endpoint(caller);
        let node = MetadataResponseBroker::default()
            .with_node_id(BrokerId(broker.config.node_id))
            .with_host(host)
            .with_port(port);
        MetadataResponse::default()
            .with_brokers(vec![node])
            .with_cluster_id(Some(text(broker.cluster_id.clone())))
            .with_controller_id(BrokerId(broker.config.node_id))
            .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED)
            .with_topics(topics)
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> MetadataResponse {
        let topics = request.topics.iter().flatten().map(|t| missing(code).with_name(t.name.clone()));
        MetadataResponse::default().with_error_code(code.0).with_topics(topics.collect())
    }
}

fn missing(code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_error_code(code.0).with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
}

async fn by_name(broker: &Arc<Broker>, name: &TopicName, may_create: bool) -> MetadataResponseTopic {
    if let Some(topic) = broker.topics.get(name.as_str()) {
        return shown(broker, &topic);
    }
    let refused = |code| missing(code).with_name(Some(name.clone()));
    if let Err(refusal) = crate::standin::topics::validate_name(name.as_str()) {
        return refused(refusal.code);
    }
    if !(may_create && broker.config.auto_create_topics) {
        return refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let new = NewTopic {
        name: name.as_str().to_owned(),
        partitions: broker.config.default_partitions,
        configs: BTreeMap::new(),
    };
    match broker.topics.create(new, false).await {
        Ok(topic) => shown(broker, &topic),
        Err(refusal) if refusal.code == ErrorCode::TOPIC_ALREADY_EXISTS => match broker.topics.get(name.as_str()) {
            // Another connection was quicker.
            Some(topic) => shown(broker, &topic),
            None => refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        },
        Err(refusal) => refused(refusal.code),
    }
}

fn shown(broker: &Broker, topic: &Topic) -> MetadataResponseTopic {
    let node = BrokerId(broker.config.node_id);
    let partitions = topic.partitions.iter().map(|p| {
        MetadataResponsePartition::default()
            .with_partition_index(p.index)
            .with_leader_id(node)
            .with_leader_epoch(topic.leader_epoch)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
    });
    missing(ErrorCode::NONE)
        .with_name(Some(TopicName(text(topic.name.clone()))))
        .with_topic_id(uuid(topic.id))
        .with_partitions(partitions.collect())
}
