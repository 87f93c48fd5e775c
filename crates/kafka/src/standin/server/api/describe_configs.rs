//! DescribeConfigs, for topics and for this broker.

use std::sync::Arc;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::create_topics::{SOURCE_DEFAULT, SOURCE_TOPIC};
use super::{Api, once, text, words};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::standin::topics::Refusal;
use crate::standin::topics::config::{DEFINITIONS, Kind};
use crate::wire::ErrorCode;

/// Kinds of resource, as Kafka numbers them.
pub(crate) const TOPIC: i8 = 2;
/// See [`TOPIC`].
pub(crate) const BROKER: i8 = 4;
const SOURCE_STATIC_BROKER: i8 = 4;

pub(crate) struct DescribeConfigs;

impl Api for DescribeConfigs {
    type Request = DescribeConfigsRequest;

    async fn answer(broker: &Arc<Broker>, _: &Caller, request: Self::Request) -> DescribeConfigsResponse {
        let resources = once(request.resources, |one| (one.resource_type, one.resource_name.clone()));
        let results = resources.iter().map(|resource| {
            let one = named(resource);
            match describe(broker, resource, request.include_synonyms) {
                Ok(configs) => one.with_configs(configs),
                Err(refusal) => one.with_error_code(refusal.code.0).with_error_message(words(&refusal.message)),
            }
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> DescribeConfigsResponse {
        let results = request.resources.iter().map(|resource| named(resource).with_error_code(code.0));
        DescribeConfigsResponse::default().with_results(results.collect())
    }
}

fn named(resource: &DescribeConfigsResource) -> DescribeConfigsResult {
    DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
}

fn describe(
    broker: &Broker,
    resource: &DescribeConfigsResource,
    synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let wanted = |name: &str| {
        resource.configuration_keys.as_ref().is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
    };
    match resource.resource_type {
        TOPIC => {
            let Some(topic) = broker.topics.get(&resource.resource_name) else {
                let message = "This server does not host this topic-partition.";
                return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
            };
            let shown = DEFINITIONS.iter().filter(|d| wanted(d.name)).map(|definition| {
                let own = topic.configs.get(definition.name);
                let value = own.map_or(definition.default, String::as_str);
                let mut all = Vec::new();
                if let Some(own) = own.filter(|_| synonyms) {
                    all.push(synonym(definition.name, own, SOURCE_TOPIC));
                }
                if synonyms {
                    all.push(synonym(definition.name, definition.default, SOURCE_DEFAULT));
                }
                let source = if own.is_some() { SOURCE_TOPIC } else { SOURCE_DEFAULT };
                shown(definition.name, value, definition.kind, source, false).with_synonyms(all)
            });
            Ok(shown.collect())
        }
        BROKER => {
            check_broker(broker, &resource.resource_name)?;
            let settings = settings(broker);
            let shown = settings
                .into_iter()
                .filter(|(name, ..)| wanted(name))
                .map(|(name, value, kind)| shown(name, &value, kind, SOURCE_STATIC_BROKER, true));
            Ok(shown.collect())
        }
        other => {
            let message = format!("Unsupported resource type: {other}; this broker has topics and brokers.");
            Err(Refusal::new(ErrorCode::INVALID_REQUEST, message))
        }
    }
}

/// The name of a broker resource must be this node's; the empty name means every node's default.
pub(crate) fn check_broker(broker: &Broker, name: &str) -> Result<(), Refusal> {
    let node = broker.config.node_id;
    if name.is_empty() || name == node.to_string() {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::INVALID_REQUEST, format!("Unexpected broker id, expected {node} but received {name}")))
}

fn synonym(name: &str, value: &str, source: i8) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default().with_name(text(name)).with_value(Some(text(value))).with_source(source)
}

fn shown(name: &str, value: &str, kind: Kind, source: i8, read_only: bool) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(text(name))
        .with_value(Some(text(value)))
        .with_config_source(source)
        .with_read_only(read_only)
        .with_config_type(kind as i8)
}

/// The broker's own settings, under the names that Kafka's tools look for.
fn settings(broker: &Broker) -> Vec<(&'static str, String, Kind)> {
    let config = &broker.config;
    vec![
        ("auto.create.topics.enable", config.auto_create_topics.to_string(), Kind::Boolean),
        ("broker.id", config.node_id.to_string(), Kind::Int),
        ("connections.max.idle.ms", config.idle_timeout.as_millis().to_string(), Kind::Long),
        ("default.replication.factor", "1".to_owned(), Kind::Int),
        ("delete.topic.enable", "true".to_owned(), Kind::Boolean),
        ("group.initial.rebalance.delay.ms", config.group_initial_rebalance_delay.as_millis().to_string(), Kind::Int),
        ("log.dirs", config.data.to_string_lossy().into_owned(), Kind::String),
        ("max.connections", config.connections_max.to_string(), Kind::Int),
        ("node.id", config.node_id.to_string(), Kind::Int),
        ("num.partitions", config.default_partitions.to_string(), Kind::Int),
        ("offsets.retention.minutes", (config.offsets_retention.as_secs() / 60).to_string(), Kind::Int),
        ("producer.id.expiration.ms", config.producer_expiry.as_millis().to_string(), Kind::Int),
        ("socket.request.max.bytes", config.request_bytes_max.to_string(), Kind::Int),
    ]
}
