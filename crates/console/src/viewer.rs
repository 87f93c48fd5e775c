//! Who looks at a page, and how he wants to see it.

use std::collections::HashMap;
use std::time::Instant;

use axum::extract::Query;
use axum::http::header::{ACCEPT_LANGUAGE, COOKIE};
use axum::http::{HeaderMap, Uri};

use crate::server::Desk;
use crate::session::Session;
use crate::words::{Lang, Words};

/// The cookie that names a session.
pub const SESSION: &str = "naru_session";
/// How long a browser remembers language and colours, in seconds.
pub const CHOICE_S: u32 = 365 * 86_400;

/// The colours of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// As the system has it.
    Auto,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// All of them, in the order in which a person goes through them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

    /// As addresses and documents name it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.code() == code)
    }

    /// The one behind it.
    pub fn next(self) -> Self {
        match self {
            Self::Auto => Self::Light,
            Self::Light => Self::Dark,
            Self::Dark => Self::Auto,
        }
    }
}

/// Who looks.
#[derive(Debug)]
pub struct Viewer {
    /// In which language.
    pub lang: Lang,
    /// In which colours.
    pub theme: Theme,
    /// Whether the address names them: then the browser is told to remember.
    pub chosen: bool,
    /// The session, with its cookie.
    pub session: Option<(String, Session)>,
    /// The path of the page.
    pub path: String,
    /// What stands behind its question mark.
    pub query: HashMap<String, String>,
}

impl Viewer {
    /// From a request.
    pub fn of(desk: &Desk, headers: &HeaderMap, uri: &Uri) -> Self {
        let query = Query::<HashMap<String, String>>::try_from_uri(uri).map(|Query(query)| query).unwrap_or_default();
        let asked = |name: &str| query.get(name).map(String::as_str);
        let (lang, theme) = (asked("lang").and_then(Lang::from_code), asked("theme").and_then(Theme::from_code));
        let accepted = || Lang::accepted(headers.get(ACCEPT_LANGUAGE)?.to_str().ok()?);
        let session = cookie(headers, SESSION).and_then(|id| {
            let session = desk.sessions.find(&id, Instant::now())?;
            Some((id, session))
        });
        Self {
            chosen: lang.is_some() || theme.is_some(),
            lang: lang.or_else(|| Lang::from_code(&cookie(headers, "lang")?)).or_else(accepted).unwrap_or(Lang::En),
            theme: theme.or_else(|| Theme::from_code(&cookie(headers, "theme")?)).unwrap_or(Theme::Auto),
            session,
            path: uri.path().to_owned(),
            query,
        }
    }

    /// The words of his language.
    pub fn words(&self) -> &'static Words {
        self.lang.words()
    }

    /// What his forms carry.
    pub fn csrf(&self) -> &str {
        self.session.as_ref().map_or("", |(_, session)| &session.csrf)
    }

    /// This page with one thing of its address changed.
    pub fn with(&self, name: &str, value: &str) -> String {
        let mut query: Vec<_> = self.query.iter().filter(|(key, _)| *key != name && *key != "said").collect();
        query.sort();
        let mut address = format!("{}?{name}={}", self.path, escape(value));
        for (key, value) in query {
            address.push_str(&format!("&{}={}", escape(key), escape(value)));
        }
        address
    }
}

/// A cookie's value.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
    let mut pairs = all.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// A text as a part of an address.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_left_that_an_address_would_read() {
        let check = |text: &str, expect: &str| assert_eq!(escape(text), expect);
        check("select 1 & 'ㄱ'", "select%201%20%26%20%27%E3%84%B1%27");
        check("a-b_c.d~e", "a-b_c.d~e");
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, axum::http::HeaderValue::from_static("a=1; naru_session=x=y; lang=ko"));
        let check = |name: &str, expect: Option<&str>| assert_eq!(cookie(&headers, name).as_deref(), expect);
        check("lang", Some("ko"));
        check(SESSION, Some("x=y"));
        check("theme", None);
    }
}
