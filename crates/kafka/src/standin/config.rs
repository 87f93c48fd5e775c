//! What a stand-in broker is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::storage::Flush;

/// Settings of one stand-in broker. The defaults of behaviour are Kafka's.
#[derive(Debug, Clone)]
pub struct StandinConfig {
    /// Where everything is kept. Made if missing; one process at a time.
    pub data: PathBuf,
    /// Where clients connect. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// What clients are told to connect to; none: the address over which they came.
    pub advertised: Option<(String, u16)>,
    /// The cluster's identity; none: made at the first start and kept.
    pub cluster_id: Option<String>,
    /// The node's number.
    pub node_id: i32,
    /// When an append counts as written.
    pub flush: Flush,
    /// Where faults are asked for; none: nowhere.
    pub admin: Option<SocketAddr>,
    /// Whether Metadata makes topics that it is asked for (`auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// Partitions of a topic when nobody says (`num.partitions`).
    pub default_partitions: i32,
    /// How long the first rebalance of a group waits for more members (`group.initial.rebalance.delay.ms`).
    pub group_initial_rebalance_delay: Duration,
    /// How long the offsets of an idle group are kept (`offsets.retention.minutes`).
    pub offsets_retention: Duration,
    /// How long a producer is remembered after its last batch (`producer.id.expiration.ms`).
    pub producer_expiry: Duration,
    /// How often retention, expiry and compaction look (`log.retention.check.interval.ms` and others).
    pub housekeeping_interval: Duration,
    /// Connections at once. Kafka has no bound by default; ours keeps the memory of connections below 100 MiB.
    pub connections_max: usize,
    /// A connection on which nothing is asked for so long is closed (`connections.max.idle.ms`).
    pub idle_timeout: Duration,
    /// A request that has begun must arrive, and an answer be taken, in this time. Kafka has no such bound; without
    /// it a slow peer could hold a share of the memory below for ever.
    pub transfer_timeout: Duration,
    /// Largest request, bytes (`socket.request.max.bytes`).
    pub request_bytes_max: usize,
    /// Memory of all requests in flight, bytes (`queued.max.request.bytes`, unlimited in Kafka). At least
    /// `request_bytes_max`.
    pub request_memory_bytes: usize,
    /// Memory of all records on their way out, bytes.
    pub answer_memory_bytes: usize,
}

impl StandinConfig {
    /// The defaults for a directory and an address.
    pub fn new(data: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            data: data.into(),
            listen,
            advertised: None,
            cluster_id: None,
            node_id: 1,
            flush: Flush::Fsync,
            admin: None,
            auto_create_topics: true,
            default_partitions: 1,
            group_initial_rebalance_delay: Duration::from_secs(3),
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            producer_expiry: Duration::from_secs(24 * 3600),
            housekeeping_interval: Duration::from_secs(60),
            connections_max: 1_000,
            idle_timeout: Duration::from_secs(600),
            transfer_timeout: Duration::from_secs(30),
            request_bytes_max: 100 << 20,
            request_memory_bytes: 256 << 20,
            answer_memory_bytes: 256 << 20,
        }
    }
}
