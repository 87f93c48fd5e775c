//! LeaveGroup: one member, or from version 3 several.

use std::sync::Arc;

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::Api;
use super::join_group::valid_group;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::ErrorCode;

/// From this version on several members leave at once.
const BATCHED_FROM: i16 = 3;

pub(crate) struct LeaveGroup;

impl Api for LeaveGroup {
    type Request = LeaveGroupRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> LeaveGroupResponse {
        if !valid_group(&request.group_id) {
            return Self::refuse(caller, &request, ErrorCode::INVALID_GROUP_ID);
        }
        let leaving: Vec<(&str, Option<&str>)> = if caller.version < BATCHED_FROM {
            vec![(request.member_id.as_str(), None)]
        } else {
            request.members.iter().map(|m| (m.member_id.as_str(), m.group_instance_id.as_deref())).collect()
        };
        let codes = match broker.coordinator.leave(&request.group_id, &leaving).await {
            Ok(codes) => codes,
            Err(code) => return Self::refuse(caller, &request, code),
        };
        if caller.version < BATCHED_FROM {
            let code = codes.first().copied().unwrap_or_default();
            return LeaveGroupResponse::default().with_error_code(code.0);
        }
        let members = request.members.iter().zip(codes).map(|(member, code)| {
            MemberResponse::default()
                .with_member_id(member.member_id.clone())
                .with_group_instance_id(member.group_instance_id.clone())
                .with_error_code(code.0)
        });
        LeaveGroupResponse::default().with_members(members.collect())
    }

    fn refuse(_: &Caller, _: &Self::Request, code: ErrorCode) -> LeaveGroupResponse {
        LeaveGroupResponse::default().with_error_code(code.0)
    }
}
