//! The metrics of a process, and where Prometheus reads them.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Metric, Registry};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::http::serve_until;
use crate::tasks::Tasks;

/// Counters, gauges, histograms and families of them, to be registered.
pub use prometheus_client::metrics as kinds;

/// Most scrapes at a time: a pair of Prometheus servers and a person; more get 503 and come again.
const SCRAPES_MAX: usize = 4;

/// What kind of figure [`Metrics::observe`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Only rises while the process lives.
    Counter,
    /// Rises and falls.
    Gauge,
}

/// One value of a figure that is read when it is scraped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What tells it from the figure's other values; empty for a figure with one value.
    pub labels: Vec<(&'static str, Cow<'static, str>)>,
    /// The value, in the unit that the figure's name ends with.
    pub value: u64,
}

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

    /// Adds a figure that somebody else keeps, and that is read at every scrape. `name` and `help` are as in
    /// [`Self::register`]; `read` must not block.
    pub fn observe(
        &self,
        name: &'static str,
        help: &'static str,
        kind: Observed,
        read: impl Fn() -> Vec<Reading> + Send + Sync + 'static,
    ) {
        let figure = Figure { name, help, kind, read: Box::new(read) };
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(figure));
    }

    /// The OpenMetrics text of every metric.
    ///
    /// # Errors
    /// When a metric of our own cannot be written as text.
    pub fn render(&self) -> Result<String, fmt::Error> {
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
        tasks.spawn_fallible("metrics", serve_until(listener, router, stop));
        Ok(bound)
    }
}

struct Figure {
    name: &'static str,
    help: &'static str,
    kind: Observed,
    read: Box<dyn Fn() -> Vec<Reading> + Send + Sync>,
}

impl fmt::Debug for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Figure").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Collector for Figure {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.kind {
            Observed::Counter => MetricType::Counter,
            Observed::Gauge => MetricType::Gauge,
        };
        // The registry puts this full stop behind its own metrics.
        let mut metric = encoder.encode_descriptor(self.name, &format!("{}.", self.help), None, kind)?;
        for Reading { labels, value } in (self.read)() {
            if labels.is_empty() {
                self.encode_value(&mut metric, value)?;
            } else {
                self.encode_value(&mut metric.encode_family(&labels)?, value)?;
            }
        }
        Ok(())
    }
}

impl Figure {
    fn encode_value(&self, metric: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
        match self.kind {
            Observed::Counter => metric.encode_counter::<NoLabelSet, u64, u64>(&value, None),
            Observed::Gauge => metric.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX)),
        }
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
