//! `naru broker`: one stand-in broker as a process.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use naru_kafka::standin::storage::Flush as StoreFlush;
use naru_kafka::standin::{Figures, Standin, StandinConfig, StandinError};
use naru_runtime::config::{ByteSize, Flags, HostPort};
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Observed, Reading, Telemetry, TelemetryConfig, TelemetryError};

use crate::serving;

/// Threads that serve connections. Two: the stand-in shares a small machine with what it stands in for, and file work
/// that blocks has threads of its own.
const WORKERS: usize = 2;

/// What closing may take behind a drain that used all its time: the last fsync of every log, on a slow disk.
const CLOSE_MAX: Duration = Duration::from_secs(10);

naru_runtime::choice! {
    /// When a write counts as done.
    pub enum Flush {
        /// When it is on the disk: what acks=all acknowledged survives SIGKILL and the loss of power.
        Fsync = "fsync",
        /// When the operating system has it, as Kafka does by default: it survives SIGKILL only.
        Write = "write",
    }
}

naru_runtime::config! {
    /// A stand-in broker: one node of the log. The defaults of behaviour are Kafka's.
    pub struct BrokerConfig for "broker" {
        /// Directory that holds everything; made if missing, for one process at a time.
        pub data: PathBuf,
        /// Address on which clients connect; port 0 takes a free one.
        pub listen: SocketAddr = "127.0.0.1:9092",
        /// Host and port that clients are told to connect to; without it, the address over which they came.
        pub advertised: Option<HostPort>,
        /// Identity of the cluster; without it, one is made at the first start and kept.
        pub cluster_id: Option<String>,
        /// Number of the node.
        #[range("0", "1000000")]
        pub node_id: i32 = "1",
        /// When a write counts as done.
        pub flush: Flush = "fsync",
        /// Address on which faults are asked for; without it, nowhere.
        pub admin: Option<SocketAddr>,
        /// Whether a topic that is asked for is made.
        pub auto_create_topics: bool = "true",
        /// Partitions of a topic when nobody says how many.
        #[range("1", "1000")]
        pub default_partitions: i32 = "1",
        /// How long the first rebalance of a group waits for more members.
        #[range("0s", "5m")]
        pub group_initial_rebalance_delay: Duration = "3s",
        /// How long the committed offsets of a group without members are kept.
        pub offsets_retention: Duration = "7d",
        /// How long a producer is remembered after its last batch.
        pub producer_expiry: Duration = "1d",
        /// How often retention, expiry and compaction look.
        #[range("100ms", "1h")]
        pub housekeeping_interval: Duration = "1m",
        /// Most connections at once.
        #[range("1", "100000")]
        pub connections_max: u32 = "1000",
        /// How long a connection may ask for nothing.
        pub idle_timeout: Duration = "10m",
        /// How long a request may take to arrive once it has begun, and an answer to be taken.
        #[range("1s", "10m")]
        pub transfer_timeout: Duration = "30s",
        /// Largest request.
        #[range("1KiB", "1GiB")]
        pub request_bytes_max: ByteSize = "100MiB",
        /// Most memory of all requests in flight; never less than one largest request.
        #[range("1MiB", "64GiB")]
        pub request_memory_max: ByteSize = "256MiB",
        /// Most memory of all records on their way out.
        #[range("1MiB", "64GiB")]
        pub answer_memory_max: ByteSize = "256MiB",
        /// Longest wait for requests in hand when the broker is told to stop.
        pub drain_max: Duration = "10s",
        /// Logs, metrics and traces.
        pub telemetry: TelemetryConfig,
    }
}

/// Arguments of `naru broker`.
pub type Args = Flags<BrokerConfig>;

impl BrokerConfig {
    fn standin(&self) -> StandinConfig {
        StandinConfig {
            advertised: self.advertised.as_ref().map(|a| (a.host.clone(), a.port)),
            cluster_id: self.cluster_id.clone(),
            node_id: self.node_id,
            flush: match self.flush {
                Flush::Fsync => StoreFlush::Fsync,
                Flush::Write => StoreFlush::Write,
            },
            admin: self.admin,
            auto_create_topics: self.auto_create_topics,
            default_partitions: self.default_partitions,
            group_initial_rebalance_delay: self.group_initial_rebalance_delay,
            offsets_retention: self.offsets_retention,
            producer_expiry: self.producer_expiry,
            housekeeping_interval: self.housekeeping_interval,
            connections_max: self.connections_max as usize,
            idle_timeout: self.idle_timeout,
            transfer_timeout: self.transfer_timeout,
            request_bytes_max: self.request_bytes_max.as_usize(),
            request_memory_bytes: self.request_memory_max.as_usize(),
            answer_memory_bytes: self.answer_memory_max.as_usize(),
            ..StandinConfig::new(self.data.clone(), self.listen)
        }
    }
}

/// Runs the broker until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    serving::run("broker", args.load(), threads.worker_threads(WORKERS), serve)
}

/// Why the broker did not run to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the system refused")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Standin(#[from] StandinError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error("{0} panicked: this is a fault of the broker")]
    Panicked(&'static str),
}

async fn serve(config: BrokerConfig) -> Result<ExitCode, Failure> {
    // Caught before anyone is told that the broker is ready.
    let mut signals = Signals::listen()?;
    let tasks = Tasks::new();
    let telemetry = Telemetry::start("naru-broker", &config.telemetry, &tasks).await?;
    serving::count_violations(&telemetry);
    let standin = Standin::start(config.standin()).await?;
    show(&telemetry, &standin.figures());
    let admin = standin.admin_addr().map(|addr| format!(" admin={addr}")).unwrap_or_default();
    let metrics = serving::ready_metrics(&telemetry);
    writeln!(std::io::stdout(), "ready listen={}{admin}{metrics}", standin.local_addr())?;
    let (stop, drain_max) = (tasks.stop_token(), config.drain_max);
    tasks.spawn_fallible("broker", async move {
        let panicked = tokio::select! {
            () = stop.cancelled() => None,
            task = standin.failed() => Some(task),
        };
        standin.shutdown(drain_max).await?;
        panicked.map_or(Ok(()), |task| Err(Failure::Panicked(task)))
    });
    let ending = run_until_stopped(&tasks, drain_max + CLOSE_MAX, async || signals.next().await).await;
    telemetry.shutdown().await;
    Ok(ending.exit_code())
}

/// Puts the broker's figures among the metrics.
fn show(telemetry: &Telemetry, figures: &Figures) {
    let observe = |name, help, kind, read: fn(&Figures) -> Vec<Reading>| {
        let figures = figures.clone();
        telemetry.metrics().observe(name, help, kind, move || read(&figures));
    };
    observe("broker_connections_open", "Connections open now", Observed::Gauge, |figures| {
        vec![Reading { labels: Vec::new(), value: figures.connections_open() }]
    });
    observe("broker_requests", "Requests, by API", Observed::Counter, |figures| {
        let counts = figures.requests().into_iter();
        counts.map(|(api, value)| Reading { labels: vec![("api", api.into())], value }).collect()
    });
    observe("broker_appended_bytes", "Bytes of batches appended", Observed::Counter, |figures| {
        vec![Reading { labels: Vec::new(), value: figures.appended_bytes() }]
    });
    observe("broker_fsyncs", "Times that a segment was synced to the disk", Observed::Counter, |figures| {
        vec![Reading { labels: Vec::new(), value: figures.fsyncs() }]
    });
}
