//! OffsetForLeaderEpoch: all records are of epoch 0, which ends at the gate, whatever the brokers' epochs are (RELAY-8).

use naru_kafka::serve::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use naru_kafka::serve::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use naru_kafka::wire::ErrorCode;

use super::{check_epoch, partition, ready};
use crate::accept::Call;
use crate::accept::dispatch::Api;

pub(crate) struct OffsetForLeaderEpoch;

impl Api for OffsetForLeaderEpoch {
    type Request = OffsetForLeaderEpochRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> OffsetForLeaderEpochResponse {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let one = EpochEndOffset::default().with_partition(asked.partition);
                let at = (topic.topic.as_str(), asked.partition);
                match find(call, at, asked.current_leader_epoch, asked.leader_epoch) {
                    Ok((epoch, end)) => one.with_leader_epoch(epoch).with_end_offset(end),
                    Err(code) => one.with_error_code(code.0).with_leader_epoch(-1).with_end_offset(-1),
                }
            });
            let partitions = partitions.collect();
            OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }
}

fn find(call: &Call<'_>, at: (&str, i32), current: i32, asked: i32) -> Result<(i32, i64), ErrorCode> {
    let partition = partition(call.relay, at.0, at.1)?;
    check_epoch(call.relay, current)?;
    let shown = ready(&partition)?;
    // Kafka's answer for an epoch that the leader does not know.
    Ok(if (0..=call.relay.epoch).contains(&asked) { (0, shown.view.gate) } else { (-1, -1) })
}
