//! One rehearsal from start to verdict.

mod backlog;
mod clusters;
mod copier;
mod fault;
mod operations;
mod relay;
mod services;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use naru_kafka::client::ClientError;
use naru_kafka::node::NodeError;
use rdkafka::error::KafkaError;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::backlog::{Backlog, StatusProbe};
use self::clusters::Nodes;
use self::copier::Failover;
use self::fault::{Act, Endings};
use self::relay::Asker;
use self::services::Services;
use crate::away;
use crate::check::{self, Verdict};
use crate::children::{self, Trouble};
use crate::clock::RunClock;
use crate::expectations::{self, Settled};
use crate::history::{History, SideCopy};
use crate::load::{self, Target};
use crate::measure;
use crate::observe::{LagProbe, Observers, Shared};
use crate::plan::Plan;
use crate::progress::{Before, Progress, TICK};
use crate::pulse;
use crate::read_back::{self, ReadBackError, Wanted};
use crate::recorder::{Recorder, topics};
use crate::relay_status::Standing;
use crate::report::{Environment, PhaseSpan, Report, SCHEMA};
use crate::scenario::{Relay, Scenario, Via};
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
/// What plays side a under `--log mixed`: clusters are seldom upgraded on one day.
const KAFKA_OLDER: &str = "3.9.2";

/// What plays the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// `naru broker`.
    StandIn,
    /// Apache Kafka.
    Kafka,
    /// Apache Kafka, side a of the relay of an older version than the others.
    Mixed,
    /// The control of a scenario with a relay: the stand-in without the relay, see [`Scenario::as_control`].
    Direct,
}

impl LogKind {
    fn is_kafka(self) -> bool {
        matches!(self, Self::Kafka | Self::Mixed)
    }

