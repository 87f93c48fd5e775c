//! InitProducerId: for idempotent producers. Transactions are not served.

use std::sync::Arc;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::Api;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::wire::ErrorCode;

pub(crate) struct InitProducerId;

impl Api for InitProducerId {
    type Request = InitProducerIdRequest;

    async fn answer(broker: &Arc<Broker>, caller: &Caller, request: Self::Request) -> InitProducerIdResponse {
        if request.transactional_id.is_some() {
            // Final for the client, and its meaning is the nearest that Kafka has: this broker coordinates none.
            tracing::info!(peer = %caller.peer, "a transactional producer was refused: transactions are not served");
            return Self::refuse(caller, &request, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        }
        match broker.topics.allot_producer_id().await {
            Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
            Err(_) => Self::refuse(caller, &request, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        }
    }

    fn refuse(_: &Caller, _: &Self::Request, code: ErrorCode) -> InitProducerIdResponse {
        InitProducerIdResponse::default()
            .with_error_code(code.0)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    }
}
