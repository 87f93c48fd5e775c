//! A service from start to end.

use std::fs::{File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connections::Bounded;
use crate::http::{App, router};
use crate::instruction::Kind;
use crate::publish::{LogState, Publisher};
use crate::store::{self, Reader, StoreError};
use crate::writer::{Counters, QUEUE_MAX, Writer};

/// What a service is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which service.
    pub kind: Kind,
    /// Where it serves HTTP.
    pub listen: SocketAddr,
    /// The directory of its database; made when there is none.
    pub data: PathBuf,
    /// Where the log is: `host:port`, separated by commas.
    pub brokers: String,
    /// What a user's wallet is opened with at its first use, in minor units of the currency it is used in.
    pub opening_grant: i64,
}

/// Why a service did not start or ended badly. None is a client's fault; all want someone to look.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The directory cannot be used.
    #[error("cannot use the directory {path}")]
    Data {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Two processes with one database would publish everything twice.
    #[error("another process uses {path}: stop it, or give this one a directory of its own")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The database cannot be opened.
    #[error("cannot open the database")]
    Store(#[from] StoreError),
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

/// A service that is running.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    reader: Reader,
    http: CancellationToken,
    publisher_drain: CancellationToken,
    publisher_cut: CancellationToken,
    counters: Arc<Counters>,
    part_ended: CancellationToken,
    servers: TaskTracker,
    publishers: TaskTracker,
    writers: TaskTracker,
    // Held until the end: the lock that keeps a second process off the database.
    _lock: File,
}

impl Service {
    /// Starts a service. It answers when this returns, whether the log is there or not.
    pub async fn start(config: Config) -> Result<Self, ServiceError> {
        let Config { kind, listen, data, brokers, opening_grant } = config;
        let lock = lock(&data)?;
        let file = data.join(format!("{}.sqlite", kind.name()));
        let connection = store::open(&file).await?;
        let reader = Reader::open(&file).await?;
        let counters = Arc::new(Counters::default());
        let log = Arc::new(LogState::default());
        let (commands, queue) = mpsc::channel(QUEUE_MAX);
        let (writer, committed) = Writer::new(kind, opening_grant, connection, Arc::clone(&counters)).await?;

        let cannot_listen = |source| ServiceError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;

        let (http, publisher_drain, publisher_cut) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let (servers, publishers, writers) = (TaskTracker::new(), TaskTracker::new(), TaskTracker::new());
        let part_ended = CancellationToken::new();
        writers.spawn(part(part_ended.clone(), writer.run(queue)));
        let publisher = Publisher {
            brokers,
            topic: kind.plural(),
            reader: reader.clone(),
            commands: commands.clone(),
            committed,
            log: Arc::clone(&log),
            drain: publisher_drain.clone(),
            cut: publisher_cut.clone(),
        };
        publishers.spawn(part(part_ended.clone(), publisher.run()));
        let app = App { kind, commands, reader: reader.clone(), counters: Arc::clone(&counters), log };
        let server =
            axum::serve(Bounded::new(listener), router(app)).with_graceful_shutdown(http.clone().cancelled_owned());
        let server = async move {
            if let Err(error) = server.await {
                tracing::error!(error = &error as &dyn std::error::Error, "the HTTP server failed");
            }
        };
        servers.spawn(part(part_ended.clone(), server));
        tracing::info!(service = kind.name(), %address, "serving");
        Ok(Self {
            address,
            reader,
            http,
            publisher_drain,
            publisher_cut,
            counters,
            part_ended,
            servers,
            publishers,
            writers,
            _lock: lock,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads its database.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// How much there is, and what became of requests.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Waits until a part of the service has ended, by a panic or a failure: before [`Self::drain`] none should. What
    /// is left serves nobody.
    pub async fn broken(&self) {
        self.part_ended.cancelled().await;
    }

    /// Ends: answers the requests that were begun, publishes what the outbox holds, closes the database. Each of the
    /// first two gets at most `patience`; what is not published then stays in the outbox.
    pub async fn drain(self, patience: Duration) {
        self.http.cancel();
        end(&self.servers, patience, "requests were cut off").await;
        self.publisher_drain.cancel();
        if matches!(self.reader.outbox(0, 1).await, Ok(rows) if rows.is_empty()) {
            // Nothing is waiting, so it does not matter whether the log is there.
            self.publisher_cut.cancel();
        }
        end(&self.publishers, patience, "the outbox is not empty, the next start goes on").await;
        self.publisher_cut.cancel();
        self.publishers.wait().await;
        self.reader.close().await;
        // The writer ends when nobody can ask it any more; connections that were cut off still can.
        end(&self.writers, patience, "the database was not closed").await;
    }
}

/// A task that tells when it ends, also by a panic.
fn part(ended: CancellationToken, task: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send {
    let guard = ended.drop_guard();
    async move {
        let _guard = guard;
        task.await;
    }
}

async fn end(tasks: &TaskTracker, patience: Duration, otherwise: &str) {
    tasks.close();
    if tokio::time::timeout(patience, tasks.wait()).await.is_err() {
        tracing::warn!(patience_ms = patience.as_millis(), "{otherwise}");
    }
}

fn lock(data: &PathBuf) -> Result<File, ServiceError> {
    let cannot = |source| ServiceError::Data { path: data.clone(), source };
    std::fs::create_dir_all(data).map_err(cannot)?;
    let lock = File::create(data.join("lock")).map_err(cannot)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(ServiceError::InUse { path: data.clone() }),
        Err(TryLockError::Error(source)) => Err(cannot(source)),
    }
}
