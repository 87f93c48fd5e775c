//! What an operator sees and asks for, over HTTP: `GET /status`, `POST /switch`, `/cancel`, `/confirm`, `/allow-solo`.
//!
//! On loopback unless it is configured otherwise. No record, key or credential is ever part of an answer.

mod history;
mod meters;
mod report;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use naru_runtime::http::serve_until;
use naru_runtime::telemetry::Metrics;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::history::Histories;
use self::meters::Meters;
use crate::clock;
use crate::relay::Relay;
use crate::side::Side;
use crate::sides::Command;

pub use report::{
    AlarmStatus, CatchUp, ClusterStatus, GroupStatus, Mode, Names, RebuildStatus, SideStatus, StatusReport, Takeover,
};

/// How often ends are looked at for lags in seconds and for progress.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Longer than a planned switch may take to prepare, quiesce and flip.
const COMMAND_MAX: Duration = Duration::from_secs(15);
/// Name of the file in the state directory that says where to ask.
pub const ADDRESS_FILE: &str = "status-address";

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The service group.
    pub group: String,
    /// The side to switch to; only for a switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Side>,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRefused {
    /// For people.
    pub error: String,
}

struct Shared {
    relay: Arc<Relay>,
    histories: Histories,
}

/// Serves until the relay stops; answers with the address that was bound, which is also written into the state
/// directory, so that commands on this machine find it.
///
/// # Errors
/// When the address cannot be bound or written down.
pub async fn serve(relay: &Arc<Relay>, address: SocketAddr, metrics: &Metrics) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let file = relay.config.state.join(ADDRESS_FILE);
    tokio::fs::write(&file, format!("{bound}\n")).await?;
    let shared = Arc::new(Shared { relay: Arc::clone(relay), histories: Histories::default() });
    let router = Router::new()
        .route("/status", get(status))
        .route("/switch", post(switch))
        .route("/cancel", post(async |State(shared), order| command(shared, order, Command::Cancel).await))
        .route("/confirm", post(async |State(shared), order| command(shared, order, Command::Confirm).await))
        .route("/allow-solo", post(async |State(shared), order| command(shared, order, Command::AllowSoloOnce).await))
        .with_state(Arc::clone(&shared));
    relay.tasks.spawn("sampling ends", sample(shared, Meters::new(metrics)));
    let stop = relay.stopping.clone();
    relay.tasks.spawn_fallible("status", serve_until(listener, router, stop));
    Ok(bound)
}

async fn sample(shared: Arc<Shared>, mut meters: Meters) {
    let mut ticks = interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.relay.stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = clock::now();
        shared.histories.sample(&shared.relay, now);
        meters.read(&report::report(&shared.relay, &shared.histories, now), now);
    }
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<StatusReport> {
    Json(report::report(&shared.relay, &shared.histories, clock::now()))
}

async fn switch(State(shared): State<Arc<Shared>>, order: Json<Order>) -> Response {
    let Some(to) = order.to else { return refused(StatusCode::BAD_REQUEST, "say which side: \"to\"") };
    command(shared, order, Command::Switch { to }).await
}

async fn command(shared: Arc<Shared>, Json(order): Json<Order>, command: Command) -> Response {
    let Some(group) = shared.relay.groups.get(&order.group).and_then(|group| group.runner()) else {
        return refused(StatusCode::NOT_FOUND, format!("there is no service group {:?}", order.group));
    };
    match timeout(COMMAND_MAX, group.command(command)).await {
        Ok(Ok(Ok(()))) => Json(report::report(&shared.relay, &shared.histories, clock::now())).into_response(),
        Ok(Ok(Err(error))) => refused(StatusCode::CONFLICT, error),
        Ok(Err(ended)) => refused(StatusCode::SERVICE_UNAVAILABLE, ended),
        Err(_) => refused(StatusCode::GATEWAY_TIMEOUT, "no answer in time; look at the status"),
    }
}

fn refused(code: StatusCode, why: impl ToString) -> Response {
    (code, Json(OrderRefused { error: why.to_string() })).into_response()
}
