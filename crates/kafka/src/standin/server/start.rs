//! Starting and stopping a stand-in broker.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::blocking::blocking;
use super::broker::Broker;
use super::clock::Clock;
use super::coordinator::Coordinator;
use super::figures::{Figures, Requested};
use super::identity::fresh;
use super::topics::Topics;
use super::{admin, connection, housekeeping};
use crate::serve::Memory;
use crate::serve::memory::Budget;
use crate::standin::StandinConfig;
use crate::standin::faults::Faults;
use crate::standin::storage::{Disk, DiskConfig, StoreError};
use crate::standin::topics::catalogue::{Catalogue, CatalogueError};
use crate::wire::TopicId;

/// How long accepting pauses after the system refused a connection, such as for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the tasks that were cut off may take to be gone: they end when they next wait for anything, and file work
/// that has begun is not interrupted.
const CUT_PATIENCE: Duration = Duration::from_secs(5);

/// Why a broker does not start. Always our side; a retry helps after what the sentence names is mended.
#[derive(Debug, thiserror::Error)]
pub enum StandinError {
    /// The data directory cannot be used.
    #[error("{}: cannot be used as a data directory", path.display())]
    Data {
        /// The directory or a file in it.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process uses the data directory.
    #[error("{}: in use by another process", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The catalogue is damaged or foreign.
    #[error("the catalogue cannot be used")]
    Catalogue(#[from] CatalogueError),
    /// A partition or the coordinator's log cannot be opened.
    #[error("the stored logs cannot be opened")]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error("cannot listen on {addr} for {what}")]
    Listen {
        /// Clients or administration.
        what: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A running stand-in broker. [`Self::shutdown`] drains it; dropping it stops it at once.
#[derive(Debug)]
pub struct Standin {
    broker: Arc<Broker>,
    local: SocketAddr,
    admin: Option<SocketAddr>,
    /// Accepting, background work, the admin port: they end when `stopping` is set.
    tasks: TaskTracker,
    /// Connections still open after the drain are cut by this.
    cut: CancellationToken,
    /// The first task that panicked of those without which the broker serves nobody.
    panicked: watch::Receiver<Option<&'static str>>,
    _lock: File,
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.broker.stopping.cancel();
        self.cut.cancel();
        self.broker.coordinator.abandon();
    }
}

impl Standin {
    /// Opens the data directory, recovers what is there, and listens.
    pub async fn start(config: StandinConfig) -> Result<Self, StandinError> {
        let opening = config.clone();
        let (lock, catalogue, disk, topics) = blocking(move || open(&opening)).await.map_err(StandinError::Store)??;
        let clock = Arc::new(Clock::new());
        for topic in topics.all() {
            for partition in &topic.partitions {
                partition.store.expire_producers(clock.now_ms());
            }
        }
        let tasks = TaskTracker::new();
        let stopping = CancellationToken::new();
        let known: Vec<String> = topics.all().iter().map(|t| t.name.clone()).collect();
        let coordinator = Coordinator::open(&config, &disk, Arc::clone(&clock), &known).await?;
        let listener = listen("clients", config.listen).await?;
        let admin_listener = match config.admin {
            Some(addr) => Some(listen("administration", addr).await?),
            None => None,
        };
        let failed = |addr| move |source| StandinError::Listen { what: "clients", addr, source };
        let local = listener.local_addr().map_err(failed(config.listen))?;
        let admin = match (&admin_listener, config.admin) {
            (Some(listener), Some(addr)) => Some(listener.local_addr().map_err(failed(addr))?),
            _ => None,
        };
        let broker = Arc::new(Broker {
            cluster_id: catalogue,
            clock,
            disk,
            topics: Arc::new(topics),
            coordinator,
            faults: Mutex::new(Faults::default()),
            requests: Memory::new(config.request_memory_bytes, config.request_bytes_max).with_buffers(),
            answers: Budget::new(config.answer_memory_bytes),
            connections: 0.into(),
            requested: Requested::default(),
            stopping,
            config,
        });
        let cut = CancellationToken::new();
        let (panics, panicked) = watch::channel(None);
        if let Some(listener) = admin_listener {
            let (serving, cut) = (admin::serve(Arc::clone(&broker), listener), cut.clone());
            tasks.spawn(watched("the administration port", Some(panics.clone()), async move {
                // It waits for its own connections, which may stay for as long as they like.
                cut.run_until_cancelled(serving).await;
            }));
        }
        tasks.spawn(watched("housekeeping", Some(panics.clone()), housekeeping::run(Arc::clone(&broker))));
        tasks.spawn(watched("the groups' timer", Some(panics.clone()), Arc::clone(&broker).tick_groups()));
        let accepting = accept(Arc::clone(&broker), listener, tasks.clone(), cut.clone());
        tasks.spawn(watched("accepting connections", Some(panics), accepting));
        Ok(Self { broker, local, admin, tasks, cut, panicked, _lock: lock })
    }

    /// Where clients connect.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// A partition's store.
    #[cfg(test)]
    pub(crate) fn store(&self, topic: &str, partition: i32) -> Option<crate::standin::storage::PartitionStore> {
        Some(self.broker.topics.get(topic)?.partition(partition)?.store.clone())
    }

    /// Where faults are asked for, if anywhere.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What the broker counts of itself.
    pub fn figures(&self) -> Figures {
        Figures(Arc::downgrade(&self.broker))
    }

    /// Resolves when a part without which the broker serves nobody has panicked, and says which; the caller shuts down
    /// then. A panic on a connection ends that connection only.
    pub async fn failed(&self) -> &'static str {
        let mut panicked = self.panicked.clone();
        let task = async {
            let first = panicked.wait_for(Option::is_some).await.ok().and_then(|first| *first);
            match first {
                Some(task) => task,
                // Every task ended in good order.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            task = task => task,
            () = self.broker.disk.flusher_panicked() => "a flusher thread",
        }
    }

    /// The cluster's identity.
    pub fn cluster_id(&self) -> &str {
        &self.broker.cluster_id
    }

    /// Takes no further request, answers those in hand, closes, and writes down what is not yet. What is not answered
    /// by the deadline is cut off.
    pub async fn shutdown(self, deadline: Duration) -> Result<(), StandinError> {
        self.broker.stopping.cancel();
        self.broker.coordinator.release_waiting();
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!(?deadline, "requests were cut off at the deadline of the drain");
            self.cut.cancel();
            if tokio::time::timeout(CUT_PATIENCE, self.tasks.wait()).await.is_err() {
                tracing::error!(tasks = self.tasks.len(), "tasks that were cut off did not end; closing all the same");
            }
        }
        let groups = self.broker.coordinator.close().await;
        let broker = Arc::clone(&self.broker);
        // Every one, whatever became of those before it: each that closes in order starts faster.
        let closed = blocking(move || {
            let topics = broker.topics.all();
            let partitions = topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.store.close()).fold(Ok(()), Result::and)
        });
        let topics = closed.await;
        groups?;
        topics??;
        Ok(())
    }
}

/// Opens everything that blocks: the lock, the catalogue, the partitions.
fn open(config: &StandinConfig) -> Result<(File, String, Arc<Disk>, Topics), StandinError> {
    raise_open_files();
    let dir = &config.data;
    let lock = lock_directory(dir)?;
    let catalogue = match Catalogue::load(dir)? {
        Some(catalogue) => {
            catalogue.check_owner(dir, config.cluster_id.as_deref(), config.node_id)?;
            catalogue
        }
        None => {
            let made = || TopicId(fresh()).to_string();
            Catalogue::new(config.cluster_id.clone().unwrap_or_else(made), config.node_id)
        }
    };
    catalogue.store(dir)?;
    let disk = Disk::start(&DiskConfig::default());
    let cluster_id = catalogue.cluster_id.clone();
    let expiry_ms = i64::try_from(config.producer_expiry.as_millis()).unwrap_or(i64::MAX);
    let topics = Topics::open(dir, catalogue, Arc::clone(&disk), config.flush, expiry_ms)?;
    Ok((lock, cluster_id, disk, topics))
}

fn lock_directory(dir: &Path) -> Result<File, StandinError> {
    let data = |path: &Path| {
        let path = path.to_owned();
        move |source| StandinError::Data { path, source }
    };
    std::fs::create_dir_all(dir).map_err(data(dir))?;
    let path = dir.join("lock");
    let file = File::create(&path).map_err(data(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StandinError::Locked { path: dir.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(StandinError::Data { path, source }),
    }
}

async fn listen(what: &'static str, addr: SocketAddr) -> Result<TcpListener, StandinError> {
    TcpListener::bind(addr).await.map_err(|source| StandinError::Listen { what, addr, source })
}

async fn accept(broker: Arc<Broker>, listener: TcpListener, tasks: TaskTracker, cut: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = broker.stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let open = broker.connections.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&broker));
        if open >= broker.config.connections_max {
            tracing::info!(%peer, open, "connection refused: as many as allowed are open");
            continue;
        }
        let cut = cut.clone();
        tasks.spawn(watched("a connection", None, async move {
            cut.run_until_cancelled(connection::serve(Arc::clone(&counted.0), socket, peer)).await;
        }));
    }
}

