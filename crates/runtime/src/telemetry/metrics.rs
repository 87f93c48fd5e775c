//! The metrics of a process, and where Prometheus reads them.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::tasks::Tasks;

/// Counters, gauges, histograms and families of them, to be registered.
pub use prometheus_client::metrics as kinds;

/// Most scrapes at a time: a pair of Prometheus servers and a person; more get 503 and come again.
const SCRAPES_MAX: usize = 4;

/// The metrics of a process; clones are the same set. Names begin with `naru_`.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// An empty set.
    pub fn new() -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::with_prefix("naru"))) }
    }

    /// Adds a metric and gives it back. `name` has its unit last and no `_total`, which a counter gets by itself;
    /// `help` is one sentence without a full stop.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register(name, help, metric.clone());
        metric
    }

    /// The OpenMetrics text of every metric.
    ///
    /// # Errors
    /// When a metric of our own cannot be written as text.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut text, &registry).map(|()| text)
    }

    /// Serves `GET /metrics` until the tasks are told to stop; answers with the address that was bound.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve(&self, address: SocketAddr, tasks: &Tasks) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let state = Endpoint { metrics: self.clone(), scrapes: Arc::new(Semaphore::new(SCRAPES_MAX)) };
        let router = Router::new().route("/metrics", get(scrape)).with_state(state);
        let stop = tasks.stop_token();
        tasks.spawn_fallible("metrics", async move {
            axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
        });
        Ok(bound)
    }
}

#[derive(Clone)]
struct Endpoint {
    metrics: Metrics,
    scrapes: Arc<Semaphore>,
}

async fn scrape(State(endpoint): State<Endpoint>) -> Response {
    let Ok(_permit) = endpoint.scrapes.try_acquire() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    match endpoint.metrics.render() {
        Ok(text) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "metrics cannot be written as text");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
