//! Requests about configurations. Those of the relay itself, as a broker, may be seen by whoever may see some topic, and
//! changed by nobody.

use naru_kafka::serve::messages::alter_configs_response::AlterConfigsResourceResponse as Altered;
use naru_kafka::serve::messages::describe_configs_response::DescribeConfigsResult;
use naru_kafka::serve::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use naru_kafka::serve::messages::{AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use super::{Asking, CLUSTER_DENIED, Permitted, Restore, TOPIC_DENIED, split};
use crate::security::Operation::{Alter, Describe};

/// The type of resource that is a topic.
const TOPIC: i8 = 2;

fn code(resource_type: i8) -> i16 {
    if resource_type == TOPIC { TOPIC_DENIED } else { CLUSTER_DENIED }
}

impl Permitted for DescribeConfigsRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let denied = split(&mut self.resources, |resource| match resource.resource_type {
            TOPIC => asking.topic(Describe, &resource.resource_name),
            _ => asking.caller.may_with_some_topic(Describe),
        });
        Some(Box::new(move |answer| {
            answer.results.extend(denied.into_iter().map(|resource| {
                DescribeConfigsResult::default()
                    .with_error_code(code(resource.resource_type))
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name)
            }));
        }))
    }
}

impl Permitted for AlterConfigsRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let denied = split(&mut self.resources, |resource| {
            resource.resource_type == TOPIC && asking.topic(Alter, &resource.resource_name)
        });
        Some(Box::new(move |answer| {
            answer.responses.extend(denied.into_iter().map(|resource| {
                Altered::default()
                    .with_error_code(code(resource.resource_type))
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name)
            }));
        }))
    }
}

impl Permitted for IncrementalAlterConfigsRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let denied = split(&mut self.resources, |resource| {
            resource.resource_type == TOPIC && asking.topic(Alter, &resource.resource_name)
        });
        Some(Box::new(move |answer| {
            answer.responses.extend(denied.into_iter().map(|resource| {
                AlterConfigsResourceResponse::default()
                    .with_error_code(code(resource.resource_type))
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name)
            }));
        }))
    }
}
