//! DescribeTopicPartitions: what Metadata tells, in pages.

use naru_kafka::serve::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use naru_kafka::serve::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};
use naru_kafka::wire::ErrorCode;

use crate::accept::Call;
use crate::accept::api::{OPERATIONS_NOT_ASKED, text, uuid};
use crate::accept::dispatch::Api;

/// Partitions in one answer, whatever is asked for (Kafka's `max.request.partition.size.limit`).
const PARTITIONS_MAX: usize = 2_000;

pub(crate) struct DescribeTopicPartitions;

impl Api for DescribeTopicPartitions {
    type Request = DescribeTopicPartitionsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> DescribeTopicPartitionsResponse {
        let relay = call.relay;
        let mut names: Vec<String> = if request.topics.is_empty() {
            relay.served.all().iter().map(|topic| topic.name.to_string()).collect()
        } else {
            request.topics.iter().map(|topic| topic.name.to_string()).collect()
        };
        names.sort_unstable();
        names.dedup();
        let from = request
            .cursor
            .as_ref()
            .map(|at| (at.topic_name.to_string(), usize::try_from(at.partition_index).unwrap_or_default()));
        if let Some((topic, _)) = &from {
            names.retain(|name| name >= topic);
        }
        let cursor = |name: &str, index: usize| {
            let at = Cursor::default().with_topic_name(TopicName(text(name)));
            Some(at.with_partition_index(i32::try_from(index).unwrap_or(i32::MAX)))
        };
        let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PARTITIONS_MAX);
        let mut response = DescribeTopicPartitionsResponse::default();
        let node = BrokerId(relay.config.node_id);
        for name in names {
            let one = DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(TopicName(text(name.as_str()))))
                .with_topic_authorized_operations(OPERATIONS_NOT_ASKED);
            let Some(topic) = relay.served.get(&name) else {
                response.topics.push(one.with_error_code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0));
                continue;
            };
            if left == 0 {
                return response.with_next_cursor(cursor(&name, 0));
            }
            let first = from.as_ref().filter(|(at, _)| *at == name).map_or(0, |(_, index)| *index);
            let shown = topic.partitions.iter().skip(first).take(left).map(|partition| {
                DescribeTopicPartitionsResponsePartition::default()
                    .with_partition_index(partition.at().partition)
                    .with_leader_id(node)
                    .with_leader_epoch(relay.epoch)
                    .with_replica_nodes(vec![node])
                    .with_isr_nodes(vec![node])
                    .with_eligible_leader_replicas(Some(Vec::new()))
                    .with_last_known_elr(Some(Vec::new()))
            });
            let shown: Vec<_> = shown.collect();
            let next = first + shown.len();
            left -= shown.len();
            response.topics.push(one.with_topic_id(uuid(topic.id)).with_partitions(shown));
            if next < topic.partitions.len() {
                return response.with_next_cursor(cursor(&name, next));
            }
        }
        response
    }
}
