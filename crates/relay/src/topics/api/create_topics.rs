//! CreateTopics: on both sides, as one intent.

use std::sync::Arc;

use naru_kafka::serve::messages::create_topics_request::CreatableTopic;
use naru_kafka::serve::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use naru_kafka::serve::messages::{CreateTopicsRequest, CreateTopicsResponse};
use naru_kafka::wire::ErrorCode;

use super::{BY_DEFAULT, SET_ON_TOPIC, times, told, twice};
use crate::accept::Call;
use crate::accept::api::{text, uuid};
use crate::accept::dispatch::Api;
use crate::relay::Relay;
use crate::topics::TopicRecord;
use crate::topics::registry::AdminError;
use crate::topics::rules;
use crate::topics::show::{Wanted, create};

pub(crate) struct CreateTopics;

impl Api for CreateTopics {
    type Request = CreateTopicsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> CreateTopicsResponse {
        let times = times(request.topics.iter().map(|topic| topic.name.clone()));
        let mut results = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let result = CreatableTopicResult::default()
                .with_name(topic.name.clone())
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_configs(Some(Vec::new()));
            let made = if times[&topic.name] > 1 {
                Err(twice(&topic.name))
            } else {
                make(call.relay, topic, request.validate_only).await
            };
            results.push(match made {
                Ok(record) => result
                    .with_configs(Some(configs(&record)))
                    .with_topic_id(uuid(record.id))
                    .with_num_partitions(record.partitions)
                    .with_replication_factor(record.replication.max(1)),
                Err(error) => {
                    let (code, words) = told(&topic.name, &error);
                    result.with_error_code(code).with_error_message(words)
                }
            });
        }
        CreateTopicsResponse::default().with_topics(results)
    }
}

/// The settings that the topic has of its own, and those that the relay gives every topic.
fn configs(record: &TopicRecord) -> Vec<CreatableTopicConfigs> {
    let shown = |(name, value): (&String, &String)| {
        let source = if rules::default_of(name) == Some(value) { BY_DEFAULT } else { SET_ON_TOPIC };
        CreatableTopicConfigs::default()
            .with_name(text(name.clone()))
            .with_value(Some(text(value.clone())))
            .with_config_source(source)
    };
    record.configs.iter().map(shown).collect()
}

async fn make(relay: &Arc<Relay>, topic: &CreatableTopic, validate_only: bool) -> Result<TopicRecord, AdminError> {
    if !topic.assignments.is_empty() {
        let problem = "The relay shows one broker and leaves replicas to the clusters behind it.";
        return Err(AdminError::refused(ErrorCode::INVALID_REPLICA_ASSIGNMENT, problem));
    }
    let mut configs = std::collections::BTreeMap::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            let problem = format!("{} has no value.", config.name);
            return Err(AdminError::refused(ErrorCode::INVALID_CONFIG, problem));
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    let wanted = Wanted {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication: topic.replication_factor,
        configs,
    };
    create(relay, wanted, validate_only).await
}
