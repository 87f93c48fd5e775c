//! One rehearsal from start to verdict.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use naru_kafka::node::{Node, NodeError, NodeKind, NodeOptions, Signal};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::check::{self, Verdict};
use crate::clock::RunClock;
use crate::expectations::{self, Settled};
use crate::history::{Claim, History, Outcome, idempotency_key, user_key};
use crate::load::{self, Target};
use crate::measure;
use crate::observe::{self, GROUP, LONE, LagProbe, Observers, Shared};
use crate::plan::{Plan, PlannedFault};
use crate::progress::{Before, Progress, TICK};
use crate::read_back::{self, ReadBackError};
use crate::recorder::{MarkKind, Recorder, topics};
use crate::report::{Environment, PhaseSpan, Report, SCHEMA};
use crate::scenario::{FaultKind, Scenario};
use crate::service_process::{ServiceError, ServiceProcess};
use crate::state::{State, StateError};

/// Partitions of every topic: more than the group has members, so that a rebalance moves some and leaves others.
const PARTITIONS: i32 = 4;
/// Between the children being ready and the first request: the group forms in it.
const LEAD: Duration = Duration::from_millis(1_500);
/// How often the services and the log are asked how much waits.
const BACKLOG_EVERY: Duration = Duration::from_millis(500);
/// How long a service may take to say how much waits.
const STATUS_WITHIN: Duration = Duration::from_secs(2);
/// How long a child may drain.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// What a wallet of the sample services is opened with, in won: more than the busiest user can spend in a run, so that a
/// refusal is a mistake and not an empty wallet.
const OPENING_GRANT: i64 = 1_000_000_000_000;
/// The version of Apache Kafka that `--log kafka` starts.
const KAFKA_VERSION: &str = "4.3.1";

/// What plays the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// `naru broker`.
    StandIn,
    /// Apache Kafka.
    Kafka,
}

/// How a scenario is to be played.
#[derive(Debug, Clone)]
pub struct Options {
    /// The scenario.
    pub scenario: Scenario,
    /// The seed.
    pub seed: u64,
    /// What plays the log.
    pub log: LogKind,
    /// The `naru` executable, which plays brokers and services.
    pub exe: PathBuf,
    /// Where Kafka's jars are: `<peers>/kafka-4.3.1/libs`.
    pub peers: Option<PathBuf>,
    /// Where the report goes.
    pub out: PathBuf,
    /// Plain lines even on a terminal.
    pub plain: bool,
    /// The command that plays it again, for the report.
    pub replay: String,
}

