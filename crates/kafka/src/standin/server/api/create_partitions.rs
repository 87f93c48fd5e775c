//! CreatePartitions: more partitions for a topic, never fewer.

use std::sync::Arc;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::{Api, words};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::standin::topics::Refusal;
use crate::wire::ErrorCode;

pub(crate) struct CreatePartitions;

impl Api for CreatePartitions {
    type Request = CreatePartitionsRequest;

    async fn answer(broker: &Arc<Broker>, _: &Caller, request: Self::Request) -> CreatePartitionsResponse {
        let mut results = Vec::new();
        for topic in request.topics {
            let grown = match check_places(broker, &topic) {
                Ok(()) => broker.topics.grow(topic.name.as_str(), topic.count, request.validate_only).await,
                Err(refusal) => Err(refusal),
            };
            let one = CreatePartitionsTopicResult::default().with_name(topic.name);
            results.push(match grown {
                Ok(()) => one,
                Err(refusal) => one.with_error_code(refusal.code.0).with_error_message(words(&refusal.message)),
            });
        }
        CreatePartitionsResponse::default().with_results(results)
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> CreatePartitionsResponse {
        let results = request
            .topics
            .iter()
            .map(|t| CreatePartitionsTopicResult::default().with_name(t.name.clone()).with_error_code(code.0));
        CreatePartitionsResponse::default().with_results(results.collect())
    }
}

/// Places that are given must be this node, one per new partition.
fn check_places(broker: &Broker, topic: &CreatePartitionsTopic) -> Result<(), Refusal> {
    let Some(places) = &topic.assignments else { return Ok(()) };
    let refuse = |message: &str| Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
    let present = broker.topics.get(topic.name.as_str()).map_or(0, |t| t.partitions.len() as i32);
    if places.len() as i64 != i64::from(topic.count) - i64::from(present) {
        return refuse("Increasing the number of partitions needs one assignment per new partition.");
    }
    if places.iter().any(|p| p.broker_ids.len() != 1 || p.broker_ids[0].0 != broker.config.node_id) {
        return refuse("Every assignment must name the only broker, once.");
    }
    Ok(())
}
