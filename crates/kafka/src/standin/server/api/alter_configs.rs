//! AlterConfigs: replaces all settings of a topic. A broker's settings are given at its start.

use std::sync::Arc;

use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::describe_configs::TOPIC;
use super::{Api, words};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::standin::topics::{Refusal, config};
use crate::wire::ErrorCode;

pub(crate) struct AlterConfigs;

impl Api for AlterConfigs {
    type Request = AlterConfigsRequest;

    async fn answer(broker: &Arc<Broker>, _: &Caller, request: Self::Request) -> AlterConfigsResponse {
        let mut responses = Vec::new();
        for resource in &request.resources {
            let one = named(resource);
            responses.push(match alter(broker, resource, request.validate_only).await {
                Ok(()) => one,
                Err(refusal) => one.with_error_code(refusal.code.0).with_error_message(words(&refusal.message)),
            });
        }
        AlterConfigsResponse::default().with_responses(responses)
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> AlterConfigsResponse {
        let responses = request.resources.iter().map(|resource| named(resource).with_error_code(code.0));
        AlterConfigsResponse::default().with_responses(responses.collect())
    }
}

fn named(resource: &AlterConfigsResource) -> AlterConfigsResourceResponse {
    AlterConfigsResourceResponse::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
}

/// Only topics can be changed while the broker runs.
pub(crate) fn check_kind(kind: i8) -> Result<(), Refusal> {
    if kind == TOPIC {
        return Ok(());
    }
    let message = "only topics can be configured at run time; a broker's settings are given at its start";
    Err(Refusal::new(ErrorCode::INVALID_REQUEST, message))
}

async fn alter(broker: &Broker, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    check_kind(resource.resource_type)?;
    let change = |configs: &mut std::collections::BTreeMap<String, String>| {
        configs.clear();
        for one in &resource.configs {
            let name = one.name.as_str();
            let Some(value) = &one.value else {
                let message = format!("Null value not supported for topic configs: {name}");
                return Err(Refusal::new(ErrorCode::INVALID_CONFIG, message));
            };
            configs.insert(name.to_owned(), config::validate(name, value)?);
        }
        Ok(())
    };
    broker.topics.configure(&resource.resource_name, validate_only, change).await
}
