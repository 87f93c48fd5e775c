//! FindCoordinator: this node coordinates every group. Transactions and share groups have no coordinator here.

use std::sync::Arc;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};

use super::{Api, words};
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::ErrorCode;

const GROUP: i8 = 0;
/// From this version on many keys are asked for at once.
const BATCHED_FROM: i16 = 4;

pub(crate) struct FindCoordinator;

impl Api for FindCoordinator {
    type Request = FindCoordinatorRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> FindCoordinatorResponse {
        let (host, port) = broker.endpoint(caller);
        let node = BrokerId(broker.config.node_id);
        let code = if request.key_type == GROUP { ErrorCode::NONE } else { ErrorCode::INVALID_REQUEST };
        if !code.is_ok() {
            return refused(caller, &request, code, "only groups have a coordinator: no transactions are served");
        }
        broker.coordinator.found();
        if caller.version < BATCHED_FROM {
            return FindCoordinatorResponse::default().with_node_id(node).with_host(host).with_port(port);
        }
        let coordinators = request
            .coordinator_keys
            .into_iter()
            .map(|key| Coordinator::default().with_key(key).with_node_id(node).with_host(host.clone()).with_port(port));
        FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
    }

    fn refuse(caller: &Caller, request: &Self::Request, code: ErrorCode) -> FindCoordinatorResponse {
        refused(caller, request, code, "")
    }
}

fn refused(
    caller: &Caller,
    request: &FindCoordinatorRequest,
    code: ErrorCode,
    message: &str,
) -> FindCoordinatorResponse {
    if caller.version < BATCHED_FROM {
        return FindCoordinatorResponse::default()
            .with_error_code(code.0)
            .with_error_message(words(message))
            .with_node_id(BrokerId(-1))
            .with_port(-1);
    }
    let coordinators = request.coordinator_keys.iter().map(|key| {
        Coordinator::default()
            .with_key(key.clone())
            .with_error_code(code.0)
            .with_error_message(words(message))
            .with_node_id(BrokerId(-1))
            .with_port(-1)
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}
