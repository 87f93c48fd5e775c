//! The access log: one JSON line per request, written before the request is answered.
//!
//! It says what arrived and not what was in it: names of headers and cookies, the path without its query, no body. A
//! line goes to the operating system with the request that it is about, so a process that is killed leaves no answered
//! request without one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, Method, Uri};
use serde::Serialize;

/// The header that carries a request's id.
const REQUEST_ID: &str = "x-request-id";
/// Characters of a path or an id that are kept; a longer one is somebody's mistake.
const SHOWN_CHARS_MAX: usize = 200;

/// What arrived.
#[derive(Debug, Serialize)]
pub(super) struct Received {
    /// When, milliseconds since 1970.
    unix_ms: u64,
    /// The process, by its name.
    served_by: String,
    /// The id that somebody before gave it; empty if nobody did.
    request_id: String,
    /// The method.
    method: String,
    /// The path, without the query.
    path: String,
    /// The names of its headers, in their order.
    headers: Vec<String>,
    /// The names of its cookies, in their order.
    cookies: Vec<String>,
    /// Whether the planted text was anywhere in it: target, headers, cookies, body.
    planted: bool,
}

impl Received {
    pub(super) fn new(
        served_by: &str,
        planted: Option<&str>,
        (method, uri, headers, body): (&Method, &Uri, &HeaderMap, &[u8]),
    ) -> Self {
        let target = uri.path_and_query().map_or("", |target| target.as_str());
        let holds = |text: &str| {
            let within =
                |bytes: &[u8]| bytes.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()));
            let named = |name: &str| within(name.as_bytes());
            within(target.as_bytes())
                || within(body)
                || headers.iter().any(|(name, value)| named(name.as_str()) || within(value.as_bytes()))
        };
        let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let cookies = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
        let cookie_name = |cookie: &[u8]| {
            let name = cookie.split(|byte| *byte == b'=').next().unwrap_or_default();
            String::from_utf8_lossy(name).trim().to_owned()
        };
        Self {
            unix_ms: unix_ms(),
            served_by: served_by.to_owned(),
            request_id: shown(&text(REQUEST_ID).unwrap_or_default()),
            method: method.as_str().to_owned(),
            path: shown(uri.path()),
            headers: headers.keys().map(|name| name.as_str().to_owned()).collect(),
            cookies: cookies.map(cookie_name).filter(|name| !name.is_empty()).collect(),
            planted: planted.filter(|text| !text.is_empty()).is_some_and(holds),
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[expect(clippy::disallowed_methods, reason = "the date in an access log; nothing is decided by it")]
fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The file.
#[derive(Debug)]
pub(super) struct AccessLog {
    file: Mutex<File>,
}

impl AccessLog {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Adds a line with one write.
    pub(super) fn add(&self, received: &Received) -> io::Result<()> {
        let mut line = serde_json::to_vec(received)?;
        line.push(b'\n');
        self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn a_line_says_what_arrived_and_not_what_was_in_it() {
        let check = |target: &str, fields: &[(&str, &str)], body: &str, planted: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap());
            }
            let uri: Uri = target.parse().unwrap();
            let received = Received::new("cloud-1", Some("hong"), (&Method::GET, &uri, &headers, body.as_bytes()));
            assert_eq!(received.planted, planted, "{target} {fields:?} {body}");
            let line = serde_json::to_string(&received).unwrap();
            assert!(!line.contains("hong") && !line.contains("day=1"), "{line}");
            received
        };
        let fields = [("accept", "text/html"), ("x-request-id", "7f"), ("cookie", "theme=dark; lang=ko")];
        let received = check("/promotion/7?day=1", &fields, "", false);
        assert_eq!(received.path, "/promotion/7");
        assert_eq!((received.method.as_str(), received.request_id.as_str()), ("GET", "7f"));
        assert_eq!(received.headers, ["accept", "x-request-id", "cookie"]);
        assert_eq!(received.cookies, ["theme", "lang"]);
        check("/promotion?user=hong", &[], "", true);
        check("/promotion", &[("x-user", "Hong Gil-dong")], "", true);
        check("/promotion", &[("cookie", "session=hong")], "", true);
        check("/promotion", &[], r#"{"name":"hong"}"#, true);
        assert_eq!(check("/promotion", &[], "", false).request_id, "");
    }
}
