//! CreatePartitions: on both sides, as one intent.

use std::sync::Arc;

use naru_kafka::serve::messages::create_partitions_request::CreatePartitionsTopic;
use naru_kafka::serve::messages::create_partitions_response::CreatePartitionsTopicResult;
use naru_kafka::serve::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use naru_kafka::wire::ErrorCode;

use super::{times, told, twice};
use crate::accept::Call;
use crate::accept::dispatch::Api;
use crate::relay::Relay;
use crate::topics::registry::AdminError;
use crate::topics::show::{needed, show};

pub(crate) struct CreatePartitions;

impl Api for CreatePartitions {
    type Request = CreatePartitionsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> CreatePartitionsResponse {
        let times = times(request.topics.iter().map(|topic| topic.name.clone()));
        let mut results = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
            let grown = if times[&topic.name] > 1 {
                Err(twice(&topic.name))
            } else {
                grow(call.relay, topic, request.validate_only).await
            };
            results.push(match grown {
                Ok(()) => result,
                Err(error) => {
                    let (code, words) = told(&topic.name, &error);
                    result.with_error_code(code).with_error_message(words)
                }
            });
        }
        CreatePartitionsResponse::default().with_results(results)
    }
}

async fn grow(relay: &Arc<Relay>, topic: &CreatePartitionsTopic, validate_only: bool) -> Result<(), AdminError> {
    if topic.assignments.as_ref().is_some_and(|assignments| !assignments.is_empty()) {
        let problem = "The relay shows one broker and leaves replicas to the clusters behind it.";
        return Err(AdminError::refused(ErrorCode::INVALID_REPLICA_ASSIGNMENT, problem));
    }
    relay.topics.grow(&topic.name, topic.count, needed(relay, &topic.name), validate_only).await?;
    show(relay);
    Ok(())
}
