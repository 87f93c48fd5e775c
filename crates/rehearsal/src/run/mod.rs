//! One rehearsal from start to verdict.

mod backlog;
mod clusters;
mod fault;
mod operations;
mod services;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use naru_kafka::node::NodeError;
use rdkafka::error::KafkaError;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::backlog::{Backlog, StatusProbe};
use self::clusters::Nodes;
use self::fault::{Act, Endings};
use self::services::Services;
use crate::check::{self, Verdict};
use crate::children::{self, Trouble};
use crate::clock::RunClock;
use crate::expectations::{self, Settled};
use crate::history::History;
use crate::load::{self, Target};
use crate::measure;
use crate::observe::{LagProbe, Observers, Shared};
use crate::plan::Plan;
use crate::progress::{Before, Progress, TICK};
use crate::read_back::{self, ReadBackError};
use crate::recorder::{Recorder, topics};
use crate::report::{Environment, PhaseSpan, Report, SCHEMA};
use crate::scenario::Scenario;
use crate::service_process::ServiceError;
use crate::state::{State, StateError};

/// Partitions of every topic: more than the group has members, so that a rebalance moves some and leaves others.
const PARTITIONS: i32 = 4;
/// Between the children being ready and the first request: the group forms in it.
const LEAD: Duration = Duration::from_millis(1_500);
/// How long a child may take to answer a question about itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
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

/// Plays a scenario. Must be awaited on the main thread, see [`crate::service_process::ServiceProcess::start`].
///
/// # Errors
/// Whenever there is no verdict; all children are stopped then too.
pub async fn rehearse(mut options: Options, stop: CancellationToken) -> Result<Rehearsed, RehearsalError> {
    if options.log == LogKind::Kafka {
        options.scenario = options.scenario.on_kafka();
    }
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
    if options.log == LogKind::Kafka {
        for cluster in scenario.clusters.iter().filter(|cluster| cluster.lose_unflushed_tail) {
            let name = &cluster.name;
            progress.stage(&format!("note: cluster {name}: lose_unflushed_tail is ignored, Kafka cannot be told to"));
        }
    }
    let nodes = clusters::start(options, &state).await?;
    let bootstraps = clusters::bootstraps(&nodes).await;
    progress.stage("making topics, starting services");
    clusters::make_topics(scenario, &bootstraps).await?;
    let (services, targets) = services::start(options, &state, &bootstraps).await?;

    let recorder = Arc::new(Recorder::new(RunClock::starting_in(LEAD), scenario, &plan));
    let shared = Shared {
        bootstrap: bootstraps[scenario.consumers.cluster].clone(),
        group: scenario.consumers.group.clone(),
        partitions: PARTITIONS,
        seed: plan.seed,
        operations: plan.operations.len(),
        recorder: Arc::clone(&recorder),
    };
    let cast = Cast {
        log: options.log,
        plan: &plan,
        targets: &targets,
        nodes: &nodes,
        services: &services,
        endings: Endings::default(),
        shared: &shared,
    };
    let mut settled = cast.act(scenario, progress, stop).await?;

    progress.stage("reading the log back");
    let (mut history, dropped) = recorder.close(Observers::names(scenario.consumers.members));
    settled.observations_dropped = dropped;
    let mut endings = std::mem::take(&mut *cast.endings.lock().await);
    endings.extend(services::stop(scenario, &services).await?);
    read_back::read(&shared.bootstrap, &topics(), PARTITIONS, plan.seed, &mut history).await.map_err(|source| {
        let cluster = scenario.clusters[scenario.consumers.cluster].name.clone();
        RehearsalError::ReadBack { cluster, source }
    })?;
    endings.extend(clusters::stop(options.log, scenario, &nodes).await?);
    let troubles = troubles(scenario, &nodes, &services).await?;

    progress.stage("judging");
    let ended = children::check(&endings, &troubles);
    let report = judge(options, &plan, &recorder, &history, &settled, ended, began);
    let files = vec![
        state.write("report.html", |out| out.write_all(crate::report::render(&report).as_bytes()))?,
        state.write("report.json", |out| Ok(serde_json::to_writer_pretty(out, &report)?))?,
        state.write("operations.jsonl", |out| operations::write(out, &plan, &history))?,
    ];
    Ok(Rehearsed { report, files })
}

/// What the children wrote that somebody must look at.
async fn troubles(scenario: &Scenario, nodes: &Nodes, services: &Services) -> Result<Vec<Trouble>, StateError> {
    let mut logs = Vec::with_capacity(nodes.len() + services.len());
    for (cluster, node) in scenario.clusters.iter().zip(nodes.iter()) {
        logs.push((format!("cluster {}", cluster.name), node.lock().await.log_path()));
    }
    for (service, process) in scenario.services.iter().zip(services.iter()) {
        logs.push((format!("service {}", service.kind.name()), process.lock().await.log_path()));
    }
    let read = |(child, path): (String, PathBuf)| {
        children::trouble_of(&child, &path).map_err(|source| StateError::File { path, source })
    };
    logs.into_iter().map(read).collect()
}

