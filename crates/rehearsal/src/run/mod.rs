//! One rehearsal from start to verdict.

mod aftermath;
mod backlog;
mod campaign;
mod clusters;
mod copier;
mod deed;
mod error;
mod fault;
mod lake;
mod operations;
mod relay;
mod report;
mod role;
mod services;
mod sites;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use naru_kafka::node::Signal;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::aftermath::{read_logs, troubles};
use self::backlog::{Backlog, StatusProbe};
use self::clusters::Nodes;
use self::copier::Failover;
pub use self::error::RehearsalError;
use self::fault::{Act, Endings};
use self::relay::Asker;
use self::services::Services;
use self::sites::Sites;
use crate::clock::RunClock;
use crate::crowd::{self, CrowdPlan, CrowdRecorder};
use crate::expectations::Settled;
use crate::judge::{Observed, SeenAtEdge};
use crate::load::{self, Target};
use crate::observe::{LagProbe, Observers, Shared};
use crate::plan::Plan;
use crate::progress::{Before, Progress, TICK};
use crate::pulse;
use crate::recorder::{Recorder, topics};
use crate::relay_status::Standing;
use crate::report::Report;
use crate::sabotage::{self, Chosen, Deed};
use crate::scenario::{Relay, Scenario, Via};
use crate::state::State;
use crate::tables::{Said, TableRecorder};

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
    /// What is done wrong on purpose, if anything is.
    pub sabotage: Option<Chosen>,
    /// The command that plays it again, for the report.
    pub replay: String,
}

/// A finished rehearsal.
#[derive(Debug)]
pub struct Rehearsed {
    /// The report, verdicts included.
    pub report: Report,
    /// `report.json`, `report.html`, `operations.jsonl`, and with an edge `crowd.jsonl`.
    pub files: Vec<PathBuf>,
}

/// Plays a scenario. Must be awaited on the main thread, see [`crate::service_process::ServiceProcess::start`].
///
/// # Errors
/// Whenever there is no verdict; all children are stopped then too.
#[expect(clippy::disallowed_methods, reason = "the date in the report; the run itself is timed by its own clock")]
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
    let lake = match scenario.lake {
        Some(_) => Some(lake::start(options, &state, &address(scenario.consumers.via)).await?),
        None => None,
    };
    let (services, mut targets) = services::start(options, &state, address).await?;
    let planned = match &scenario.campaign {
        Some(campaign) => {
            progress.stage("asking for the campaign's plan");
            Some(campaign::plan(options, &state, campaign, plan.seed).await?)
        }
        None => None,
    };
    let mut sites = match &scenario.edge {
        Some(edge) => {
            let edge = &campaign::rented(edge, planned.as_ref());
            progress.stage("starting sites, rented nodes and the edge");
            Some(sites::start(options, &state, &services, &mut targets, edge, plan.seed).await?)
        }
        None => None,
    };

    let clock = RunClock::starting_in(LEAD);
    let recorder = Arc::new(Recorder::new(clock, scenario, &plan));
    let crowd = sites.as_ref().map(|_| {
        let people = CrowdPlan::draw(scenario, &plan);
        (Arc::new(CrowdRecorder::new(clock, &people)), people)
    });
    let told = Arc::new(TableRecorder::default());
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
        sites: sites.as_ref(),
        crowd: crowd.as_ref(),
        relay: relay.clone().zip(asker),
        lake: lake.clone(),
        told: &told,
        failover: failover.map(Arc::new),
        bootstraps: &bootstraps,
        endings: Endings::default(),
        shared: &shared,
        deed: deed::of(options.sabotage),
    };
    let (mut settled, standing) = cast.act(scenario, progress, stop).await?;

    let deed = deed::of(options.sabotage);
    if let Some((deed, sites)) = deed.zip(sites.as_ref()) {
        match deed {
            Deed::GiftToNode => deed::gift_to_node(sites.a_node()?.address()).await?,
            Deed::NodeKilled => sites.a_node()?.signal(Signal::SIGKILL).map_err(role::error(sites::NODE))?,
            Deed::RecordAgain | Deed::RecordOfNobody => {}
        }
    }
    progress.stage("reading the log back");
    let (mut history, dropped) = recorder.close(Observers::names(scenario.consumers.members));
    settled.observations_dropped = dropped;
    let mut endings = std::mem::take(&mut *cast.endings.lock().await);
    if let Some(sites) = &mut sites {
        endings.extend(sites.stop().await?);
    }
    endings.extend(services::stop(scenario, &services).await?);
    let read_at = readers.borrow().clone();
    read_logs(scenario, &shared, &read_at, &bootstraps, standing.as_ref(), &mut history).await?;
    let said: Option<Said> = match &lake {
        Some(lake) => {
            progress.stage("reading the tables");
            let client = lake::Client::new(lake).await;
            let said = client.finish(clock, &told, &history, scenario.settle_max).await;
            endings.push(role::stop(lake::NAME, lake).await?);
            Some(said)
        }
        None => None,
    };
    if let Some(relay) = &relay {
        endings.push(role::stop(relay::NAME, relay).await?);
    }
    endings.extend(clusters::stop(options.log, scenario, &nodes).await?);
    let troubles =
        troubles(scenario, &nodes, &services, sites.as_ref(), [(relay::NAME, &relay), (lake::NAME, &lake)]).await?;

    progress.stage("judging");
    let (crowd, people) = crowd.map(|(seen, people)| (seen.take(), people)).unzip();
    let edge = match (&sites, crowd) {
        (Some(sites), Some(crowd)) => {
            let (nodes, audit) = (sites.node_logs()?, sites.audit().await);
            Some(SeenAtEdge { crowd, nodes, nodes_started: sites.nodes(), audit })
        }
        _ => None,
    };
    let mut observed = Observed {
        marks: recorder.marks(),
        history,
        settled,
        standing,
        endings,
        troubles,
        edge,
        tables: said,
        planned,
    };
    let (judged, sabotaged) =
        sabotage::judge_with(options.sabotage, (scenario, &plan), people.as_ref(), &mut observed)?;
    let report = report::report(options, &plan, &recorder, &observed, (judged, sabotaged), began);
    let mut files = vec![
        state.write("report.html", |out| out.write_all(crate::report::render(&report).as_bytes()))?,
        state.write("report.json", |out| Ok(serde_json::to_writer_pretty(out, &report)?))?,
        state.write("operations.jsonl", |out| operations::write(out, &plan, &observed.history))?,
    ];
    if let Some(seen) = &observed.edge {
        files.push(state.write("crowd.jsonl", |out| operations::write_crowd(out, &seen.crowd))?);
    }
    Ok(Rehearsed { report, files })
}

