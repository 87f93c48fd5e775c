//! What a group's machine orders, carried out at a side.

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_kafka::client::groups::GroupOffset;
use naru_kafka::client::{CallOptions, Client, ClientError, Connection, Lane, TopicPartition};
use naru_kafka::serve::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use naru_kafka::serve::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use naru_kafka::serve::messages::{GroupId, OffsetCommitRequest, OffsetDeleteRequest, Request, TopicName};
use naru_kafka::wire::{ErrorCode, StrBytes};

use super::RETENTION;
use crate::offsets::{Changes, Failed, Offsets, Position};
use crate::side::{Side, SideMap};
use crate::upstream::Recognised;

type Codes = Vec<(TopicPartition, ErrorCode)>;

/// A client's own request, as the active side gets it.
#[derive(Debug)]
pub(super) enum Job {
    /// With the member and the generation of the client.
    Commit {
        /// What it sent.
        request: Box<OffsetCommitRequest>,
        /// Whether its membership may have been lost by a takeover, and not by its own fault.
        orphaned: bool,
    },
    /// Of these partitions.
    Delete(OffsetDeleteRequest),
    /// Of the whole group.
    DeleteGroup(Vec<TopicPartition>),
}

/// The ways to both sides. A cluster that is not known to be the side's is asked for nothing and told nothing.
#[derive(Debug, Clone)]
pub(super) struct Sides(Arc<SideMap<(Client, Recognised)>>);

fn failed(error: &ClientError) -> Failed {
    if error.outcome_unknown() {
        return Failed::Unknown;
    }
    match error.code() {
        Some(code) => Failed::Refused(code),
        None => Failed::NotSent,
    }
}

/// A connection to a group's coordinator, shared with other requests that are answered at once.
pub(super) async fn coordinator(client: &Client, group: &str) -> Result<Connection, ClientError> {
    let broker = client.coordinator(group).await?;
    client.connection(&broker, Lane::Group).await
}

/// Codes after which the coordinator is somewhere else, or nowhere yet.
pub(super) fn has_moved(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
    )
}

/// One request to a group's coordinator, in a version within these bounds. Not sent twice.
pub(super) async fn ask<R: Request>(
    client: &Client,
    group: &str,
    request: &R,
    versions: (i16, i16),
) -> Result<R::Response, ClientError> {
    let options = CallOptions::about(format_args!("group {group}")).versions(versions.0, versions.1);
    let answer = async { coordinator(client, group).await?.call_with(request, &options).await }.await;
    if answer.is_err() {
        client.forget_coordinator(group);
    }
    answer
}

impl Sides {
    pub(super) fn new(clients: SideMap<Client>, recognised: SideMap<Recognised>) -> Self {
        Self(Arc::new(SideMap::from_fn(|side| (clients[side].clone(), recognised[side].clone()))))
    }

    pub(super) fn client(&self, side: Side) -> &Client {
        &self.0[side].0
    }

    pub(super) fn is_recognised(&self, side: Side) -> bool {
        self.0[side].1.get()
    }

    fn recognised(&self, side: Side) -> Result<&Client, Failed> {
        if self.is_recognised(side) { Ok(self.client(side)) } else { Err(Failed::NotSent) }
    }

    /// What the side answered, and the generation of the member whose commit it took, if it knew that member.
    pub(super) async fn forward(&self, side: Side, group: &str, job: Job) -> (Result<Codes, Failed>, Option<i32>) {
        let client = match self.recognised(side) {
            Ok(client) => client,
            Err(failed) => return (Err(failed), None),
        };
        let mut by_member_of = None;
        let outcome = match job {
            Job::Commit { request, orphaned } => {
                forward_commit(client, group, *request, orphaned, &mut by_member_of).await
            }
            Job::Delete(request) => delete(client, group, &request).await,
            Job::DeleteGroup(places) => {
                let deleted = client.delete_group(group).await.map_err(|error| failed(&error));
                deleted.map(|()| places.into_iter().map(|place| (place, ErrorCode::NONE)).collect())
            }
        };
        if let Ok(codes) = &outcome
            && codes.iter().any(|(_, code)| has_moved(*code))
        {
            client.forget_coordinator(group);
        }
        (outcome, by_member_of)
    }

    pub(super) async fn write(&self, side: Side, group: &str, changes: Changes) -> Result<Codes, Failed> {
        let client = self.recognised(side)?;
        let places: Vec<_> = changes.keys().cloned().collect();
        if changes.values().any(Option::is_none) {
            return match delete(client, group, &delete_request(group, &places)).await {
                // A group that is not there has no offsets.
                Err(Failed::Refused(ErrorCode::GROUP_ID_NOT_FOUND)) => {
                    Ok(places.into_iter().map(|place| (place, ErrorCode::NONE)).collect())
                }
                other => other,
            };
        }
        commit(client, group, &commit_request(group, &changes), (2, 2)).await
    }

