//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup: between a member and the active side, undecoded, but for members that a
//! takeover made unknown.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use naru_kafka::client::{CallOptions, Client, ClientError, Connection, Reply};
use naru_kafka::serve::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    Request, SyncGroupRequest, SyncGroupResponse,
};
use naru_kafka::wire::cold::{self, Direction};
use naru_kafka::wire::{ApiKey, ErrorCode, OutFrame, StrBytes, WireError};

use super::{check_ready, mirror, of_active};
use crate::accept::Call;
use crate::accept::dispatch::{Ended, RawApi};
use crate::groups::carry::has_moved;
use crate::groups::peek;
use crate::security::{Operation, Resource};
use crate::side::Side;

/// Members wait for each other as long as the slowest may take: 30 minutes is a broker's longest session time-out
/// (group.max.session.timeout.ms), and clients seldom allow more for a rebalance.
const MEMBERS_WAIT_MAX: Duration = Duration::from_secs(35 * 60);
/// Brokers that one client connection's groups are coordinated by; beyond it all its connections are made anew.
const BROKERS_MAX: usize = 8;

/// The connections to the active side that belong to one connection of a client: at a broker, a request that waits
/// blocks those behind it.
#[derive(Debug, Default)]
struct Own {
    side: Option<Side>,
    by_broker: HashMap<Arc<str>, Connection>,
}

impl Own {
    /// Under the client's own name: it begins the ids of members that a broker makes up, and shows in descriptions.
    async fn connection(
        &mut self,
        side: Side,
        client: &Client,
        client_id: &str,
        group: &str,
    ) -> Result<Connection, ClientError> {
        if self.side != Some(side) || self.by_broker.len() > BROKERS_MAX {
            *self = Self { side: Some(side), by_broker: HashMap::new() };
        }
        let broker = client.coordinator(group).await?;
        if let Some(open) = self.by_broker.get(&broker.address).filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let opened = client.dedicated_to(client_id, &broker).await?;
        self.by_broker.insert(broker.address, opened.clone());
        Ok(opened)
    }
}

/// A message between a member and its coordinator.
trait Membership {
    type Request: Request;
    const API: ApiKey;
    /// From this version on the answer begins with the throttle time.
    const THROTTLED_FROM: i16;
    /// How long the broker may keep the request.
    const BROKER_WAIT: Duration;

    fn refused(code: ErrorCode) -> <Self::Request as Request>::Response;
}

macro_rules! membership {
    ($name:ident, $request:ident, $response:ident, $throttled_from:literal, $wait:expr) => {
        pub(crate) struct $name;

        impl Membership for $name {
            type Request = $request;
            const API: ApiKey = ApiKey::$name;
            const THROTTLED_FROM: i16 = $throttled_from;
            const BROKER_WAIT: Duration = $wait;

            fn refused(code: ErrorCode) -> $response {
                $response::default().with_error_code(code.0)
            }
        }

        impl RawApi for $name {
            async fn answer(call: &mut Call<'_>, body: Bytes) -> Result<Bytes, Ended> {
                pass::<Self>(call, body).await
            }
        }
    };
}

membership!(JoinGroup, JoinGroupRequest, JoinGroupResponse, 2, MEMBERS_WAIT_MAX);
membership!(SyncGroup, SyncGroupRequest, SyncGroupResponse, 1, MEMBERS_WAIT_MAX);
membership!(Heartbeat, HeartbeatRequest, HeartbeatResponse, 1, Duration::ZERO);
membership!(LeaveGroup, LeaveGroupRequest, LeaveGroupResponse, 1, Duration::ZERO);

