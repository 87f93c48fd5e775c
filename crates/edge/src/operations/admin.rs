//! What operators and control see and ask for, over HTTP. On loopback only: it asks nobody who he is.
//!
//! The routes, and the shape of what they answer, stand in docs/api/edge.json, which is served as well; a test holds it
//! against what is here.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use naru_runtime::causes::with_causes;
use naru_runtime::http::serve_until;
use naru_runtime::tasks::Tasks;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::state::{EdgeState, HeadroomState, SiteState};
use crate::adapter::Front;
use crate::gateway::Gateway;
use crate::plan::{Offered, PLAN_BYTES_MAX};

/// Longest that a request may take, with its body: a plan of some MiB over loopback and onto a disk takes far less.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Requests at once: a courier or two, control, Prometheus' kin and a person.
const CALLS_MAX: usize = 32;
/// Longest body of anything but a plan: a site has 63 characters.
const ORDER_BYTES_MAX: usize = 4 << 10;
/// The description of this interface.
pub(super) const OPENAPI: &str = include_str!("../../../../docs/api/edge.json");

/// Every path.
pub(super) const PATHS: [&str; 5] = ["/state", "/headroom", "/plan", "/drain", "/openapi.json"];

/// A drain that begins or ends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// The site.
    pub site: String,
    /// Whether no new request goes there from now on.
    pub draining: bool,
}

/// What became of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanTaken {
    /// The generation in force now.
    pub generation: u64,
    /// False when it was in force already.
    pub changed: bool,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// For people.
    pub error: String,
    /// Whether the same may succeed later.
    pub retry_helps: bool,
}

#[derive(Clone)]
struct Shared {
    gateway: Arc<Gateway>,
    front: Arc<Front>,
    calls: Arc<Semaphore>,
}

/// Serves until the tasks are told to stop; answers with the address that was bound.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(gateway: &Arc<Gateway>, front: &Arc<Front>, tasks: &Tasks) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(gateway.in_force().config.admin_listen).await?;
    let bound = listener.local_addr()?;
    let router = router(gateway.clone(), front.clone());
    let stop = tasks.stop_token();
    tasks.spawn_fallible("admin", serve_until(listener, router, stop));
    Ok(bound)
}

fn router(gateway: Arc<Gateway>, front: Arc<Front>) -> Router {
    let shared = Shared { gateway, front, calls: Arc::new(Semaphore::new(CALLS_MAX)) };
    let [state_path, headroom_path, plan_path, drain_path, openapi_path] = PATHS;
    Router::new()
        .route(state_path, get(state))
        .route(headroom_path, get(headroom))
        .route(plan_path, put(plan).layer(DefaultBodyLimit::max(PLAN_BYTES_MAX)))
        .route(drain_path, post(drain).layer(DefaultBodyLimit::max(ORDER_BYTES_MAX)))
        .route(openapi_path, get(async || ([(CONTENT_TYPE, "application/json")], OPENAPI)))
        .layer(from_fn_with_state(shared.clone(), bounded))
        .with_state(shared)
}

/// So many at once, and each only for so long.
async fn bounded(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let Ok(_permit) = shared.calls.try_acquire() else {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once", true);
    };
    match tokio::time::timeout(CALL_MAX, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => refused(StatusCode::REQUEST_TIMEOUT, format!("not done within {CALL_MAX:?}"), true),
    }
}

async fn state(State(shared): State<Shared>) -> Json<EdgeState> {
    Json(EdgeState::read(&shared.gateway, &shared.front))
}

async fn headroom(State(shared): State<Shared>) -> Json<HeadroomState> {
    Json(HeadroomState::read(&shared.gateway))
}

async fn plan(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejected) => return refused(rejected.status(), rejected.body_text(), false),
    };
    let gateway = shared.gateway;
    let offered = tokio::task::spawn_blocking(move || {
        gateway.offer_plan(&body).map(|offered| (offered, gateway.in_force().plan))
    });
    match offered.await {
        Ok(Ok((offered, generation))) => {
            let changed = matches!(offered, Offered::Taken(_));
            if changed {
                tracing::info!(generation, "a plan is in force");
            }
            Json(PlanTaken { generation, changed }).into_response()
        }
        Ok(Err(why)) => {
            tracing::warn!(error = &why as &dyn Error, "a plan is refused");
            let status = StatusCode::from_u16(why.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            refused(status, with_causes(&why), why.retry_helps())
        }
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

async fn drain(State(shared): State<Shared>, order: Result<Json<Drain>, JsonRejection>) -> Response {
    let Drain { site, draining } = match order {
        Ok(Json(order)) => order,
        Err(rejected) => return refused(rejected.status(), rejected.body_text(), false),
    };
    let (gateway, name) = (shared.gateway.clone(), site.clone());
    match tokio::task::spawn_blocking(move || gateway.drain(&name, draining)).await {
        Ok(Ok(_)) => {}
        Ok(Err(why)) => {
            tracing::error!(error = &why as &dyn Error, site, draining, "a drain cannot be kept");
            return refused(StatusCode::SERVICE_UNAVAILABLE, with_causes(&why), true);
        }
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
    let in_force = shared.gateway.in_force();
    let Some(known) = in_force.policy.sites().iter().find(|known| known.id().as_str() == site) else {
        return refused(StatusCode::NOT_FOUND, format!("there is no site {site:?}"), false);
    };
    tracing::info!(site, draining, "a drain was asked for");
    Json(SiteState::read(known)).into_response()
}

fn refused(status: StatusCode, why: impl ToString, retry_helps: bool) -> Response {
    (status, Json(Refused { error: why.to_string(), retry_helps })).into_response()
}
