//! ListOffsets: log start, log end, the newest time, and by time.

use std::sync::Arc;

use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::Api;
use crate::standin::server::blocking::blocking;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::standin::server::topics::Topic;
use crate::standin::storage::TimeQuery;
use crate::wire::ErrorCode;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// The first offset on local disk, where tiers exist; here the log start.
const EARLIEST_LOCAL: i64 = -4;
/// The last offset in the remote tier; here there is none.
const LATEST_TIERED: i64 = -5;

/// From this version on the answer has a leader epoch.
const EPOCH_FROM: i16 = 4;

pub(crate) struct ListOffsets;

impl Api for ListOffsets {
    type Request = ListOffsetsRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> ListOffsetsResponse {
        let mut topics = Vec::new();
        for topic in &request.topics {
            let live = broker.topics.get(topic.name.as_str());
            let mut partitions = Vec::new();
            for asked in &topic.partitions {
                let one = ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
                let found = match &live {
                    Some(live) => find(live, asked.partition_index, asked.current_leader_epoch, asked.timestamp).await,
                    None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                };
                partitions.push(match found {
                    Ok((timestamp, offset, epoch)) => {
                        let epoch = if caller.version < EPOCH_FROM { -1 } else { epoch };
                        one.with_timestamp(timestamp).with_offset(offset).with_leader_epoch(epoch)
                    }
                    Err(code) => one.with_error_code(code.0).with_timestamp(-1).with_offset(-1).with_leader_epoch(-1),
                });
            }
            topics.push(ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions));
        }
        ListOffsetsResponse::default().with_topics(topics)
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> ListOffsetsResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|p| {
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(p.partition_index)
                    .with_error_code(code.0)
                    .with_timestamp(-1)
                    .with_offset(-1)
            });
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }
}

/// Time, offset and leader epoch; time and offset are -1 where nothing is found.
async fn find(topic: &Topic, index: i32, epoch: i32, timestamp: i64) -> Result<(i64, i64, i32), ErrorCode> {
    let partition = topic.partition(index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    check_epoch(topic, epoch)?;
    let query = match timestamp {
        LATEST => TimeQuery::Latest,
        EARLIEST | EARLIEST_LOCAL => TimeQuery::Earliest,
        LATEST_TIERED => return Ok((-1, -1, -1)),
        MAX_TIMESTAMP => TimeQuery::MaxTimestamp,
        0.. => TimeQuery::At(timestamp),
        _ => return Err(ErrorCode::UNSUPPORTED_VERSION),
    };
    let store = partition.store.clone();
    let found = blocking(move || store.offset_for_timestamp(query)).await.map_err(|e| e.code())?;
    match found {
        Ok(Some(found)) => Ok((found.timestamp, found.offset, found.leader_epoch)),
        Ok(None) => Ok((-1, -1, -1)),
        Err(error) => Err(error.code()),
    }
}

/// The client's idea of the leader epoch: an older one must refresh its metadata, a newer one knows more than we do.
pub(crate) fn check_epoch(topic: &Topic, claimed: i32) -> Result<(), ErrorCode> {
    if claimed < 0 || claimed == topic.leader_epoch {
        Ok(())
    } else if claimed < topic.leader_epoch {
        Err(ErrorCode::FENCED_LEADER_EPOCH)
    } else {
        Err(ErrorCode::UNKNOWN_LEADER_EPOCH)
    }
}