/// A finished rehearsal.
#[derive(Debug)]
pub struct Rehearsed {
    /// The report, verdicts included.
    pub report: Report,
    /// `report.json`, `report.html` and `operations.jsonl`.
    pub files: Vec<PathBuf>,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The user ended it.
    #[error("interrupted: no verdict; every child process is stopped")]
    Interrupted,
    /// The user's side: the scenario and the chosen log do not go together, or the log is not there.
    #[error("{0}")]
    Unfit(String),
    /// The output directory cannot be used.
    #[error("cannot prepare the output directory")]
    State(#[from] StateError),
    /// A broker did not do what it should. This machine's side, or a bug of the subject.
    #[error("cluster {cluster}")]
    Node {
        /// Which cluster.
        cluster: String,
        /// What happened.
        #[source]
        source: NodeError,
    },
    /// A service did not start.
    #[error("service {name}")]
    Service {
        /// Which service.
        name: String,
        /// What happened.
        #[source]
        source: ServiceError,
    },
    /// The topics could not be made.
    #[error("cannot make the topics on cluster {cluster}")]
    Topics {
        /// Which cluster.
        cluster: String,
        /// What happened.
        #[source]
        source: KafkaError,
    },
    /// A consumer could not be made.
    #[error("cannot start the observers")]
    Observers(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An HTTP client could not be made.
    #[error("cannot make an HTTP client")]
    Http(#[from] reqwest::Error),
    /// The log could not be read at the end, so nothing can be said.
    #[error("cannot read the log of cluster {cluster} at the end")]
    ReadBack {
        /// Which cluster.
        cluster: String,
        /// What happened.
        #[source]
        source: ReadBackError,
    },
    /// A part of the rehearsal panicked: a bug of ours.
    #[error("a part of the rehearsal failed")]
    Part(#[source] tokio::task::JoinError),
    /// The broker refused to be weakened as the scenario asks.
    #[error("cluster {cluster} does not take the fault that the scenario asks for")]
    Fault {
        /// Which cluster.
        cluster: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
}

impl RehearsalError {
    /// Whether the user's input is at fault.
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::Unfit(_) | Self::State(StateError::NotOurs { .. } | StateError::InUse { .. }))
    }
}

/// Plays a scenario. Must be awaited on the main thread, see [`ServiceProcess::start`].
///
/// # Errors
/// Whenever there is no verdict; all children are stopped then too.
pub async fn rehearse(options: Options, stop: CancellationToken) -> Result<Rehearsed, RehearsalError> {
    let began = SystemTime::now();
    let progress = Progress::new(&options.scenario, options.plain);
    let played = tokio::select! {
        played = play(&options, &progress, began, &stop) => played,
        () = stop.cancelled() => Err(RehearsalError::Interrupted),
    };
    progress.finish();
    played
}

async fn play(
    options: &Options,
    progress: &Progress,
    began: SystemTime,
    stop: &CancellationToken,
) -> Result<Rehearsed, RehearsalError> {
    let scenario = &options.scenario;
    let plan = Arc::new(Plan::draw(scenario, options.seed));
    let state = State::prepare(&options.out)?;

    progress.stage(&format!("starting {} cluster(s)", scenario.clusters.len()));
    let nodes = start_nodes(options, &state).await?;
    let bootstraps = bootstraps(&nodes).await;
    progress.stage("making topics, starting services");
    make_topics(scenario, &bootstraps).await?;
    let mut services = Vec::with_capacity(scenario.services.len());
    let mut targets = Vec::with_capacity(scenario.services.len());
    for (index, service) in scenario.services.iter().enumerate() {
        let name = service.kind.name();
        let dir = state.child(&format!("service-{name}"));
        let args = service_args(name, &bootstraps[service.cluster], &dir);
        let process = ServiceProcess::start(name, &options.exe, &args, &dir)
            .await
            .map_err(|source| RehearsalError::Service { name: name.to_owned(), source })?;
        targets.push(Target { index, service: service.clone(), url: format!("http://{}", process.address()) });
        services.push(process);
    }

    let recorder = Arc::new(Recorder::new(RunClock::starting_in(LEAD), scenario, &plan));
    let shared = Shared {
        bootstrap: bootstraps[scenario.consumers.cluster].clone(),
        group: scenario.consumers.group.clone(),
        partitions: PARTITIONS,
        seed: plan.seed,
        operations: plan.operations.len(),
        recorder: Arc::clone(&recorder),
    };
    let observers = Observers::start(&shared, scenario.consumers.members)
        .map_err(|error| RehearsalError::Observers(Box::new(error)))?;
    let observers = Arc::new(Mutex::new(observers));
    let probe = Arc::new(LagProbe::new(&shared).map_err(|error| RehearsalError::Observers(Box::new(error)))?);

    // Ends the sampling; dropped with this future, it ends the load as well.
    let over = stop.child_token();
    let _end_with_me = over.clone().drop_guard();
    let mut work = JoinSet::new();
    for target in targets.clone() {
        let (plan, recorder, stop) = (Arc::clone(&plan), Arc::clone(&recorder), over.clone());
        work.spawn(async move { load::drive(target, plan, recorder, stop).await.map_err(RehearsalError::from) });
    }
    let progress_of_faults = Arc::new(progress.clone());
    for fault in plan.faults.iter().copied() {
        let act = Act {
            fault,
            scenario: Arc::new(scenario.clone()),
            nodes: Arc::clone(&nodes),
            observers: Arc::clone(&observers),
            recorder: Arc::clone(&recorder),
            progress: Arc::clone(&progress_of_faults),
        };
        work.spawn(act.play());
    }
    let status = StatusProbe::new(&targets)?;
    let backlog = Backlog { status, probe, recorder: Arc::clone(&recorder) };
    let mut sampling = JoinSet::new();
    sampling.spawn(backlog.clone().sample(over.clone()));

    let mut ticks = tokio::time::interval(TICK);
    let mut before = Before::default();
    let end = recorder.clock().moment(plan.end());
    loop {
        tokio::select! {
            done = work.join_next() => match done {
                Some(done) => done.map_err(RehearsalError::Part)??,
                None => break,
            },
            _ = ticks.tick() => progress.tick(scenario, &plan, &recorder, &mut before),
        }
    }
    tokio::time::sleep_until(end).await;

    progress.stage("settling: waiting for empty outboxes and for the consumers");
    let mut settled = backlog.settle(scenario.settle_max, &mut ticks, progress, scenario, &plan, &mut before).await;
    over.cancel();
    while sampling.join_next().await.is_some() {}

    progress.stage("reading the log back");
    let stopping = Arc::clone(&observers);
    tokio::task::spawn_blocking(move || stopping.blocking_lock().stop()).await.map_err(RehearsalError::Part)?;
    let (mut history, dropped) = recorder.close(Observers::names(scenario.consumers.members));
    settled.observations_dropped = dropped;
    for (name, service) in scenario.services.iter().map(|service| service.kind.name()).zip(services) {
        service.stop(DRAIN_WITHIN).await.map_err(|source| RehearsalError::Service { name: name.to_owned(), source })?;
    }
    let cluster = scenario.consumers.cluster;
    read_back::read(&bootstraps[cluster], &topics(), PARTITIONS, plan.seed, &mut history)
        .await
        .map_err(|source| RehearsalError::ReadBack { cluster: scenario.clusters[cluster].name.clone(), source })?;
    stop_nodes(scenario, &nodes).await?;

    progress.stage("judging");
    let report = judge(options, &plan, &recorder, &history, &settled, began);
    let files = vec![
        state.write("report.html", |out| out.write_all(crate::report::render(&report).as_bytes()))?,
        state.write("report.json", |out| Ok(serde_json::to_writer_pretty(out, &report)?))?,
        state.write("operations.jsonl", |out| write_operations(out, &plan, &history))?,
    ];
    Ok(Rehearsed { report, files })
}

fn judge(
    options: &Options,
    plan: &Plan,
    recorder: &Recorder,
    history: &History,
    settled: &Settled,
    began: SystemTime,
) -> Report {
    let scenario = &options.scenario;
    let services = measure::services(history, scenario, plan);
    let consumers = measure::consumers(history, plan);
    let marks = recorder.marks();
    let mut verdicts: Vec<Verdict> = check::judge(history);
    verdicts.push(expectations::load(history));
    verdicts.push(expectations::answers(history, scenario));
    verdicts.push(expectations::faults(plan, scenario, &marks));
    verdicts.push(expectations::settled(settled, scenario.settle_max));
    verdicts.extend(expectations::bounds(scenario, &services, &consumers));
    let phases = scenario.phases.iter().zip(&plan.phases).map(|(phase, (from, to))| PhaseSpan {
        name: phase.name.clone(),
        from_s: from.as_secs_f64(),
        to_s: to.as_secs_f64(),
    });
    Report {
        schema: SCHEMA,
        passed: verdicts.iter().all(|verdict| verdict.passed),
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        seed: plan.seed,
        replay: options.replay.clone(),
        environment: Environment::here(subject(options), cluster_settings(options), began),
        phases: phases.collect(),
        marks,
        services,
        consumers,
        backlog: recorder.backlog_samples(),
        verdicts,
        log_records: history.log.len() as u64,
        observations: history.observations.len() as u64,
    }
}

fn subject(options: &Options) -> String {
    match options.log {
        LogKind::StandIn => format!("stand-in {}", env!("CARGO_PKG_VERSION")),
        LogKind::Kafka => format!("Apache Kafka {KAFKA_VERSION}"),
    }
}

fn cluster_settings(options: &Options) -> String {
    let mut text = String::new();
    for cluster in &options.scenario.clusters {
        let separator = if text.is_empty() { "" } else { ", " };
        let setting = match (options.log, cluster.lose_unflushed_tail) {
            (LogKind::Kafka, _) => "as shipped",
            (LogKind::StandIn, false) => cluster.flush.name(),
            (LogKind::StandIn, true) => "write, loses its unflushed tail",
        };
        write!(text, "{separator}{}: {setting}", cluster.name).expect("writing to a string cannot fail");
    }
    text
}

type Nodes = Arc<Vec<Mutex<Node>>>;

async fn start_nodes(options: &Options, state: &State) -> Result<Nodes, RehearsalError> {
    let kind = match options.log {
        LogKind::StandIn => NodeKind::StandIn { exe: options.exe.clone() },
        LogKind::Kafka => {
            let peers = options.peers.as_ref().ok_or_else(|| {
                RehearsalError::Unfit(
                    "--log kafka needs --peers DIR, where Kafka's jars are: `./x rehearse` fetches them".to_owned(),
                )
            })?;
            let libs = peers.join(format!("kafka-{KAFKA_VERSION}/libs"));
            if !libs.is_dir() {
                return Err(RehearsalError::Unfit(format!("--peers: there is no {}", libs.display())));
            }
            NodeKind::Apache { libs, java: PathBuf::from("java") }
        }
    };
    let mut starting: JoinSet<Result<(usize, Node), RehearsalError>> = JoinSet::new();
    for (index, cluster) in options.scenario.clusters.iter().enumerate() {
        let mut node = NodeOptions::new(kind.clone(), state.child(&format!("cluster-{}", cluster.name)));
        node.cluster_id = format!("naru-cluster-{:09}", index + 1);
        match options.log {
            LogKind::StandIn => {
                node = node.arg("--flush").arg(cluster.flush.name());
                if cluster.lose_unflushed_tail {
                    node = node.arg("--admin").arg("127.0.0.1:0");
                }
            }
            LogKind::Kafka if cluster.lose_unflushed_tail => {
                return Err(RehearsalError::Unfit(format!(
                    "cluster {}: only the stand-in can be told to lose its unflushed tail: leave out --log kafka",
                    cluster.name
                )));
            }
            LogKind::Kafka => {}
        }
        let (name, lossy) = (cluster.name.clone(), cluster.lose_unflushed_tail);
        starting.spawn(async move {
            let started = Node::start(node).await;
            let node = started.map_err(|source| RehearsalError::Node { cluster: name.clone(), source })?;
            if lossy {
                lose_unflushed_tail(&name, &node).await?;
            }
            Ok((index, node))
        });
    }
    let mut nodes = Vec::new();
    while let Some(node) = starting.join_next().await {
        nodes.push(node.map_err(RehearsalError::Part)??);
    }
    nodes.sort_by_key(|(index, _)| *index);
    Ok(Arc::new(nodes.into_iter().map(|(_, node)| Mutex::new(node)).collect()))
}

async fn bootstraps(nodes: &Nodes) -> Vec<String> {
    let mut bootstraps = Vec::with_capacity(nodes.len());
    for node in nodes.iter() {
        bootstraps.push(node.lock().await.bootstrap());
    }
    bootstraps
}

async fn stop_nodes(scenario: &Scenario, nodes: &Nodes) -> Result<(), RehearsalError> {
    let mut stopped = JoinSet::new();
    for (index, cluster) in scenario.clusters.iter().enumerate() {
        let (nodes, cluster) = (Arc::clone(nodes), cluster.name.clone());
        stopped.spawn(async move {
            let outcome = nodes[index].lock().await.stop(DRAIN_WITHIN).await;
            outcome.map(|_status| ()).map_err(|source| RehearsalError::Node { cluster, source })
        });
    }
    while let Some(outcome) = stopped.join_next().await {
        outcome.map_err(RehearsalError::Part)??;
    }
    Ok(())
}

async fn make_topics(scenario: &Scenario, bootstraps: &[String]) -> Result<(), RehearsalError> {
    let used = scenario.services.iter().map(|service| service.cluster).chain([scenario.consumers.cluster]);
    let used: std::collections::BTreeSet<usize> = used.collect();
    for cluster in used {
        let error = |source| RehearsalError::Topics { cluster: scenario.clusters[cluster].name.clone(), source };
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &bootstraps[cluster]).set_log_level(RDKafkaLogLevel::Warning);
        let admin: AdminClient<DefaultClientContext> = config.create().map_err(error)?;
        let names = topics();
        let new: Vec<NewTopic<'_>> =
            names.iter().map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1))).collect();
        let within = AdminOptions::new().request_timeout(Some(Duration::from_secs(20)));
        for made in admin.create_topics(&new, &within).await.map_err(error)? {
            if let Err((_, code)) = made
                && code != RDKafkaErrorCode::TopicAlreadyExists
            {
                return Err(error(KafkaError::AdminOp(code)));
            }
        }
    }
    Ok(())
}

