//! FindCoordinator: this relay coordinates every group. Transactions and share groups have no coordinator here.

use naru_kafka::serve::messages::find_coordinator_response::Coordinator;
use naru_kafka::serve::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use naru_kafka::wire::ErrorCode;

use super::{NO_TRANSACTIONS, text};
use crate::accept::Call;
use crate::accept::dispatch::Api;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// From this version on many keys are asked for at once.
const BATCHED_FROM: i16 = 4;

pub(crate) struct FindCoordinator;

impl Api for FindCoordinator {
    type Request = FindCoordinatorRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> FindCoordinatorResponse {
        let refused = request.key_type != GROUP;
        // What clients take for final: after any other code librdkafka asks again until its own patience ends.
        let code = match request.key_type {
            GROUP => ErrorCode::NONE,
            TRANSACTION => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            _ => ErrorCode::INVALID_REQUEST,
        };
        let message = refused.then(|| text(NO_TRANSACTIONS));
        let (node, host, port) = if refused {
            (BrokerId(-1), text(""), -1)
        } else {
            let (host, port) = call.relay.endpoint(call.session.local);
            (BrokerId(call.relay.config.node_id), text(host), i32::from(port))
        };
        if call.version < BATCHED_FROM {
            return FindCoordinatorResponse::default()
                .with_error_code(code.0)
                .with_error_message(message)
                .with_node_id(node)
                .with_host(host)
                .with_port(port);
        }
        let coordinators = request.coordinator_keys.into_iter().map(|key| {
            Coordinator::default()
                .with_key(key)
                .with_error_code(code.0)
                .with_error_message(message.clone())
                .with_node_id(node)
                .with_host(host.clone())
                .with_port(port)
        });
        FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
    }
}
