//! ListOffsets: log start and gate from the relay; by time from a side, cut at the gate (RELAY-2).

use std::sync::Arc;

use naru_kafka::client::offsets::{ListedOffset, OffsetAt};
use naru_kafka::client::{ClientError, TopicPartition};
use naru_kafka::serve::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use naru_kafka::serve::messages::{ListOffsetsRequest, ListOffsetsResponse};
use naru_kafka::wire::ErrorCode;

use super::{check_epoch, partition, ready};
use crate::accept::Call;
use crate::accept::dispatch::Api;
use crate::partition::Shown;
use crate::relay::Relay;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// The first offset on local disk, where tiers exist; here the log start.
const EARLIEST_LOCAL: i64 = -4;
/// From this version on an answer has a leader epoch.
const EPOCH_FROM: i16 = 4;
/// The leader epoch in the headers of all batches that consumers are given.
const BATCHES_EPOCH: i32 = 0;
/// The last offset in the remote tier; here there is none.
const LATEST_TIERED: i64 = -5;

pub(crate) struct ListOffsets;

impl Api for ListOffsets {
    type Request = ListOffsetsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> ListOffsetsResponse {
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let one = ListOffsetsPartitionResponse::default()
                    .with_partition_index(asked.partition_index)
                    .with_leader_epoch(-1);
                let at = (topic.name.as_str(), asked.partition_index);
                let found = find(call.relay, at, asked.current_leader_epoch, asked.timestamp).await;
                partitions.push(match found {
                    Ok((timestamp, offset)) => {
                        // As every batch that a consumer gets here: never a broker's (RELAY-8).
                        let epoch = if offset == -1 || call.version < EPOCH_FROM { -1 } else { BATCHES_EPOCH };
                        one.with_timestamp(timestamp).with_offset(offset).with_leader_epoch(epoch)
                    }
                    Err(code) => one.with_error_code(code.0).with_timestamp(-1).with_offset(-1),
                });
            }
            topics.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        ListOffsetsResponse::default().with_topics(topics)
    }
}

/// Time and offset; -1 where nothing is found.
async fn find(relay: &Arc<Relay>, at: (&str, i32), epoch: i32, timestamp: i64) -> Result<(i64, i64), ErrorCode> {
    let partition = partition(relay, at.0, at.1)?;
    check_epoch(relay, epoch)?;
    let shown = ready(&partition)?;
    match timestamp {
        LATEST => Ok((-1, shown.view.gate)),
        EARLIEST | EARLIEST_LOCAL => Ok((-1, shown.view.log_start)),
        LATEST_TIERED => Ok((-1, -1)),
        MAX_TIMESTAMP => match by_time(relay, partition.at(), shown, OffsetAt::MaxTimestamp).await? {
            // The newest time is above the gate: which one is the newest below it is known once the gate gets there.
            Found::AboveGate => Err(ErrorCode::OFFSET_NOT_AVAILABLE),
            Found::At(timestamp, offset) => Ok((timestamp, offset)),
        },
        0.. => match by_time(relay, partition.at(), shown, OffsetAt::Time(timestamp)).await? {
            Found::AboveGate => Ok((-1, -1)),
            Found::At(timestamp, offset) => Ok((timestamp, offset)),
        },
        _ => Err(ErrorCode::UNSUPPORTED_VERSION),
    }
}

enum Found {
    AboveGate,
    At(i64, i64),
}

async fn by_time(relay: &Arc<Relay>, at: &TopicPartition, shown: Shown, place: OffsetAt) -> Result<Found, ErrorCode> {
    let mut listed: Result<ListedOffset, ClientError> =
        relay.upstreams[shown.active].control.list_offset(at, place).await;
    if let (Err(error), Some(other)) = (&listed, shown.other_in_sync()) {
        tracing::debug!(side = %shown.active, %at, %error, "asking the other side, which holds the same below the gate");
        listed = relay.upstreams[other].control.list_offset(at, place).await;
    }
    let listed = listed.map_err(|error| {
        let code = error.code();
        tracing::warn!(%at, %error, "no side says what stands at a time");
        // Not what a broker says of its leadership: the relay leads.
        code.filter(|_| !error.retry_can_help()).unwrap_or(ErrorCode::OFFSET_NOT_AVAILABLE)
    })?;
    Ok(match listed.offset {
        None => Found::At(-1, -1),
        Some(offset) if offset >= shown.view.gate => Found::AboveGate,
        Some(offset) => Found::At(listed.timestamp_ms.unwrap_or(-1), offset.max(shown.view.log_start)),
    })
}
