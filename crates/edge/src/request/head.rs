//! The head of a request: its line, its fields, and how long its body is by them.

use std::ops::Range;

use super::limits::Limits;
use super::refusal::Reason;
use super::{syntax, target};

/// Longest method: the longest registered one is `UPDATEREDIRECTREF`.
const METHOD_BYTES_MAX: usize = 20;

/// How the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Length(u64),
    Chunked,
}

/// What follows a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// Another request.
    Request,
    /// Nothing: it was the last.
    Nothing,
    /// What its answer says.
    Upgrade,
}

/// The head of one request as it is read, line by line. Ranges count from the beginning of the head.
#[derive(Debug, Default)]
pub(super) struct Head {
    http_1_0: bool,
    method: Method,
    authority: Option<Range<usize>>,
    host: Option<Range<usize>>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    upgrade: bool,
    expect: bool,
    pub(super) fields: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Head,
    #[default]
    Other,
}

impl Head {
    /// Takes the request line, which begins `at` bytes behind the beginning of the head.
    pub(super) fn request_line(&mut self, line: &[u8], at: usize) -> Result<(), Reason> {
        syntax::text(line)?;
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Reason::RequestLine);
        };
        self.method = self::method(method)?;
        self.http_1_0 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(Reason::Version),
        };
        let target_at = at + method.len() + 1;
        let authority = target::form(method, target)?.authority();
        self.authority = authority.map(|range| target_at + range.start..target_at + range.end);
        Ok(())
    }

    /// Takes a field line, which begins `at` bytes behind the beginning of the head.
    pub(super) fn field_line(&mut self, line: &[u8], at: usize, limits: &Limits) -> Result<(), Reason> {
        self.fields += 1;
        if self.fields > limits.fields_max {
            return Err(Reason::TooManyFields);
        }
        let (name, value) = field(line)?;
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"host") => {
                if self.host.is_some() {
                    return Err(Reason::HostRepeated);
                }
                let value = spaced(value);
                if !syntax::is_host(value) {
                    return Err(Reason::HostValue);
                }
                let end = at + line.trim_ascii_end().len();
                self.host = Some(end - value.len()..end);
            }
            14 if is(b"content-length") => {
                if self.length.is_some() {
                    return Err(Reason::ContentLengthRepeated);
                }
                self.length = Some(syntax::decimal(spaced(value)).ok_or(Reason::ContentLengthValue)?);
            }
            17 if is(b"transfer-encoding") => {
                // Exactly this, once: readers differ on case, on lists, on tabs, and on what they do not know.
                if self.chunked || self.http_1_0 || spaced(value) != b"chunked" {
                    return Err(Reason::TransferEncoding);
                }
                self.chunked = true;
            }
            10 if is(b"connection") => self.connection(value)?,
            7 if is(b"upgrade") => {
                if self.upgrade || !syntax::trim(value).eq_ignore_ascii_case(b"websocket") {
                    return Err(Reason::Upgrade);
                }
                self.upgrade = true;
            }
            // A tunnel for HTTP/2 behind the back of this check.
            14 if is(b"http2-settings") => return Err(Reason::Upgrade),
            6 if is(b"expect") => {
                if self.expect || self.http_1_0 || !spaced(value).eq_ignore_ascii_case(b"100-continue") {
                    return Err(Reason::Expect);
                }
                self.expect = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Reason> {
        for option in value.split(|byte| *byte == b',').map(syntax::trim) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.connection_upgrade = true;
            } else if !option.eq_ignore_ascii_case(b"te") {
                // Whoever forwards takes the named field away: named here, a Host, a cookie or a length would go.
                return Err(Reason::Connection);
            }
        }
        Ok(())
    }

    /// Decides at the empty line. `head` is the head from its beginning.
    pub(super) fn finish(&self, head: &[u8], limits: &Limits) -> Result<(Body, Behind), Reason> {
        let Some(host) = self.host.clone() else { return Err(Reason::HostMissing) };
        if self.authority.clone().is_some_and(|named| !head[named].eq_ignore_ascii_case(&head[host])) {
            return Err(Reason::HostConflict);
        }
        let body = match (self.length, self.chunked) {
            (Some(_), true) => return Err(Reason::LengthWithEncoding),
            (None, true) => Body::Chunked,
            (length, false) => Body::Length(length.unwrap_or(0)),
        };
        let empty = body == Body::Length(0);
        if self.method != Method::Other && !empty {
            return Err(Reason::BodyNotExpected);
        }
        if self.expect && empty {
            return Err(Reason::Expect);
        }
        if matches!(body, Body::Length(length) if length > limits.body_bytes_max) {
            return Err(Reason::BodyTooLarge);
        }
        if self.upgrade {
            let sound = self.connection_upgrade && self.method == Method::Get && !self.http_1_0 && !self.close;
            return if sound { Ok((body, Behind::Upgrade)) } else { Err(Reason::Upgrade) };
        }
        let last = self.close || self.http_1_0 && !self.keep_alive;
        Ok((body, if last { Behind::Nothing } else { Behind::Request }))
    }
}