async fn pass<M: Membership>(call: &mut Call<'_>, body: Bytes) -> Result<Bytes, Ended> {
    let version = call.version;
    // A side closes the connection over a body that is malformed, and other groups' requests with it.
    cold::guard(M::API, Direction::Request, version, &body)?;
    let malformed = WireError::Malformed { api: M::API as i16, version };
    let group = peek::group_id(&body, M::API.is_flexible(version)).ok_or(malformed)?.to_owned();
    let permitted = call.session.caller.refuse_unless(Operation::Read, Resource::Group(&group));
    let mut answer = match permitted {
        Ok(()) => forward::<M>(call, &group, body.clone()).await,
        Err(code) => Err(code),
    };
    let is_unknown = |answer: &Bytes| code_of_answer::<M>(version, answer) == Some(ErrorCode::UNKNOWN_MEMBER_ID);
    if answer.as_ref().is_ok_and(is_unknown) && mirror(call.relay, &group).has_orphans(&group) {
        answer = match M::API {
            // A member that is unknown loses its partitions at once. One that a takeover made unknown is told that the
            // group rebalances instead: it may then commit what it has done, gives its partitions up in order, and
            // joins again.
            ApiKey::Heartbeat | ApiKey::SyncGroup => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            ApiKey::JoinGroup => join_as_new(call, &group, body).await?,
            _ => answer,
        };
    }
    match answer {
        Ok(answer) => Ok(answer),
        Err(code) => {
            let mut out = OutFrame::new();
            cold::encode_response::<M::Request>(version, &M::refused(code), &mut out)?;
            Ok(out.to_bytes())
        }
    }
}

fn code_of_answer<M: Membership>(version: i16, answer: &[u8]) -> Option<ErrorCode> {
    peek::error_code(answer, version >= M::THROTTLED_FROM)
}

/// Lets a member join under a name that the side makes up: clients take the one that the answer has. To tell them that
/// theirs is unknown would cost a second (librdkafka joins no oftener), and their partitions (cooperative members give
/// up all of them).
async fn join_as_new(call: &mut Call<'_>, group: &str, body: Bytes) -> Result<Result<Bytes, ErrorCode>, WireError> {
    let version = call.version;
    let mut request: JoinGroupRequest = cold::decode_request(version, body)?;
    request.member_id = StrBytes::default();
    let mut answer = forward::<JoinGroup>(call, group, encoded(version, &request)?).await;
    // From version 4 on the side first only makes the name up.
    if let Ok(named) = &answer
        && code_of_answer::<JoinGroup>(version, named) == Some(ErrorCode::MEMBER_ID_REQUIRED)
    {
        request.member_id = cold::decode_response::<JoinGroupRequest>(version, named.clone())?.member_id;
        answer = forward::<JoinGroup>(call, group, encoded(version, &request)?).await;
    }
    Ok(answer)
}

fn encoded(version: i16, request: &JoinGroupRequest) -> Result<Bytes, WireError> {
    let mut body = OutFrame::new();
    cold::encode_request(version, request, &mut body)?;
    Ok(body.to_bytes())
}

async fn forward<M: Membership>(call: &mut Call<'_>, group: &str, body: Bytes) -> Result<Bytes, ErrorCode> {
    let version = call.version;
    let mirror = mirror(call.relay, group);
    check_ready(mirror, group)?;
    let client_id = call.client_id.as_deref().unwrap_or_default();
    let own = call.session.slot::<Own>();
    let answer = of_active(mirror, |side| async move {
        let client = mirror.client(side);
        let options = CallOptions::about(format_args!("group {group}")).broker_wait(M::BROKER_WAIT);
        let asked = async {
            let connection = own.connection(side, client, client_id, group).await?;
            connection.pick(M::API, version, version, &options)?;
            let push = |frame: &mut OutFrame| {
                frame.push(body);
                Ok(())
            };
            let reply: Reply = connection.begin(M::API, version, true, push, &options).await?;
            reply.body().await
        };
        let answer = asked.await;
        let code = answer.as_ref().ok().and_then(|body| code_of_answer::<M>(version, body));
        if answer.is_err() || code.is_some_and(has_moved) {
            client.forget_coordinator(group);
        }
        answer
    });
    answer.await
}
