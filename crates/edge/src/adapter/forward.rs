//! What of a request goes to a server.
//!
//! To a server of ours goes what the client sent, less what only the edge may say. To a rented one goes nothing but a list
//! of fields, cookies and query parameters: those of the protocol, and those that the route names.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use pingora_core::{ErrorType, OrErr as _, Result};
use pingora_http::RequestHeader;

use super::asker::Asker;
use super::cookies::VISIT_COOKIES;
use super::proxy::REQUEST_ID;
use crate::config::RouteConfig;

/// Who the request came from, for servers of ours. Whatever a client sent under these names is his claim, and goes away.
const FORWARDED: [&str; 7] =
    ["forwarded", FORWARDED_FOR, "x-forwarded-host", "x-forwarded-port", FORWARDED_PROTO, "x-real-ip", PSEUDONYM];
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
/// The person behind a request, as a rented site may know him: the same for all of his requests, and nobody outside can
/// tell whose it is.
pub(super) const PSEUDONYM: &str = "x-naru-visitor";
const TRACE: &str = "traceparent";

/// Fields that every request may need on its way, and that say nothing about a person.
const PROTOCOL: [HeaderName; 15] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::TE,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::RANGE,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::EXPECT,
    header::COOKIE,
];
/// And those by which a WebSocket is asked for.
const UPGRADE: [&str; 6] = [
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
];

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum To<'r> {
    /// To a server of ours.
    Owned,
    /// To a rented one.
    Rented {
        /// What the route lets go there.
        route: &'r RouteConfig,
        /// The person as that site may know him.
        visitor: u64,
    },
}

/// What of a request has to be changed on its way. Most have nothing of it, and every one is asked.
#[derive(Debug, Default)]
struct Found {
    /// Somebody's claim where it comes from.
    claims: bool,
    /// Traces, and whether one of them is no trace.
    traces: usize,
    unsound_trace: bool,
    cookies: bool,
}

impl Found {
    fn in_fields(request: &RequestHeader) -> Self {
        let mut found = Self::default();
        for (name, value) in &request.headers {
            match name.as_str() {
                TRACE => {
                    found.traces += 1;
                    found.unsound_trace |= !is_trace(value.as_bytes());
                }
                "cookie" => found.cookies = true,
                name => found.claims |= FORWARDED.contains(&name),
            }
        }
        found
    }
}

/// Makes the request that goes out. `id` is its name: 32 hexadecimal digits.
pub(super) fn prepare(request: &mut RequestHeader, to: To<'_>, asker: &Asker, id: &HeaderValue) -> Result<()> {
    // A whole address is for gateways; a server gets path and query (RFC 9112, 3.2.2), which all of them read alike.
    if let Some(target) = request.uri.path_and_query().cloned()
        && target.as_str().as_bytes() != request.raw_path()
    {
        request.set_raw_path(target.as_str().as_bytes())?;
    }
    let found = Found::in_fields(request);
    if found.claims {
        for name in FORWARDED {
            request.remove_header(name);
        }
    }
    if found.traces != 1 || found.unsound_trace {
        request.insert_header(TRACE, trace(id))?;
    }
    request.insert_header(REQUEST_ID, id.clone())?;
    match to {
        To::Owned => {
            request.insert_header(FORWARDED_FOR, asker.address.clone())?;
            let scheme = HeaderValue::from_static(if asker.is_tls { "https" } else { "http" });
            request.insert_header(FORWARDED_PROTO, scheme)?;
            if found.cookies {
                keep_cookies(request, |name| !VISIT_COOKIES.contains(&name))?;
            }
        }
        To::Rented { route, visitor } => {
            let away = |name: &HeaderName| {
                PROTOCOL.contains(name)
                    || UPGRADE.contains(&name.as_str())
                    || [REQUEST_ID, TRACE].contains(&name.as_str())
                    || route.headers_away.iter().any(|allowed| name.as_str().eq_ignore_ascii_case(allowed))
            };
            let names: Vec<HeaderName> = request.headers.keys().filter(|name| !away(name)).cloned().collect();
            for name in &names {
                request.remove_header(name);
            }
            request.insert_header(PSEUDONYM, format!("{visitor:016x}"))?;
            keep_query(request, |name| route.query_away.iter().any(|allowed| allowed == name))?;
            keep_cookies(request, |name| route.cookies_away.iter().any(|allowed| allowed == name))?;
        }
    }
    Ok(())
}

