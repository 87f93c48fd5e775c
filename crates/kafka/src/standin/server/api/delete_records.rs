//! DeleteRecords: moves the log start.

use std::sync::Arc;

use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::Api;
use crate::standin::server::blocking::blocking;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::standin::server::topics::Topic;
use crate::wire::ErrorCode;

pub(crate) struct DeleteRecords;

impl Api for DeleteRecords {
    type Request = DeleteRecordsRequest;

    async fn answer(broker: &Arc<Broker>, _: &Caller, request: Self::Request) -> DeleteRecordsResponse {
        let mut topics = Vec::new();
        for topic in request.topics {
            let live = broker.topics.get(topic.name.as_str());
            let mut partitions = Vec::new();
            for asked in &topic.partitions {
                let one = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
                partitions.push(match delete(live.as_deref(), asked.partition_index, asked.offset).await {
                    Ok(log_start) => one.with_low_watermark(log_start),
                    Err(code) => one.with_low_watermark(-1).with_error_code(code.0),
                });
            }
            topics.push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions));
        }
        DeleteRecordsResponse::default().with_topics(topics)
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> DeleteRecordsResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|p| {
                DeleteRecordsPartitionResult::default()
                    .with_partition_index(p.partition_index)
                    .with_low_watermark(-1)
                    .with_error_code(code.0)
            });
            DeleteRecordsTopicResult::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        DeleteRecordsResponse::default().with_topics(topics.collect())
    }
}

async fn delete(topic: Option<&Topic>, index: i32, before: i64) -> Result<i64, ErrorCode> {
    let partition = topic.and_then(|t| t.partition(index)).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    // A compacted topic keeps the newest of each key: cutting it by offset is refused, as Kafka does.
    if topic.is_some_and(|t| !t.deletes()) {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    let store = partition.store.clone();
    let deleted = blocking(move || store.delete_records_before(before)).await.map_err(|e| e.code())?;
    deleted.map_err(|error| error.code())
}
