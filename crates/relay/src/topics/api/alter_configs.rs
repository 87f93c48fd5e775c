//! AlterConfigs: replaces all settings of a topic, on both sides, as one intent. What keeps the sides equal stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_kafka::serve::messages::alter_configs_request::AlterConfigsResource;
use naru_kafka::serve::messages::alter_configs_response::AlterConfigsResourceResponse;
use naru_kafka::serve::messages::{AlterConfigsRequest, AlterConfigsResponse};
use naru_kafka::wire::ErrorCode;

use super::told;
use crate::accept::Call;
use crate::accept::dispatch::Api;
use crate::relay::Relay;
use crate::topics::ask::TOPIC;
use crate::topics::record::Change;
use crate::topics::registry::AdminError;
use crate::topics::rules;
use crate::topics::show::{needed, needs, show};

pub(crate) struct AlterConfigs;

impl Api for AlterConfigs {
    type Request = AlterConfigsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> AlterConfigsResponse {
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in &request.resources {
            let response = AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            responses.push(match replace(call.relay, resource, request.validate_only).await {
                Ok(()) => response,
                Err(error) => {
                    let (code, words) = told(&resource.resource_name, &error);
                    response.with_error_code(code).with_error_message(words)
                }
            });
        }
        AlterConfigsResponse::default().with_responses(responses)
    }
}

async fn replace(relay: &Arc<Relay>, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), AdminError> {
    let topic = resource.resource_name.as_str();
    let record = known(relay, resource.resource_type, topic)?;
    let mut wanted = BTreeMap::new();
    for config in &resource.configs {
        wanted.insert(config.name.to_string(), config.value.as_ref().map(ToString::to_string));
    }
    let kept = |name: &str| rules::pinned().any(|(pinned, _)| pinned == name);
    let gone = record.configs.into_keys().filter(|name| !wanted.contains_key(name) && !kept(name));
    let gone: Vec<_> = gone.map(|name| Change { name, value: None }).collect();
    let set = wanted.into_iter().map(|(name, value)| Change { name, value });
    change(relay, topic, set.chain(gone).collect(), validate_only).await
}

/// The topic that a resource names. The relay has no other settings that could be changed through it.
pub(super) fn known(relay: &Relay, kind: i8, topic: &str) -> Result<crate::topics::TopicRecord, AdminError> {
    if kind != TOPIC {
        let problem = "Only topics are configured through the relay; configure the brokers of each side directly.";
        return Err(AdminError::refused(ErrorCode::INVALID_REQUEST, problem));
    }
    let missing = || AdminError::refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("There is no topic {topic}."));
    relay.topics.get(topic).ok_or_else(missing)
}

/// Changes configurations of a topic on both sides, or says why not.
pub(super) async fn change(
    relay: &Arc<Relay>,
    topic: &str,
    mut changes: Vec<Change>,
    validate_only: bool,
) -> Result<(), AdminError> {
    // The defaults of the two sides may differ: this one is always set.
    for change in changes.iter_mut().filter(|change| change.name == rules::BATCH_BYTES_MAX_CONFIG) {
        change.value.get_or_insert_with(|| rules::BATCH_BYTES_MAX.to_owned());
    }
    if let Some(reason) = changes.iter().find_map(|change| rules::refused(change, needs(relay, topic))) {
        return Err(AdminError::refused(ErrorCode::INVALID_CONFIG, reason));
    }
    if changes.is_empty() {
        return Ok(());
    }
    relay.topics.alter(topic, changes, needed(relay, topic), validate_only).await?;
    show(relay);
    Ok(())
}
