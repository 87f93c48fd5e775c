//! The console as a process serves it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use naru_runtime::http::{BindError, bind, serve_until};
use naru_runtime::tasks::Tasks;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::ask::Asker;
use crate::config::ConsoleConfig;
use crate::frame::Frame;
use crate::gather::{Snapshot, keep_asking};
use crate::history::History;
use crate::marks::{Mark, Marks};
use crate::session::Sessions;
use crate::{assets, events, page};

/// Largest form: a question by SQL, escaped.
const FORM_BYTES_MAX: usize = 64 << 10;
/// Questions and changes that are with other roles at once; the next are told to come again.
const ASKED_AT_ONCE_MAX: usize = 8;
/// Marks of so many seconds go along with each moment: a browser that missed one has it from the next.
const MARKS_REPEATED_S: f64 = 30.0;

/// What pages may do: load this console's own files, and ask this console. No script or style stands in a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Why a console could not be opened. The operator's side.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No client for HTTP.
    #[error("no client for HTTP")]
    Client(#[source] reqwest::Error),
    /// The port could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// What all pages are made from.
pub struct Desk {
    /// The settings.
    pub(crate) config: ConsoleConfig,
    /// Asks other roles for what a person wants; it waits longer than the one for the page.
    pub(crate) asker: Asker,
    /// Who is logged in.
    pub(crate) sessions: Sessions,
    /// The page at each moment.
    pub(crate) frames: watch::Sender<Arc<Frame>>,
    /// Places for browsers that follow.
    pub(crate) viewers: Arc<Semaphore>,
    /// Places for questions and changes.
    pub(crate) places: Semaphore,
    /// When the console ends.
    pub(crate) stop: CancellationToken,
    record: Mutex<Record>,
}

/// What is kept.
pub(crate) struct Record {
    /// The charts.
    pub(crate) history: History,
    /// What happened.
    pub(crate) marks: Marks,
    /// How everything stands.
    pub(crate) snapshot: Arc<Snapshot>,
}

impl Desk {
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        // Nothing panics while holding it.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment is over: keeps it, and shows it to those who follow.
    pub(crate) fn publish(&self, now: &Snapshot, news: Vec<Mark>) {
        let t = now.at_unix_ms as f64 / 1_000.0;
        let marks: Vec<Mark> = {
            let mut record = self.record();
            record.history.push(t, &now.points);
            record.marks.add(news);
            record.snapshot = Arc::new(now.clone());
            record.marks.all().cloned().collect()
        };
        let recent = marks.iter().filter(|mark| mark.t > t - MARKS_REPEATED_S).cloned().collect();
        let frame = Frame::of(now, &marks, recent);
        self.frames.send_replace(Arc::new(frame));
    }
}

/// Opens the console, and asks and serves until the tasks are told to stop; gives the address.
///
/// # Errors
/// When the port or a client cannot be had.
pub async fn serve(config: ConsoleConfig, tasks: &Tasks) -> Result<SocketAddr, OpenError> {
    let asker = Asker::new(config.answer_max).map_err(OpenError::Client)?;
    let (listener, address) = bind(config.listen).await?;
    let moments = config.history.as_millis() / config.ask_interval.as_millis().max(1);
    let record = Record {
        history: History::new(usize::try_from(moments).unwrap_or(usize::MAX)),
        marks: Marks::default(),
        snapshot: Arc::default(),
    };
    let desk = Arc::new(Desk {
        asker: Asker::new(config.question_max).map_err(OpenError::Client)?,
        sessions: Sessions::default(),
        frames: watch::Sender::new(Arc::default()),
        viewers: Arc::new(Semaphore::new(config.viewers_max as usize)),
        places: Semaphore::new(ASKED_AT_ONCE_MAX),
        stop: tasks.stop_token(),
        record: Mutex::new(record),
        config,
    });
    tasks.spawn("asking", keep_asking(Arc::clone(&desk), asker, tasks.stop_token()));
    tasks.spawn_fallible("console", serve_until(listener, router(desk), tasks.stop_token()));
    Ok(address)
}

fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/", get(page::day::show))
        .route("/plans", get(page::plans::show).post(page::plans::make))
        .route("/plans/{hash}", get(page::plans::one))
        .route("/plans/{hash}/approve", post(page::plans::approve))
        .route("/plans/{hash}/apply", post(page::plans::apply))
        .route("/sql", get(page::questions::show))
        .route("/login", get(page::login::show).post(page::login::log_in))
        .route("/logout", post(page::login::log_out))
        .route("/events", get(events::follow))
        .route("/series.json", get(series))
        .route("/assets/{name}", get(assets::file))
        .route("/health", get(async || "ok\n"))
        .fallback(page::missing)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&desk), known_name))
        .layer(from_fn(guarded))
        .with_state(desk)
}

/// What charts begin with: `GET /series.json?since=SECONDS`.
async fn series(State(desk): State<Arc<Desk>>, uri: Uri) -> Response {
    let since = uri.query().and_then(|query| query.strip_prefix("since=")?.parse().ok()).unwrap_or(0.0);
    let record = desk.record();
    let marks: Vec<&Mark> = record.marks.all().filter(|mark| mark.t > since).collect();
    Json(json!({ "columns": record.history.since(since), "marks": marks })).into_response()
}

/// Refuses requests for a host that is not ours: a page elsewhere whose name was made to point here.
async fn known_name(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    match host.is_some_and(|host| is_ours(host, &desk.config.names)) {
        true => next.run(request).await,
        false => (StatusCode::MISDIRECTED_REQUEST, "name this host in the console's option `names`\n").into_response(),
    }
}

fn is_ours(host: &str, names: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| name.eq_ignore_ascii_case(host))
}

/// What every answer says to browsers.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let is_page = headers.get(CONTENT_TYPE).is_none_or(|kind| !kind.as_bytes().starts_with(b"text/event-stream"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if is_page {
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_served() {
        let names = ["console.example".to_owned()];
        let check = |host: &str, expect: bool| assert_eq!(is_ours(host, &names), expect, "{host}");
        check("127.0.0.1:7570", true);
        check("[::1]:7570", true);
        check("localhost:1", true);
        check("LOCALHOST", true);
        check("Console.Example", true);
        check("evil.example:7570", false);
        check("127.0.0.1.evil.example", false);
        check("", false);
    }
}
