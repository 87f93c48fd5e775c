//! SaslHandshake: names the mechanism of the exchange that follows.

use naru_kafka::serve::messages::{SaslHandshakeRequest, SaslHandshakeResponse};
use naru_kafka::wire::ErrorCode;

use super::text;
use crate::accept::Call;
use crate::accept::dispatch::Api;

/// Before it the exchange goes on without any framing of requests, which no client of today does.
const FRAMED_FROM: i16 = 1;

pub(crate) struct SaslHandshake;

impl Api for SaslHandshake {
    type Request = SaslHandshakeRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> SaslHandshakeResponse {
        let (chosen, offered) = call.session.caller.handshake(&request.mechanism);
        let code = match chosen {
            _ if call.version < FRAMED_FROM => ErrorCode::UNSUPPORTED_VERSION,
            Ok(()) => ErrorCode::NONE,
            Err(error) => {
                let peer = call.session.peer;
                tracing::info!(%peer, reason = %error, "a client may not authenticate as it wants to");
                error.code()
            }
        };
        SaslHandshakeResponse::default()
            .with_error_code(code.0)
            .with_mechanisms(offered.into_iter().map(text).collect())
    }
}
