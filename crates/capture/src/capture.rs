//! A capture as a process runs it: sessions one after the other, and what can be asked of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use naru_kafka::client::{Client, ClientConfig, ClientError};
use naru_runtime::http::serve_until;
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::Metrics;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::config::{CaptureConfig, topic};
use crate::error::CaptureError;
use crate::session::{self, Shared, Task};
use crate::status::{Report, Status};

/// Between two sessions that failed: at first it is a hiccup, later nobody gains by haste.
const AGAIN_FIRST: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// A session of this length was a good one: the next failure is a first one again.
const GOOD_SESSION: Duration = Duration::from_secs(30);

/// Why a capture could not be opened. The operator's side.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The client of the log cannot be made.
    #[error("the log")]
    Log(#[from] ClientError),
    /// The status port could not be had; a retry helps when it becomes free.
    #[error("status port {address}: cannot be bound")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

/// A capture whose settings are whole.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    task: Task,
}

impl Capture {
    /// Makes the client of the log and registers figures. Connects to nothing yet. With `copy_anew` every table is copied
    /// first, whatever the log says.
    ///
    /// # Errors
    /// When the settings do not make a client.
    pub fn open(config: CaptureConfig, tasks: &Tasks, metrics: &Metrics, copy_anew: bool) -> Result<Self, OpenError> {
        let mut log = ClientConfig::new(config.log.bootstrap.iter().map(ToString::to_string));
        log.connection.client_id = format!("naru-capture-{}", config.source);
        log.connection.request_timeout = config.log.request_timeout;
        let client = Client::new(log)?;
        let topics: Vec<_> =
            config.tables.iter().map(|table| topic(&config.source, &table.schema, &table.name)).collect();
        let status = Arc::new(Status::new(&config.source, topics.iter().cloned()));
        status.register(metrics);
        let stop = tasks.stop_token();
        let shared = Shared { config, client, status, stop };
        let copy_anew = if copy_anew { topics.into_iter().collect() } else { BTreeSet::new() };
        Ok(Self { shared: Arc::new(shared), task: Task { copy_anew, has_copied: false } })
    }

    /// Serves the status, and captures until the tasks are told to stop; the address of the status. What no retry mends
    /// ends the process.
    ///
    /// # Errors
    /// When the status port cannot be had.
    pub async fn serve(self, tasks: &Tasks) -> Result<SocketAddr, OpenError> {
        let address = self.shared.config.status_listen;
        let bind = |source| OpenError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let bound = listener.local_addr().map_err(bind)?;
        let router = Router::new().route("/v1/status", get(status)).with_state(self.shared.status.clone());
        tasks.spawn_fallible("status", serve_until(listener, router, tasks.stop_token()));
        tasks.spawn_fallible("capture", self.run());
        Ok(bound)
    }

    async fn run(mut self) -> Result<(), CaptureError> {
        let mut wait = AGAIN_FIRST;
        loop {
            let began = Instant::now();
            match session::run(&self.shared, &mut self.task).await {
                Ok(()) => return Ok(()),
                Err(CaptureError::CopyAnew { table, reason }) => {
                    tracing::info!(topic = table, reason, "table is copied anew");
                    self.shared.status.waits(format!("{table} is copied anew: {reason}"));
                }
                Err(error) if error.retry_can_help() => {
                    let error = &error as &(dyn std::error::Error + 'static);
                    tracing::warn!(error, "session ended, beginning another");
                    self.shared.status.waits(naru_runtime::causes::with_causes(error));
                }
                Err(error) => return Err(error),
            }
            if began.elapsed() > GOOD_SESSION {
                wait = AGAIN_FIRST;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shared.stop.cancelled() => return Ok(()),
            }
            wait = (wait * 2).min(AGAIN_MAX);
        }
    }
}

async fn status(State(status): State<Arc<Status>>) -> Json<Report> {
    Json(status.report())
}