fn service_args(name: &str, bootstrap: &str, dir: &std::path::Path) -> Vec<String> {
    let data = dir.join("data").display().to_string();
    let grant = OPENING_GRANT.to_string();
    ["sample", name, "--listen", "127.0.0.1:0", "--brokers", bootstrap, "--data", &data, "--opening-grant", &grant]
        .map(str::to_owned)
        .to_vec()
}

/// One fault being played.
struct Act {
    fault: PlannedFault,
    scenario: Arc<Scenario>,
    nodes: Nodes,
    observers: Arc<Mutex<Observers>>,
    recorder: Arc<Recorder>,
    progress: Arc<Progress>,
}

impl Act {
    async fn play(self) -> Result<(), RehearsalError> {
        tokio::time::sleep_until(self.recorder.clock().moment(self.fault.at)).await;
        match self.fault.kind {
            FaultKind::Kill { cluster } => {
                let error = |source| self.node_error(cluster, source);
                let mut node = self.nodes[cluster].lock().await;
                node.kill().map_err(error)?;
                self.mark(MarkKind::Killed);
                tokio::time::sleep(self.fault.lasts).await;
                node.restart().await.map_err(error)?;
                if self.scenario.clusters[cluster].lose_unflushed_tail {
                    lose_unflushed_tail(&self.scenario.clusters[cluster].name, &node).await?;
                }
                self.mark(MarkKind::Answering);
            }
            FaultKind::Pause { cluster } => {
                let error = |source| self.node_error(cluster, source);
                let node = self.nodes[cluster].lock().await;
                node.signal(Signal::SIGSTOP).map_err(error)?;
                self.mark(MarkKind::Paused);
                tokio::time::sleep(self.fault.lasts).await;
                node.signal(Signal::SIGCONT).map_err(error)?;
                self.mark(MarkKind::Continued);
            }
            FaultKind::Leave { member } => {
                self.observers.lock().await.set_away(member, true);
                self.mark(MarkKind::Left);
                tokio::time::sleep(self.fault.lasts).await;
                self.observers.lock().await.set_away(member, false);
                self.mark(MarkKind::Joined);
            }
        }
        Ok(())
    }

