//! Where a partition begins and ends, and what stands at a time or an epoch.

use std::collections::HashMap;

use kafka_protocol::{
    messages::{
        BrokerId, ListOffsetsRequest, OffsetForLeaderEpochRequest,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    protocol::StrBytes,
};

use super::{Asked, CallOptions, Client, ClientError, Connection, TopicPartition, leaders::by_topic};
use crate::wire::{ApiKey, ErrorCode};

/// A place in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetAt {
    /// The log start: the first offset that can be read.
    Earliest,
    /// The log end as consumers see it: the high watermark.
    Latest,
    /// The record with the largest timestamp (brokers since 3.0).
    MaxTimestamp,
    /// The first record whose timestamp is this or later, in milliseconds since 1970.
    Time(i64),
}

impl OffsetAt {
    fn on_the_wire(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
            Self::MaxTimestamp => -3,
            Self::Time(timestamp_ms) => timestamp_ms,
        }
    }
}

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` if no record is that late.
    pub offset: Option<i64>,
    /// The record's timestamp in milliseconds, where a record was looked for.
    pub timestamp_ms: Option<i64>,
    /// The epoch of the leader that wrote the record; `None` if the broker does not say.
    pub leader_epoch: Option<i32>,
}

/// The end of an epoch of a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch not above the one asked for that the leader knows; `None` if it knows none.
    pub leader_epoch: Option<i32>,
    /// The offset after that epoch's last record; `None` as above.
    pub end_offset: Option<i64>,
}

fn known<T: PartialOrd + Default>(number: T) -> Option<T> {
    (number >= T::default()).then_some(number)
}

impl Client {
    /// One place in one partition.
    pub async fn list_offset(&self, at: &TopicPartition, place: OffsetAt) -> Result<ListedOffset, ClientError> {
        self.list_offsets(&[(at.clone(), place)]).await.pop().expect("one asked for, one answered")
    }

    /// Places in partitions, answered in the order asked. A partition that is not there is its own error.
    pub async fn list_offsets(&self, asked: &[(TopicPartition, OffsetAt)]) -> Vec<Result<ListedOffset, ClientError>> {
        let partitions: Vec<_> = asked.iter().map(|(partition, _)| partition.clone()).collect();
        self.on_leaders(&partitions, async |connection, indexes| {
            let topics = by_topic(&partitions, &indexes, |topic, indexes| {
                let partition = |index: &&usize| {
                    let (at, place) = &asked[**index];
                    ListOffsetsPartition::default()
                        .with_partition_index(at.partition)
                        .with_current_leader_epoch(-1)
                        .with_timestamp(place.on_the_wire())
                };
                ListOffsetsTopic::default()
                    .with_name(StrBytes::from_string(topic.to_owned()).into())
                    .with_partitions(indexes.iter().map(partition).collect())
            });
            let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
            // Version 7 is the first that knows the largest timestamp.
            let newest = indexes.iter().any(|index| asked[*index].1 == OffsetAt::MaxTimestamp);
            let options = CallOptions { version_min: newest.then_some(7), ..CallOptions::default() };
            let answer = connection.call_with(&request, &options).await?;
            let mut found = HashMap::new();
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    found.insert((topic.name.as_str(), partition.partition_index), partition);
                }
            }
            Ok(answers(&connection, ApiKey::ListOffsets, &partitions, &indexes, |at| {
                let partition = found.get(&(&*at.topic, at.partition))?;
                let listed = ListedOffset {
                    offset: known(partition.offset),
                    timestamp_ms: known(partition.timestamp),
                    leader_epoch: known(partition.leader_epoch),
                };
                Some((ErrorCode(partition.error_code), None, listed))
            }))
        })
        .await
    }

    /// Where an epoch of a leader ended, to find out whether two logs are the same up to there.
    pub async fn offset_for_leader_epoch(
        &self,
        at: &TopicPartition,
        leader_epoch: i32,
    ) -> Result<EpochEnd, ClientError> {
        let partitions = [at.clone()];
        let mut ends = self
            .on_leaders(&partitions, async |connection, indexes| {
                let partition = OffsetForLeaderPartition::default()
                    .with_partition(at.partition)
                    .with_current_leader_epoch(-1)
                    .with_leader_epoch(leader_epoch);
                let topic = OffsetForLeaderTopic::default()
                    .with_topic(StrBytes::from_string(at.topic.to_string()).into())
                    .with_partitions(vec![partition]);
                // -1: a consumer, which version 2 cannot say and means.
                let request =
                    OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
                let answer = connection.call_with(&request, &CallOptions::about(at)).await?;
                let found = answer
                    .topics
                    .iter()
                    .filter(|topic| topic.topic.as_str() == &*at.topic)
                    .flat_map(|topic| &topic.partitions)
                    .find(|end| end.partition == at.partition);
                Ok(answers(&connection, ApiKey::OffsetForLeaderEpoch, &partitions, &indexes, |_| {
                    let end = found?;
                    let known = EpochEnd { leader_epoch: known(end.leader_epoch), end_offset: known(end.end_offset) };
                    Some((ErrorCode(end.error_code), None, known))
                }))
            })
            .await;
        ends.pop().expect("one asked for, one answered")
    }
}

/// One result per partition asked for: what `find` knows about it, its error code, or that the answer lacks it.
pub(super) fn answers<T>(
    connection: &Connection,
    api: ApiKey,
    partitions: &[TopicPartition],
    indexes: &[usize],
    find: impl Fn(&TopicPartition) -> Option<(ErrorCode, Option<StrBytes>, T)>,
) -> Vec<Result<T, ClientError>> {
    let one = |index: &usize| {
        let at = &partitions[*index];
        let asked = || Asked::about(api, at);
        match find(at) {
            None => Err(connection.incomplete(asked(), "this partition")),
            Some((ErrorCode::NONE, _, value)) => Ok(value),
            Some((code, message, _)) => Err(connection.answered_error(asked(), code, message.as_ref())),
        }
    };
    indexes.iter().map(one).collect()
}
