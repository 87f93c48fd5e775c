//! Requests about consumer groups.

use naru_kafka::serve::messages::delete_groups_response::DeletableGroupResult;
use naru_kafka::serve::messages::describe_groups_response::DescribedGroup;
use naru_kafka::serve::messages::find_coordinator_response::Coordinator;
use naru_kafka::serve::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use naru_kafka::serve::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use naru_kafka::serve::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use naru_kafka::serve::messages::{
    BrokerId, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, ListGroupsRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
};

use super::{Asking, GROUP_DENIED, Permitted, Restore, TOPIC_DENIED, split};
use crate::accept::api::{OPERATIONS_NOT_ASKED, text};
use crate::security::Operation::{Delete, Describe, Read};

/// FindCoordinator is about consumer groups with this type of key.
const GROUP: i8 = 0;
/// From this version on FindCoordinator is about many keys.
const KEYS_FROM: i16 = 4;
/// From this version on OffsetFetch is about many groups.
const GROUPS_FROM: i16 = 8;
/// Before this version OffsetFetch has no error of the whole answer.
const ERROR_FROM: i16 = 2;

impl Permitted for FindCoordinatorRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        if self.key_type != GROUP {
            return None;
        }
        if asking.version < KEYS_FROM {
            if asking.group(Describe, &self.key) {
                return None;
            }
            return Some(Box::new(|answer| {
                (answer.error_code, answer.error_message) = (GROUP_DENIED, None);
                (answer.node_id, answer.host, answer.port) = (BrokerId(-1), text(""), -1);
            }));
        }
        let denied = split(&mut self.coordinator_keys, |key| asking.group(Describe, key));
        Some(Box::new(move |answer| {
            answer.coordinators.extend(denied.into_iter().map(|key| {
                Coordinator::default()
                    .with_key(key)
                    .with_error_code(GROUP_DENIED)
                    .with_node_id(BrokerId(-1))
                    .with_port(-1)
            }));
        }))
    }
}

impl Permitted for OffsetCommitRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let group = asking.group(Read, &self.group_id);
        let code = if group { TOPIC_DENIED } else { GROUP_DENIED };
        let denied = split(&mut self.topics, |topic| group && asking.topic(Read, &topic.name));
        Some(Box::new(move |answer| {
            answer.topics.extend(denied.into_iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(code)
                });
                OffsetCommitResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
            }));
        }))
    }
}

impl Permitted for OffsetFetchRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        if asking.version >= GROUPS_FROM { of_many_groups(self, asking) } else { of_one_group(self, asking) }
    }
}

fn of_one_group(request: &mut OffsetFetchRequest, asking: &Asking) -> Option<Restore<OffsetFetchRequest>> {
    let (group, version) = (asking.group(Describe, &request.group_id), asking.version);
    let all = request.topics.is_none();
    let keep = |name: &str| group && asking.topic(Describe, name);
    let denied = split(request.topics.get_or_insert_default(), |topic| keep(&topic.name));
    if all && group {
        request.topics = None;
    }
    let asking = asking.clone();
    Some(Box::new(move |answer| {
        answer.topics.retain(|topic| group && asking.topic(Describe, &topic.name));
        if !group && version >= ERROR_FROM {
            answer.error_code = GROUP_DENIED;
            return;
        }
        let code = if group { TOPIC_DENIED } else { GROUP_DENIED };
        answer.topics.extend(denied.into_iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|partition| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(*partition)
                    .with_committed_offset(-1)
                    .with_committed_leader_epoch(-1)
                    .with_metadata(Some(text("")))
                    .with_error_code(code)
            });
            OffsetFetchResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
        }));
    }))
}

fn of_many_groups(request: &mut OffsetFetchRequest, asking: &Asking) -> Option<Restore<OffsetFetchRequest>> {
    let denied = split(&mut request.groups, |group| asking.group(Describe, &group.group_id));
    let mut of_groups = Vec::with_capacity(request.groups.len());
    for group in &mut request.groups {
        let topics = group.topics.as_mut();
        let topics = topics.map(|topics| split(topics, |topic| asking.topic(Describe, &topic.name)));
        of_groups.push((group.group_id.clone(), topics.unwrap_or_default()));
    }
    let asking = asking.clone();
    Some(Box::new(move |answer| {
        for (group_id, topics) in of_groups {
            let Some(group) = answer.groups.iter_mut().find(|group| group.group_id == group_id) else { continue };
            group.topics.retain(|topic| asking.topic(Describe, &topic.name));
            group.topics.extend(topics.into_iter().map(|topic| {
                let partitions = topic.partition_indexes.iter().map(|partition| {
                    OffsetFetchResponsePartitions::default()
                        .with_partition_index(*partition)
                        .with_committed_offset(-1)
                        .with_committed_leader_epoch(-1)
                        .with_metadata(Some(text("")))
                        .with_error_code(TOPIC_DENIED)
                });
                OffsetFetchResponseTopics::default().with_partitions(partitions.collect()).with_name(topic.name)
            }));
        }
        let refused = OffsetFetchResponseGroup::default().with_error_code(GROUP_DENIED);
        answer.groups.extend(denied.into_iter().map(|group| refused.clone().with_group_id(group.group_id)));
    }))
}

impl Permitted for DescribeGroupsRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let denied = split(&mut self.groups, |group| asking.group(Describe, group));
        Some(Box::new(move |answer| {
            let refused = DescribedGroup::default()
                .with_error_code(GROUP_DENIED)
                .with_authorized_operations(OPERATIONS_NOT_ASKED);
            answer.groups.extend(denied.into_iter().map(|group| refused.clone().with_group_id(group)));
        }))
    }
}

impl Permitted for ListGroupsRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let asking = asking.clone();
        Some(Box::new(move |answer| answer.groups.retain(|group| asking.group(Describe, &group.group_id))))
    }
}

impl Permitted for DeleteGroupsRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let denied = split(&mut self.groups_names, |group| asking.group(Delete, group));
        Some(Box::new(move |answer| {
            let refused = DeletableGroupResult::default().with_error_code(GROUP_DENIED);
            answer.results.extend(denied.into_iter().map(|group| refused.clone().with_group_id(group)));
        }))
    }
}

impl Permitted for OffsetDeleteRequest {
    fn withhold(&mut self, asking: &Asking) -> Option<Restore<Self>> {
        let group = asking.group(Delete, &self.group_id);
        let denied = split(&mut self.topics, |topic| group && asking.topic(Read, &topic.name));
        Some(Box::new(move |answer| {
            if !group {
                answer.error_code = GROUP_DENIED;
                answer.topics.clear();
                return;
            }
            answer.topics.extend(denied.into_iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    OffsetDeleteResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(TOPIC_DENIED)
                });
                OffsetDeleteResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
            }));
        }))
    }
}