    /// The version of Apache Kafka that plays a cluster; `None` for the stand-in.
    fn kafka_version(self, relay: Option<&Relay>, cluster: usize) -> Option<&'static str> {
        match self {
            Self::StandIn | Self::Direct => None,
            Self::Kafka => Some(KAFKA_VERSION),
            Self::Mixed if relay.is_some_and(|relay| relay.a == cluster) => Some(KAFKA_OLDER),
            Self::Mixed => Some(KAFKA_VERSION),
        }
    }
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
    #[error("cannot read the log of {from} at the end")]
    ReadBack {
        /// "cluster a", "relay".
        from: String,
        /// What happened.
        #[source]
        source: ReadBackError,
    },
    /// The relay does not show the topics of its clusters.
    #[error("the relay does not show the topics that both of its clusters have")]
    RelayTopics {
        /// What happened.
        #[source]
        source: ClientError,
    },
    /// The relay did not switch as the scenario asks.
    #[error("the relay did not switch to side {to}: {why}")]
    Switch {
        /// The side.
        to: String,
        /// What the relay said.
        why: String,
    },
    /// The control's copier could not be made.
    #[error("cannot start the copier")]
    Copier(#[source] ClientError),
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
    if options.log.is_kafka() {
        options.scenario = options.scenario.on_kafka();
    }
    let without_relay = |log| RehearsalError::Unfit(format!("--log {log} is for a scenario with a [relay]"));
    if options.log == LogKind::Mixed && options.scenario.relay.is_none() {
        return Err(without_relay("mixed"));
    }
    if options.log == LogKind::Direct {
        options.scenario = options.scenario.as_control().ok_or_else(|| without_relay("direct"))?;
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
    if options.log.is_kafka() {
        for cluster in scenario.clusters.iter().filter(|cluster| cluster.lose_unflushed_tail) {
            let name = &cluster.name;
            progress.stage(&format!("note: cluster {name}: lose_unflushed_tail is ignored, Kafka cannot be told to"));
        }
    }
    let nodes = clusters::start(options, &state).await?;
    let bootstraps = clusters::bootstraps(&nodes).await;
    progress.stage("making topics, starting services");
    // Pulses show how long a takeover keeps clients away; without a relay there is none.
    let pulses = scenario.relay.is_some();
    let made: Vec<String> = topics().into_iter().chain(pulses.then(|| pulse::TOPIC.to_owned())).collect();
    clusters::make_topics(scenario, &bootstraps, &made).await?;
    let relay = match &scenario.relay {
        Some(relay) => Some(relay::start(options, &state, relay, &bootstraps, &made).await?),
        None => None,
    };
    let relay_at = match &relay {
        Some(relay) => relay.lock().await.address().to_string(),
        None => String::new(),
    };
    let address = |via| match via {
        Via::Cluster(cluster) => bootstraps[cluster].clone(),
        Via::Relay => relay_at.clone(),
    };
    let (services, targets) = services::start(options, &state, address).await?;

    let recorder = Arc::new(Recorder::new(RunClock::starting_in(LEAD), scenario, &plan));
    let readers = Arc::new(watch::Sender::new(address(scenario.consumers.via)));
    let shared = Shared {
        bootstrap: readers.subscribe(),
        group: scenario.consumers.group.clone(),
        partitions: PARTITIONS,
        seed: plan.seed,
        operations: plan.operations.len(),
        pulses,
        recorder: Arc::clone(&recorder),
    };
    let failover = scenario.copier.map(|copier| Failover {
        copying: stop.child_token(),
        readers: Arc::clone(&readers),
        to: bootstraps[copier.to].clone(),
        done: Mutex::default(),
    });
    let asker = match (&relay, &scenario.relay) {
        (Some(process), Some(relay)) => Some(Asker::new(process, relay)?),
        _ => None,
    };
    let cast = Cast {
        log: options.log,
        plan: &plan,
        targets: &targets,
        nodes: &nodes,
        services: &services,
        relay: relay.clone().zip(asker),
        failover: failover.map(Arc::new),
        bootstraps: &bootstraps,
        endings: Endings::default(),
        shared: &shared,
    };
    let (mut settled, standing) = cast.act(scenario, progress, stop).await?;

    progress.stage("reading the log back");
    let (mut history, dropped) = recorder.close(Observers::names(scenario.consumers.members));
    settled.observations_dropped = dropped;
    let mut endings = std::mem::take(&mut *cast.endings.lock().await);
    endings.extend(services::stop(scenario, &services).await?);
    let read_at = readers.borrow().clone();
    read_logs(scenario, &shared, &read_at, &bootstraps, standing.as_ref(), &mut history).await?;
    if let Some(relay) = &relay {
        endings.push(relay::stop(relay).await?);
    }
    endings.extend(clusters::stop(options.log, scenario, &nodes).await?);
    let troubles = troubles(scenario, &nodes, &services, relay.as_ref()).await?;

    progress.stage("judging");
    let ended = children::check(&endings, &troubles);
    let seen = Seen { settled, standing, children: ended };
    let report = judge(options, &plan, &recorder, &history, seen, began);
    let files = vec![
        state.write("report.html", |out| out.write_all(crate::report::render(&report).as_bytes()))?,
        state.write("report.json", |out| Ok(serde_json::to_writer_pretty(out, &report)?))?,
        state.write("operations.jsonl", |out| operations::write(out, &plan, &history))?,
    ];
    Ok(Rehearsed { report, files })
}

/// Reads the log as clients are shown it, and each side of a relay that is in sync by itself.
async fn read_logs(
    scenario: &Scenario,
    shared: &Shared,
    shown_at: &str,
    bootstraps: &[String],
    standing: Option<&Standing>,
    history: &mut History,
) -> Result<(), RehearsalError> {
    let topics = topics();
    let wanted = Wanted {
        topics: &topics,
        partitions: PARTITIONS,
        group: &shared.group,
        pulses: shared.pulses,
        seed: shared.seed,
        operations: shared.operations,
    };
    let cluster = |cluster: usize| format!("cluster {}", scenario.clusters[cluster].name);
    let from = bootstraps.iter().position(|at| at == shown_at).map_or(relay::NAME.to_owned(), cluster);
    let read = async |from: String, at: &str| {
        let held = read_back::read(at, wanted).await;
        held.map_err(|source| RehearsalError::ReadBack { from, source })
    };
    let shown = read(from.clone(), shown_at).await?;
    (history.log, history.log_starts, history.committed) = (shown.log, shown.log_starts, shown.committed);
    history.pulse_logs.push((from, shown.pulses));
    let sides = standing.iter().flat_map(|standing| &standing.in_sync);
    for side in sides.filter_map(|side| scenario.relay.as_ref()?.cluster_of(side)) {
        let name = cluster(side);
        let held = read(name.clone(), &bootstraps[side]).await?;
        history.pulse_logs.push((name.clone(), held.pulses));
        history.sides.push(SideCopy { name, log: held.log, log_starts: held.log_starts, committed: held.committed });
    }
    Ok(())
}

/// What the children wrote that somebody must look at.
async fn troubles(
    scenario: &Scenario,
    nodes: &Nodes,
    services: &Services,
    relay: Option<&relay::Process>,
) -> Result<Vec<Trouble>, StateError> {
    let mut logs = Vec::with_capacity(nodes.len() + services.len() + 1);
    if let Some(relay) = relay {
        logs.push((relay::NAME.to_owned(), relay.lock().await.log_path()));
    }
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
    relay: Option<(relay::Process, Asker)>,
    failover: Option<Arc<Failover>>,
    bootstraps: &'a [String],
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
    ) -> Result<(Settled, Option<Standing>), RehearsalError> {
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
                relay: self.relay.clone(),
                failover: self.failover.clone(),
                endings: Arc::clone(&self.endings),
                observers: Arc::clone(&observers),
                recorder: Arc::clone(recorder),
                progress: progress.clone(),
            };
            work.spawn(act.play());
        }
        let mut sampling = JoinSet::new();
        sampling.spawn(backlog.clone().sample(over.clone()));
        if let Some((_, asker)) = &self.relay {
            sampling.spawn(asker.clone().sample(Arc::clone(recorder), over.clone()));
        }
        let mut pulsing = JoinSet::new();
        let pulses_over = over.child_token();
        if self.shared.pulses {
            let (at, partitions, seed) = (self.shared.bootstrap.borrow().clone(), PARTITIONS, self.shared.seed);
            pulsing.spawn(pulse::run(at, partitions, seed, Arc::clone(recorder), pulses_over.clone()));
        }
        let mut copying = JoinSet::new();
        if let (Some(copier), Some(failover)) = (scenario.copier, &self.failover) {
            let [from, to] = [copier.from, copier.to].map(|cluster| self.bootstraps[cluster].clone());
            copying.spawn(copier::run(from, to, self.shared.group.clone(), failover.copying.clone()));
        }

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
        pulses_over.cancel();
        while let Some(pulsed) = pulsing.join_next().await {
            pulsed.map_err(RehearsalError::Part)?.map_err(|error| unobserved(error.into()))?;
        }
        let settled =
            backlog.settle(scenario.settle_max, || progress.tick(scenario, plan, recorder, &mut before)).await;
        let standing = match &self.relay {
            Some((_, asker)) => {
                progress.stage("settling: waiting for both sides to be in sync");
                asker.settle(scenario.settle_max).await
            }
            None => None,
        };
        over.cancel();
        while sampling.join_next().await.is_some() {}
        if let Some(failover) = &self.failover {
            failover.copying.cancel();
        }
        while let Some(copied) = copying.join_next().await {
            copied.map_err(RehearsalError::Part)?.map_err(RehearsalError::Copier)?;
        }
        // Threads: joined where blocking does no harm.
        tokio::task::spawn_blocking(move || observers.blocking_lock().stop())
            .await
            .map_err(RehearsalError::Part)?
            .map_err(|error| unobserved(error.into()))?;
        Ok((settled, standing))
    }
}

