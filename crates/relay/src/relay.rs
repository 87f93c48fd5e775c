//! A running relay: what its parts share, and how it starts and ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use naru_kafka::client::TopicPartition;
use naru_kafka::serve::Memory;
use naru_kafka::serve::memory::Budget;
use naru_kafka::wire::TopicId;
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Metrics, Observed, Reading};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{GroupConfig, Mode, RelayConfig};
use crate::coordination::embedded::Embedded;
use crate::govern::{self, GroupHandle, Rebuilds, State, StateError};
use crate::groups::{Mirror, MirrorConfig};
use crate::identity::{Identity, IdentityError, fresh_producer_id};
use crate::measure::Stages;
use crate::partition::{CacheMemory, Pace, PartitionHandle, Report, Shared, Start};
use crate::security::{Security, SecurityError};
use crate::sequence::{Checkpoint, Millis, PartitionConfig};
use crate::served::{Served, ServedTopic};
use crate::side::{Side, SideMap};
use crate::sides::{self, Boot, Standing};
use crate::status::ClusterStatus;
use crate::topics::{AdminError, Registry};
use crate::unserved::Unserved;
use crate::upstream::{Upstream, UpstreamError};
use crate::verify::{Followed, running};
use crate::{accept, discover, log_starts, status};

/// Reports that wait for a service group's runner. Partitions keep the newest of each kind until there is room.
const REPORTS_MAX: usize = 1024;

