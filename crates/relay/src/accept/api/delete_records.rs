//! DeleteRecords: moves the log start on both sides, at most to the gate.

use std::time::Duration;

use naru_kafka::serve::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use naru_kafka::serve::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use naru_kafka::wire::ErrorCode;
use tokio::time::{Instant, timeout_at};

use super::partition;
use crate::accept::Call;
use crate::accept::dispatch::Api;

pub(crate) struct DeleteRecords;

impl Api for DeleteRecords {
    type Request = DeleteRecordsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> DeleteRecordsResponse {
        let patience = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let deadline = Instant::now() + patience.min(call.relay.config.produce_wait_max);
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let one = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
                let at = (topic.name.as_str(), asked.partition_index);
                let deleted = timeout_at(deadline, delete(call, at, asked.offset)).await;
                partitions.push(match deleted.unwrap_or(Err(ErrorCode::REQUEST_TIMED_OUT)) {
                    Ok(log_start) => one.with_low_watermark(log_start),
                    Err(code) => one.with_low_watermark(-1).with_error_code(code.0),
                });
            }
            topics.push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions));
        }
        DeleteRecordsResponse::default().with_topics(topics)
    }
}

async fn delete(call: &Call<'_>, at: (&str, i32), before: i64) -> Result<i64, ErrorCode> {
    let partition = partition(call.relay, at.0, at.1)?;
    let deleted = partition.delete_records(before).await.map_err(|_| ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    deleted.map_err(|refusal| refusal.code)
}