/// What is on the stage while the phases run.
struct Cast<'a> {
    log: LogKind,
    plan: &'a Arc<Plan>,
    targets: &'a [Target],
    nodes: &'a Nodes,
    services: &'a Services,
    endings: Endings,
    shared: &'a Shared,
}

impl Cast<'_> {
    /// Load, faults and observers from the first phase until all is at rest.
    async fn act(
        &self,
        scenario: &Scenario,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Settled, RehearsalError> {
        let (plan, recorder) = (self.plan, &self.shared.recorder);
        let unobserved = |error: Box<dyn std::error::Error + Send + Sync>| RehearsalError::Observers(error);
        let observers = Observers::start(self.shared, scenario.consumers.members).map_err(|e| unobserved(e.into()))?;
        let observers = Arc::new(Mutex::new(observers));
        let probe = Arc::new(LagProbe::new(self.shared).map_err(|e| unobserved(e.into()))?);
        let status = StatusProbe::new(self.targets)?;
        let backlog = Backlog { status, probe, recorder: Arc::clone(recorder) };

        // Dropped with this future, it ends the load and the sampling whatever happens.
        let over = stop.child_token();
        let _end_with_me = over.clone().drop_guard();
        let mut work = JoinSet::new();
        for target in self.targets.iter().cloned() {
            let (plan, recorder, stop) = (Arc::clone(plan), Arc::clone(recorder), over.clone());
            work.spawn(async move { load::drive(target, plan, recorder, stop).await.map_err(RehearsalError::from) });
        }
        for fault in plan.faults.iter().copied() {
            let act = Act {
                fault,
                log: self.log,
                scenario: Arc::new(scenario.clone()),
                nodes: Arc::clone(self.nodes),
                services: Arc::clone(self.services),
                endings: Arc::clone(&self.endings),
                observers: Arc::clone(&observers),
                recorder: Arc::clone(recorder),
                progress: progress.clone(),
            };
            work.spawn(act.play());
        }
        let mut sampling = JoinSet::new();
        sampling.spawn(backlog.clone().sample(over.clone()));

        let mut ticks = tokio::time::interval(TICK);
        let mut before = Before::default();
        let end = tokio::time::sleep_until(recorder.clock().moment(plan.end()));
        tokio::pin!(end);
        let mut ended = false;
        while !ended || !work.is_empty() {
            tokio::select! {
                Some(done) = work.join_next() => done.map_err(RehearsalError::Part)??,
                () = &mut end, if !ended => ended = true,
                _ = ticks.tick() => progress.tick(scenario, plan, recorder, &mut before),
            }
        }
        progress.stage("settling: waiting for empty outboxes and for the consumers");
        let settled =
            backlog.settle(scenario.settle_max, || progress.tick(scenario, plan, recorder, &mut before)).await;
        over.cancel();
        while sampling.join_next().await.is_some() {}
        // Threads: joined where blocking does no harm.
        tokio::task::spawn_blocking(move || observers.blocking_lock().stop())
            .await
            .map_err(RehearsalError::Part)?
            .map_err(|error| unobserved(error.into()))?;
        Ok(settled)
    }
}

fn judge(
    options: &Options,
    plan: &Plan,
    recorder: &Recorder,
    history: &History,
    settled: &Settled,
    children: Verdict,
    began: SystemTime,
) -> Report {
    let scenario = &options.scenario;
    let services = measure::services(history, scenario, plan);
    let consumers = measure::consumers(history, plan);
    let marks = recorder.marks();
    let mut verdicts: Vec<Verdict> = check::judge(history);
    let lateness = measure::lateness(history);
    verdicts.push(expectations::load(history, scenario.expect.lateness_max, lateness));
    verdicts.push(expectations::answers(history, scenario));
    verdicts.push(expectations::faults(plan, scenario, &marks));
    verdicts.push(expectations::settled(settled, scenario.settle_max));
    verdicts.push(children);
    verdicts.extend(expectations::bounds(scenario, &services, &consumers));
    expectations::refuse_empty(&mut verdicts, plan);
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
        lateness,
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
            (LogKind::Kafka, false) => "as shipped",
            (LogKind::Kafka, true) => "as shipped, lose_unflushed_tail ignored",
            (LogKind::StandIn, _) => cluster.flush.name(),
        };
        let tail = if options.log == LogKind::StandIn && cluster.lose_unflushed_tail {
            ", a kill takes what is not flushed"
        } else {
            ""
        };
        write!(text, "{separator}{}: {setting}{tail}", cluster.name).expect("writing to a string cannot fail");
    }
    text
}