    fn node_error(&self, cluster: usize, source: NodeError) -> RehearsalError {
        RehearsalError::Node { cluster: self.scenario.clusters[cluster].name.clone(), source }
    }

    fn mark(&self, kind: MarkKind) {
        let subject = expectations::subject(&self.scenario, self.fault.kind);
        self.progress.mark(&self.recorder.mark(kind, subject));
    }
}

/// A killed process leaves what it wrote to the operating system, a machine without power does not: the stand-in is told
/// to keep back what it has not flushed, so that SIGKILL takes it along.
async fn lose_unflushed_tail(cluster: &str, node: &Node) -> Result<(), RehearsalError> {
    let admin = node.admin().ok_or_else(|| RehearsalError::Unfit(format!("cluster {cluster} has no admin port")))?;
    let client = reqwest::Client::builder().no_proxy().timeout(STATUS_WITHIN).build()?;
    let request =
        client.post(format!("http://{admin}/faults")).json(&serde_json::json!({ "lose_unflushed_tail": true }));
    let answer = request.send().await.and_then(reqwest::Response::error_for_status);
    answer.map(|_shown| ()).map_err(|source| RehearsalError::Fault { cluster: cluster.to_owned(), source })
}

/// Asks the services how many records wait in their outboxes.
#[derive(Clone)]
struct StatusProbe {
    client: reqwest::Client,
    urls: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Status {
    outbox_pending: u64,
}

impl StatusProbe {
    fn new(targets: &[Target]) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().no_proxy().timeout(STATUS_WITHIN).build()?;
        Ok(Self { client, urls: targets.iter().map(|target| format!("{}/status", target.url)).collect() })
    }