/// What is on the stage while the phases run.
struct Cast<'a> {
    log: LogKind,
    plan: &'a Arc<Plan>,
    targets: &'a [Target],
    nodes: &'a Nodes,
    services: &'a Services,
    sites: Option<&'a Sites>,
    crowd: Option<&'a (Arc<CrowdRecorder>, CrowdPlan)>,
    relay: Option<(role::Process, Asker)>,
    lake: Option<role::Process>,
    told: &'a Arc<TableRecorder>,
    failover: Option<Arc<Failover>>,
    bootstraps: &'a [String],
    endings: Endings,
    shared: &'a Shared,
    deed: Option<Deed>,
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
        if let (Some(edge), Some(sites), Some((seen, people))) = (&scenario.edge, self.sites, self.crowd) {
            let (to, until) = ((sites.url(), plan.seed), (plan.end(), scenario.settle_max));
            let crowd = crowd::drive(to, edge.clone(), people.clone(), Arc::clone(seen), until, over.clone());
            work.spawn(async move { crowd.await.map_err(RehearsalError::from) });
        }
        for fault in plan.faults.iter().copied() {
            let act = Act {
                fault,
                log: self.log,
                scenario: Arc::new(scenario.clone()),
                nodes: Arc::clone(self.nodes),
                services: Arc::clone(self.services),
                pages: self.sites.map(|sites| Arc::clone(&sites.pages)),
                relay: self.relay.clone(),
                lake: self.lake.clone(),
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
        if let (Some(process), Some(lake)) = (&self.lake, scenario.lake) {
            let client = lake::Client::new(process).await;
            sampling.spawn(client.sample((recorder.clock(), lake.ask_every), Arc::clone(self.told), over.clone()));
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
        if let Some(deed) = self.deed {
            let at = self.shared.bootstrap.borrow().clone();
            deed::to_log(deed, &at, scenario.services[0].kind.topic()).await?;
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
