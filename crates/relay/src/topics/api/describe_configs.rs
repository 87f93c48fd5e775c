//! DescribeConfigs: a topic's as the active side shows them; the broker that clients see has none.

use std::sync::Arc;

use naru_kafka::serve::messages::describe_configs_request::DescribeConfigsResource;
use naru_kafka::serve::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use naru_kafka::serve::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use naru_kafka::wire::ErrorCode;

use super::{BY_DEFAULT, SET_ON_TOPIC, told};
use crate::accept::Call;
use crate::accept::dispatch::Api;
use crate::relay::Relay;
use crate::topics::ask::{BROKER, TOPIC, ask};
use crate::topics::registry::AdminError;
use crate::topics::rules;

pub(crate) struct DescribeConfigs;

impl Api for DescribeConfigs {
    type Request = DescribeConfigsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> DescribeConfigsResponse {
        let mut results = Vec::with_capacity(request.resources.len());
        for resource in &request.resources {
            let result = describe(call.relay, call.version, resource, &request).await;
            results.push(result.unwrap_or_else(|error| {
                let (code, words) = told(&resource.resource_name, &error);
                named(resource).with_error_code(code).with_error_message(words)
            }));
        }
        DescribeConfigsResponse::default().with_results(results)
    }
}

/// What the relay sets on every topic is a default to its clients.
fn default(config: &mut DescribeConfigsResourceResult) {
    if config.config_source == SET_ON_TOPIC && config.value.as_deref() == rules::default_of(&config.name) {
        config.config_source = BY_DEFAULT;
        config.synonyms.retain(|synonym| synonym.source != SET_ON_TOPIC);
    }
}

fn named(resource: &DescribeConfigsResource) -> DescribeConfigsResult {
    DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
}

async fn describe(
    relay: &Arc<Relay>,
    version: i16,
    resource: &DescribeConfigsResource,
    request: &DescribeConfigsRequest,
) -> Result<DescribeConfigsResult, AdminError> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC if relay.served.get(name).is_some() => {
            let side = relay.group_of_topic(name).standing.borrow().active;
            let one = request.clone().with_resources(vec![resource.clone()]);
            let failed = |source| AdminError::Side { side, source };
            // In the client's own version: a field that it does not have could not be written.
            let answer = ask(relay.topics.client(side), name, &one, version).await.map_err(failed)?;
            let mut found = answer.results.into_iter().next().ok_or(AdminError::Away { side })?;
            found.configs.iter_mut().for_each(default);
            Ok(found)
        }
        TOPIC => Err(AdminError::refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("There is no topic {name}."))),
        BROKER if name.is_empty() || name == relay.config.node_id.to_string() => Ok(named(resource)),
        _ => Err(AdminError::refused(ErrorCode::INVALID_REQUEST, "The relay shows one broker, and topics.")),
    }
}