    /// Of all services together; `None` if one of them gave no answer.
    async fn outbox(&self) -> Option<u64> {
        let mut sum = 0;
        for url in &self.urls {
            let response = self.client.get(url).send().await.and_then(reqwest::Response::error_for_status).ok()?;
            sum += response.json::<Status>().await.ok()?.outbox_pending;
        }
        Some(sum)
    }
}

/// Knows how much waits where.
#[derive(Clone)]
struct Backlog {
    status: StatusProbe,
    probe: Arc<LagProbe>,
    recorder: Arc<Recorder>,
}

impl Backlog {
    async fn sample(self, over: CancellationToken) {
        let mut every = tokio::time::interval(BACKLOG_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = over.cancelled() => return,
            }
            let (outbox, lag, _) = self.look().await;
            self.recorder.backlog(outbox, lag);
        }
    }

    /// Outbox, the group's lag, the lone reader's lag.
    async fn look(&self) -> (Option<u64>, Option<u64>, Option<u64>) {
        let outbox = self.status.outbox().await;
        let probe = Arc::clone(&self.probe);
        // librdkafka's question for a partition's end blocks. A panic in it is an unknown lag.
        let ends = tokio::task::spawn_blocking(move || probe.ends()).await.ok().flatten();
        let lag = |group| ends.as_ref().map(|ends| observe::lag(&self.recorder, group, ends));
        (outbox, lag(GROUP), lag(LONE))
    }

    /// Waits until nothing waits any more, up to `bound`.
    async fn settle(
        &self,
        bound: Duration,
        ticks: &mut tokio::time::Interval,
        progress: &Progress,
        scenario: &Scenario,
        plan: &Plan,
        before: &mut Before,
    ) -> Settled {
        let deadline = tokio::time::Instant::now() + bound;
        loop {
            let (outbox, lag, lone_lag) = self.look().await;
            let at_rest = [outbox, lag, lone_lag].iter().all(|left| *left == Some(0));
            if at_rest || tokio::time::Instant::now() >= deadline {
                return Settled { outbox, lag, lone_lag, observations_dropped: 0 };
            }
            ticks.tick().await;
            progress.tick(scenario, plan, &self.recorder, before);
        }
    }
}

