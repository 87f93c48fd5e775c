//! JoinGroup: parked until the group's rebalance is complete.

use std::sync::Arc;

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::{Api, text};
use crate::standin::groups::GROUP_ID_BYTES_MAX;
use crate::standin::groups::group::JoinOutcome;
use crate::standin::groups::join::JoinRequest;
use crate::standin::groups::member::Protocol;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::standin::server::identity::fresh;
use crate::wire::ErrorCode;

/// From this version on a new member is told its id before it joins.
const KNOWN_ID_FROM: i16 = 4;
/// From this version on a static leader may be told to keep the assignment.
const SKIP_FROM: i16 = 9;
/// From this version on the protocol's name may be absent.
const NULLABLE_NAME_FROM: i16 = 7;

pub(crate) struct JoinGroup;

impl Api for JoinGroup {
    type Request = JoinGroupRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> JoinGroupResponse {
        if !valid_group(&request.group_id) {
            return Self::refuse(caller, &request, ErrorCode::INVALID_GROUP_ID);
        }
        let client_id = caller.client_id.as_deref().unwrap_or("").to_owned();
        let instance = request.group_instance_id.as_deref().map(str::to_owned);
        // Kafka's form, so that tools which show it look as ever.
        let named = instance.as_deref().unwrap_or(&client_id);
        let rebalance_timeout_ms =
            if caller.version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
        let join = JoinRequest {
            member_id: request.member_id.as_str().to_owned(),
            fresh_id: format!("{named}-{}", unique()),
            instance,
            client_id,
            client_host: format!("/{}", caller.peer.ip()),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms,
            protocol_type: request.protocol_type.as_str().to_owned(),
            protocols: request
                .protocols
                .into_iter()
                // A copy: the member outlives the request, and must not keep all its bytes.
                .map(|p| Protocol {
                    name: p.name.as_str().to_owned(),
                    metadata: bytes::Bytes::copy_from_slice(&p.metadata),
                })
                .collect(),
            requires_known_id: caller.version >= KNOWN_ID_FROM,
            may_skip_assignment: caller.version >= SKIP_FROM,
        };
        shown(caller, broker.coordinator.join(&request.group_id, join).await)
    }

    fn refuse(caller: &Caller, request: &Self::Request, code: ErrorCode) -> JoinGroupResponse {
        shown(caller, JoinOutcome::refused(code, request.member_id.as_str()))
    }
}

/// Whether a group may have this id where one is needed.
pub(crate) fn valid_group(id: &str) -> bool {
    !id.is_empty() && id.len() <= GROUP_ID_BYTES_MAX
}

/// A random identity in the usual form of such.
fn unique() -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(fresh()));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn shown(caller: &Caller, outcome: JoinOutcome) -> JoinGroupResponse {
    let members = outcome.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.id))
            .with_group_instance_id(member.instance.filter(|_| caller.version >= 5).map(text))
            .with_metadata(member.metadata)
    });
    let name = outcome.protocol.map(text);
    let name = if caller.version < NULLABLE_NAME_FROM { Some(name.unwrap_or_default()) } else { name };
    JoinGroupResponse::default()
        .with_error_code(outcome.error.0)
        .with_generation_id(outcome.generation)
        .with_protocol_type(outcome.protocol_type.map(text))
        .with_protocol_name(name)
        .with_leader(text(outcome.leader))
        .with_skip_assignment(outcome.skip_assignment)
        .with_member_id(text(outcome.member_id))
        .with_members(members.collect())
}
