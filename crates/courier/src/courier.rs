//! The courier as a process: what its tasks share, and how they begin.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use naru_planner::pacing::PaceReason;
use naru_runtime::clocks::{SystemClock, WallClock as _};
use naru_runtime::durable::AppendError;
use naru_runtime::http::{BindError, bind};
use naru_runtime::mtls::MtlsError;
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Metrics, Observed, Reading};
use ring::rand::SecureRandom as _;
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::address::Addresses;
use crate::batch::{KeyLife, Lane};
use crate::config::CourierConfig;
use crate::log::{self, CampaignSpec, Closed, Log, Record, Segments};
use crate::pace::Headroom;
use crate::provider::nhn::Nhn;
use crate::reading::{self, FileError};
use crate::state::State;
use crate::status::{CampaignReport, Report};
use crate::{drive, http, sending, usage};

/// Longest name of a campaign, which keys and file names carry.
const ID_BYTES_MAX: usize = 40;
/// Longest text: what an LMS takes.
pub(crate) const TEXT_BYTES_MAX: usize = 2000;
/// Campaigns of one log; their numbers have 16 bits, and nobody sends as many.
const CAMPAIGNS_MAX: usize = 10_000;
/// Notifications that are durable and wait for their attempt; readers of the log wait for room.
const USAGE_WAITING_MAX: usize = 4096;

