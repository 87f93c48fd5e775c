//! Consumer groups as an outsider sees them: committed offsets, members, removal.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use kafka_protocol::{
    messages::{
        DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, LeaveGroupRequest,
        ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest,
        describe_groups_response::DescribedGroupMember,
        leave_group_request::MemberIdentity,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch_request::OffsetFetchRequestTopic,
    },
    protocol::StrBytes,
};

use super::{
    Broker, CallOptions, Client, ClientError, TopicPartition,
    ask::{Repeat, Target},
    config::join_address,
};
use crate::wire::ErrorCode;

/// Coordinators kept in mind; beyond it all are forgotten and asked for again.
const COORDINATORS_CACHED_MAX: usize = 10_000;

/// A consumer's place in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    /// The partition.
    pub at: TopicPartition,
    /// The next offset to read.
    pub offset: i64,
    /// The epoch of the leader that wrote the record before it, if known.
    pub leader_epoch: Option<i32>,
    /// The committer's own words.
    pub metadata: Option<String>,
}

/// A group as one broker lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedGroup {
    /// The group's id.
    pub group: String,
    /// `consumer` for consumer groups; empty for a group that only commits.
    pub protocol_type: String,
    /// For example `Stable` or `Empty`; empty from brokers that do not say.
    pub state: String,
}

/// A group in detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedGroup {
    /// The group's id.
    pub group: String,
    /// For example `Stable`, `Empty` or `Dead`.
    pub state: String,
    /// `consumer` for consumer groups.
    pub protocol_type: String,
    /// The assignor in use.
    pub protocol: String,
    /// Present members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Given by the broker.
    pub member_id: String,
    /// Given by a static member itself.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// Its assignment as its client encoded it.
    pub assignment: Bytes,
}

/// Which broker coordinates which group.
#[derive(Default)]
pub(super) struct Coordinators(Mutex<HashMap<Arc<str>, Broker>>);

impl Coordinators {
    fn map(&self) -> MutexGuard<'_, HashMap<Arc<str>, Broker>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn named(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id(group: &str) -> GroupId {
    GroupId(named(group))
}

fn about(group: &str) -> String {
    format!("group {group}")
}

impl Client {
    /// The broker that coordinates a group, asked for until one is named, within the bound on attempts.
    pub async fn coordinator(&self, group: &str) -> Result<Broker, ClientError> {
        if let Some(broker) = self.shared.coordinators.map().get(group).cloned() {
            return Ok(broker);
        }
        let request = FindCoordinatorRequest::default().with_key(named(group));
        // From version 4 the request is about many groups in another shape; brokers of today know both.
        let options = CallOptions::about(about(group)).versions(0, 3);
        let broker = self
            .ask_any(&request, &options, |said, answer| {
                said.check(answer.error_code, answer.error_message.as_ref())?;
                let address = Arc::from(join_address(&answer.host, answer.port));
                Ok(Broker { address, node_id: Some(answer.node_id.0) })
            })
            .await?;
        let mut known = self.shared.coordinators.map();
        if known.len() >= COORDINATORS_CACHED_MAX {
            known.clear();
        }
        known.insert(Arc::from(group), broker.clone());
        Ok(broker)
    }

    /// Makes the next use of a group ask for its coordinator again.
    pub fn forget_coordinator(&self, group: &str) {
        self.shared.coordinators.map().remove(group);
    }