/// Why a relay does not start. Our side; a retry helps after what the sentence names is mended.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The state directory.
    #[error("the relay's state cannot be used")]
    Identity(#[from] IdentityError),
    /// The comparer's way to a side.
    #[error("the sides cannot be compared")]
    Comparer {
        /// What is wrong.
        #[source]
        source: UpstreamError,
    },
    /// Users, certificates or keys.
    #[error("clients cannot be received as configured")]
    Security(#[from] SecurityError),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// What is kept over restarts.
    #[error("the relay's state cannot be used")]
    State(#[from] StateError),
    /// The topics that are kept.
    #[error("the kept topics cannot be used")]
    Topics(#[from] AdminError),
    /// The operator's side: a mistake in `bootstrap`.
    #[error("both sides are the same cluster, {cluster_id}: a record would be in one place twice; correct `bootstrap`")]
    SameCluster {
        /// Its id.
        cluster_id: String,
    },
    /// The settings of a side's client.
    #[error("side {side} cannot be spoken to")]
    Side {
        /// Which.
        side: Side,
        /// What is wrong.
        #[source]
        source: UpstreamError,
    },
}

/// A service group as the data path knows it.
#[derive(Debug)]
pub struct ServiceGroup {
    /// Its settings.
    pub config: GroupConfig,
    /// What the coordinator holds for it, read back.
    pub standing: watch::Sender<Standing>,
    /// A change of it that was sent, or is required already, and is not read back: the stricter of both holds.
    pub sent: watch::Sender<Option<Standing>>,
    /// Its consumer groups.
    pub mirror: Arc<Mirror>,
    reports: mpsc::Sender<Report>,
    /// For the group's runner, until it has taken them.
    unread: Mutex<Option<mpsc::Receiver<Report>>>,
    /// What was deleted on a side and made again.
    pub(crate) rebuilds: Rebuilds,
    /// What was known of it when the relay started.
    pub(crate) boot: Boot,
    /// How its runner is spoken to, once there is one.
    pub(crate) runner: OnceLock<GroupHandle>,
}

impl ServiceGroup {
    /// What the group's partitions report; for one runner. None if it was taken.
    pub fn take_reports(&self) -> Option<mpsc::Receiver<Report>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How its runner is spoken to. None before the relay serves.
    pub fn runner(&self) -> Option<&GroupHandle> {
        self.runner.get()
    }
}

/// A topic that both sides have.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    /// Its name.
    pub name: Arc<str>,
    /// The relay's own identity of it.
    pub id: TopicId,
    /// Its identities on the sides, where they are recorded (RELAY-12).
    pub topic_ids: SideMap<Option<TopicId>>,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many of them it was taken in with.
    pub taken_in: i32,
    /// Largest batch that both sides take, bytes.
    pub batch_bytes_max: usize,
}

async fn find_consumers(relay: Arc<Relay>, group: String) {
    let mirror = Arc::clone(&relay.group(&group).mirror);
    mirror.find(|consumers| relay.config.group_of_consumers(consumers) == group).await;
}

/// What the parts of a relay share.
#[derive(Debug)]
pub struct Relay {
    /// The settings.
    pub config: RelayConfig,
    /// Who may connect, and what each may do.
    pub security: Arc<Security>,
    /// The ways to the sides.
    pub upstreams: SideMap<Arc<Upstream>>,
    /// The topics that clients see.
    pub served: Served,
    /// The service groups, by name.
    pub groups: BTreeMap<String, ServiceGroup>,
    /// The relay's own leader epoch, of this start (RELAY-8).
    pub epoch: i32,
    /// The cluster id that clients see.
    pub cluster_id: String,
    /// Until when this relay decides, on [`crate::clock`]. Partitions that start take it from here; those that run are
    /// told by [`crate::sequence::Event::Lease`].
    pub lease: watch::Sender<Millis>,
    /// What is kept over restarts.
    pub state: Arc<State>,
    /// The topics, as they are kept.
    pub topics: Registry<Embedded>,
    /// Set when the relay is told to stop.
    pub stopping: CancellationToken,
    /// Everything it spawned.
    pub tasks: Tasks,
    /// Which cluster each side showed last, and which it must be.
    clusters: Mutex<SideMap<ClusterStatus>>,
    /// Topics that a side has and clients do not see.
    pub(crate) unserved: Unserved,
    /// Wakes the discovery of topics.
    pub(crate) discover: Notify,
    pub(crate) stages: Arc<Stages>,
    /// Requests of clients in flight.
    pub(crate) memory: Memory,
    /// Records on their way to consumers.
    pub(crate) answers: Budget,
    pub(crate) connections: AtomicUsize,
    /// What the comparer did.
    pub(crate) followed: Arc<Followed>,
    /// For history that a side refuses under its own producer; the same in every epoch of this relay.
    pub(crate) copier_id: i64,
    tickets: Arc<AtomicU64>,
    cache_memory: Arc<CacheMemory>,
    pace: Arc<Pace>,
    metrics: Metrics,
    status_address: OnceLock<SocketAddr>,
}

impl Relay {
    /// Begins a new epoch and makes everything that is shared; serves nobody yet.
    pub async fn open(config: RelayConfig, tasks: &Tasks, metrics: &Metrics) -> Result<Arc<Self>, RelayError> {
        let state = config.state.clone();
        let identity = tokio::task::spawn_blocking(move || Identity::next(&state)).await.unwrap_or_else(|error| {
            Err(IdentityError::File { path: config.state.clone(), source: std::io::Error::other(error) })
        })?;
        let security = Security::load(&config.security)?;
        let upstream =
            |side| Upstream::new(side, &config).map(Arc::new).map_err(|source| RelayError::Side { side, source });
        let upstreams = SideMap { a: upstream(Side::A)?, b: upstream(Side::B)? };
        let state = Arc::new(State::open(&config.state).await?);
        let clients = SideMap::from_fn(|side: Side| upstreams[side].control.clone());
        let topics = Registry::open(Arc::clone(&state.coordination), clients).await?;
        let mut groups = BTreeMap::new();
        for group in config.all_groups() {
            let (sender, receiver) = mpsc::channel(REPORTS_MAX);
            let boot = state.boot(&group.name).await?;
            let first = sides::Group::new(govern::group_config(&config, &group), boot);
            let (held, sent) = first.announcement();
            let (standing, sent) = (watch::Sender::new(held), watch::Sender::new(sent));
            let unread = Mutex::new(Some(receiver));
            let runner = OnceLock::new();
            let clients = SideMap::from_fn(|side: Side| upstreams[side].control.clone());
            let recognised = SideMap::from_fn(|side: Side| upstreams[side].recognised.clone());
            let adopts = boot.remembered.is_none() && boot.found.is_none();
            let mirroring = MirrorConfig::of(&config, adopts);
            let mirror = Mirror::new(mirroring, clients, recognised, held, Arc::clone(&state), tasks);
            let mirror = Arc::new(mirror);
            let rebuilds = Rebuilds::default();
            let served =
                ServiceGroup { config: group, standing, sent, mirror, reports: sender, unread, rebuilds, boot, runner };
            groups.insert(served.config.name.clone(), served);
        }
        let stopping = tasks.stop_token();
        let relay = Arc::new(Self {
            security,
            upstreams,
            served: Served::default(),
            groups,
            epoch: identity.epoch,
            cluster_id: identity.cluster_id,
            copier_id: identity.copier_id,
            lease: watch::Sender::new(0),
            state,
            topics,
            stopping,
            tasks: tasks.clone(),
            clusters: Mutex::default(),
            unserved: Unserved::default(),
            discover: Notify::new(),
            stages: Arc::new(Stages::new(metrics)),
            memory: Memory::new(config.request_memory_max.as_usize(), config.request_bytes_max.as_usize()),
            answers: Budget::new(config.answer_memory_max.as_usize()),
            connections: AtomicUsize::new(0),
            metrics: metrics.clone(),
            status_address: OnceLock::new(),
            followed: Arc::default(),
            tickets: Arc::new(AtomicU64::new(0)),
            cache_memory: Arc::new(CacheMemory::new(config.cache_memory_max.as_usize())),
            pace: Arc::new(Pace::new(config.catch_up_per_second.as_usize() as u64)),
            config,
        });
        relay.show_gauges(metrics);
        running::show(&relay.followed, metrics);
        Ok(relay)
    }

    /// Accepts clients. Answers with the address that was bound.
    pub async fn serve(self: &Arc<Self>) -> Result<SocketAddr, RelayError> {
        if let Some(cluster_id) = govern::one_cluster_on_both_sides(self).await {
            return Err(RelayError::SameCluster { cluster_id });
        }
        let addr = self.config.listen;
        let failed = |source| RelayError::Listen { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        // Before anything is decided, and also while a side is away.
        crate::topics::show::show(self);
        govern::start(self).await;
        let addr = self.config.status_listen;
        let listening = status::serve(self, addr, &self.metrics).await;
        let listening = listening.map_err(|source| RelayError::Listen { addr, source })?;
        self.status_address.get_or_init(|| listening);
        for name in self.groups.keys() {
            self.tasks.spawn("finding consumer groups", find_consumers(Arc::clone(self), name.clone()));
        }
        self.tasks.spawn("discovering topics", discover::run(Arc::clone(self)));
        self.tasks.spawn("watching where logs begin", log_starts::run(Arc::clone(self)));
        let comparing = running::follower(self).map_err(|source| RelayError::Comparer { source })?;
        if let Some(follower) = comparing {
            self.tasks.spawn("comparing the sides", follower.run(self.stopping.clone()));
        }
        self.tasks.spawn("accepting connections", accept::listen(Arc::clone(self), listener));
        Ok(bound)
    }

    /// Which cluster a side showed last, and which it must be.
    pub(crate) fn cluster(&self, side: Side) -> ClusterStatus {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)[side].clone()
    }

    /// What a side answered to a probe.
    pub(crate) fn saw_cluster(&self, side: Side, shown: Option<&str>, expected: Option<&str>) {
        let seen = ClusterStatus { shown: shown.map(str::to_owned), expected: expected.map(str::to_owned) };
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)[side] = seen;
    }

    /// Where status is asked for, once the relay serves.
    pub fn status_address(&self) -> Option<SocketAddr> {
        self.status_address.get().copied()
    }

    /// The service group that a topic belongs to.
    pub fn group_of_topic(&self, topic: &str) -> &ServiceGroup {
        self.group(self.config.group_of_topic(topic))
    }

    /// The service group that a consumer group belongs to.
    pub fn group_of_consumers(&self, consumers: &str) -> &ServiceGroup {
        self.group(self.config.group_of_consumers(consumers))
    }

    fn group(&self, name: &str) -> &ServiceGroup {
        self.groups.get(name).expect("the configuration's own groups are all there")
    }

    /// Serves a topic: its partitions start from their checkpoints (by number; none where nothing is kept), those that
    /// run go on.
    pub fn serve_topic(&self, spec: &TopicSpec, mut checkpoint: impl FnMut(i32) -> Option<Checkpoint>) {
        let group = self.group_of_topic(&spec.name);
        let running = self.served.get(&spec.name).filter(|topic| topic.id == spec.id);
        let mut partitions = running.map(|topic| topic.partitions.clone()).unwrap_or_default();
        let shared = self.shared();
        for index in i32::try_from(partitions.len()).unwrap_or(i32::MAX)..spec.partitions {
            let start = Start {
                at: TopicPartition::new(Arc::clone(&spec.name), index),
                topic: spec.id,
                config: PartitionConfig { taken_in: index < spec.taken_in, ..self.partition_config(&group.config) },
                standing: *group.standing.borrow(),
                sent: *group.sent.borrow(),
                checkpoint: checkpoint(index),
                topic_ids: spec.topic_ids,
                lease_until: *self.lease.borrow(),
            };
            let (handle, task) = PartitionHandle::start(start, &shared, group.reports.clone(), &self.stopping);
            self.tasks.spawn("a partition", task);
            partitions.push(handle);
        }
        self.served.insert(ServedTopic {
            name: Arc::clone(&spec.name),
            id: spec.id,
            group: Arc::from(group.config.name.as_str()),
            batch_bytes_max: spec.batch_bytes_max,
            partitions,
        });
    }

    /// Where clients find this relay: as configured, or where they came to.
    pub fn endpoint(&self, local: SocketAddr) -> (String, u16) {
        match &self.config.advertised {
            Some(advertised) => (advertised.host.clone(), advertised.port),
            None => (local.ip().to_string(), local.port()),
        }
    }

    /// Ends the connections to the sides, after everything that uses them has ended.
    pub async fn close(&self, deadline: Duration) {
        for (side, upstream) in self.upstreams.iter() {
            if !upstream.shutdown(deadline).await {
                tracing::warn!(%side, "connections did not end in time");
            }
        }
    }

    fn partition_config(&self, group: &GroupConfig) -> PartitionConfig {
        let config = &self.config;
        PartitionConfig {
            absence: group.absence.into(),
            duplex: group.mode == Mode::Duplex,
            active_in_flight_max: config.active_in_flight_max as usize,
            pending_max: config.pending_max as usize,
            suspect_after_ms: u64::try_from(config.suspect_after.as_millis()).unwrap_or(u64::MAX),
            copy_bytes_max: config.copy_bytes_max.as_usize(),
            ..PartitionConfig::new(fresh_producer_id(), self.copier_id)
        }
    }

    fn shared(&self) -> Shared {
        Shared {
            upstreams: self.upstreams.clone(),
            cache_memory: Arc::clone(&self.cache_memory),
            cache_bytes_max: self.config.cache_partition_max.as_usize(),
            // Less than the connection waits for the broker, so that the broker gives up first and says so.
            replica_wait: self.config.request_timeout / 2,
            stages: Arc::clone(&self.stages),
            pace: Arc::clone(&self.pace),
            tickets: Arc::clone(&self.tickets),
            state: Arc::clone(&self.state),
        }
    }

    fn show_gauges(self: &Arc<Self>, metrics: &Metrics) {
        let gauge = |name, help, read: fn(&Self) -> u64| {
            let relay = Arc::downgrade(self);
            metrics.observe(name, help, Observed::Gauge, move || {
                let value = relay.upgrade().map_or(0, |relay| read(&relay));
                vec![Reading { labels: Vec::new(), value }]
            });
        };
        let relay = Arc::downgrade(self);
        let help = "Topics that were deleted on a side and copied anew";
        metrics.observe("relay_topics_rebuilt", help, Observed::Counter, move || {
            let value =
                relay.upgrade().map_or(0, |relay| relay.groups.values().map(|group| group.rebuilds.topics()).sum());
            vec![Reading { labels: Vec::new(), value }]
        });
        gauge("relay_connections", "Connections of clients", |relay| {
            relay.connections.load(std::sync::atomic::Ordering::Relaxed) as u64
        });
        gauge("relay_request_memory_bytes", "Memory of batches in flight", |relay| relay.memory.taken_bytes() as u64);
        gauge("relay_answer_memory_bytes", "Memory of records on their way to consumers", |relay| {
            relay.answers.taken_bytes() as u64
        });
        gauge("relay_cache_bytes", "Newest batches kept for consumers", |relay| relay.cache_memory.held_bytes() as u64);
        gauge("relay_pending_batches", "Batches that wait or are in flight", |relay| {
            relay.sum(|shown| shown.view.pending as u64)
        });
        gauge("relay_consumer_groups", "Consumer groups that were used or found", |relay| {
            relay.groups.values().map(|group| group.mirror.behind().0 as u64).sum()
        });
        gauge("relay_offsets_behind", "Committed offsets that the other side is not known to hold yet", |relay| {
            relay.groups.values().map(|group| group.mirror.behind().1 as u64).sum()
        });
        gauge("relay_gate_lag_records", "Records on the active sides that are not below the gate yet", |relay| {
            relay.sum(|shown| {
                let end = shown.view.ends[shown.active].unwrap_or(shown.view.gate);
                u64::try_from(end - shown.view.gate).unwrap_or(0)
            })
        });
    }

    fn sum(&self, of: impl Fn(&crate::partition::Shown) -> u64) -> u64 {
        let topics = self.served.all();
        topics.iter().flat_map(|topic| &topic.partitions).map(|partition| of(&partition.shown())).sum()
    }
}
