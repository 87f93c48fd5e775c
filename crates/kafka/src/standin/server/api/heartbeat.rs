//! Heartbeat: a member lives, and learns whether its group is rebalancing.

use std::sync::Arc;

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::Api;
use super::join_group::valid_group;
use crate::standin::groups::group::Claim;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::ErrorCode;

pub(crate) struct Heartbeat;

impl Api for Heartbeat {
    type Request = HeartbeatRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> HeartbeatResponse {
        if !valid_group(&request.group_id) {
            return Self::refuse(caller, &request, ErrorCode::INVALID_GROUP_ID);
        }
        let claim = Claim {
            generation: request.generation_id,
            member_id: &request.member_id,
            instance: request.group_instance_id.as_deref(),
        };
        HeartbeatResponse::default().with_error_code(broker.coordinator.heartbeat(&request.group_id, claim).0)
    }

    fn refuse(_: &Caller, _: &Self::Request, code: ErrorCode) -> HeartbeatResponse {
        HeartbeatResponse::default().with_error_code(code.0)
    }
}
