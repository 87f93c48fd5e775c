//! ListGroups, by state and type if asked.

use std::sync::Arc;

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

use super::{Api, text};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::{ErrorCode, StrBytes};

/// The only type of group that is served.
const TYPE: &str = "classic";

pub(crate) struct ListGroups;

impl Api for ListGroups {
    type Request = ListGroupsRequest;

    async fn answer(broker: &Arc<Broker>, _: &Caller, request: Self::Request) -> ListGroupsResponse {
        let wanted = |filter: &[StrBytes], value: &str| {
            filter.is_empty() || filter.iter().any(|f| f.as_str().eq_ignore_ascii_case(value))
        };
        let all = broker.coordinator.look_at_all(|id, entry| {
            let state = entry.group.state().name();
            (wanted(&request.states_filter, state) && wanted(&request.types_filter, TYPE)).then(|| {
                ListedGroup::default()
                    .with_group_id(GroupId(text(id)))
                    .with_protocol_type(text(entry.group.protocol_type().unwrap_or("")))
                    .with_group_state(text(state))
                    .with_group_type(text(TYPE))
            })
        });
        ListGroupsResponse::default().with_groups(all.into_iter().flatten().collect())
    }

    fn refuse(_: &Caller, _: &Self::Request, code: ErrorCode) -> ListGroupsResponse {
        ListGroupsResponse::default().with_error_code(code.0)
    }
}
