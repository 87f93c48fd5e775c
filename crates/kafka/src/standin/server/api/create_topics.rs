//! CreateTopics: durable before it is answered.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::{Api, text, uuid, words};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::standin::server::topics::{NewTopic, Topic};
use crate::standin::topics::Refusal;
use crate::standin::topics::config::{DEFINITIONS, value};
use crate::wire::ErrorCode;

/// Where a setting's value comes from, as DescribeConfigs numbers it.
pub(crate) const SOURCE_TOPIC: i8 = 1;
/// See [`SOURCE_TOPIC`].
pub(crate) const SOURCE_DEFAULT: i8 = 5;

pub(crate) struct CreateTopics;

impl Api for CreateTopics {
    type Request = CreateTopicsRequest;

    async fn answer(broker: &Arc<Broker>, _: &Caller, request: Self::Request) -> CreateTopicsResponse {
        let mut times: HashMap<&str, usize> = HashMap::new();
        for topic in &request.topics {
            *times.entry(topic.name.as_str()).or_default() += 1;
        }
        let mut results = Vec::new();
        for topic in &request.topics {
            let made = match read(broker, topic, times.get(topic.name.as_str()).copied().unwrap_or(0)) {
                Ok(new) => broker.topics.create(new.clone(), request.validate_only).await.map(|t| (new, t)),
                Err(refusal) => Err(refusal),
            };
            results.push(match made {
                Ok((new, made)) => shown(topic, &new, &made),
                Err(refusal) => refused(topic, refusal.code, &refusal.message),
            });
        }
        CreateTopicsResponse::default().with_topics(results)
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> CreateTopicsResponse {
        let topics = request.topics.iter().map(|topic| refused(topic, code, ""));
        CreateTopicsResponse::default().with_topics(topics.collect())
    }
}

fn refused(topic: &CreatableTopic, code: ErrorCode, message: &str) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_error_code(code.0)
        .with_error_message(words(message))
        .with_configs(Some(Vec::new()))
}

/// What is asked for, after the rules that concern one node: replicas and their places.
fn read(broker: &Broker, topic: &CreatableTopic, times: usize) -> Result<NewTopic, Refusal> {
    let refuse = |code, message: String| Err(Refusal::new(code, message));
    if times > 1 {
        return refuse(ErrorCode::INVALID_REQUEST, "Duplicate topic name.".into());
    }
    let mut partitions = topic.num_partitions;
    if topic.assignments.is_empty() {
        match topic.replication_factor {
            -1 | 1 => {}
            n if n < 1 => {
                let message = "Replication factor must be larger than 0, or -1 to use the default value.";
                return refuse(ErrorCode::INVALID_REPLICATION_FACTOR, message.into());
            }
            n => {
                let message = format!("Unable to replicate the partition {n} time(s): only 1 broker is registered.");
                return refuse(ErrorCode::INVALID_REPLICATION_FACTOR, message);
            }
        }
        if partitions == -1 {
            partitions = broker.config.default_partitions;
        } else if partitions < 1 {
            let message = "Number of partitions was set to an invalid non-positive value.";
            return refuse(ErrorCode::INVALID_PARTITIONS, message.into());
        }
    } else {
        if partitions != -1 || topic.replication_factor != -1 {
            let message = "A manual partition assignment was specified, but numPartitions or replicationFactor was not set to -1.";
            return refuse(ErrorCode::INVALID_REQUEST, message.into());
        }
        let mut indexes: Vec<i32> = topic.assignments.iter().map(|a| a.partition_index).collect();
        indexes.sort_unstable();
        if indexes.iter().enumerate().any(|(at, index)| at as i32 != *index) {
            let message = "Partitions should be a consecutive 0-based integer sequence.";
            return refuse(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message.into());
        }
        for assignment in &topic.assignments {
            if assignment.broker_ids.len() != 1 || assignment.broker_ids[0].0 != broker.config.node_id {
                let message = format!(
                    "The manual partition assignment for partition {} must name broker {}, the only one.",
                    assignment.partition_index, broker.config.node_id
                );
                return refuse(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message);
            }
        }
        partitions = indexes.len() as i32;
    }
    let mut configs = BTreeMap::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            let message = format!("Null value not supported for topic configs: {}", config.name.as_str());
            return refuse(ErrorCode::INVALID_CONFIG, message);
        };
        configs.insert(config.name.as_str().to_owned(), value.as_str().to_owned());
    }
    Ok(NewTopic { name: topic.name.as_str().to_owned(), partitions, configs })
}

fn shown(asked: &CreatableTopic, new: &NewTopic, made: &Topic) -> CreatableTopicResult {
    let configs = DEFINITIONS.iter().map(|definition| {
        let own = made.configs.contains_key(definition.name);
        CreatableTopicConfigs::default()
            .with_name(text(definition.name))
            .with_value(value(&made.configs, definition.name).map(text))
            .with_config_source(if own { SOURCE_TOPIC } else { SOURCE_DEFAULT })
    });
    CreatableTopicResult::default()
        .with_name(asked.name.clone())
        .with_topic_id(uuid(made.id))
        .with_num_partitions(new.partitions)
        .with_replication_factor(1)
        .with_configs(Some(configs.collect()))
}
