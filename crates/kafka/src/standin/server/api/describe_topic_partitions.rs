//! DescribeTopicPartitions: what Metadata tells, in pages.

use std::sync::Arc;

use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName};

use super::{Api, OPERATIONS_NOT_ASKED, text, uuid};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::ErrorCode;

/// Partitions in one answer, whatever is asked for (Kafka's `max.request.partition.size.limit`).
const PARTITIONS_MAX: usize = 2_000;

pub(crate) struct DescribeTopicPartitions;

impl Api for DescribeTopicPartitions {
    type Request = DescribeTopicPartitionsRequest;

    async fn answer(broker: &Arc<Broker>, _: &Caller, request: Self::Request) -> DescribeTopicPartitionsResponse {
        let mut names: Vec<String> = if request.topics.is_empty() {
            broker.topics.all().iter().map(|t| t.name.clone()).collect()
        } else {
            request.topics.iter().map(|t| t.name.as_str().to_owned()).collect()
        };
        names.sort_unstable();
        names.dedup();
        let from = request.cursor.as_ref().map(|c| (c.topic_name.as_str(), c.partition_index.max(0)));
        let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PARTITIONS_MAX);
        let mut response = DescribeTopicPartitionsResponse::default();
        for name in names.iter().filter(|name| from.is_none_or(|(at, _)| name.as_str() >= at)) {
            let first = from.filter(|(at, _)| at == name).map_or(0, |(_, index)| index as usize);
            let one = DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(TopicName(text(name.clone()))))
                .with_topic_authorized_operations(OPERATIONS_NOT_ASKED);
            let Some(topic) = broker.topics.get(name) else {
                response.topics.push(one.with_error_code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0));
                continue;
            };
            if left == 0 {
                let cursor = Cursor::default().with_topic_name(TopicName(text(name.clone()))).with_partition_index(0);
                return response.with_next_cursor(Some(cursor));
            }
            let node = BrokerId(broker.config.node_id);
            let partitions: Vec<_> = topic
                .partitions
                .iter()
                .skip(first)
                .take(left)
                .map(|p| {
                    DescribeTopicPartitionsResponsePartition::default()
                        .with_partition_index(p.index)
                        .with_leader_id(node)
                        .with_leader_epoch(topic.leader_epoch)
                        .with_replica_nodes(vec![node])
                        .with_isr_nodes(vec![node])
                        .with_eligible_leader_replicas(Some(Vec::new()))
                        .with_last_known_elr(Some(Vec::new()))
                })
                .collect();
            left -= partitions.len();
            let next = first + partitions.len();
            response.topics.push(one.with_topic_id(uuid(topic.id)).with_partitions(partitions));
            if next < topic.partitions.len() {
                let cursor =
                    Cursor::default().with_topic_name(TopicName(text(name.clone()))).with_partition_index(next as i32);
                return response.with_next_cursor(Some(cursor));
            }
        }
        response
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> DescribeTopicPartitionsResponse {
        let topics = request.topics.iter().map(|t| {
            DescribeTopicPartitionsResponseTopic::default().with_name(Some(t.name.clone())).with_error_code(code.0)
        });
        DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
    }
}
