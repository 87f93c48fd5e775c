//! ListGroups: each group once, from the side that is active for it.

use naru_kafka::serve::messages::list_groups_response::ListedGroup;
use naru_kafka::serve::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use naru_kafka::wire::ErrorCode;

use super::of_active;
use crate::accept::Call;
use crate::accept::api::text;
use crate::accept::dispatch::Api;

/// From these versions on the answer has the group's state, and its type.
const STATE_FROM: i16 = 4;
const TYPE_FROM: i16 = 5;
/// The only type of group that is served.
const CLASSIC: &str = "classic";

pub(crate) struct ListGroups;

impl Api for ListGroups {
    type Request = ListGroupsRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> ListGroupsResponse {
        let mut groups = Vec::new();
        let of_type = |wanted: &str| wanted.eq_ignore_ascii_case(CLASSIC);
        if !request.types_filter.is_empty() && !request.types_filter.iter().any(|wanted| of_type(wanted)) {
            return ListGroupsResponse::default();
        }
        for (name, service) in &call.relay.groups {
            let mirror = &service.mirror;
            if !mirror.may_ask() {
                return ListGroupsResponse::default().with_error_code(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS.0);
            }
            let listed = of_active(mirror, |side| {
                let client = mirror.client(side).clone();
                async move { client.list_groups().await }
            });
            let listed = match listed.await {
                Ok(listed) => listed,
                Err(code) => return ListGroupsResponse::default().with_error_code(code.0),
            };
            for group in listed {
                let state = |wanted: &str| wanted.eq_ignore_ascii_case(&group.state);
                let wanted = request.states_filter.is_empty() || request.states_filter.iter().any(|one| state(one));
                if !wanted || call.relay.config.group_of_consumers(&group.group) != name {
                    continue;
                }
                let mut shown = ListedGroup::default()
                    .with_group_id(GroupId(text(group.group)))
                    .with_protocol_type(text(group.protocol_type));
                if call.version >= STATE_FROM {
                    shown.group_state = text(group.state);
                }
                if call.version >= TYPE_FROM {
                    shown.group_type = text(CLASSIC);
                }
                groups.push(shown);
            }
        }
        ListGroupsResponse::default().with_groups(groups)
    }
}