/// An open connection, counted until it is dropped, whatever ends it.
struct Counted(Arc<Broker>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A task whose panic is said, and told to `panics`: nobody waits for its result, so it would go unseen.
async fn watched(
    what: &'static str,
    panics: Option<watch::Sender<Option<&'static str>>>,
    task: impl Future<Output = ()>,
) {
    struct Watch(&'static str, Option<watch::Sender<Option<&'static str>>>);
    impl Drop for Watch {
        fn drop(&mut self) {
            if std::thread::panicking() {
                tracing::error!(task = self.0, "a task panicked; this is a fault of the broker");
                if let Some(panics) = &self.1 {
                    panics.send_modify(|first| *first = first.or(Some(self.0)));
                }
            }
        }
    }
    let _watch = Watch(what, panics);
    task.await;
}

/// Lets the process open as many files as the system allows it: a partition holds two, a connection one.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure
    use super::*;

    #[tokio::test]
    async fn a_panic_of_what_the_broker_needs_is_told_and_one_of_a_connection_is_not() {
        let data = tempfile::tempdir().unwrap();
        let config = StandinConfig::new(data.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut standin = Standin::start(config).await.unwrap();
        let (panics, panicked) = watch::channel(None);
        standin.panicked = panicked;
        let tasks = TaskTracker::new();
        let panicking = async || panic!("as a test wants it");
        assert!(tasks.spawn(watched("a connection", None, panicking())).await.unwrap_err().is_panic());
        assert_eq!(*panics.borrow(), None);
        assert!(tasks.spawn(watched("housekeeping", Some(panics), panicking())).await.unwrap_err().is_panic());
        assert_eq!(standin.failed().await, "housekeeping");
    }
}
