//! InitProducerId: for idempotent producers, by the relay itself (RELAY-6). Transactions are not served.

use naru_kafka::serve::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use naru_kafka::wire::ErrorCode;

use crate::accept::Call;
use crate::accept::dispatch::Api;
use crate::identity::fresh_producer_id;

pub(crate) struct InitProducerId;

impl Api for InitProducerId {
    type Request = InitProducerIdRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> InitProducerIdResponse {
        if request.transactional_id.is_some() {
            // Final for the client, and its meaning is the nearest that Kafka has.
            let peer = call.session.peer;
            tracing::info!(%peer, "a transactional producer was refused: transactions are not served");
            return InitProducerIdResponse::default()
                .with_error_code(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.0)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1);
        }
        InitProducerIdResponse::default().with_producer_id(ProducerId(fresh_producer_id())).with_producer_epoch(0)
    }
}
