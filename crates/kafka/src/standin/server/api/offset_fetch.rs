//! OffsetFetch: one group, or from version 8 several.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};

use super::{Api, once, once_each, text};
use crate::standin::groups::offsets::Committed;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::ErrorCode;

/// From this version on several groups are asked for at once.
const BATCHED_FROM: i16 = 8;

/// Topics with the partitions asked for; none asks for all there are.
type Asked = Option<Vec<(TopicName, Vec<i32>)>>;
type Found = Vec<(TopicName, Vec<(i32, Option<Committed>)>)>;

pub(crate) struct OffsetFetch;

impl Api for OffsetFetch {
    type Request = OffsetFetchRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> OffsetFetchResponse {
        // Nothing is ever unstable here: `require_stable` asks about transactions.
        if caller.version < BATCHED_FROM {
            let asked: Asked =
                request.topics.map(|topics| once_each(topics.into_iter().map(|t| (t.name, t.partition_indexes))));
            let topics = find(broker, &request.group_id, asked).into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(index, committed)| {
                    let (offset, epoch, metadata) = parts(committed);
                    OffsetFetchResponsePartition::default()
                        .with_partition_index(index)
                        .with_committed_offset(offset)
                        .with_committed_leader_epoch(epoch)
                        .with_metadata(Some(text(metadata)))
                });
                OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
            });
            return OffsetFetchResponse::default().with_topics(topics.collect());
        }
        let groups =
            once(request.groups, |group| (group.group_id.clone(), group.topics.is_none())).into_iter().map(|group| {
                let asked: Asked =
                    group.topics.map(|topics| once_each(topics.into_iter().map(|t| (t.name, t.partition_indexes))));
                let topics = find(broker, &group.group_id, asked).into_iter().map(|(name, partitions)| {
                    let partitions = partitions.into_iter().map(|(index, committed)| {
                        let (offset, epoch, metadata) = parts(committed);
                        OffsetFetchResponsePartitions::default()
                            .with_partition_index(index)
                            .with_committed_offset(offset)
                            .with_committed_leader_epoch(epoch)
                            .with_metadata(Some(text(metadata)))
                    });
                    OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
                });
                OffsetFetchResponseGroup::default().with_group_id(group.group_id).with_topics(topics.collect())
            });
        OffsetFetchResponse::default().with_groups(groups.collect())
    }

    fn refuse(caller: &Caller, request: &Self::Request, code: ErrorCode) -> OffsetFetchResponse {
        if caller.version >= BATCHED_FROM {
            let groups = request.groups.iter().map(|group| {
                OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_error_code(code.0)
            });
            return OffsetFetchResponse::default().with_groups(groups.collect());
        }
        // Version 1 has no code for the whole: the partitions carry it.
        let topics = request.topics.iter().flatten().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(*index)
                    .with_committed_offset(-1)
                    .with_metadata(Some(text("")))
                    .with_error_code(code.0)
            });
            OffsetFetchResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        OffsetFetchResponse::default().with_error_code(code.0).with_topics(topics.collect())
    }
}

fn parts(committed: Option<Committed>) -> (i64, i32, String) {
    committed.map_or((-1, -1, String::new()), |c| (c.offset, c.leader_epoch, c.metadata))
}

fn find(broker: &Broker, group: &str, asked: Asked) -> Found {
    let looked = broker.coordinator.look(group, |entry| match &asked {
        Some(asked) => asked
            .iter()
            .map(|(topic, partitions)| {
                let find = |index: &i32| (*index, entry.offsets.get(&(topic.as_str().to_owned(), *index)).cloned());
                (topic.clone(), partitions.iter().map(find).collect())
            })
            .collect(),
        None => {
            let mut all: BTreeMap<&str, Vec<(i32, Option<Committed>)>> = BTreeMap::new();
            for ((topic, partition), committed) in &entry.offsets {
                all.entry(topic).or_default().push((*partition, Some(committed.clone())));
            }
            all.into_iter().map(|(topic, found)| (TopicName(text(topic)), found)).collect()
        }
    });
    looked.unwrap_or_else(|| {
        let nothing = |(topic, partitions): (TopicName, Vec<i32>)| {
            (topic, partitions.into_iter().map(|index| (index, None)).collect())
        };
        asked.unwrap_or_default().into_iter().map(nothing).collect()
    })
}
