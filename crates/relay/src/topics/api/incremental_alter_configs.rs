//! IncrementalAlterConfigs: on both sides, as one intent.

use std::sync::Arc;

use naru_kafka::serve::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use naru_kafka::serve::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use naru_kafka::serve::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use naru_kafka::wire::ErrorCode;

use super::alter_configs::{change, known};
use super::{times, told, twice};
use crate::accept::Call;
use crate::accept::dispatch::Api;
use crate::relay::Relay;
use crate::topics::plan::Observed;
use crate::topics::record::Change;
use crate::topics::registry::{AdminError, observe};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) struct IncrementalAlterConfigs;

impl Api for IncrementalAlterConfigs {
    type Request = IncrementalAlterConfigsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> IncrementalAlterConfigsResponse {
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in &request.resources {
            let response = AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            responses.push(match alter(call.relay, resource, request.validate_only).await {
                Ok(()) => response,
                Err(error) => {
                    let (code, words) = told(&resource.resource_name, &error);
                    response.with_error_code(code).with_error_message(words)
                }
            });
        }
        IncrementalAlterConfigsResponse::default().with_responses(responses)
    }
}

async fn alter(relay: &Arc<Relay>, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), AdminError> {
    let topic = resource.resource_name.as_str();
    known(relay, resource.resource_type, topic)?;
    if times(resource.configs.iter().map(|config| config.name.as_str())).values().any(|times| *times > 1) {
        return Err(twice("A setting"));
    }
    let mut changes = Vec::with_capacity(resource.configs.len());
    for config in &resource.configs {
        let value = new_value(relay, topic, config).await?;
        changes.push(Change { name: config.name.to_string(), value });
    }
    change(relay, topic, changes, validate_only).await
}

async fn new_value(relay: &Arc<Relay>, topic: &str, config: &AlterableConfig) -> Result<Option<String>, AdminError> {
    let problem = || AdminError::refused(ErrorCode::INVALID_REQUEST, format!("{} has no value.", config.name));
    let value = || config.value.as_ref().map(ToString::to_string).ok_or_else(problem);
    match config.config_operation {
        SET => value().map(Some),
        DELETE => Ok(None),
        operation @ (APPEND | SUBTRACT) => {
            let changed = value()?;
            let mut list = current(relay, topic, &config.name).await?;
            for item in changed.split(',').map(str::trim) {
                list.retain(|known| known != item);
                if operation == APPEND {
                    list.push(item.to_owned());
                }
            }
            Ok(Some(list.join(",")))
        }
        other => Err(AdminError::refused(ErrorCode::INVALID_REQUEST, format!("There is no operation {other}."))),
    }
}

/// A setting that is a list, as the active side shows it.
async fn current(relay: &Arc<Relay>, topic: &str, config: &str) -> Result<Vec<String>, AdminError> {
    let side = relay.group_of_topic(topic).standing.borrow().active;
    match observe(relay.topics.client(side), topic).await {
        Observed::Present(there) => {
            let value = there.configs.get(config).map(|setting| setting.value.as_str()).unwrap_or_default();
            Ok(value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
        }
        Observed::Absent | Observed::Unreachable => Err(AdminError::Away { side }),
    }
}
