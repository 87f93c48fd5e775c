//! `naru audit repair`: what sets the differences of a certificate right.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use naru_audit::certificate::{Reader, canonical};
use naru_audit::config::{AuditConfig, ClusterError};
use naru_audit::repair::{LakeOrder, Plan, RepairError, TOPIC};
use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Client, ClientError, TopicPartition};
use naru_kafka::wire::{BatchBuilder, Compression, ErrorCode, WireError};
use naru_runtime::causes::with_causes;
use naru_runtime::config::{ConfigErrors, Sources};
use naru_runtime::durable::replace_file;

use super::chain::{self, ChainFailure, NOT_READ};

/// Where planned orders wait to be applied, in the state directory.
const ORDERS: &str = "orders";

/// Arguments of `naru audit repair`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 planned or ordered, 3 not.")]
pub struct Args {
    /// Number of the certificate that names the differences
    #[arg(required_unless_present = "apply")]
    id: Option<u64>,
    /// Say what would be done, and name each order
    #[arg(long, requires = "id", required_unless_present = "apply")]
    plan: bool,
    /// Give this order, which a plan has named
    #[arg(long, value_name = "HASH", conflicts_with = "plan")]
    apply: Option<String>,
    /// Configuration of the audit
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Why nothing was planned or ordered.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the configuration cannot be used\n{0}")]
    Configuration(ConfigErrors),
    #[error(transparent)]
    Chain(#[from] ChainFailure),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Repair(#[from] RepairError),
    #[error("the order could not be given")]
    Client(#[from] ClientError),
    #[error("the order is too large for the log")]
    Wire(#[from] WireError),
    #[error("{path}: cannot be {action}")]
    Io {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}: is not the order that it is named")]
    Altered { path: PathBuf },
    #[error("the configuration names no [orders]: say where orders are written")]
    Nowhere,
    #[error("the system refused")]
    System(#[source] std::io::Error),
}

/// Plans or orders.
pub fn run(args: &Args) -> ExitCode {
    let done = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::System);
    match done.and_then(|runtime| runtime.block_on(carry_out(args))) {
        Ok(text) => {
            // A reader that went away is no failure of ours, and cannot be told.
            if std::io::stdout().write_all(text.as_bytes()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("naru audit repair: {}", with_causes(&error));
            ExitCode::from(NOT_READ)
        }
    }
}

async fn carry_out(args: &Args) -> Result<String, Failure> {
    let config: AuditConfig = Sources::default().file(&args.config).load().map_err(Failure::Configuration)?;
    match (&args.apply, args.id) {
        (Some(hash), _) => apply(&config, hash).await,
        (None, Some(id)) => plan(&config, id).await,
        (None, None) => Ok(String::new()),
    }
}

async fn plan(config: &AuditConfig, id: u64) -> Result<String, Failure> {
    let certificate = chain::certificate(&config.state, id)?;
    let source = config.sources.iter().find(|source| source.name == certificate.window.source);
    let plan = Plan::of(&certificate, source.map_or(certificate.window.source.as_str(), |source| source.namespace()));
    let mut text = String::new();
    // Places of records are told of the reference, and of A where both agree.
    let clients: BTreeMap<&str, Client> = match &config.b {
        Some(b) => [("a", config.a.client("a")?), ("b", b.client("b")?)].into(),
        None => [("a", config.a.client("a")?)].into(),
    };
    let directory = config.state.join(ORDERS);
    for order in plan.orders {
        let from = if plan.clusters.keys().any(|(side, topic)| *side == Reader::A && *topic == order.topic) {
            "b"
        } else {
            "a"
        };
        let Some(client) = clients.get(from) else { continue };
        let order = order.filled(client).await?;
        let (wanted, gone) = order.rows.iter().partition::<Vec<_>, _>(|row| row.wanted > 0);
        let io = |action| {
            let path = directory.clone();
            move |source| Failure::Io { path, action, source }
        };
        std::fs::create_dir_all(&directory).map_err(io("made"))?;
        let file = directory.join(format!("{}.json", order.order));
        // It holds rows: for the audit's own user, as its keys are.
        let form = canonical(&order).map_err(RepairError::from)?;
        replace_file(&file, form.as_bytes(), 0o600).map_err(io("written"))?;
        let (table, hash) = (&order.table, &order.order);
        let what = format!("{} rows restored, {} removed", wanted.len(), gone.len());
        writeln!(text, "lake: {table}: {what}\n  naru audit repair --apply {hash}").unwrap_or_default();
    }
    for ((side, topic), other) in &plan.clusters {
        let at = if *side == Reader::A { Some(&config.a) } else { config.b.as_ref() };
        let bootstrap = at.and_then(|at| at.bootstrap.first()).map(ToString::to_string).unwrap_or_default();
        let command = format!("kafka-topics.sh --bootstrap-server {bootstrap} --delete --topic {topic}");
        let then = format!("the relay makes it anew from {other}; watch it with naru relay status");
        writeln!(text, "cluster {side}: {topic}: for the relay's operator:\n  {command}\n  {then}").unwrap_or_default();
    }
    for by_hand in &plan.by_hand {
        writeln!(text, "by hand: {by_hand}").unwrap_or_default();
    }
    if text.is_empty() {
        text.push_str("nothing to repair\n");
    }
    Ok(text)
}

async fn apply(config: &AuditConfig, hash: &str) -> Result<String, Failure> {
    let file = config.state.join(ORDERS).join(format!("{hash}.json"));
    let order = read_order(&file, hash)?;
    let client = config.orders.as_ref().ok_or(Failure::Nowhere)?.client("orders")?;
    let mut topic = NewTopic::new(TOPIC, 1);
    topic = topic.config("retention.ms", "-1");
    match client.create_topic(&topic, false).await {
        Ok(_) => {}
        Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {}
        Err(error) => return Err(error.into()),
    }
    let mut batch = BatchBuilder::new(Compression::None);
    let value = canonical(&order).map_err(RepairError::from)?;
    batch.push(0, Some(hash.as_bytes()), Some(value.as_bytes()), &[])?;
    let at = TopicPartition::new(TOPIC, 0);
    client.leader(&at).await?;
    let appended = client.produce(&at, batch.build()?, &ProduceOptions::default()).await?;
    Ok(format!("ordered: {TOPIC}-0@{}; its table is proved again by the next certificates\n", appended.base_offset))
}

fn read_order(file: &Path, hash: &str) -> Result<LakeOrder, Failure> {
    let io = |source| Failure::Io { path: file.to_owned(), action: "read; has it been planned?", source };
    let bytes = std::fs::read(file).map_err(io)?;
    let order: Option<LakeOrder> = serde_json::from_slice(&bytes).ok();
    let is_it = |order: &LakeOrder| order.is_sound() && order.order == hash;
    order.filter(is_it).ok_or_else(|| Failure::Altered { path: file.to_owned() })
}
