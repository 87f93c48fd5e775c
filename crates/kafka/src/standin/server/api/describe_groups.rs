//! DescribeGroups: state and members; a group that is not there is `Dead`.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::{Api, OPERATIONS_NOT_ASKED, once, text, words};
use crate::standin::groups::group::GroupState;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::standin::server::coordinator::Entry;
use crate::wire::ErrorCode;

/// From this version on a group that is not there is an error.
const NOT_FOUND_FROM: i16 = 6;

pub(crate) struct DescribeGroups;

impl Api for DescribeGroups {
    type Request = DescribeGroupsRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> DescribeGroupsResponse {
        let groups = once(request.groups, Clone::clone).into_iter().map(|id| {
            let found = broker.coordinator.look(&id, |entry| describe(caller, entry));
            let shown = found.unwrap_or_else(|| {
                let dead = DescribedGroup::default().with_group_state(text("Dead"));
                if caller.version < NOT_FOUND_FROM {
                    return dead;
                }
                let message = format!("Group {} not found.", id.as_str());
                dead.with_error_code(ErrorCode::GROUP_ID_NOT_FOUND.0).with_error_message(words(&message))
            });
            shown.with_group_id(id).with_authorized_operations(OPERATIONS_NOT_ASKED)
        });
        DescribeGroupsResponse::default().with_groups(groups.collect())
    }

    fn refuse(_: &Caller, request: &Self::Request, code: ErrorCode) -> DescribeGroupsResponse {
        let groups =
            request.groups.iter().map(|id| DescribedGroup::default().with_group_id(id.clone()).with_error_code(code.0));
        DescribeGroupsResponse::default().with_groups(groups.collect())
    }
}

fn describe(caller: &Caller, entry: &Entry) -> DescribedGroup {
    let group = &entry.group;
    let stable = group.state() == GroupState::Stable;
    let protocol = group.protocol().filter(|_| stable).unwrap_or("");
    let members = group.members().map(|member| {
        let (metadata, assignment) =
            if stable { (member.metadata(protocol), member.assignment.clone()) } else { (Bytes::new(), Bytes::new()) };
        DescribedGroupMember::default()
            .with_member_id(text(member.id.clone()))
            .with_group_instance_id(member.instance.clone().filter(|_| caller.version >= 4).map(text))
            .with_client_id(text(member.client_id.clone()))
            .with_client_host(text(member.client_host.clone()))
            .with_member_metadata(metadata)
            .with_member_assignment(assignment)
    });
    DescribedGroup::default()
        .with_group_state(text(group.state().name()))
        .with_protocol_type(text(group.protocol_type().unwrap_or("")))
        .with_protocol_data(text(protocol))
        .with_members(members.collect())
}
