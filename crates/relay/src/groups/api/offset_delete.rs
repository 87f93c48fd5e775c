//! OffsetDelete: on both sides before it is answered.

use std::collections::HashMap;

use naru_kafka::client::TopicPartition;
use naru_kafka::serve::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use naru_kafka::serve::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use naru_kafka::wire::ErrorCode;

use super::{COMMIT_WAIT_MAX, mirror};
use crate::accept::Call;
use crate::accept::dispatch::Api;
use crate::groups::carry::Job;
use crate::offsets::Changes;

pub(crate) struct OffsetDelete;

impl Api for OffsetDelete {
    type Request = OffsetDeleteRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> OffsetDeleteResponse {
        let group = request.group_id.to_string();
        let topics = request.topics.clone();
        let mut changes = Changes::new();
        for topic in &request.topics {
            for partition in &topic.partitions {
                changes.insert(TopicPartition::new(topic.name.as_str(), partition.partition_index), None);
            }
        }
        let answered = match mirror(call.relay, &group).group(&group) {
            Ok(handle) => handle.change(Job::Delete(request), changes, COMMIT_WAIT_MAX).await,
            Err(code) => Err(code),
        };
        let codes: HashMap<_, _> = match answered {
            Ok(codes) => codes.into_iter().collect(),
            Err(code) => return OffsetDeleteResponse::default().with_error_code(code.0),
        };
        let topics = topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                let code = codes.get(&at).copied().unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                OffsetDeleteResponsePartition::default().with_partition_index(at.partition).with_error_code(code.0)
            });
            let partitions = partitions.collect();
            OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        OffsetDeleteResponse::default().with_topics(topics.collect())
    }
}
