//! Where a partition begins and ends, and what stands at a time or an epoch.

use kafka_protocol::{
    messages::{
        BrokerId, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    protocol::StrBytes,
};

use super::{CallOptions, Client, ClientError, TopicPartition, leaders::by_topic};

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

    /// Places in partitions, each partition once (an answer names it once), answered in the order asked. A partition that
    /// is not there is its own error.
    pub async fn list_offsets(&self, asked: &[(TopicPartition, OffsetAt)]) -> Vec<Result<ListedOffset, ClientError>> {
        let partitions: Vec<_> = asked.iter().map(|(partition, _)| partition.clone()).collect();
        let make = |places: &[usize]| {
            let topics = by_topic(&partitions, places, |topic, places| {
                let partition = |place: &usize| {
                    let (at, place) = &asked[*place];
                    ListOffsetsPartition::default()
                        .with_partition_index(at.partition)
                        .with_current_leader_epoch(-1)
                        .with_timestamp(place.on_the_wire())
                };
                ListOffsetsTopic::default()
                    .with_name(StrBytes::from_string(topic.to_owned()).into())
                    .with_partitions(places.iter().map(partition).collect())
            });
            // -1: a consumer.
            ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics)
        };
        // Version 7 is the first that knows the largest timestamp.
        let newest = asked.iter().any(|(_, place)| *place == OffsetAt::MaxTimestamp);
        let options = CallOptions { version_min: newest.then_some(7), ..CallOptions::default() };
        self.ask_leaders(&partitions, &options, make, |answer: &ListOffsetsResponse, at| {
            let topics = answer.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
            let (_, found) = { topics }.find(|(topic, p)| at.is(&topic.name, p.partition_index))?;
            let listed = ListedOffset {
                offset: known(found.offset),
                timestamp_ms: known(found.timestamp),
                leader_epoch: known(found.leader_epoch),
            };
            Some((found.error_code, listed))
        })
        .await
    }

    /// Where an epoch of a leader ended, to find out whether two logs are the same up to there.
    pub async fn offset_for_leader_epoch(
        &self,
        at: &TopicPartition,
        leader_epoch: i32,
    ) -> Result<EpochEnd, ClientError> {
        let make = || {
            let partition = OffsetForLeaderPartition::default()
                .with_partition(at.partition)
                .with_current_leader_epoch(-1)
                .with_leader_epoch(leader_epoch);
            let topic = OffsetForLeaderTopic::default()
                .with_topic(StrBytes::from_string(at.topic.to_string()).into())
                .with_partitions(vec![partition]);
            // -1: a consumer, which version 2 cannot say and means.
            OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
        };
        self.ask_leader(at, &CallOptions::default(), make, |answer: &OffsetForLeaderEpochResponse, at| {
            let topics = answer.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
            let (_, found) = { topics }.find(|(topic, p)| at.is(&topic.topic, p.partition))?;
            let end = EpochEnd { leader_epoch: known(found.leader_epoch), end_offset: known(found.end_offset) };
            Some((found.error_code, end))
        })
        .await
    }
}
