//! OffsetCommit: by the group's actor, answered when both sides have it (RELAY-4).

use std::collections::HashMap;

use naru_kafka::client::TopicPartition;
use naru_kafka::serve::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use naru_kafka::serve::messages::{OffsetCommitRequest, OffsetCommitResponse};
use naru_kafka::wire::ErrorCode;

use super::{COMMIT_WAIT_MAX, is_served, mirror};
use crate::accept::Call;
use crate::accept::dispatch::Api;
use crate::groups::carry::Job;
use crate::offsets::{Changes, Position};

pub(crate) struct OffsetCommit;

impl Api for OffsetCommit {
    type Request = OffsetCommitRequest;

    async fn answer(call: &mut Call<'_>, mut request: Self::Request) -> OffsetCommitResponse {
        let asked: Vec<_> = request
            .topics
            .iter()
            .map(|topic| {
                (topic.name.clone(), topic.partitions.iter().map(|one| one.partition_index).collect::<Vec<_>>())
            })
            .collect();
        let mut changes = Changes::new();
        request.topics.retain_mut(|topic| {
            let name = topic.name.clone();
            topic.partitions.retain_mut(|partition| {
                let at = TopicPartition::new(name.as_str(), partition.partition_index);
                if !is_served(call.relay, &at) {
                    return false;
                }
                // The relay's own epoch, which means nothing to a side (RELAY-8).
                partition.committed_leader_epoch = -1;
                let metadata = partition.committed_metadata.as_ref().map_or("", |text| text.as_str()).into();
                changes.insert(at, Some(Position { offset: partition.committed_offset, metadata }));
                true
            });
            !topic.partitions.is_empty()
        });
        // Versions that the sides are asked in have no place for it; the standby keeps offsets for ten years.
        request.retention_time_ms = -1;
        let group = request.group_id.to_string();
        let answered = if changes.is_empty() {
            Ok(Vec::new())
        } else {
            match mirror(call.relay, &group).group(&group) {
                Ok(handle) => {
                    handle
                        .change(Job::Commit { request: Box::new(request), orphaned: false }, changes, COMMIT_WAIT_MAX)
                        .await
                }
                Err(code) => Err(code),
            }
        };
        let codes = answered.map(|codes| codes.into_iter().collect::<HashMap<_, _>>());
        let code = |at: TopicPartition| match &codes {
            Err(code) => *code,
            Ok(codes) => codes.get(&at).copied().unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        };
        let topics = asked.into_iter().map(|(name, partitions)| {
            let partition = |index| {
                let code = code(TopicPartition::new(name.as_str(), index));
                OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code.0)
            };
            let partitions = partitions.into_iter().map(partition).collect();
            OffsetCommitResponseTopic::default().with_name(name.clone()).with_partitions(partitions)
        });
        OffsetCommitResponse::default().with_topics(topics.collect())
    }
}
