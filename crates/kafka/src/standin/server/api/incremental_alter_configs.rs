//! IncrementalAlterConfigs: sets, deletes, appends to and subtracts from single settings of a topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::alter_configs::check_kind;
use super::{Api, words};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::standin::topics::Refusal;
use crate::standin::topics::config::{self, Kind};
use crate::wire::ErrorCode;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) struct IncrementalAlterConfigs;

impl Api for IncrementalAlterConfigs {
    type Request = IncrementalAlterConfigsRequest;

    async fn answer(broker: &Arc<Broker>, _: &Caller, request: Self::Request) -> IncrementalAlterConfigsResponse {
        let mut responses = Vec::new();
        for resource in &request.resources {
            let one = named(resource);
            responses.push(match alter(broker, resource, request.validate_only).await {
                Ok(()) => one,
                Err(refusal) => one.with_error_code(refusal.code.0).with_error_message(words(&refusal.message)),
            });
        }
        IncrementalAlterConfigsResponse::default().with_responses(responses)
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> IncrementalAlterConfigsResponse {
        let responses = request.resources.iter().map(|resource| named(resource).with_error_code(code.0));
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
    }
}

fn named(resource: &AlterConfigsResource) -> AlterConfigsResourceResponse {
    AlterConfigsResourceResponse::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
}

async fn alter(broker: &Broker, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    check_kind(resource.resource_type)?;
    let change =
        |configs: &mut BTreeMap<String, String>| resource.configs.iter().try_for_each(|one| apply(configs, one));
    broker.topics.configure(&resource.resource_name, validate_only, change).await
}

fn apply(configs: &mut BTreeMap<String, String>, one: &AlterableConfig) -> Result<(), Refusal> {
    let name = one.name.as_str();
    let refuse = |code, message: String| Err(Refusal::new(code, message));
    let given = || match &one.value {
        Some(value) => Ok(value.as_str()),
        None => refuse(ErrorCode::INVALID_REQUEST, format!("Null value not supported for {name}")).map(|()| ""),
    };
    let items = |list: &str| -> Vec<String> {
        list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    let new = match one.config_operation {
        SET => given()?.to_owned(),
        DELETE => {
            if config::definition(name).is_none() {
                return refuse(ErrorCode::INVALID_CONFIG, format!("Unknown topic config name: {name}"));
            }
            configs.remove(name);
            return Ok(());
        }
        operation @ (APPEND | SUBTRACT) => {
            if config::definition(name).is_none_or(|d| d.kind != Kind::List) {
                let message = format!("Config value append is not allowed for config key: {name}");
                return refuse(ErrorCode::INVALID_CONFIG, message);
            }
            let mut list = items(config::value(configs, name).unwrap_or(""));
            let changed = items(given()?);
            list.retain(|item| !changed.contains(item));
            if operation == APPEND {
                list.extend(changed);
            }
            list.join(",")
        }
        other => return refuse(ErrorCode::INVALID_REQUEST, format!("Unknown operation {other} for {name}")),
    };
    configs.insert(name.to_owned(), config::validate(name, &new)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_set_deleted_and_lists_grown_and_cut() {
        let check =
            |operation, name: &'static str, value: Option<&'static str>, expect: Result<Option<&str>, ErrorCode>| {
                let mut configs = BTreeMap::from([("cleanup.policy".to_owned(), "delete".to_owned())]);
                let one = AlterableConfig::default()
                    .with_config_operation(operation)
                    .with_name(crate::wire::StrBytes::from_static_str(name))
                    .with_value(value.map(crate::wire::StrBytes::from_static_str));
                let got = apply(&mut configs, &one);
                assert_eq!(got.map(|()| configs.get(name).map(String::as_str)).map_err(|e| e.code), expect, "{one:?}");
            };
        check(SET, "retention.ms", Some("5"), Ok(Some("5")));
        check(SET, "retention.ms", Some("x"), Err(ErrorCode::INVALID_CONFIG));
        check(SET, "retention.ms", None, Err(ErrorCode::INVALID_REQUEST));
        check(DELETE, "cleanup.policy", None, Ok(None));
        check(DELETE, "no.such", None, Err(ErrorCode::INVALID_CONFIG));
        check(APPEND, "cleanup.policy", Some("compact"), Ok(Some("delete,compact")));
        check(APPEND, "retention.ms", Some("5"), Err(ErrorCode::INVALID_CONFIG));
        check(SUBTRACT, "cleanup.policy", Some("delete"), Err(ErrorCode::INVALID_CONFIG));
        check(9, "retention.ms", Some("5"), Err(ErrorCode::INVALID_REQUEST));
    }
}
