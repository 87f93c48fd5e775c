//! The admin port: faults on request, and what the broker is doing. Off unless an address is given.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::broker::Broker;
use super::partition::lock;
use crate::standin::faults::{Fault, FaultRequest};

/// Largest body, bytes: a fault is a line.
const BODY_BYTES_MAX: usize = 16 << 10;

/// Serves the port until the broker stops.
pub(crate) async fn serve(broker: Arc<Broker>, listener: TcpListener) {
    let stopping = broker.stopping.clone();
    let router = Router::new()
        .route("/faults", get(list).post(add).delete(clear))
        .route("/status", get(status))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(broker);
    let served = axum::serve(listener, router).with_graceful_shutdown(stopping.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the admin port failed");
    }
}

fn faults_shown(broker: &Broker) -> Json<Value> {
    let rules = lock(&broker.faults).shown();
    let disk = broker.disk.faults();
    Json(json!({
        "rules": rules,
        "lose_unflushed_tail": disk.hold_unflushed(),
        "disk_full": disk.disk_full(),
    }))
}

async fn list(State(broker): State<Arc<Broker>>) -> Json<Value> {
    faults_shown(&broker)
}

async fn add(State(broker): State<Arc<Broker>>, body: Bytes) -> Response {
    let bad = |error: String| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let fault = match serde_json::from_slice::<FaultRequest>(&body) {
        Ok(request) => request.validate(),
        Err(error) => return bad(error.to_string()),
    };
    let added = fault.and_then(|fault| {
        tracing::info!(?fault, "a fault was asked for");
        match fault {
            Fault::Rule(rule) => lock(&broker.faults).add(rule)?,
            Fault::LoseUnflushedTail(on) => broker.disk.faults().set_hold_unflushed(on),
            Fault::DiskFull(on) => broker.disk.faults().set_disk_full(on),
        }
        Ok(())
    });
    match added {
        Ok(()) => faults_shown(&broker).into_response(),
        Err(error) => bad(error.to_string()),
    }
}

async fn clear(State(broker): State<Arc<Broker>>) -> Json<Value> {
    lock(&broker.faults).clear();
    broker.disk.faults().set_hold_unflushed(false);
    broker.disk.faults().set_disk_full(false);
    tracing::info!("faults were cleared");
    faults_shown(&broker)
}

async fn status(State(broker): State<Arc<Broker>>) -> Json<Value> {
    let topics: serde_json::Map<String, Value> = broker
        .topics
        .all()
        .iter()
        .map(|topic| {
            let partitions: Vec<Value> = topic
                .partitions
                .iter()
                .map(|p| {
                    json!({
                        "partition": p.index,
                        "log_start": p.store.log_start(),
                        "high_watermark": p.store.high_watermark(),
                        "log_end": p.store.log_end(),
                        "size_bytes": p.store.size_bytes(),
                    })
                })
                .collect();
            (topic.name.clone(), json!({ "id": topic.id.to_string(), "partitions": partitions }))
        })
        .collect();
    Json(json!({
        "cluster_id": broker.cluster_id,
        "node_id": broker.config.node_id,
        "connections": broker.connections.load(Ordering::Relaxed),
        "connections_max": broker.config.connections_max,
        "request_memory_bytes": broker.requests.taken_bytes(),
        "request_memory_bytes_max": broker.requests.total_bytes(),
        "answer_memory_bytes": broker.answers.taken_bytes(),
        "answer_memory_bytes_max": broker.answers.total_bytes(),
        "topics": topics,
    }))
}