/// One line per operation: what was planned, what became of it, and where the log holds it.
fn write_operations(out: &mut dyn std::io::Write, plan: &Plan, history: &History) -> std::io::Result<()> {
    let mut places = vec![None; history.operations.len()];
    for record in &history.log {
        if let Claim::Operation(number) = record.claim {
            places[number as usize].get_or_insert(record.place);
        }
    }
    for (number, operation) in history.operations.iter().enumerate() {
        let (outcome, id, sequence, why) = match &operation.outcome {
            Outcome::Invoked => ("invoked", None, None, None),
            Outcome::Acknowledged { id, sequence } => ("acknowledged", Some(id), Some(sequence), None),
            Outcome::Failed { why } => ("failed", None, None, Some(why.to_string())),
            Outcome::Unknown { why } => ("unknown", None, None, Some(why.to_string())),
        };
        let line = serde_json::json!({
            "operation": number,
            "topic": history.topics[usize::from(operation.topic)],
            "key": user_key(operation.user),
            "idempotency_key": idempotency_key(plan.seed, number),
            "amount_minor": operation.amount_minor,
            "planned_us": operation.planned_us,
            "sent_us": operation.sent_us,
            "ended_us": operation.ended_us,
            "outcome": outcome,
            "why": why,
            "id": id,
            "sequence": sequence,
            "place": places[number].map(|place| history.show_place(place)),
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}
