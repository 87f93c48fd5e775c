//! Requests about topics.

use naru_kafka::serve::messages::create_partitions_response::CreatePartitionsTopicResult;
use naru_kafka::serve::messages::create_topics_response::CreatableTopicResult;
use naru_kafka::serve::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use naru_kafka::serve::messages::delete_topics_response::DeletableTopicResult;
use naru_kafka::serve::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use naru_kafka::serve::messages::metadata_response::MetadataResponseTopic;
use naru_kafka::serve::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use naru_kafka::serve::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, InitProducerIdRequest,
    ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest, ProducerId,
};

use super::{Asking, CLUSTER_DENIED, Permitted, Restore, TOPIC_DENIED, split};
use crate::accept::api::OPERATIONS_NOT_ASKED;
use crate::security::Operation::{Alter, Create, Delete, Describe, Write};

impl Permitted for MetadataRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let asked_all = self.topics.as_ref().is_none_or(|topics| asking.version == 0 && topics.is_empty());
        let denied = split(self.topics.get_or_insert_default(), |topic| match &topic.name {
            Some(name) => asking.topic(Describe, name),
            None => asking.topic_by_id(Describe, *topic.topic_id.as_bytes()),
        });
        // Version 0 asks for everything with an empty list, which it must not become.
        let nothing_left = !asked_all && self.topics.as_ref().is_some_and(Vec::is_empty);
        if asked_all {
            self.topics = None;
        }
        let asking = asking.clone();
        Some(Box::new(move |answer| {
            if nothing_left {
                answer.topics.clear();
            }
            answer.topics.retain(|topic| topic.name.as_ref().is_none_or(|name| asking.topic(Describe, name)));
            answer.topics.extend(denied.into_iter().map(|topic| {
                MetadataResponseTopic::default()
                    .with_error_code(TOPIC_DENIED)
                    .with_name(topic.name)
                    .with_topic_id(topic.topic_id)
                    .with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
            }));
        }))
    }
}

impl Permitted for ListOffsetsRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let denied = split(&mut self.topics, |topic| asking.topic(Describe, &topic.name));
        Some(Box::new(move |answer| {
            answer.topics.extend(denied.into_iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    ListOffsetsPartitionResponse::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(TOPIC_DENIED)
                        .with_timestamp(-1)
                        .with_offset(-1)
                        .with_leader_epoch(-1)
                });
                ListOffsetsTopicResponse::default().with_partitions(partitions.collect()).with_name(topic.name)
            }));
        }))
    }
}

impl Permitted for OffsetForLeaderEpochRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let denied = split(&mut self.topics, |topic| asking.topic(Describe, &topic.topic));
        Some(Box::new(move |answer| {
            answer.topics.extend(denied.into_iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    EpochEndOffset::default()
                        .with_partition(partition.partition)
                        .with_error_code(TOPIC_DENIED)
                        .with_leader_epoch(-1)
                        .with_end_offset(-1)
                });
                OffsetForLeaderTopicResult::default().with_partitions(partitions.collect()).with_topic(topic.topic)
            }));
        }))
    }
}

impl Permitted for DeleteRecordsRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let denied = split(&mut self.topics, |topic| asking.topic(Delete, &topic.name));
        Some(Box::new(move |answer| {
            answer.topics.extend(denied.into_iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    DeleteRecordsPartitionResult::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(TOPIC_DENIED)
                        .with_low_watermark(-1)
                });
                DeleteRecordsTopicResult::default().with_partitions(partitions.collect()).with_name(topic.name)
            }));
        }))
    }
}

impl Permitted for InitProducerIdRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        if asking.caller.may_with_some_topic(Write) {
            return None;
        }
        Some(Box::new(|answer| {
            answer.error_code = CLUSTER_DENIED;
            (answer.producer_id, answer.producer_epoch) = (ProducerId(-1), -1);
        }))
    }
}

impl Permitted for CreateTopicsRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let denied = split(&mut self.topics, |topic| asking.topic(Create, &topic.name));
        Some(Box::new(move |answer| {
            answer.topics.extend(denied.into_iter().map(|topic| {
                CreatableTopicResult::default()
                    .with_name(topic.name)
                    .with_error_code(TOPIC_DENIED)
                    .with_num_partitions(-1)
                    .with_replication_factor(-1)
            }));
        }))
    }
}

impl Permitted for DeleteTopicsRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let by_name = split(&mut self.topic_names, |name| asking.topic(Delete, name));
        let denied = split(&mut self.topics, |topic| match &topic.name {
            Some(name) => asking.topic(Delete, name),
            None => asking.topic_by_id(Delete, *topic.topic_id.as_bytes()),
        });
        Some(Box::new(move |answer| {
            let refused = || DeletableTopicResult::default().with_error_code(TOPIC_DENIED);
            answer.responses.extend(by_name.into_iter().map(|name| refused().with_name(Some(name))));
            let by_either = |topic: naru_kafka::serve::messages::delete_topics_request::DeleteTopicState| {
                refused().with_name(topic.name).with_topic_id(topic.topic_id)
            };
            answer.responses.extend(denied.into_iter().map(by_either));
        }))
    }
}

impl Permitted for CreatePartitionsRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let denied = split(&mut self.topics, |topic| asking.topic(Alter, &topic.name));
        Some(Box::new(move |answer| {
            let refused = CreatePartitionsTopicResult::default().with_error_code(TOPIC_DENIED);
            answer.results.extend(denied.into_iter().map(|topic| refused.clone().with_name(topic.name)));
        }))
    }
}
