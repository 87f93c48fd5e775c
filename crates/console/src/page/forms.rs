//! What browsers send: forms of this console's own pages, from somebody who is logged in.

use std::collections::HashMap;

use axum::extract::Query;
use axum::http::header::{HOST, HeaderName, LOCATION, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

/// Where a browser says that a request comes from.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The fields of a form. One that cannot be read has none.
pub fn fields(body: &[u8]) -> HashMap<String, String> {
    // A form is written as a query is; a body that is none of either is no address.
    let uri = std::str::from_utf8(body).ok().and_then(|text| format!("/?{text}").parse::<Uri>().ok());
    uri.and_then(|uri| Query::try_from_uri(&uri).ok()).map(|Query(fields)| fields).unwrap_or_default()
}

/// Whether a request comes from one of our own pages, as far as the browser says. One without either header is no browser's.
pub fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(FETCH_SITE).is_some_and(|site| site != "same-origin") {
        return false;
    }
    let origin = text(ORIGIN).map(|origin| origin.split_once("://").map(|(_, host)| host));
    origin.is_none_or(|host| host.is_some() && host == text(HOST))
}

/// Sends the browser to another page of ours.
pub fn see(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(path) = HeaderValue::from_str(path) {
        response.headers_mut().insert(LOCATION, path);
    }
    response
}

/// A path of ours, and not another host's; the day's page in place of anything else.
pub fn own_path(path: &str) -> &str {
    let is_ours =
        path.starts_with('/') && !path[1..].starts_with(['/', '\\']) && path.bytes().all(|b| b.is_ascii_graphic());
    if is_ours { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_browsers_write_them() {
        let check = |body: &str, expect: &[(&str, &str)]| {
            let expect = expect.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(fields(body.as_bytes()), expect, "{body}");
        };
        check("csrf=ab&token=naru_1", &[("csrf", "ab"), ("token", "naru_1")]);
        check("q=select+1%0D%0A%26%EA%B0%80", &[("q", "select 1\r\n&가")]);
        check("", &[]);
        check("a=\u{0}", &[]);
    }

    #[test]
    fn forms_of_other_pages_are_told() {
        let check = |origin: Option<&'static str>, site: Option<&'static str>, expect: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("127.0.0.1:7570"));
            origin.map(|origin| headers.insert(ORIGIN, HeaderValue::from_static(origin)));
            site.map(|site| headers.insert(FETCH_SITE, HeaderValue::from_static(site)));
            assert_eq!(is_own(&headers), expect, "{origin:?} {site:?}");
        };
        check(None, None, true);
        check(Some("http://127.0.0.1:7570"), Some("same-origin"), true);
        check(Some("http://127.0.0.1:7571"), None, false);
        check(Some("http://evil.example"), Some("cross-site"), false);
        check(Some("null"), None, false);
        check(None, Some("same-site"), false);
    }

    #[test]
    fn a_browser_is_sent_to_our_own_pages_only() {
        let check = |path: &str, expect: &str| assert_eq!(own_path(path), expect);
        check("/plans?x=1", "/plans?x=1");
        check("//evil.example", "/");
        check("/\\evil.example", "/");
        check("https://evil.example", "/");
        check("", "/");
        check("/a\r\nset-cookie: b", "/");
    }
}
