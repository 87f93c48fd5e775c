//! InitProducerId: for idempotent producers, by the relay itself (RELAY-6). Transactions are not served.

use naru_kafka::serve::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use naru_kafka::wire::ErrorCode;
use naru_model::invariant;

use crate::accept::Call;
use crate::accept::dispatch::Api;
use crate::identity::{BROKERS_IDS_MAX, fresh_producer_id};

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
        let id = fresh_producer_id();
        let relays = id == call.relay.copier_id;
        invariant!(RELAY_6, id >= BROKERS_IDS_MAX && !relays, "{id} is given to a client");
        InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0)
    }
}
