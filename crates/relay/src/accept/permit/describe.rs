//! Requests that describe partitions.

use naru_kafka::serve::messages::describe_producers_response::{PartitionResponse, TopicResponse};
use naru_kafka::serve::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic;
use naru_kafka::serve::messages::{DescribeLogDirsRequest, DescribeProducersRequest, DescribeTopicPartitionsRequest};

use super::{Asking, Permitted, Restore, TOPIC_DENIED, split};
use crate::accept::api::OPERATIONS_NOT_ASKED;
use crate::security::Operation::{Describe, Read};

impl Permitted for DescribeProducersRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let denied = split(&mut self.topics, |topic| asking.topic(Read, &topic.name));
        Some(Box::new(move |answer| {
            answer.topics.extend(denied.into_iter().map(|topic| {
                let partition = |index: &i32| {
                    PartitionResponse::default().with_partition_index(*index).with_error_code(TOPIC_DENIED)
                };
                let partitions = topic.partition_indexes.iter().map(partition).collect();
                TopicResponse::default().with_name(topic.name).with_partitions(partitions)
            }));
        }))
    }
}

impl Permitted for DescribeLogDirsRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let asking = asking.clone();
        Some(Box::new(move |answer| {
            for directory in &mut answer.results {
                directory.topics.retain(|topic| asking.topic(Describe, &topic.name));
            }
        }))
    }
}

impl Permitted for DescribeTopicPartitionsRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let asked_all = self.topics.is_empty();
        let denied = split(&mut self.topics, |topic| asking.topic(Describe, &topic.name));
        let nothing_left = !asked_all && self.topics.is_empty();
        let asking = asking.clone();
        Some(Box::new(move |answer| {
            if nothing_left {
                answer.topics.clear();
                answer.next_cursor = None;
            }
            answer.topics.retain(|topic| topic.name.as_ref().is_none_or(|name| asking.topic(Describe, name)));
            answer.topics.extend(denied.into_iter().map(|topic| {
                DescribeTopicPartitionsResponseTopic::default()
                    .with_name(Some(topic.name))
                    .with_error_code(TOPIC_DENIED)
                    .with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
            }));
        }))
    }
}
