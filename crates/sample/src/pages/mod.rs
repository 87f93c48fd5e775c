//! Pages of an offer: a promotion that anybody looks at, and gifts that users claim.
//!
//! A page costs capacity and nothing else: a request holds as many of the process's slots as it costs, for a fixed time
//! and without a processor, so that a laptop shows what a data centre would do. When no slot is free, a request waits for
//! its turn, and its answer says how long it did. Each request is in the access log before it is answered.

mod access_log;
mod http;
mod slots;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use http::{QUEUEING_MS, SERVED_BY};

use crate::connections::Bounded;
use access_log::AccessLog;
use http::App;
use slots::Slots;

/// How long a request holds its slots, unless it is told otherwise.
pub const HOLD: Duration = Duration::from_millis(100);

/// Which page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The promotion: may be shown anywhere.
    Promotion,
    /// Gifts: they belong to users.
    Gift,
}

impl Page {
    /// The name, and the first part of its paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::Promotion => "promotion",
            Self::Gift => "gift",
        }
    }

    /// Slots that a request holds: a gift is as much work as a payment, three times a view of a page.
    pub fn cost(self) -> u32 {
        match self {
            Self::Promotion => 1,
            Self::Gift => 3,
        }
    }
}

/// What a service of pages is started with.
#[derive(Debug, Clone)]
pub struct PagesConfig {
    /// Which page.
    pub page: Page,
    /// What the process is called in its answers and its access log.
    pub name: String,
    /// Where it serves HTTP.
    pub listen: SocketAddr,
    /// How many slots it has; no fewer than a request costs.
    pub slots: u32,
    /// How long a request holds its slots.
    pub hold: Duration,
    /// The file of its access log; lines are added to one that is there.
    pub access_log: PathBuf,
    /// A text that must not come here: the access log says of each request whether it held it.
    pub planted: Option<String>,
}

/// Why a service of pages did not start. None is a client's fault; another configuration helps.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// A request would wait for slots that are not there.
    #[error("{slots} slots, and a request holds {cost}: give it as many at least")]
    Slots {
        /// How many there are.
        slots: u32,
        /// How many a request holds.
        cost: u32,
    },
    /// The access log cannot be written.
    #[error("cannot write the access log {path}")]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A service of pages that is running.
#[derive(Debug)]
pub struct Pages {
    address: SocketAddr,
    stop: CancellationToken,
    ended: CancellationToken,
    servers: TaskTracker,
}

impl Pages {
    /// Starts it. It answers when this returns.
    ///
    /// # Errors
    /// Every [`PagesError`].
    pub async fn start(config: PagesConfig) -> Result<Self, PagesError> {
        let PagesConfig { page, name, listen, slots, hold, access_log, planted } = config;
        let cost = page.cost();
        if slots < cost {
            return Err(PagesError::Slots { slots, cost });
        }
        let log = AccessLog::open(&access_log)
            .map_err(|source| PagesError::AccessLog { path: access_log.clone(), source })?;
        let cannot_listen = |source| PagesError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let app = Arc::new(App { page, name, slots: Slots::new(slots, hold), log, planted });
        let (stop, ended, servers) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let server = axum::serve(Bounded::new(listener), http::router(app))
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let guard = ended.clone().drop_guard();
        servers.spawn(async move {
            let _guard = guard;
            if let Err(error) = server.await {
                tracing::error!(error = &error as &dyn std::error::Error, "the HTTP server failed");
            }
        });
        tracing::info!(page = page.name(), %address, slots, "serving");
        Ok(Self { address, stop, ended, servers })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server has ended, which it should not before [`Self::drain`].
    pub async fn broken(&self) {
        self.ended.cancelled().await;
    }

    /// Ends: answers the requests that were begun, for at most `patience`.
    pub async fn drain(self, patience: Duration) {
        self.stop.cancel();
        self.servers.close();
        if tokio::time::timeout(patience, self.servers.wait()).await.is_err() {
            tracing::warn!(patience_ms = patience.as_millis(), "requests were cut off");
        }
    }
}
