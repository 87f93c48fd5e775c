//! What a request asks for, as Pingora has it.

use std::sync::Arc;

use http::header;
use pingora_core::protocols::http::ServerSession;
use pingora_http::RequestHeader;

use super::connection::Connection;

/// The connection that it came by.
pub fn connection(session: &ServerSession) -> Option<Arc<Connection>> {
    let digest = session.digest()?.proxy_digest.as_ref()?;
    digest.user_data.as_ref()?.downcast_ref::<Arc<Connection>>().cloned()
}

/// The host that was asked: of the field, or of the target.
pub fn host(request: &RequestHeader) -> &str {
    let field = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    field.or_else(|| request.uri.authority().map(|authority| authority.as_str())).unwrap_or_default()
}

pub fn target(request: &RequestHeader) -> &str {
    request.uri.path_and_query().map_or("/", |target| target.as_str())
}

pub fn declared_bytes(request: &RequestHeader) -> Option<u64> {
    request.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the answer may have no end for long: a WebSocket, or server-sent events.
pub fn asks_for_stream(request: &RequestHeader) -> bool {
    let accepts = request.headers.get(header::ACCEPT).is_some_and(|accept| accept == "text/event-stream");
    accepts || request.headers.contains_key(header::UPGRADE)
}
