//! What a request of HTTP/2 must not hold (RFC 9113 section 8), and what would turn into something else when it is
//! written as HTTP/1.1.
//!
//! The frames and the header compression are the business of the HTTP/2 library; this looks at what it decoded.

use http::request::Parts;

use super::head::{check_method, check_name};
use super::limits::Limits;
use super::refusal::Reason;
use super::{syntax, target};

/// What every field of HTTP/2 costs beside its bytes (RFC 9113 section 6.5.2).
const FIELD_OVERHEAD_BYTES: usize = 32;

/// Fields of a connection: HTTP/2 has none, and a forwarder would write them into the next connection.
const CONNECTION_FIELDS: [&str; 6] =
    ["connection", "http2-settings", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// Checks the fields of a request as they came, pseudo-headers included.
///
/// # Errors
/// The first thing that is wrong; the stream is then answered with the reason's status and reset.
pub fn check_fields<'f>(fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>, limits: &Limits) -> Result<(), Reason> {
    let mut seen = Seen::default();
    let (mut count, mut bytes) = (0, 0);
    for (name, value) in fields {
        count += 1;
        bytes += name.len() + value.len() + FIELD_OVERHEAD_BYTES;
        if count > limits.fields_max {
            return Err(Reason::TooManyFields);
        }
        if name.len() + value.len() > limits.field_line_bytes_max {
            return Err(if name == b":path" { Reason::TargetTooLong } else { Reason::FieldTooLong });
        }
        if bytes > limits.head_bytes_max {
            return Err(Reason::HeadTooLarge);
        }
        check_value(value)?;
        match name.strip_prefix(b":") {
            Some(pseudo) => seen.pseudo_header(pseudo, value)?,
            None => seen.field(name, value)?,
        }
    }
    seen.finish(limits)
}

/// The same for a request that a library has parsed already. What such a library has merged or refused by itself, like a
/// repeated pseudo-header, is not to be seen here.
///
/// # Errors
/// As for [`check_fields`].
pub fn check_parts(parts: &Parts, limits: &Limits) -> Result<(), Reason> {
    let uri = &parts.uri;
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    // Without an authority the type has no place for a scheme: it was checked, and dropped, by the library.
    let scheme = uri.scheme_str().or(uri.authority().is_none().then_some("https"));
    let pseudo_headers = [
        (":method", Some(parts.method.as_str())),
        (":scheme", scheme),
        (":authority", uri.authority().map(|authority| authority.as_str())),
        (":path", Some(path)),
    ];
    let pseudo_headers =
        pseudo_headers.iter().filter_map(|(name, value)| Some((name.as_bytes(), (*value)?.as_bytes())));
    let fields = parts.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    check_fields(pseudo_headers.chain(fields), limits)
}

/// A value that HTTP/1.1 can carry on one line, as it is.
fn check_value(value: &[u8]) -> Result<(), Reason> {
    syntax::text(value).map_err(|_| Reason::FieldValue)?;
    if syntax::trim(value).len() == value.len() { Ok(()) } else { Err(Reason::FieldValue) }
}

/// What was seen of a request so far.
#[derive(Debug, Default)]
struct Seen<'f> {
    method: Option<&'f [u8]>,
    scheme: Option<&'f [u8]>,
    authority: Option<&'f [u8]>,
    path: Option<&'f [u8]>,
    host: Option<&'f [u8]>,
    length: Option<u64>,
    expect: bool,
    fields: bool,
}

impl<'f> Seen<'f> {
    fn pseudo_header(&mut self, name: &[u8], value: &'f [u8]) -> Result<(), Reason> {
        if self.fields {
            return Err(Reason::PseudoHeader);
        }
        let place = match name {
            b"method" => &mut self.method,
            b"scheme" => &mut self.scheme,
            b"authority" => &mut self.authority,
            b"path" => &mut self.path,
            _ => return Err(Reason::PseudoHeader),
        };
        if place.replace(value).is_some() || value.is_empty() { Err(Reason::PseudoHeader) } else { Ok(()) }
    }

    fn field(&mut self, name: &[u8], value: &'f [u8]) -> Result<(), Reason> {
        self.fields = true;
        check_name(name)?;
        if name.iter().any(u8::is_ascii_uppercase) {
            return Err(Reason::FieldName);
        }
        match name {
            b"host" if self.host.replace(value).is_some() => return Err(Reason::HostRepeated),
            b"content-length" => {
                let length = syntax::decimal(value).ok_or(Reason::ContentLengthValue)?;
                if self.length.replace(length).is_some() {
                    return Err(Reason::ContentLengthRepeated);
                }
            }
            b"te" if value != b"trailers" => return Err(Reason::ConnectionField),
            b"expect" => {
                if self.expect || !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Reason::Expect);
                }
                self.expect = true;
            }
            _ if CONNECTION_FIELDS.iter().any(|field| field.as_bytes() == name) => {
                return Err(Reason::ConnectionField);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&self, limits: &Limits) -> Result<(), Reason> {
        let (Some(method), Some(scheme), Some(path)) = (self.method, self.scheme, self.path) else {
            return Err(Reason::PseudoHeader);
        };
        check_method(method)?;
        if !matches!(scheme, b"http" | b"https") {
            return Err(Reason::Scheme);
        }
        if !(path == b"*" && method == b"OPTIONS") {
            target::origin(path)?;
        }
        let Some(host) = self.authority.or(self.host) else { return Err(Reason::HostMissing) };
        if !syntax::is_host(host) {
            return Err(Reason::HostValue);
        }
        if self.host.is_some_and(|field| !field.eq_ignore_ascii_case(host)) {
            return Err(Reason::HostConflict);
        }
        let bodiless = matches!(method, b"GET" | b"HEAD");
        if bodiless && self.length.is_some_and(|length| length > 0) {
            return Err(Reason::BodyNotExpected);
        }
        if self.expect && (bodiless || self.length == Some(0)) {
            return Err(Reason::Expect);
        }
        if self.length.is_some_and(|length| length > limits.body_bytes_max) {
            return Err(Reason::BodyTooLarge);
        }
        Ok(())
    }
}
