//! The courier's two ports: one for people and programs of the house, one for the provider's receipts.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use naru_runtime::causes::with_causes;
use naru_runtime::http::serve_until;
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::admit::LineState;
use crate::api::{OPENAPI, ReceiptsBody, Refused};
use crate::courier::{CampaignError, Shared};
use crate::drive;
use crate::log::CampaignSpec;
use crate::provider::nhn::Delivery;
use crate::status::BrokenReport;

/// Largest campaign, and largest call of receipts: 10,000 of them.
const CAMPAIGN_BYTES_MAX: usize = 1 << 20;
const RECEIPTS_BYTES_MAX: usize = 2 << 20;
/// Broken lines of one answer.
const BROKEN_MAX: usize = 1000;
/// The head in which a provider shows its secret.
const SECRET_HEAD: &str = "x-webhook-signature";

/// Serves both ports until the tasks are told to stop.
pub(crate) fn serve(shared: &Arc<Shared>, listener: TcpListener, receipts: TcpListener) {
    let house = Router::new()
        .route("/v1/campaigns", post(take))
        .route("/v1/campaigns/{id}/stop", post(stop))
        .route("/v1/campaigns/{id}/resume", post(resume))
        .route("/v1/campaigns/{id}/broken", get(broken))
        .route("/v1/status", get(status))
        .route("/openapi.json", get(openapi))
        .layer(DefaultBodyLimit::max(CAMPAIGN_BYTES_MAX))
        .with_state(shared.clone());
    let provider = Router::new()
        .route("/v1/receipts", post(take_receipts))
        .layer(DefaultBodyLimit::max(RECEIPTS_BYTES_MAX))
        .with_state(shared.clone());
    let stop = shared.tasks.stop_token();
    shared.tasks.spawn_fallible("http", serve_until(listener, house, stop.clone()));
    shared.tasks.spawn_fallible("receipts", serve_until(receipts, provider, stop));
}

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn status(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.report()).into_response()
}

async fn take(State(shared): State<Arc<Shared>>, request: Result<Json<CampaignSpec>, JsonRejection>) -> Response {
    match request {
        Ok(Json(spec)) => done(shared.take(spec).await, StatusCode::CREATED),
        Err(rejection) => refuse(rejection.status(), rejection.body_text()),
    }
}

async fn stop(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    done(shared.stop(&id, true).await, StatusCode::OK)
}

async fn resume(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    done(shared.stop(&id, false).await, StatusCode::OK)
}

fn done(done: Result<(), CampaignError>, status: StatusCode) -> Response {
    match done {
        Ok(()) => (status, Json(serde_json::json!({}))).into_response(),
        Err(error) => {
            let status = match error {
                CampaignError::Differs => StatusCode::CONFLICT,
                CampaignError::Unknown => StatusCode::NOT_FOUND,
                CampaignError::Field { .. } | CampaignError::File(_) => StatusCode::UNPROCESSABLE_ENTITY,
                CampaignError::Suppression(_) | CampaignError::Closed(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            refuse(status, with_causes(&error))
        }
    }
}

#[derive(Deserialize)]
struct FromLine {
    #[serde(default)]
    from: u32,
}

async fn broken(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(FromLine { from }): Query<FromLine>,
) -> Response {
    let state = shared.state();
    let Some((_, campaign)) = state.find(&id) else {
        return refuse(StatusCode::NOT_FOUND, CampaignError::Unknown.to_string());
    };
    let mut report = BrokenReport::default();
    for (line, byte) in (0_u32..).zip(&campaign.lines).skip(from as usize) {
        let Some(state) = LineState::read(*byte).filter(|state| state.is_broken()) else { continue };
        if report.lines.len() == BROKEN_MAX {
            report.next = Some(line);
            break;
        }
        // People count from 1, and the head is a line.
        report.lines.push((line + 2, state.name().to_owned()));
    }
    Json(report).into_response()
}

async fn take_receipts(
    State(shared): State<Arc<Shared>>,
    heads: HeaderMap,
    request: Result<Json<ReceiptsBody>, JsonRejection>,
) -> Response {
    if let Some(secret) = &shared.config.receipts_secret {
        let shown = heads.get(SECRET_HEAD).map(|head| head.as_bytes()).unwrap_or_default();
        #[expect(deprecated, reason = "ring's only comparison that takes the same time for every wrong secret")]
        let same = ring::constant_time::verify_slices_are_equal(shown, secret.reveal().as_bytes()).is_ok();
        if !same {
            return refuse(StatusCode::FORBIDDEN, format!("{SECRET_HEAD} is not the secret of the provider"));
        }
    }
    let Ok(Json(body)) = request else {
        return refuse(StatusCode::BAD_REQUEST, "the receipts are not as docs/api/courier.json has them".to_owned());
    };
    let deliveries = body.deliveries.into_iter().filter_map(Delivery::last).collect();
    // The provider is thanked when they are on the disk: until then it keeps them.
    match drive::take_in(&shared, deliveries).await {
        Ok(()) => Json(serde_json::json!({})).into_response(),
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(Refused { error })).into_response()
}