fn method(method: &[u8]) -> Result<Method, Reason> {
    check_method(method)?;
    Ok(match method {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        _ => Method::Other,
    })
}

/// Refuses what is no method in use. CONNECT asks for a tunnel and TRACE for an echo of the request, cookies and all.
pub(super) fn check_method(method: &[u8]) -> Result<(), Reason> {
    let sound = matches!(method, [b'A'..=b'Z', ..])
        && method.len() <= METHOD_BYTES_MAX
        && method.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'-'))
        && !matches!(method, b"CONNECT" | b"TRACE");
    if sound { Ok(()) } else { Err(Reason::Method) }
}

/// Takes a field line apart; the value still has its blanks.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Reason> {
    syntax::text(line)?;
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Reason::FoldedField);
    }
    let colon = line.iter().position(|byte| *byte == b':').filter(|at| *at > 0).ok_or(Reason::FieldLine)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    check_name(name)?;
    Ok((name, value))
}

/// Refuses what is no field name, or one that some reader takes for another.
pub(super) fn check_name(name: &[u8]) -> Result<(), Reason> {
    if !syntax::is_token(name) {
        return Err(Reason::FieldName);
    }
    if !syntax::is_plain(name) && resembles(name) {
        return Err(Reason::FieldNameResembles);
    }
    Ok(())
}

/// Whether a name becomes one of these when everything but letters and digits is taken away: gateways that turn names
/// into variables (CGI, WSGI, PHP) make `_` of several characters, and some readers skip odd ones.
fn resembles(name: &[u8]) -> bool {
    const GUARDED: [&[u8]; 17] = [
        b"host",
        b"contentlength",
        b"transferencoding",
        b"connection",
        b"keepalive",
        b"upgrade",
        b"te",
        b"trailer",
        b"expect",
        b"cookie",
        b"authorization",
        b"forwarded",
        b"xforwardedfor",
        b"xforwardedhost",
        b"xforwardedproto",
        b"xrealip",
        b"http2settings",
    ];
    let letters = || name.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase);
    GUARDED.iter().any(|guarded| letters().eq(guarded.iter().copied()))
}

/// A value without the spaces around it. Tabs stay: in front of what frames or routes a request readers differ on them.
fn spaced(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|byte| *byte != b' ').unwrap_or(value.len());
    let end = value.iter().rposition(|byte| *byte != b' ').map_or(start, |last| last + 1);
    &value[start..end]
}

/// Refuses a trailer that would change what was decided by the head (RFC 9110 section 6.5.1).
pub(super) fn trailer(line: &[u8]) -> Result<(), Reason> {
    const FORBIDDEN: [&str; 24] = [
        "age",
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "max-forwards",
        "pragma",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    let (name, _) = field(line)?;
    let named = |forbidden: &&str| name.eq_ignore_ascii_case(forbidden.as_bytes());
    let family = |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    if FORBIDDEN.iter().any(named) || family(b"if-") || family(b"x-forwarded-") {
        return Err(Reason::TrailerForbidden);
    }
    Ok(())
}