    pub(super) async fn read(&self, side: Side, group: &str) -> Result<Offsets, Failed> {
        let found = self.recognised(side)?.committed_offsets(group, None).await.map_err(|error| failed(&error))?;
        let position = |found: GroupOffset| {
            (found.at, Position { offset: found.offset, metadata: found.metadata.unwrap_or_default().into() })
        };
        Ok(found.into_iter().map(position).collect())
    }

    pub(super) async fn remove_members(&self, side: Side, group: &str) -> Result<(), Failed> {
        let client = self.recognised(side)?;
        let described = match client.describe_group(group).await {
            Ok(described) => described,
            Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => return Ok(()),
            Err(error) => return Err(failed(&error)),
        };
        client.remove_members(group, &described.members).await.map_err(|error| failed(&error))
    }
}

/// A member's commit. After a takeover the side that is active now knows none of the members: as long as none has
/// joined there, what they had done is taken all the same, so that nobody has to do it again. The broker itself refuses
/// that as soon as somebody has joined.
async fn forward_commit(
    client: &Client,
    group: &str,
    mut request: OffsetCommitRequest,
    orphaned: bool,
    by_member_of: &mut Option<i32>,
) -> Result<Codes, Failed> {
    // Without topic ids, which are the relay's own and mean nothing to a side.
    const VERSIONS: (i16, i16) = (3, 9);
    let answer = commit(client, group, &request, VERSIONS).await;
    let is_unknown = match &answer {
        Ok(codes) => codes.iter().all(|(_, code)| *code == ErrorCode::UNKNOWN_MEMBER_ID),
        Err(failed) => *failed == Failed::Refused(ErrorCode::UNKNOWN_MEMBER_ID),
    };
    let generation = request.generation_id_or_member_epoch;
    if answer.as_ref().is_ok_and(|codes| codes.iter().any(|(_, code)| code.is_ok())) {
        *by_member_of = Some(generation).filter(|generation| *generation >= 0);
    }
    if !orphaned || !is_unknown || generation < 0 {
        return answer;
    }
    request.generation_id_or_member_epoch = -1;
    request.member_id = StrBytes::default();
    request.group_instance_id = None;
    commit(client, group, &request, VERSIONS).await
}

async fn commit(
    client: &Client,
    group: &str,
    request: &OffsetCommitRequest,
    versions: (i16, i16),
) -> Result<Codes, Failed> {
    let answer = ask(client, group, request, versions).await.map_err(|error| failed(&error))?;
    let mut codes = Codes::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
            codes.push((at, ErrorCode(partition.error_code)));
        }
    }
    Ok(codes)
}

async fn delete(client: &Client, group: &str, request: &OffsetDeleteRequest) -> Result<Codes, Failed> {
    let answer = ask(client, group, request, (0, 0)).await.map_err(|error| failed(&error))?;
    if answer.error_code != 0 {
        return Err(Failed::Refused(ErrorCode(answer.error_code)));
    }
    let mut codes = Codes::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
            codes.push((at, ErrorCode(partition.error_code)));
        }
    }
    Ok(codes)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A simple commit: without a member, and with a retention of its own, which version 2 alone has.
fn commit_request(group: &str, changes: &Changes) -> OffsetCommitRequest {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (place, position) in changes.iter().filter_map(|(place, position)| Some((place, position.as_ref()?))) {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(place.partition)
            .with_committed_offset(position.offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text(&position.metadata)));
        topics.entry(&place.topic).or_default().push(partition);
    }
    let topic = |(name, partitions)| {
        OffsetCommitRequestTopic::default().with_name(TopicName(text(name))).with_partitions(partitions)
    };
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_retention_time_ms(i64::try_from(RETENTION.as_millis()).unwrap_or(i64::MAX))
        .with_topics(topics.into_iter().map(topic).collect())
}

fn delete_request(group: &str, places: &[TopicPartition]) -> OffsetDeleteRequest {
    let mut topics: BTreeMap<&str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
    for place in places {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(place.partition);
        topics.entry(&place.topic).or_default().push(partition);
    }
    let topic = |(name, partitions)| {
        OffsetDeleteRequestTopic::default().with_name(TopicName(text(name))).with_partitions(partitions)
    };
    OffsetDeleteRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(topics.into_iter().map(topic).collect())
}
