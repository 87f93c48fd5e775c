//! DescribeProducers: who has written to a partition, and how far.

use std::sync::Arc;

use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use super::{Api, once_each};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::ErrorCode;

pub(crate) struct DescribeProducers;

impl Api for DescribeProducers {
    type Request = DescribeProducersRequest;

    async fn answer(broker: &Arc<Broker>, _: &Caller, request: Self::Request) -> DescribeProducersResponse {
        let asked = once_each(request.topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)));
        let topics = asked.into_iter().map(|(name, indexes)| {
            let live = broker.topics.get(name.as_str());
            let partitions = indexes.iter().map(|index| {
                let one = PartitionResponse::default().with_partition_index(*index);
                let Some(partition) = live.as_ref().and_then(|live| live.partition(*index)) else {
                    return one.with_error_code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
                };
                let table = partition.store.producers();
                let producers = table.iter().map(|(id, state)| {
                    ProducerState::default()
                        .with_producer_id(ProducerId(id))
                        .with_producer_epoch(i32::from(state.epoch))
                        .with_last_sequence(state.last().last_sequence)
                        .with_last_timestamp(state.last().max_timestamp)
                        .with_coordinator_epoch(-1)
                        .with_current_txn_start_offset(-1)
                });
                one.with_active_producers(producers.collect())
            });
            let partitions = partitions.collect();
            TopicResponse::default().with_name(name).with_partitions(partitions)
        });
        DescribeProducersResponse::default().with_topics(topics.collect())
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> DescribeProducersResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic
                .partition_indexes
                .iter()
                .map(|index| PartitionResponse::default().with_partition_index(*index).with_error_code(code.0));
            TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        DescribeProducersResponse::default().with_topics(topics.collect())
    }
}