/// A trace of its own for a request: its id is 128 random bits, which is what a trace id has to be.
fn trace(id: &HeaderValue) -> HeaderValue {
    let id = id.as_bytes();
    let parts = [b"00-", id, b"-", id.get(16..).unwrap_or_default(), b"-00"];
    HeaderValue::from_maybe_shared(Bytes::from(parts.concat())).expect("digits and hyphens")
}

/// `00-<32 hex>-<16 hex>-<2 hex>` (W3C Trace Context, level 1).
fn is_trace(value: &[u8]) -> bool {
    value.len() == 55
        && value.iter().enumerate().all(|(at, byte)| match at {
            2 | 35 | 52 => *byte == b'-',
            0 | 1 => *byte == b'0',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        })
}

fn keep_cookies(request: &mut RequestHeader, keep: impl Fn(&str) -> bool) -> Result<()> {
    let Some(kept) = kept_cookies(request, keep) else { return Ok(()) };
    request.remove_header(&header::COOKIE);
    if !kept.is_empty() {
        request.insert_header(header::COOKIE, kept)?;
    }
    Ok(())
}

/// What is left of the cookies; none if that is all of them. Several fields become one, as HTTP/1.1 has it.
fn kept_cookies(request: &RequestHeader, keep: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    let fields = request.headers.get_all(header::COOKIE);
    let pairs = || fields.iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let stays = |pair: &&[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        std::str::from_utf8(name.trim_ascii()).is_ok_and(&keep)
    };
    if fields.iter().count() <= 1 && pairs().all(|pair| stays(&pair)) {
        return None;
    }
    Some(pairs().filter(stays).collect::<Vec<_>>().join(&b"; "[..]))
}

/// Takes query parameters away that may not leave.
fn keep_query(request: &mut RequestHeader, keep: impl Fn(&str) -> bool) -> Result<()> {
    let Some(query) = request.uri.query() else { return Ok(()) };
    let kept: Vec<&str> = query.split('&').filter(|pair| keep(pair.split('=').next().unwrap_or_default())).collect();
    let path = request.uri.path();
    let target = if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) };
    let mut parts = request.uri.clone().into_parts();
    parts.path_and_query =
        Some(target.parse().or_err(ErrorType::InvalidHTTPHeader, "a part of a valid target is none")?);
    let uri = http::Uri::from_parts(parts).or_err(ErrorType::InvalidHTTPHeader, "a part of a valid target is none")?;
    request.set_uri(uri);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    fn request(target: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        fields.iter().for_each(|(name, value)| {
            request.append_header(*name, *value).unwrap();
        });
        request
    }

    #[test]
    fn cookies_are_kept_by_name() {
        let check = |fields: &[&str], expect: Option<&str>| {
            let fields: Vec<_> = fields.iter().map(|value| ("cookie", *value)).collect();
            let kept = kept_cookies(&request("/", &fields), |name| name.starts_with("a"));
            assert_eq!(kept.map(|kept| String::from_utf8(kept).unwrap()).as_deref(), expect, "{fields:?}");
        };
        check(&["a=1; ab=2"], None);
        check(&["a=1; b=2; ac = 3"], Some("a=1; ac = 3"));
        check(&["session=s"], Some(""));
        check(&["a=1", "b=2", "a2=\"x\""], Some("a=1; a2=\"x\""));
        check(&["a=1;b=a; =a;;"], Some("a=1"));
    }

    #[test]
    fn a_query_keeps_what_may_leave() {
        let check = |target: &str, expect: &str| {
            let mut request = request(target, &[]);
            keep_query(&mut request, |name| ["offer", "page"].contains(&name)).unwrap();
            assert_eq!(request.uri.path_and_query().unwrap().as_str(), expect);
        };
        check("/promo", "/promo");
        check("/promo?offer=7&phone=0101234&page=2", "/promo?offer=7&page=2");
        check("/promo?phone=0101234", "/promo");
        check("/promo?offer", "/promo?offer");
        check("/promo?%6Fffer=1&Offer=1", "/promo");
    }

    #[test]
    fn a_trace_that_is_none_is_replaced() {
        assert!(is_trace(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(!is_trace(b"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(!is_trace(b"minsu@example.com"));
    }
}
