//! The waiting room as people and programs see it (EDGE-3): facts in, an answer out.
//!
//! Somebody who looks at it gets a page with status 200: it is what he is meant to see, and browsers, apps and caches
//! between show it as it is. An error status would not do: some apps put a page of their own in place of one, and
//! whoever counts errors would count a line that works. It is never kept (`no-store`) and never indexed.
//!
//! A program that asked for data gets 429 with a small JSON document: with 200 it would take the document for its data.
//! Neither is a 5xx. Nothing that a client sent gets into an answer: texts are ours, and all else is numbers.
//!
//! The page has no script and loads nothing; its one style is allowed by its hash. A browser asks again with GET, so
//! what a form had sent before it is not sent again.

mod accept;
#[cfg(test)]
mod tests;
mod words;

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use naru_model::written::thousands;
use ring::digest::{SHA256, digest};
use serde::Serialize;

pub use accept::Form;
pub use words::Language;

use crate::policy::Wait;

/// The page's one style, in the page itself.
const STYLE: &str = include_str!("style.css");
/// What the page may do: show that style, and be asked for again.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = base64(digest(&SHA256, STYLE.as_bytes()).as_ref());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("letters, digits and signs that a header may have")
});
const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");

/// Where somebody stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is his turn, and he waits for the next free slot.
    Called,
    /// Others are before him.
    Waits {
        /// His place, from 1.
        place: u64,
        /// How long, by the rate of now; `None` while nobody is let in.
        estimate: Option<Duration>,
    },
}

/// What an answer is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Where he stands.
    pub standing: Standing,
    /// When he should ask again. An answer says it in whole seconds, one at least.
    pub refresh: Duration,
}

impl From<&Wait> for Facts {
    fn from(wait: &Wait) -> Self {
        let standing = match wait.place {
            0 => Standing::Called,
            place => Standing::Waits { place, estimate: wait.estimate },
        };
        Self { standing, refresh: wait.refresh }
    }
}

impl Facts {
    fn refresh_s(&self) -> u64 {
        (self.refresh.as_millis() + 500).div_euclid(1_000).try_into().unwrap_or(u64::MAX).max(1)
    }
}

/// An answer of the waiting room, but for its cookie. A HEAD request gets it without the body.
#[derive(Debug, Clone)]
pub struct Page {
    /// 200 to people, 429 to programs.
    pub status: StatusCode,
    /// Its headers, `Content-Length` among them.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// The answer that fits a request's `Accept` and `Accept-Language`; empty if it has none.
pub fn answer(facts: &Facts, accept: &str, accept_language: &str) -> Page {
    match Form::from_accept(accept) {
        Form::Page => render(facts, Language::from_accept(accept_language)),
        Form::Data => document(facts),
    }
}

/// The page for people.
pub fn render(facts: &Facts, language: Language) -> Page {
    let body = html(facts, language).into_bytes();
    let mut headers = common(facts, &body, "text/html; charset=utf-8");
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.words().tag));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    Page { status: StatusCode::OK, headers, body }
}

/// The document for programs: `{"state": "waiting" | "called", "place", "estimate_s", "refresh_s"}`; place 0 is
/// whose turn it is, an estimate that is null is not known.
pub fn document(facts: &Facts) -> Page {
    #[derive(Serialize)]
    struct Document {
        state: &'static str,
        place: u64,
        estimate_s: Option<u64>,
        refresh_s: u64,
    }
    let (state, place, estimate) = match facts.standing {
        Standing::Called => ("called", 0, None),
        Standing::Waits { place, estimate } => ("waiting", place, estimate),
    };
    let estimate_s = estimate.map(|estimate| estimate.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX));
    let document = Document { state, place, estimate_s, refresh_s: facts.refresh_s() };
    let body = serde_json::to_vec(&document).expect("texts and numbers");
    let headers = common(facts, &body, "application/json");
    Page { status: StatusCode::TOO_MANY_REQUESTS, headers, body }
}

fn common(facts: &Facts, body: &[u8], content_type: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from(facts.refresh_s()));
    // Nothing keeps it; a cache that does all the same must not show one person's place to another.
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Language, Cookie"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_ROBOTS_TAG, HeaderValue::from_static("noindex"));
    headers
}

fn html(facts: &Facts, language: Language) -> String {
    let words = language.words();
    let (heading, why) = match facts.standing {
        Standing::Called => (words.called, words.called_why),
        Standing::Waits { .. } => (words.waiting, words.waiting_why),
    };
    let mut page = String::with_capacity(STYLE.len() + 2_048);
    // A reload reads the page anew to who listens to it, so what changes comes first: in the title.
    let (title, standing) = match facts.standing {
        Standing::Called => (heading.to_owned(), String::new()),
        Standing::Waits { place, estimate } => {
            let (number, ordinal) = (thousands(place), language.ordinal(place));
            let wait = language.wait(words::Wait::of(estimate));
            let row = |label: &str, class: &str, value: &str| {
                format!(r#"<p><span class="label">{label}</span> <strong class="value{class}">{value}</strong></p>"#)
            };
            let place = row(words.place, " place", &format!("{number}<small>{ordinal}</small>"));
            let rows = format!("{place}\n{}\n", row(words.estimate, "", &wait));
            (format!("{number}{ordinal} · {heading}"), rows)
        }
    };
    // The people of the line, and he among them: at its end, or at the door.
    let (others, you) = ("<li></li>".repeat(4), r#"<li class="you"></li>"#);
    // Whose turn it is has been told already that the page goes on by itself.
    let (people, notes) = match facts.standing {
        Standing::Called => (format!("{you}{others}"), &words.notes[1..]),
        Standing::Waits { .. } => (format!("{others}{you}"), &words.notes[..]),
    };
    let notes: String = notes.iter().map(|note| format!("<li>{note}</li>\n")).collect();
    // What has to be read out when it changes: the place, or that it is his turn.
    let live = match facts.standing {
        Standing::Called => format!(r#"<p class="why" role="status" aria-live="polite">{why}</p>"#),
        Standing::Waits { .. } => format!(
            "<p class=\"why\">{why}</p>\n<div class=\"standing\" role=\"status\" aria-live=\"polite\" aria-atomic=\"true\">\n{standing}</div>"
        ),
    };
    write!(
        page,
        r#"<!doctype html>
<html lang="{tag}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">
<meta name="robots" content="noindex">
<meta http-equiv="refresh" content="{refresh}">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<ol class="people" aria-hidden="true">{people}</ol>
<h1>{heading}</h1>
{live}
<ul class="notes">
{notes}</ul>
<a class="again" href="">{again}</a>
</main>
</body>
</html>
"#,
        tag = words.tag,
        refresh = facts.refresh_s(),
        again = words.again,
    )
    .expect("writing to a string cannot fail");
    page
}

/// Bytes as a security policy writes a hash.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit > three.len() { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
    text
}