    /// Commits offsets without being a member ("simple" commit): works only while the group has no members. A commit
    /// whose outcome is unknown is not sent again: one that arrives late overwrites a newer one. `retention` keeps the
    /// offsets that long instead of the broker's own rule.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &[GroupOffset],
        retention: Option<Duration>,
    ) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for offset in offsets {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(offset.at.partition)
                .with_committed_offset(offset.offset)
                // Version 2, the one with a retention, has no place for it.
                .with_committed_leader_epoch(offset.leader_epoch.filter(|_| retention.is_none()).unwrap_or(-1))
                .with_committed_metadata(Some(named(offset.metadata.as_deref().unwrap_or_default())));
            topics.entry(&offset.at.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetCommitRequestTopic::default().with_name(named(topic).into()).with_partitions(partitions)
        });
        let retention_ms = retention.map_or(-1, |retention| i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id_or_member_epoch(-1)
            .with_retention_time_ms(retention_ms)
            .with_topics(topics.collect());
        let mut options = CallOptions::about(about(group));
        if retention.is_some() {
            options = options.versions(2, 2);
        }
        self.ask(Target::Coordinator(group), Repeat::IfNotDone, &request, &options, |said, answer| {
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    said.about(format_args!("group {group}, {at}")).check(partition.error_code, None)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Committed offsets: of the given partitions, or (`None`) all that the group has. A partition without a committed
    /// offset is left out.
    pub async fn committed_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Vec<GroupOffset>, ClientError> {
        let topics = partitions.map(|partitions| {
            let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
            for at in partitions {
                topics.entry(&at.topic).or_default().push(at.partition);
            }
            let topic = |(topic, partitions)| {
                OffsetFetchRequestTopic::default().with_name(named(topic).into()).with_partition_indexes(partitions)
            };
            topics.into_iter().map(topic).collect()
        });
        let request = OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(topics);
        // From version 8 the request is about many groups in another shape; version 2 is the first that can ask for all.
        let options = CallOptions::about(about(group)).versions(2, 7);
        self.ask(Target::Coordinator(group), Repeat::Freely, &request, &options, |said, answer| {
            said.check(answer.error_code, None)?;
            let mut offsets = Vec::new();
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    said.about(format_args!("group {group}, {at}")).check(partition.error_code, None)?;
                    if partition.committed_offset >= 0 {
                        let epoch = partition.committed_leader_epoch;
                        offsets.push(GroupOffset {
                            at,
                            offset: partition.committed_offset,
                            leader_epoch: (epoch >= 0).then_some(epoch),
                            metadata: partition.metadata.as_ref().map(|text| text.to_string()),
                        });
                    }
                }
            }
            Ok(offsets)
        })
        .await
    }

    /// Every group of the cluster, once: each broker lists those that it coordinates.
    pub async fn list_groups(&self) -> Result<Vec<ListedGroup>, ClientError> {
        let brokers = self.metadata(Some(&[])).await?.brokers;
        let mut groups = BTreeSet::new();
        for broker in brokers {
            let (target, request) = (Target::Broker(&broker), ListGroupsRequest::default());
            let answer = self
                .ask(target, Repeat::Freely, &request, &CallOptions::default(), |said, answer| {
                    said.check(answer.error_code, None).map(|()| answer)
                })
                .await?;
            groups.extend(answer.groups.into_iter().map(|group| ListedGroup {
                group: group.group_id.to_string(),
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
            }));
        }
        Ok(groups.into_iter().collect())
    }

    /// One group in detail. A group that does not exist is `Dead` and empty, not an error (error 69 from brokers that
    /// answer with it).
    pub async fn describe_group(&self, group: &str) -> Result<DescribedGroup, ClientError> {
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
        let options = CallOptions::about(about(group));
        self.ask(Target::Coordinator(group), Repeat::Freely, &request, &options, |said, mut answer| {
            let found = answer.groups.pop().ok_or_else(|| said.lacks("this group"))?;
            said.check(found.error_code, found.error_message.as_ref())?;
            let member = |member: DescribedGroupMember| GroupMember {
                member_id: member.member_id.to_string(),
                instance_id: member.group_instance_id.map(|id| id.to_string()),
                client_id: member.client_id.to_string(),
                client_host: member.client_host.to_string(),
                assignment: member.member_assignment,
            };
            Ok(DescribedGroup {
                group: found.group_id.to_string(),
                state: found.group_state.to_string(),
                protocol_type: found.protocol_type.to_string(),
                protocol: found.protocol_data.to_string(),
                members: found.members.into_iter().map(member).collect(),
            })
        })
        .await
    }

    /// Deletes an idle group and its offsets.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
        let options = CallOptions::about(about(group));
        self.ask(Target::Coordinator(group), Repeat::IfNotDone, &request, &options, |said, answer| {
            let result = answer.results.first().ok_or_else(|| said.lacks("this group"))?;
            said.check(result.error_code, None)
        })
        .await
    }

    /// Removes members, so that the group becomes idle and simple commits work. A member that is gone already counts
    /// as removed.
    pub async fn remove_members(&self, group: &str, members: &[GroupMember]) -> Result<(), ClientError> {
        if members.is_empty() {
            return Ok(());
        }
        let identity = |member: &GroupMember| {
            MemberIdentity::default()
                .with_member_id(named(&member.member_id))
                .with_group_instance_id(member.instance_id.as_deref().map(named))
        };
        let request = LeaveGroupRequest::default()
            .with_group_id(group_id(group))
            .with_members(members.iter().map(identity).collect());
        // Version 3 is the first that is about others than the sender.
        let options = CallOptions { version_min: Some(3), ..CallOptions::about(about(group)) };
        self.ask(Target::Coordinator(group), Repeat::Freely, &request, &options, |said, answer| {
            let codes = std::iter::once(answer.error_code).chain(answer.members.iter().map(|member| member.error_code));
            let gone = ErrorCode::UNKNOWN_MEMBER_ID.0;
            { codes }.try_for_each(|code| if code == gone { Ok(()) } else { said.check(code, None) })
        })
        .await
    }
}
