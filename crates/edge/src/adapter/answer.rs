//! What the edge answers by itself.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;

use crate::request::Reason;

/// A refusal as it goes out in HTTP/1.1, before anything was parsed; the connection ends behind it.
pub(super) fn refused_http1(reason: Reason) -> Vec<u8> {
    let status = reason.status();
    let phrase = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let body = refusal_text(reason);
    format!(
        "HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn refusal_text(reason: Reason) -> String {
    format!("refused: {}\n", reason.name())
}

/// An answer with a short text; the connection may go on unless `ends` is set.
pub(super) async fn text(
    session: &mut ServerSession,
    status: u16,
    text: String,
    retry_after: Option<Duration>,
    ends: bool,
) -> Result<()> {
    let mut head = ResponseHeader::build(status, Some(6))?;
    head.insert_header(http::header::CONTENT_TYPE, "text/plain")?;
    head.insert_header(http::header::CACHE_CONTROL, "no-store")?;
    if let Some(after) = retry_after {
        // Whole seconds, and at least one: 0 would mean at once.
        head.insert_header(http::header::RETRY_AFTER, after.as_secs().max(1).to_string())?;
    }
    if ends {
        session.set_keepalive(None);
    }
    send(session, head, text.into()).await
}

/// The answer to `OPTIONS *`: what may be asked of the edge.
pub(super) async fn options(session: &mut ServerSession) -> Result<()> {
    let mut head = ResponseHeader::build(StatusCode::NO_CONTENT, Some(2))?;
    head.insert_header(http::header::ALLOW, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")?;
    session.write_response_header(Box::new(head)).await?;
    session.finish_body().await
}

/// The answer to a request that the check refuses behind Pingora's own reading.
pub(super) async fn refused(session: &mut ServerSession, reason: Reason) -> Result<()> {
    text(session, reason.status(), refusal_text(reason), None, true).await
}

/// Writes an answer whole. A HEAD gets the head alone.
pub(super) async fn send(session: &mut ServerSession, mut head: ResponseHeader, body: Bytes) -> Result<()> {
    head.insert_header(http::header::CONTENT_LENGTH, body.len())?;
    let is_head = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(head)).await?;
    if is_head {
        return session.finish_body().await;
    }
    session.write_response_body(body, true).await
}
