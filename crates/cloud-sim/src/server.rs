//! The cloud as a process serves it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use naru_runtime::clocks::{DayClock, SystemClock};
use naru_runtime::http::{BindError, bind, serve_until};
use naru_runtime::tasks::Tasks;
use serde::Serialize;

use crate::api::{Code, Describe, Flavors, Machines, OPENAPI, Reclaim, Refused, Run, Terminate};
use crate::cloud::{Cloud, Done};
use crate::config::CloudSimConfig;
use crate::journal::Journal;
pub use crate::journal::JournalError;

/// Longest request: a hundred machines by name, or fifty tags.
const REQUEST_BYTES_MAX: usize = 256 << 10;

/// Why a cloud could not be opened. The operator's side.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What it kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The port could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
}

struct Shared {
    kept: Mutex<Kept>,
    clock: DayClock,
}

struct Kept {
    cloud: Cloud,
    journal: Journal,
}

/// Opens what was rented before, and serves until the tasks are told to stop; gives the address.
///
/// # Errors
/// When anything of it cannot be had.
pub async fn serve(config: &CloudSimConfig, tasks: &Tasks) -> Result<SocketAddr, OpenError> {
    let (journal, events) = Journal::open(&config.state)?;
    let mut cloud = Cloud::new(config.behaviour());
    events.iter().for_each(|event| cloud.apply(event));
    tracing::info!(events = events.len(), "cloud opened");
    let factor = NonZeroU32::new(config.day_factor).unwrap_or(NonZeroU32::MIN);
    let clock = day(factor);
    let (listener, address) = bind(config.listen).await?;
    let shared = Arc::new(Shared { kept: Mutex::new(Kept { cloud, journal }), clock });
    let router = Router::new()
        .route("/run", post(run))
        .route("/describe", post(describe))
        .route("/terminate", post(terminate))
        .route("/reclaim", post(reclaim))
        .route("/flavors", get(flavors))
        .route("/meter", get(meter))
        .route("/openapi.json", get(openapi))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(shared);
    tasks.spawn_fallible("cloud", serve_until(listener, router, tasks.stop_token()));
    Ok(address)
}

/// A day that runs fast from 1970 on, so that it is the same day for every process and after every start.
fn day(factor: NonZeroU32) -> DayClock {
    use naru_runtime::clocks::WallClock as _;
    let wall = SystemClock::new();
    let start = wall.unix_ms().saturating_mul(i64::from(factor.get()));
    DayClock::starting(Arc::new(wall), start, factor)
}

type Asked<T> = Result<Json<T>, JsonRejection>;

/// Admits a call, decides it, keeps what it changed and answers: a call at a time.
fn call<T, A: Serialize>(
    shared: &Shared,
    asked: Asked<T>,
    decide: impl FnOnce(&Cloud, &T, i64) -> Done<()>,
    answer: impl FnOnce(&Cloud, &T, i64) -> A,
) -> Response {
    let now = shared.clock.unix_ms();
    let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
    let lost = match kept.cloud.admit(now) {
        Ok(lost) => lost,
        Err(refused) => return refuse(refused),
    };
    let Json(asked) = match asked {
        Ok(asked) => asked,
        Err(rejection) => {
            let message = format!("the request is not as docs/api/cloud-sim.json has it: {}", rejection.body_text());
            return refuse(Refused { code: Code::InvalidParameterValue, message });
        }
    };
    let events = match decide(&kept.cloud, &asked, now) {
        Ok((events, ())) => events,
        Err(refused) => return refuse(refused),
    };
    if let Err(error) = kept.journal.keep(&events) {
        tracing::error!(error = &error as &dyn std::error::Error, "a call could not be kept, nothing is done");
        let message = "the call could not be kept".to_owned();
        return refuse(Refused { code: Code::Unavailable, message });
    }
    events.iter().for_each(|event| kept.cloud.apply(event));
    if lost {
        let message = "the answer is lost; what was asked may have been done".to_owned();
        return refuse(Refused { code: Code::Unavailable, message });
    }
    Json(answer(&kept.cloud, &asked, now)).into_response()
}

fn refuse(refused: Refused) -> Response {
    let status = match refused.code {
        Code::RequestLimitExceeded | Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        // As EC2 has it.
        Code::InsufficientInstanceCapacity => StatusCode::INTERNAL_SERVER_ERROR,
        Code::StaleFence => StatusCode::PRECONDITION_FAILED,
        Code::IdempotentParameterMismatch
        | Code::InvalidParameterValue
        | Code::UnknownFlavor
        | Code::UnknownMachine => StatusCode::BAD_REQUEST,
    };
    (status, Json(refused)).into_response()
}

async fn run(State(shared): State<Arc<Shared>>, asked: Asked<Run>) -> Response {
    let answer = |cloud: &Cloud, asked: &Run, now: i64| Machines { machines: cloud.of_token(&asked.client_token, now) };
    blocking(move || call(&shared, asked, Cloud::run, answer)).await
}

async fn describe(State(shared): State<Arc<Shared>>, asked: Asked<Describe>) -> Response {
    let nothing = |_: &Cloud, _: &Describe, _: i64| Ok((Vec::new(), ()));
    let answer = |cloud: &Cloud, asked: &Describe, now: i64| Machines { machines: cloud.describe(asked, now) };
    blocking(move || call(&shared, asked, nothing, answer)).await
}

async fn terminate(State(shared): State<Arc<Shared>>, asked: Asked<Terminate>) -> Response {
    blocking(move || call(&shared, asked, Cloud::terminate, |_, _, _| serde_json::json!({}))).await
}

async fn reclaim(State(shared): State<Arc<Shared>>, asked: Asked<Reclaim>) -> Response {
    let decide = |cloud: &Cloud, asked: &Reclaim, now: i64| cloud.reclaim_now(&asked.id, now);
    blocking(move || call(&shared, asked, decide, |_, _, _| serde_json::json!({}))).await
}

/// A call waits for the disk.
async fn blocking(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(response) => response,
        Err(_) => refuse(Refused { code: Code::Unavailable, message: "the cloud failed".to_owned() }),
    }
}

/// The judge's view, and prices, are neither throttled nor late.
async fn meter(State(shared): State<Arc<Shared>>) -> Response {
    let now = shared.clock.unix_ms();
    Json(shared.kept.lock().unwrap_or_else(PoisonError::into_inner).cloud.meter(now)).into_response()
}

async fn flavors(State(shared): State<Arc<Shared>>) -> Response {
    let flavors = shared.kept.lock().unwrap_or_else(PoisonError::into_inner).cloud.flavors();
    Json(Flavors { flavors }).into_response()
}

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
