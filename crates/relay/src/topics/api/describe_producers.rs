//! DescribeProducers: what the active side remembers.

use naru_kafka::client::TopicPartition;
use naru_kafka::serve::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use naru_kafka::serve::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};
use naru_kafka::wire::ErrorCode;

use crate::accept::Call;
use crate::accept::api::partition;
use crate::accept::dispatch::Api;

pub(crate) struct DescribeProducers;

impl Api for DescribeProducers {
    type Request = DescribeProducersRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> DescribeProducersResponse {
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
            for index in &topic.partition_indexes {
                let one = PartitionResponse::default().with_partition_index(*index);
                partitions.push(match describe(call, &topic.name, *index).await {
                    Ok(producers) => one.with_active_producers(producers),
                    Err(code) => one.with_error_code(code.0),
                });
            }
            topics.push(TopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        DescribeProducersResponse::default().with_topics(topics)
    }
}

async fn describe(call: &Call<'_>, topic: &str, index: i32) -> Result<Vec<ProducerState>, ErrorCode> {
    partition(call.relay, topic, index)?;
    let side = call.relay.group_of_topic(topic).standing.borrow().active;
    let found = call.relay.topics.client(side).describe_producers(&TopicPartition::new(topic, index)).await;
    let found = found.map_err(|error| {
        tracing::debug!(topic, error = &error as &dyn std::error::Error, "producers cannot be described");
        ErrorCode::NOT_LEADER_OR_FOLLOWER
    })?;
    let shown = |state: naru_kafka::client::admin::ProducerState| {
        ProducerState::default()
            .with_producer_id(ProducerId(state.producer_id))
            .with_producer_epoch(state.epoch)
            .with_last_sequence(state.last_sequence)
            .with_last_timestamp(state.last_timestamp_ms)
            .with_coordinator_epoch(-1)
            .with_current_txn_start_offset(state.transaction_start.unwrap_or(-1))
    };
    Ok(found.into_iter().map(shown).collect())
}