/// Why a courier could not begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its log. The operator's side.
    #[error(transparent)]
    Log(#[from] log::OpenError),
    /// Its log cannot be written. The disk's side.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Certificates. The operator's side.
    #[error("tls towards the vault")]
    Tls(#[from] MtlsError),
    /// What connections need is not there.
    #[error("a client of HTTP cannot be made")]
    Http(#[from] reqwest::Error),
    /// The log of transactions. The operator's side.
    #[error("usage notifications")]
    Usage(#[from] naru_kafka::client::ClientError),
    /// The list of those who want nothing cannot be read. The operator's side.
    #[error("suppression {path}: cannot be read")]
    Suppression {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The machine has no random numbers.
    #[error("the system has no random numbers")]
    Random,
    /// A port could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Why a campaign is not taken on. The caller's side, but for the log.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// A field cannot be meant.
    #[error("{field}: {fix}")]
    Field {
        /// Which.
        field: &'static str,
        /// What to write.
        fix: &'static str,
    },
    /// The recipient file.
    #[error("recipients")]
    File(#[source] FileError),
    /// There is another campaign of that name.
    #[error("id: a campaign of that name is there and differs; give this one another")]
    Differs,
    /// There is none of that name.
    #[error("id: no campaign of that name")]
    Unknown,
    /// The list of those who want nothing cannot be read: nobody is sent anything without it.
    #[error("the suppression list cannot be read")]
    Suppression(#[source] std::io::Error),
    /// The log has failed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// What tasks share.
pub(crate) struct Shared {
    pub(crate) config: CourierConfig,
    pub(crate) life: KeyLife,
    pub(crate) clock: SystemClock,
    pub(crate) log: Log,
    pub(crate) provider: Nhn,
    pub(crate) addresses: Addresses,
    pub(crate) campaign_slots: Arc<Semaphore>,
    pub(crate) usage_slots: Arc<Semaphore>,
    /// Notifications that wait for their first attempt: while there are any, campaigns wait.
    pub(crate) usage_waiting: AtomicUsize,
    /// Something has changed for the lane of campaigns.
    pub(crate) changed: Notify,
    pub(crate) tasks: Tasks,
    state: Mutex<State>,
    headroom: Mutex<Headroom>,
    pace: Mutex<(f64, PaceReason)>,
    suppressed: Mutex<HashSet<String>>,
    alarms: Mutex<BTreeMap<&'static str, String>>,
    /// Campaigns are taken on one by one: a name is looked up and written down as one step.
    taking: tokio::sync::Mutex<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left behind is stopped with the process by its task.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.unix_ms()
    }

    pub(crate) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Makes a step durable, and takes it in.
    pub(crate) async fn record(&self, record: Record) -> Result<(), Closed> {
        self.log.write(&record).await?;
        self.state().apply(record);
        Ok(())
    }

    pub(crate) fn headroom(&self) -> Headroom {
        *locked(&self.headroom)
    }

    pub(crate) fn set_headroom(&self, headroom: Headroom) {
        *locked(&self.headroom) = headroom;
    }

    pub(crate) fn set_pace(&self, per_minute: f64, reason: PaceReason) {
        *locked(&self.pace) = (per_minute, reason);
    }

    pub(crate) fn suppressed(&self) -> MutexGuard<'_, HashSet<String>> {
        locked(&self.suppressed)
    }

    /// Raises, renews or ends the alarm of that name.
    pub(crate) fn alarm(&self, name: &'static str, said: Option<String>) {
        let mut alarms = locked(&self.alarms);
        match said {
            Some(said) => {
                if !alarms.contains_key(name) {
                    tracing::error!(alarm = name, said, "somebody must look");
                }
                alarms.insert(name, said);
            }
            None => {
                if alarms.remove(name).is_some() {
                    tracing::info!(alarm = name, "over");
                }
            }
        }
    }

    /// Works until the tasks are told to stop.
    pub(crate) fn spawn(&self, name: &'static str, work: impl Future<Output = Result<(), Closed>> + Send + 'static) {
        let stop = self.tasks.stop_token();
        self.tasks.spawn_fallible(name, async move { stop.run_until_cancelled(work).await.unwrap_or(Ok(())) });
    }

    /// Messages a minute that campaigns may go out with.
    fn campaign_per_minute(&self) -> u64 {
        let (per_minute, _) = *locked(&self.pace);
        per_minute.min(self.config.campaign_per_minute_max()) as u64
    }

    /// What is said about it all.
    pub(crate) fn report(&self) -> Report {
        let mut report = Report::of(&self.state());
        report.campaign_per_minute = self.campaign_per_minute();
        let (_, reason) = *locked(&self.pace);
        let reason = match reason {
            PaceReason::Stopped => "stopped",
            PaceReason::Plan => "plan",
            PaceReason::Provider => "provider",
            PaceReason::Headroom => "headroom",
            PaceReason::Backoff => "backoff",
        };
        reason.clone_into(&mut report.pace);
        report.alarms = locked(&self.alarms).values().cloned().collect();
        report
    }

    fn read_suppressed(&self) -> std::io::Result<()> {
        let Some(path) = &self.config.suppression else { return Ok(()) };
        let text = std::fs::read_to_string(path)?;
        *self.suppressed() = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Ok(())
    }

    /// Takes a campaign on; the same one again changes nothing.
    pub(crate) async fn take(&self, spec: CampaignSpec) -> Result<(), CampaignError> {
        check(&spec)?;
        let _one = self.taking.lock().await;
        let number = {
            let state = self.state();
            if let Some((_, there)) = state.find(&spec.id) {
                return if there.spec == spec { Ok(()) } else { Err(CampaignError::Differs) };
            }
            let last = state.campaigns.last_key_value().map_or(0, |(number, _)| usize::from(*number));
            if last >= CAMPAIGNS_MAX {
                return Err(CampaignError::Field {
                    field: "id",
                    fix: "this log is full: begin another state directory",
                });
            }
            last as u16 + 1
        };
        reading::Reading::open(spec.recipients.as_ref(), crate::log::Place::default()).map_err(CampaignError::File)?;
        self.read_suppressed().map_err(CampaignError::Suppression)?;
        self.record(Record::Campaign { number, at_ms: self.now_ms(), spec }).await?;
        self.changed.notify_waiters();
        Ok(())
    }

    /// Stops a campaign, or lets it go on.
    pub(crate) async fn stop(&self, id: &str, stopped: bool) -> Result<(), CampaignError> {
        let found = self.state().find(id).map(|(number, campaign)| (number, campaign.stopped));
        let (campaign, was) = found.ok_or(CampaignError::Unknown)?;
        if was == stopped {
            return Ok(());
        }
        if stopped {
            // Felt before the disk has answered.
            if let Some(campaign) = self.state().campaigns.get_mut(&campaign) {
                campaign.stopped = true;
            }
        } else {
            self.read_suppressed().map_err(CampaignError::Suppression)?;
        }
        self.record(Record::Stopped { campaign, stopped }).await?;
        self.changed.notify_waiters();
        Ok(())
    }
}

fn check(spec: &CampaignSpec) -> Result<(), CampaignError> {
    let field = |field, fix| Err(CampaignError::Field { field, fix });
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if spec.id.is_empty() || spec.id.len() > ID_BYTES_MAX || !spec.id.bytes().all(legal) {
        return field("id", "use 1 to 40 of a-z, 0-9, - and _");
    }
    if spec.text.trim().is_empty() || spec.text.len() > TEXT_BYTES_MAX {
        return field("text", "write 1 to 2000 bytes");
    }
    let digits = spec.opt_out.bytes().filter(u8::is_ascii_digit).count();
    if !(3..=20).contains(&digits) || !spec.opt_out.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return field("opt_out", "name the number by which people want no more, such as 080-123-4567");
    }
    let sound = |number: f64, most: f64| number.is_finite() && (0.0..=most).contains(&number);
    if !spec.curve.iter().all(|step| sound(step.from_minute, 1e5) && sound(step.per_minute, 1e9)) {
        return field("curve", "each step has from_minute, and per_minute from 0 to 1e9");
    }
    if let Some(forecast) = &spec.forecast {
        let numbers = [forecast.requests_per_click, forecast.visit_minutes, forecast.units_per_request];
        if !sound(forecast.click_rate, 1.0) || !numbers.iter().all(|number| sound(*number, 1e6)) {
            return field("forecast", "click_rate is from 0 to 1, the others from 0 to a million");
        }
        if forecast.visit_minutes <= 0.0 {
            return field("forecast.visit_minutes", "is more than 0");
        }
    }
    Ok(())
}

/// A courier that serves.
pub struct Courier {
    /// Where campaigns, stops and status are asked for.
    pub address: SocketAddr,
    /// Where the provider calls back.
    pub receipts_address: SocketAddr,
}

/// Opens the log and serves until the tasks are told to stop.
///
/// # Errors
/// When anything of it cannot be had.
pub async fn serve(config: CourierConfig, tasks: &Tasks, metrics: &Metrics) -> Result<Courier, OpenError> {
    let shared = open(config, tasks)?;
    shared.read_suppressed().map_err(|source| OpenError::Suppression {
        path: shared.config.suppression.clone().unwrap_or_default(),
        source,
    })?;
    let (listener, address) = bind(shared.config.listen).await?;
    let (receipts, receipts_address) = bind(shared.config.receipts_listen).await?;
    register(&shared, metrics);
    http::serve(&shared, listener, receipts);
    begin(&shared)?;
    Ok(Courier { address, receipts_address })
}

fn open(config: CourierConfig, tasks: &Tasks) -> Result<Arc<Shared>, OpenError> {
    let mut state = State::default();
    let mut segments = Segments::open(&config.state, |record| state.apply(record))?;
    state.recovered();
    if state.origin.is_empty() {
        let mut random = [0; 8];
        ring::rand::SystemRandom::new().fill(&mut random).map_err(|_| OpenError::Random)?;
        let origin = Record::Origin(naru_runtime::hex::to_hex(&random));
        segments.write_now(&origin)?;
        state.apply(origin);
    }
    let provider = &config.provider;
    let nhn = Nhn::new(&provider.address, &provider.app_key, provider.token.clone(), provider.timeout)?;
    let in_flight = provider.in_flight_max as usize;
    let bounded = config.edges.is_empty();
    let shared = Shared {
        life: config.key_life(),
        clock: SystemClock::new(),
        log: segments.serve(tasks),
        provider: nhn,
        addresses: Addresses::open(config.vault.as_ref())?,
        campaign_slots: Arc::new(Semaphore::new(in_flight)),
        usage_slots: Arc::new(Semaphore::new(in_flight)),
        usage_waiting: AtomicUsize::new(0),
        changed: Notify::new(),
        tasks: tasks.clone(),
        state: Mutex::new(state),
        headroom: Mutex::new(if bounded { Headroom::UNBOUNDED } else { Headroom::UNKNOWN }),
        pace: Mutex::new((0.0, PaceReason::Plan)),
        suppressed: Mutex::new(HashSet::new()),
        alarms: Mutex::new(BTreeMap::new()),
        taking: tokio::sync::Mutex::new(()),
        config,
    };
    Ok(Arc::new(shared))
}

fn begin(shared: &Arc<Shared>) -> Result<(), OpenError> {
    let (mut campaigns, mut notifications) = (Vec::new(), Vec::new());
    for (id, batch) in &shared.state().batches {
        match batch.lane {
            Lane::Campaign(_) => campaigns.push(*id),
            Lane::Usage(_) => notifications.push(*id),
        }
    }
    let (queue, queued) = mpsc::channel(USAGE_WAITING_MAX);
    shared.spawn("campaigns", sending::run(shared.clone(), campaigns));
    shared.spawn("settling", drive::settle(shared.clone()));
    shared.spawn("notifications", usage::send(shared.clone(), notifications, queued));
    if !shared.config.edges.is_empty() {
        shared.spawn("headroom", sending::watch_headroom(shared.clone()));
    }
    if let Some(config) = &shared.config.usage {
        for topic in &config.topics {
            let reader = usage::Reader::new(shared.clone(), config, topic, queue.clone())?;
            shared.spawn("transactions", reader.run());
        }
    }
    Ok(())
}

fn register(shared: &Arc<Shared>, metrics: &Metrics) {
    // Weak: metrics outlive the tasks, and the log ends when nobody can write to it any more.
    let observe = |name, help, kind, read: fn(&Shared) -> Vec<Reading>| {
        let on = Arc::downgrade(shared);
        metrics.observe(name, help, kind, move || on.upgrade().map_or_else(Vec::new, |shared| read(&shared)));
    };
    observe("courier_lines", "Lines of campaigns by state", Observed::Gauge, |shared| {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for campaign in shared.state().campaigns.values() {
            let lines = CampaignReport::of(campaign).lines;
            lines.into_iter().for_each(|(state, count)| *counts.entry(state).or_default() += count);
        }
        let reading = |(state, value): (String, u64)| Reading { labels: vec![("state", state.into())], value };
        counts.into_iter().map(reading).collect()
    });
    observe("courier_notifications", "Usage notifications by state", Observed::Counter, |shared| {
        let usage = shared.state().usage;
        let of = |state: &'static str, value| Reading { labels: vec![("state", state.into())], value };
        vec![
            of("persisted", usage.persisted),
            of("accepted", usage.accepted),
            of("delivered", usage.delivered),
            of("failed", usage.failed),
            of("dead", usage.dead),
        ]
    });
    let help = "Batches whose outcome nobody knows, and that are never sent again";
    observe("courier_in_doubt_batches", help, Observed::Gauge, |shared| plain(shared.state().in_doubt()));
    let help = "Messages a minute that campaigns may go out with";
    observe("courier_campaign_per_minute", help, Observed::Gauge, |shared| plain(shared.campaign_per_minute()));
    let help = "Notifications that wait for their first attempt";
    observe("courier_waiting_notifications", help, Observed::Gauge, |shared| {
        plain(shared.usage_waiting.load(Ordering::Relaxed) as u64)
    });
    observe("courier_alarms", "What somebody must look at", Observed::Gauge, |shared| {
        plain(locked(&shared.alarms).len() as u64)
    });
}

fn plain(value: u64) -> Vec<Reading> {
    vec![Reading { labels: Vec::new(), value }]
}
