//! Whether a request's body may leave our own sites: only one whose every field its route has declared.

use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;

/// Largest body that is looked at, and held until it is sent: what Pingora keeps for a second attempt.
const LOOKED_AT_BYTES_MAX: u64 = 64 << 10;

/// Reads the body and holds it against the declared fields. It is sent afterwards as if it had not been read.
///
/// # Errors
/// When the client does not send it.
pub(super) async fn may_leave(session: &mut ServerSession, declared: &[String], bytes: Option<u64>) -> Result<bool> {
    let is_small = bytes.is_some_and(|bytes| bytes <= LOOKED_AT_BYTES_MAX);
    if declared.is_empty() || !is_small || !is_json(session) {
        return Ok(false);
    }
    session.enable_retry_buffering();
    let mut body = Vec::new();
    while let Some(part) = session.read_request_body().await? {
        body.extend_from_slice(&part);
    }
    // What could not be kept whole would not be sent whole.
    Ok(!session.retry_buffer_truncated() && is_declared(&body, declared))
}

fn is_json(session: &ServerSession) -> bool {
    let kind = session.get_header(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// One object of declared names with plain values: what is nested has names that nobody declared.
fn is_declared(body: &[u8], declared: &[String]) -> bool {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(body) else { return false };
    fields.iter().all(|(name, value)| declared.contains(name) && !value.is_object() && !value.is_array())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_declared_fields_leave() {
        let check = |body: &str, expect: bool| {
            let declared = ["offer".to_owned(), "page".to_owned()];
            assert_eq!(is_declared(body.as_bytes(), &declared), expect, "{body}");
        };
        check(r#"{"offer": 7, "page": "2"}"#, true);
        check("{}", true);
        check(r#"{"offer": 7, "phone": "0101234"}"#, false);
        check(r#"{"offer": {"phone": "0101234"}}"#, false);
        check(r#"{"offer": ["0101234"]}"#, false);
        check(r#"{"offer": 7} {"phone": 1}"#, false);
        check(r#"["offer"]"#, false);
        check("offer=7", false);
        check("", false);
    }
}
