//! SaslAuthenticate: one message of the exchange.

use std::time::Duration;

use naru_kafka::serve::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};

use super::text;
use crate::accept::Call;
use crate::accept::dispatch::Api;

/// How long the answer to a failed attempt is kept back: guessing costs a connection this much. Kafka's
/// connection.failed.authentication.delay.ms.
const FAILED_DELAY: Duration = Duration::from_millis(100);

pub(crate) struct SaslAuthenticate;

impl Api for SaslAuthenticate {
    type Request = SaslAuthenticateRequest;

    async fn answer(call: &mut Call<'_>, request: Self::Request) -> SaslAuthenticateResponse {
        let session = &mut *call.session;
        match session.caller.authenticate(request.auth_bytes).await {
            Ok(message) => SaslAuthenticateResponse::default().with_auth_bytes(message.into()),
            Err(error) => {
                let peer = session.peer;
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::info!(%peer, reason = %error, cause, "a client failed to authenticate");
                tokio::time::sleep(FAILED_DELAY).await;
                session.close_after_answer = true;
                SaslAuthenticateResponse::default()
                    .with_error_code(error.code().0)
                    .with_error_message(Some(text(error.told())))
            }
        }
    }
}