/// What was seen beside the history.
struct Seen {
    settled: Settled,
    standing: Option<Standing>,
    children: Verdict,
}

fn judge(
    options: &Options,
    plan: &Plan,
    recorder: &Recorder,
    history: &History,
    seen: Seen,
    began: SystemTime,
) -> Report {
    let scenario = &options.scenario;
    let services = measure::services(history, scenario, plan);
    let consumers = measure::consumers(history, plan);
    let marks = recorder.marks();
    let away = away::away(history, scenario, &marks);
    let mut verdicts: Vec<Verdict> = check::judge(history);
    if scenario.relay.is_some() {
        verdicts.extend(check::judge_relay(history));
        verdicts.push(expectations::in_sync(seen.standing.as_ref()));
    }
    let lateness = measure::lateness(history);
    verdicts.push(expectations::load(history, scenario.expect.lateness_max, lateness));
    verdicts.push(expectations::answers(history, scenario));
    verdicts.push(expectations::faults(plan, scenario, &marks));
    verdicts.push(expectations::settled(&seen.settled, scenario.settle_max));
    verdicts.push(seen.children);
    verdicts.extend(expectations::away(scenario, &away));
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
        standings: recorder.standings(),
        away,
        verdicts,
        log_records: history.log.len() as u64,
        observations: history.observations.len() as u64,
    }
}

fn subject(options: &Options) -> String {
    match options.log {
        LogKind::StandIn => format!("stand-in {}", env!("CARGO_PKG_VERSION")),
        LogKind::Direct => format!("stand-in {}, copied behind the clients' back", env!("CARGO_PKG_VERSION")),
        LogKind::Kafka => format!("Apache Kafka {KAFKA_VERSION}"),
        LogKind::Mixed => format!("Apache Kafka {KAFKA_OLDER} and {KAFKA_VERSION}"),
    }
}

fn cluster_settings(options: &Options) -> String {
    let mut text = String::new();
    for cluster in &options.scenario.clusters {
        let separator = if text.is_empty() { "" } else { ", " };
        let setting = match (options.log.is_kafka(), cluster.lose_unflushed_tail) {
            (true, false) => "as shipped",
            (true, true) => "as shipped, lose_unflushed_tail ignored",
            (false, _) => cluster.flush.name(),
        };
        let tail = if !options.log.is_kafka() && cluster.lose_unflushed_tail {
            ", a kill takes what is not flushed"
        } else {
            ""
        };
        write!(text, "{separator}{}: {setting}{tail}", cluster.name).expect("writing to a string cannot fail");
    }
    text
}
