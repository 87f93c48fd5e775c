//! SyncGroup: parked until the leader has assigned.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::join_group::valid_group;
use super::{Api, text};
use crate::standin::groups::group::{Claim, SyncOutcome};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::ErrorCode;

pub(crate) struct SyncGroup;

impl Api for SyncGroup {
    type Request = SyncGroupRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> SyncGroupResponse {
        if !valid_group(&request.group_id) {
            return Self::refuse(caller, &request, ErrorCode::INVALID_GROUP_ID);
        }
        let claim = Claim {
            generation: request.generation_id,
            member_id: &request.member_id,
            instance: request.group_instance_id.as_deref(),
        };
        // A copy: the assignment outlives the request, and must not keep all its bytes.
        let assignments = request.assignments.iter();
        let assignments =
            assignments.map(|a| (a.member_id.as_str().to_owned(), Bytes::copy_from_slice(&a.assignment))).collect();
        let protocol = (request.protocol_type.as_deref(), request.protocol_name.as_deref());
        shown(broker.coordinator.sync(&request.group_id, claim, protocol, assignments).await)
    }

    fn refuse(_: &Caller, _: &Self::Request, code: ErrorCode) -> SyncGroupResponse {
        shown(SyncOutcome::refused(code))
    }
}

fn shown(outcome: SyncOutcome) -> SyncGroupResponse {
    SyncGroupResponse::default()
        .with_error_code(outcome.error.0)
        .with_protocol_type(outcome.protocol_type.map(text))
        .with_protocol_name(outcome.protocol.map(text))
        .with_assignment(outcome.assignment)
}
