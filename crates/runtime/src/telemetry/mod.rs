//! Telemetry: logs on stderr, metrics for Prometheus, traces by OTLP when an endpoint is configured.

mod metrics;
mod traces;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

pub use metrics::{Metrics, Observed, Reading, kinds};

use crate::config::Mistake;
use crate::tasks::Tasks;

/// How long the end of a process waits for the last traces: within the grace that an orchestrator gives, beside a drain.
const FLUSH_MAX: Duration = Duration::from_secs(3);

crate::choice! {
    /// How a log line is written.
    pub enum LogFormat {
        /// For people.
        Human = "human",
        /// One JSON object a line.
        Json = "json",
    }
}

crate::config! {
    /// Logs, metrics and traces.
    pub struct TelemetryConfig {
        /// How a log line is written, to stderr.
        pub log_format: LogFormat = "human",
        /// What is logged: a level, or directives such as `info,naru_runtime=debug`.
        #[check(filter)]
        pub log: String = "info",
        /// Address of the Prometheus endpoint, `GET /metrics`; off without it. Port 0 takes a free one.
        pub metrics: Option<SocketAddr>,
        /// Endpoint of an OTLP collector over HTTP, such as `http://127.0.0.1:4318/v1/traces`; no traces without it.
        #[check(endpoint)]
        pub traces: Option<String>,
        /// Share of traces that are kept, decided where a trace begins.
        #[range(0, 1)]
        pub traces_share: f64 = 1,
    }
}

fn filter(directives: &String) -> Result<(), Mistake> {
    EnvFilter::try_new(directives).map(drop).map_err(|error| {
        Mistake::new(
            format!("is no filter: {error}"),
            "use a level such as info, or directives such as info,hyper=warn",
        )
    })
}

fn endpoint(endpoint: &Option<String>) -> Result<(), Mistake> {
    match endpoint {
        Some(url) if !url.starts_with("http://") => {
            let what = format!("is {url:?}, which is not http://");
            Err(Mistake::new(what, "use http:// to a collector on this machine, which forwards by TLS"))
        }
        _ => Ok(()),
    }
}

/// Why telemetry did not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The metrics port could not be had; a retry helps when it becomes free.
    #[error("metrics endpoint {address}: cannot be bound")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The exporter of traces was refused; the configuration is at fault.
    #[error("traces to {endpoint}: no exporter for it")]
    Exporter {
        /// The configured endpoint.
        endpoint: String,
        /// What the exporter says.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// Telemetry runs in this process already; our mistake.
    #[error("telemetry was started twice")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// The running telemetry of a process. Dropping it sends the last traces, within a time limit.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    metrics_address: Option<SocketAddr>,
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Starts logging for the whole process, and what else is configured. `service` names the process in traces.
    ///
    /// # Errors
    /// When the metrics port is taken, the exporter is refused, or telemetry runs already.
    pub async fn start(service: &str, config: &TelemetryConfig, tasks: &Tasks) -> Result<Self, TelemetryError> {
        let traces = match &config.traces {
            Some(endpoint) => Some(
                traces::provider(service, endpoint, config.traces_share)
                    .map_err(|source| TelemetryError::Exporter { endpoint: endpoint.clone(), source })?,
            ),
            None => None,
        };
        subscriber(config, traces.as_ref(), service, BoxMakeWriter::new(io::stderr))
            .try_init()
            .map_err(TelemetryError::Twice)?;
        let metrics = Metrics::new();
        let metrics_address = match config.metrics {
            Some(address) => {
                let bound = metrics.serve(address, tasks).await;
                Some(bound.map_err(|source| TelemetryError::Bind { address, source })?)
            }
            None => None,
        };
        Ok(Self { metrics, metrics_address, traces })
    }

    /// Where metrics are registered.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where the Prometheus endpoint listens.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Sends the last traces, within a time limit, without blocking the runtime that sends them. Call it behind the
    /// drain; a drop does the same but blocks its thread.
    pub async fn shutdown(mut self) {
        if let Some(traces) = self.traces.take()
            && tokio::task::spawn_blocking(move || traces::flush(&traces, FLUSH_MAX)).await.is_err()
        {
            tracing::warn!("the last traces were not sent: flushing panicked");
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = self.traces.take() {
            traces::flush(&traces, FLUSH_MAX);
        }
    }
}

/// Logs, and traces if there is a provider, behind one filter.
fn subscriber(
    config: &TelemetryConfig,
    traces: Option<&SdkTracerProvider>,
    service: &str,
    writer: BoxMakeWriter,
) -> impl Subscriber + Send + Sync + use<> {
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match config.log_format {
        LogFormat::Human => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    let traces = traces.map(|traces| tracing_opentelemetry::layer().with_tracer(traces.tracer(service.to_owned())));
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new("info"));
    Registry::default().with(lines.and_then(traces).with_filter(filter))
}

#[cfg(test)]
mod tests;
