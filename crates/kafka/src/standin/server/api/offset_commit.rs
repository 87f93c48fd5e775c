//! OffsetCommit: durable before it is answered.

use std::sync::Arc;

use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::Api;
use crate::standin::groups::GROUP_ID_BYTES_MAX;
use crate::standin::groups::group::Claim;
use crate::standin::groups::offsets::Committed;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::ErrorCode;

/// Longest metadata beside an offset (Kafka's `offset.metadata.max.bytes`).
const METADATA_BYTES_MAX: usize = 4_096;

pub(crate) struct OffsetCommit;

impl Api for OffsetCommit {
    type Request = OffsetCommitRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> OffsetCommitResponse {
        if request.group_id.len() > GROUP_ID_BYTES_MAX {
            return Self::refuse(caller, &request, ErrorCode::INVALID_GROUP_ID);
        }
        let now_ms = broker.clock.now_ms();
        let expires_at_ms = (request.retention_time_ms >= 0).then(|| now_ms.saturating_add(request.retention_time_ms));
        let mut offsets = Vec::new();
        // What cannot be committed is refused by itself; the rest goes on together.
        let mut refused = Vec::new();
        for topic in &request.topics {
            let live = broker.topics.get(topic.name.as_str());
            for asked in &topic.partitions {
                let metadata = asked.committed_metadata.as_deref().unwrap_or("");
                let code = if live.as_ref().is_none_or(|live| live.partition(asked.partition_index).is_none()) {
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                } else if metadata.len() > METADATA_BYTES_MAX {
                    ErrorCode::OFFSET_METADATA_TOO_LARGE
                } else {
                    ErrorCode::NONE
                };
                if code.is_ok() {
                    let committed = Committed {
                        offset: asked.committed_offset,
                        leader_epoch: asked.committed_leader_epoch,
                        metadata: metadata.to_owned(),
                        committed_at_ms: now_ms,
                        expires_at_ms,
                    };
                    offsets.push((topic.name.as_str().to_owned(), asked.partition_index, committed));
                }
                refused.push(code);
            }
        }
        let claim = Claim {
            generation: request.generation_id_or_member_epoch,
            member_id: &request.member_id,
            instance: request.group_instance_id.as_deref(),
        };
        let committed = broker.coordinator.commit(&request.group_id, claim, offsets).await;
        let all = committed.err().unwrap_or_default();
        let mut refused = refused.into_iter();
        shown(&request, || match refused.next() {
            Some(code) if !code.is_ok() => code,
            _ => all,
        })
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> OffsetCommitResponse {
        shown(request, || code)
    }
}

/// The answer; `code` is asked for once per partition, in the request's order.
fn shown(request: &OffsetCommitRequest, mut code: impl FnMut() -> ErrorCode) -> OffsetCommitResponse {
    let mut topics = Vec::new();
    for topic in &request.topics {
        let partitions = topic.partitions.iter().map(|p| {
            OffsetCommitResponsePartition::default().with_partition_index(p.partition_index).with_error_code(code().0)
        });
        let partitions = partitions.collect();
        topics.push(OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    OffsetCommitResponse::default().with_topics(topics)
}
