//! OffsetFetch: from the active side, which holds all that was acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use naru_kafka::client::TopicPartition;
use naru_kafka::client::groups::GroupOffset;
use naru_kafka::serve::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use naru_kafka::serve::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use naru_kafka::wire::{ErrorCode, StrBytes};

use super::{check_ready, mirror, of_active};
use crate::accept::Call;
use crate::accept::api::text;
use crate::accept::dispatch::Api;
use crate::config::Mode;
use crate::relay::Relay;

/// From this version on one request is about many groups.
const GROUPS_FROM: i16 = 8;
/// Before it there is no error of the whole answer.
const ERROR_FROM: i16 = 2;

pub(crate) struct OffsetFetch;

type Asked = Option<Vec<(StrBytes, Vec<i32>)>>;

/// An offset with the committer's words; -1 if there is none.
struct Place {
    partition: i32,
    offset: i64,
    metadata: StrBytes,
}

type Found = Vec<(StrBytes, Vec<Place>)>;

impl Api for OffsetFetch {
    type Request = OffsetFetchRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> OffsetFetchResponse {
        if call.version < GROUPS_FROM {
            let topics = request.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name.0, topic.partition_indexes)).collect::<Vec<_>>()
            });
            // Version 1 asks for everything by no means: an empty list is an empty list.
            let found = fetch(call.relay, &request.group_id, topics.clone()).await;
            return single(call.version, topics, found);
        }
        let mut groups = Vec::with_capacity(request.groups.len());
        for asked in request.groups {
            let topics = asked.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name.0, topic.partition_indexes)).collect::<Vec<_>>()
            });
            let found = fetch(call.relay, &asked.group_id, topics).await;
            let answer = OffsetFetchResponseGroup::default().with_group_id(asked.group_id);
            groups.push(match found {
                Ok(found) => answer.with_topics(found.into_iter().map(plural).collect()),
                Err(code) => answer.with_error_code(code.0),
            });
        }
        OffsetFetchResponse::default().with_groups(groups)
    }
}

fn single(version: i16, asked: Asked, found: Result<Found, ErrorCode>) -> OffsetFetchResponse {
    let topic = |(name, partitions): (StrBytes, Vec<OffsetFetchResponsePartition>)| {
        OffsetFetchResponseTopic::default().with_name(TopicName(name)).with_partitions(partitions)
    };
    let partition = |place: Place| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(place.partition)
            .with_committed_offset(place.offset)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(place.metadata))
    };
    match found {
        Ok(found) => {
            let all = |(name, places): (_, Vec<_>)| topic((name, places.into_iter().map(partition).collect()));
            OffsetFetchResponse::default().with_topics(found.into_iter().map(all).collect())
        }
        Err(code) if version >= ERROR_FROM => OffsetFetchResponse::default().with_error_code(code.0),
        Err(code) => {
            let place = |index| {
                partition(Place { partition: index, offset: -1, metadata: StrBytes::default() }).with_error_code(code.0)
            };
            let all = |(name, indexes): (_, Vec<i32>)| topic((name, indexes.into_iter().map(place).collect()));
            let topics = asked.unwrap_or_default().into_iter().map(all).collect();
            OffsetFetchResponse::default().with_topics(topics)
        }
    }
}

fn plural((name, places): (StrBytes, Vec<Place>)) -> OffsetFetchResponseTopics {
    let partition = |place: Place| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(place.partition)
            .with_committed_offset(place.offset)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(place.metadata))
    };
    OffsetFetchResponseTopics::default()
        .with_name(TopicName(name))
        .with_partitions(places.into_iter().map(partition).collect())
}

async fn fetch(relay: &Arc<Relay>, group: &str, asked: Asked) -> Result<Found, ErrorCode> {
    let mirror = mirror(relay, group);
    check_ready(mirror, group)?;
    let partitions = asked.as_ref().map(|asked| {
        let places = asked.iter().flat_map(|(topic, indexes)| {
            let topic: Arc<str> = Arc::from(topic.as_str());
            indexes.iter().map(move |index| TopicPartition::new(Arc::clone(&topic), *index))
        });
        places.collect::<Vec<_>>()
    });
    let offsets = of_active(mirror, |side| {
        let client = mirror.client(side).clone();
        async move { client.committed_offsets(group, partitions.as_deref()).await }
    });
    let mut offsets: HashMap<_, _> = offsets.await?.into_iter().map(|found| (found.at.clone(), found)).collect();
    let Some(asked) = asked else {
        let mut topics: BTreeMap<Arc<str>, Vec<Place>> = BTreeMap::new();
        for (at, found) in offsets {
            topics.entry(Arc::clone(&at.topic)).or_default().push(place(relay, at.partition, Some(found))?);
        }
        return Ok(topics.into_iter().map(|(topic, places)| (text(topic.to_string()), places)).collect());
    };
    let found = asked.into_iter().map(|(topic, indexes)| {
        let places = indexes.into_iter().map(|index| {
            let found = offsets.remove(&TopicPartition::new(topic.as_str(), index));
            place(relay, index, found)
        });
        let places = places.collect::<Result<_, _>>()?;
        Ok((topic, places))
    });
    found.collect()
}

fn place(relay: &Relay, partition: i32, found: Option<GroupOffset>) -> Result<Place, ErrorCode> {
    let Some(found) = found else { return Ok(Place { partition, offset: -1, metadata: StrBytes::default() }) };
    let mut offset = found.offset;
    // A topic that follows may have lost its end in a takeover: nobody goes on beyond it, and nobody begins before it is
    // known.
    if let Some(topic) = relay.served.get(&found.at.topic)
        && relay.group_of_topic(&found.at.topic).config.mode == Mode::Async
        && let Some(view) = topic.partition(partition).map(|partition| partition.shown().view)
    {
        if !view.ready {
            return Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
        }
        offset = offset.min(view.gate);
    }
    Ok(Place { partition, offset, metadata: text(found.metadata.unwrap_or_default()) })
}
