//! OffsetForLeaderEpoch: where an epoch ended.

use std::sync::Arc;

use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::Api;
use super::list_offsets::check_epoch;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::standin::server::topics::Topic;
use crate::wire::ErrorCode;

pub(crate) struct OffsetForLeaderEpoch;

impl Api for OffsetForLeaderEpoch {
    type Request = OffsetForLeaderEpochRequest;

    async fn answer(broker: &Arc<Broker>, _: &Caller, request: Self::Request) -> OffsetForLeaderEpochResponse {
        let topics = request.topics.into_iter().map(|topic| {
            let live = broker.topics.get(topic.topic.as_str());
            let partitions = topic.partitions.iter().map(|asked| {
                let one = EpochEndOffset::default().with_partition(asked.partition);
                match find(live.as_deref(), asked.partition, asked.current_leader_epoch, asked.leader_epoch) {
                    Ok((epoch, end)) => one.with_leader_epoch(epoch).with_end_offset(end),
                    Err(code) => one.with_error_code(code.0),
                }
            });
            let partitions = partitions.collect();
            OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> OffsetForLeaderEpochResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|p| EpochEndOffset::default().with_partition(p.partition).with_error_code(code.0));
            OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }
}

fn find(topic: Option<&Topic>, index: i32, current: i32, asked: i32) -> Result<(i32, i64), ErrorCode> {
    let topic = topic.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = topic.partition(index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    check_epoch(topic, current)?;
    // The epoch of now ends at the log's end, also when nothing was written in it yet.
    if asked == topic.leader_epoch {
        return Ok((asked, partition.store.high_watermark()));
    }
    let end = partition.store.offset_for_leader_epoch(asked);
    Ok((end.leader_epoch, end.end_offset))
}
