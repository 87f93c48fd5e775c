//! The HTTP interface.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::instruction::{Instruction, Kind};
use crate::publish::LogState;
use crate::store::{Reader, StoreError};
use crate::writer::{Answer, Command, Counters};

/// A body has at most this many bytes: several times what the longest instruction needs.
pub const BODY_BYTES_MAX: usize = 4096;
/// An idempotency key has at most this many bytes: a UUID several times over.
pub const KEY_BYTES_MAX: usize = 128;
/// The header that names a request, so that it can be repeated.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct App {
    /// Which service this is.
    pub kind: Kind,
    /// The way to the writer.
    pub commands: mpsc::Sender<Command>,
    /// Reads the database.
    pub reader: Reader,
    /// How much there is.
    pub counters: Arc<Counters>,
    /// How the log is.
    pub log: Arc<LogState>,
}

/// Why a request was refused, as a status and a JSON body `{"error", "message"}`.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("write the body as JSON, with the header `content-type: application/json`")]
    NotJson,
    #[error("the body has more than {BODY_BYTES_MAX} bytes: send one instruction per request")]
    TooLarge,
    #[error("the body could not be read: send it again")]
    Broken,
    #[error("give the request a name of 1 to {KEY_BYTES_MAX} visible ASCII characters in the header `Idempotency-Key`")]
    Key,
    #[error("{0}")]
    Body(String),
    #[error("there is no such {0}")]
    Missing(&'static str),
    #[error("too many requests are waiting: this one was not taken, send it again")]
    Busy,
    #[error("the outcome is unknown: send the request again with the same Idempotency-Key")]
    Unknown,
    #[error("the database failed: send the request again")]
    Store(#[from] StoreError),
}

/// What a client is told to wait before it tries again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error) = match &self {
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::Broken => (StatusCode::BAD_REQUEST, "body_broken"),
            Self::Key => (StatusCode::BAD_REQUEST, "idempotency_key_invalid"),
            Self::Body(_) => (StatusCode::BAD_REQUEST, "body_invalid"),
            Self::Missing(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Unknown => (StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown"),
            Self::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "database_failed"),
        };
        if let Self::Store(error) = &self {
            tracing::error!(error = error as &dyn std::error::Error, "a read failed");
        }
        let mut response = (status, Json(json!({ "error": error, "message": self.to_string() }))).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

/// The routes of a service.
pub fn router(app: App) -> Router {
    let collection = format!("/{}", app.kind.plural());
    Router::new()
        .route(&collection, axum::routing::post(submit))
        .route(&format!("{collection}/{{id}}"), get(operation))
        .route("/balances/{account}", get(balances))
        .route("/status", get(status))
        .route("/health", get(health))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

async fn submit(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let answered = decide(&app, &headers, body).await;
    let counter = match &answered {
        Ok(response) if response.status() == StatusCode::CREATED => &app.counters.accepted,
        Ok(_) => &app.counters.refused,
        Err(Refusal::Busy) => &app.counters.busy,
        Err(Refusal::Unknown | Refusal::Store(_)) => &app.counters.unknown,
        Err(_) => &app.counters.invalid,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    answered
}

async fn decide(app: &App, headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Response, Refusal> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge,
        _ => Refusal::Broken,
    })?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        return Err(Refusal::NotJson);
    }
    let idempotency_key = headers
        .get(IDEMPOTENCY_KEY)
        .and_then(|value| value.to_str().ok())
        .filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or(Refusal::Key)?
        .to_owned();
    let instruction = Instruction::read(app.kind, &body).map_err(|error| Refusal::Body(error.to_string()))?;
    let (reply, answer) = oneshot::channel();
    app.commands.try_send(Command::Submit { idempotency_key, instruction, reply }).map_err(|_| Refusal::Busy)?;
    let Answer { status, body } = answer.await.map_err(|_| Refusal::Unknown)?;
    let status = StatusCode::from_u16(status).map_err(|_| Refusal::Unknown)?;
    Ok((status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

async fn operation(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let found = app.reader.operation(&id).await?.ok_or(Refusal::Missing(app.kind.name()))?;
    let body = json!({
        "id": id,
        "kind": app.kind.name(),
        "sequence": found.sequence,
        "user": found.user,
        (app.kind.counterparty_field()): found.counterparty,
        "amount": { "currency": found.currency, "minor": found.minor },
    });
    Ok(Json(body).into_response())
}

async fn balances(State(app): State<App>, Path(account): Path<String>) -> Result<Response, Refusal> {
    let found = app.reader.balances(&account).await?;
    if found.is_empty() {
        return Err(Refusal::Missing("account"));
    }
    let balances: Vec<_> =
        found.into_iter().map(|(currency, minor)| json!({ "currency": currency, "minor": minor })).collect();
    Ok(Json(json!({ "account": account, "balances": balances })).into_response())
}

async fn status(State(app): State<App>) -> Response {
    Json(json!({
        "service": app.kind.name(),
        "operations": app.counters.operations.load(Ordering::Relaxed),
        "outbox_pending": app.counters.outbox_pending.load(Ordering::Relaxed),
        "log": app.log.name(),
    }))
    .into_response()
}

/// Healthy is whoever can commit; the log may be away.
async fn health(State(app): State<App>) -> StatusCode {
    if app.commands.is_closed() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}
