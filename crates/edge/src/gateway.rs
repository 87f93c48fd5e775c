//! One gateway: what all of its threads share, from its configuration to the policy in force.
//!
//! What decides changes whole or not at all: a configuration or a plan makes a new [`InForce`] beside the old one and
//! then takes its place by one exchange of a pointer. A request reads the pointer once, so that it is decided, carried and
//! recorded by one generation.

mod error;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use naru_runtime::clocks::WallClock;
use naru_runtime::durable::replace_file;
use naru_runtime::keys::{MacKeys, SigningKeys, VerifyingKeys};
use naru_runtime::tasks::Tasks;
use tokio::time::MissedTickBehavior;

use crate::adapter::Authorities;
use crate::config::{EdgeConfig, PoolConfig, RouteConfig};
use crate::decision::{DecisionLog, LogOptions};
use crate::operations::access::AccessLog;
use crate::operations::drains::Drains;
use crate::operations::meters::{Meters, OfSites};
use crate::operations::rate::Rates;
use crate::operations::reload::Reloads;
use crate::plan::{Offered, PlanBook, PlanRefused};
use crate::policy::limit::STEP_MS;
use crate::policy::{Blueprint, Millis, OwnedNetworks, Policy, Refusal, Room, RoomSnapshot, Slots};
use crate::request;

pub use error::GatewayError;

/// How often the waiting room's line is kept on disk. Whoever drew a number behind the last time before a crash draws
/// again: he was among the last of the line anyway.
pub const ROOM_KEPT_EVERY: Duration = Duration::from_secs(1);

/// What decides and carries requests, in one generation.
#[derive(Debug)]
pub struct InForce {
    /// Where requests go.
    pub policy: Policy,
    /// The configuration that it was made from.
    pub config: EdgeConfig,
    /// The generation of the plan; 0 while there is none.
    pub plan: u64,
    /// What a request is held against before it is routed.
    pub limits: request::Limits,
    /// Proxies in front of the edge that may say whom they carry.
    pub(crate) trusted: OwnedNetworks,
    /// What the servers' certificates are checked against.
    pub(crate) authorities: Authorities,
    /// Where its sites' requests are counted.
    pub(crate) meters: OfSites,
}

impl InForce {
    /// The settings of a route, by its place in the policy.
    pub fn route(&self, index: usize) -> &RouteConfig {
        &self.config.routes[index]
    }

    /// The settings of a pool.
    pub fn pool(&self, name: &str) -> Option<&PoolConfig> {
        self.config.pools.iter().find(|pool| *pool.name == name).map(|pool| &**pool)
    }
}

/// One reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    monotonic: Duration,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

impl Moment {
    /// Milliseconds on the clock that never goes back.
    pub fn now(self) -> Millis {
        self.monotonic.as_millis() as Millis
    }
}

/// A chain of decisions. A chain has one writer, and while one process takes over from another, both write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// `decisions`: of every process that did not take over.
    First,
    /// `decisions-2`: of one that took over from a writer of the first.
    Second,
}

impl Lane {
    /// The one that is free while this one is written.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    fn directory(self) -> &'static str {
        match self {
            Self::First => "decisions",
            Self::Second => "decisions-2",
        }
    }
}

/// The gateway.
#[derive(Debug)]
pub struct Gateway {
    in_force: ArcSwap<InForce>,
    /// Held while something changes, so that two changes do not overtake one another.
    plans: Mutex<PlanBook>,
    /// What was decided, signed.
    pub decisions: DecisionLog,
    /// Which chain of decisions it writes.
    pub lane: Lane,
    /// Whether another process has the state directory. Held while the line is written.
    is_handed_over: Mutex<bool>,
    /// Signs visits and tickets.
    pub tokens: MacKeys,
    /// Turns people into numbers: for tickets and visits, and for rented sites in place of sessions.
    pub pseudonyms: MacKeys,
    /// What is counted of requests and connections.
    pub meters: Arc<Meters>,
    /// What each client has asked of late.
    pub rates: Rates,
    /// What was asked, if that is to be written down.
    pub access: Option<AccessLog>,
    /// What became of changes.
    pub reloads: Reloads,
    drains: Drains,
    clock: Arc<dyn WallClock>,
}

impl Gateway {
    /// Opens what a configuration names: keys, the plan in force, the waiting room's line and the decision log.
    ///
    /// # Errors
    /// The first thing that cannot be used.
    pub fn open(config: EdgeConfig, clock: Arc<dyn WallClock>) -> Result<Self, GatewayError> {
        Self::open_beside(config, clock, Lane::First)
    }

    /// The same in a process that takes over, with the chain that the one before does not write.
    ///
    /// # Errors
    /// The first thing that cannot be used.
    pub fn open_beside(config: EdgeConfig, clock: Arc<dyn WallClock>, lane: Lane) -> Result<Self, GatewayError> {
        let disk = |path: &Path| {
            let path = path.to_owned();
            move |source| GatewayError::Disk { path, source }
        };
        std::fs::create_dir_all(&config.state).map_err(disk(&config.state))?;
        let now = clock.unix_ms();
        let tokens = MacKeys::load_or_generate(&config.keys.tokens, now)?;
        let pseudonyms = MacKeys::load_or_generate(&config.keys.pseudonyms, now)?;
        let signing = SigningKeys::load_or_generate(&config.keys.decisions, now)?;
        let path = config.state.join("plan.json");
        let plans = PlanBook::open(&path, VerifyingKeys::from_public(control_keys(&config.keys.control)?))
            .map_err(|source| GatewayError::Plan { path, source })?;
        let room = room(&config)?;
        let access = config.access_log.as_deref().map(|path| AccessLog::open(path).map_err(disk(path))).transpose()?;
        let meters = Arc::new(Meters::default());
        let drains = Drains::open(&config.state).map_err(disk(&config.state))?;
        let in_force = make(config, &plans, &meters, &drains, |blueprint| Policy::new(blueprint, room))?;
        let run = u64::try_from(now).unwrap_or_default();
        let log = in_force.config.state.join(lane.directory());
        let decisions = DecisionLog::open(&log, Arc::new(signing), LogOptions::default(), run)?;
        let in_force = ArcSwap::from_pointee(in_force);
        let (plans, rates, reloads) = (Mutex::new(plans), Rates::default(), Reloads::default());
        let is_handed_over = Mutex::new(false);
        Ok(Self {
            in_force,
            plans,
            decisions,
            lane,
            is_handed_over,
            tokens,
            pseudonyms,
            meters,
            rates,
            access,
            reloads,
            drains,
            clock,
        })
    }

    /// What decides now. Cheap: a request takes it once and keeps it.
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// Milliseconds on a clock that never goes back.
    pub fn now(&self) -> Millis {
        self.clock.monotonic().as_millis() as Millis
    }

    /// Milliseconds since 1970; 0 on a clock that stands before.
    pub fn unix_ms(&self) -> u64 {
        u64::try_from(self.clock.unix_ms()).unwrap_or_default()
    }

    /// Both clocks, read once for everything that is decided about a request at one time.
    pub(crate) fn moment(&self) -> Moment {
        Moment { monotonic: self.clock.monotonic(), unix_ms: self.unix_ms() }
    }

    fn plans(&self) -> MutexGuard<'_, PlanBook> {
        // A book is changed by one assignment behind the disk, so it is whole whatever happened to its holder.
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a signed plan. Blocks on the disk.
    ///
    /// # Errors
    /// Why not; the plan before stays in force.
    pub fn offer_plan(&self, bytes: &[u8]) -> Result<Offered, PlanRefused> {
        let mut plans = self.plans();
        let before = self.in_force();
        let configured = before.config.blueprint();
        let mut made = None;
        let offered = plans.offer(bytes, &configured, |blueprint| {
            made = Some(before.policy.next(blueprint)?);
            Ok(())
        })?;
        if let Some(policy) = made {
            let meters = self.meters.of_sites(&policy);
            self.drains.apply(&policy);
            self.in_force.store(Arc::new(InForce {
                policy,
                config: before.config.clone(),
                plan: plans.generation(),
                limits: before.limits,
                trusted: before.trusted.clone(),
                authorities: before.authorities.clone(),
                meters,
            }));
        }
        Ok(offered)
    }

    /// Takes another configuration, with the plan in force. What connections depend on stays: listeners, state, keys.
    ///
    /// # Errors
    /// Why not; the configuration before stays in force.
    pub fn configure(&self, config: EdgeConfig) -> Result<(), GatewayError> {
        let plans = self.plans();
        let before = self.in_force();
        let fixed = [
            ("listen", config.listen != before.config.listen),
            ("admin_listen", config.admin_listen != before.config.admin_listen),
            ("state", config.state != before.config.state),
            ("tls", config.tls != before.config.tls),
            ("keys", config.keys != before.config.keys),
            ("access_log", config.access_log != before.config.access_log),
            ("sharing", config.sharing != before.config.sharing),
            ("threads", config.threads != before.config.threads),
            ("waiting_room.line", config.waiting_room.line != before.config.waiting_room.line),
        ];
        if let Some((field, _)) = fixed.iter().find(|(_, changed)| *changed) {
            return Err(GatewayError::Fixed { field });
        }
        let next = make(config, &plans, &self.meters, &self.drains, |blueprint| before.policy.next(blueprint))?;
        self.in_force.store(Arc::new(next));
        Ok(())
    }

    /// Begins or ends the drain of a site; it lasts until it is ended, over restarts. False when there is no such site.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// When the disk refuses; then nothing has changed.
    pub fn drain(&self, site: &str, draining: bool) -> Result<bool, GatewayError> {
        // No other policy comes into force meanwhile.
        let _plans = self.plans();
        let in_force = self.in_force();
        if !in_force.policy.sites().iter().any(|known| known.id().as_str() == site) {
            return Ok(false);
        }
        let state = || in_force.config.state.clone();
        let ordered = self.drains.order(&in_force.policy, site, draining);
        ordered.map(|()| true).map_err(|source| GatewayError::Disk { path: state(), source })
    }

    /// Writes the waiting room's line to disk. Blocks.
    ///
    /// # Errors
    /// When the disk refuses; the line goes on in memory.
    pub fn keep_room(&self) -> Result<(), GatewayError> {
        let is_handed_over = self.is_handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_handed_over {
            return Ok(());
        }
        self.write_room()
    }

    /// Leaves the state directory to another process, with the line as it is now. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk refuses the line; then nothing is handed over.
    pub fn hand_over(&self) -> Result<(), GatewayError> {
        let mut is_handed_over = self.is_handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_room()?;
        *is_handed_over = true;
        Ok(())
    }

    /// Whether another process has the state directory.
    pub fn is_handed_over(&self) -> bool {
        *self.is_handed_over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps of each site what requests still need here while another process takes over, never more than before, and says
    /// what that is: what they hold and may come to hold, so all else is the other's.
    pub fn let_go(&self) -> BTreeMap<String, u32> {
        let in_force = self.in_force();
        let sites = in_force.policy.sites().iter();
        sites.map(|site| (site.id().as_str().to_owned(), site.let_go())).collect()
    }

    /// Says what of each site a process holds from which this one took over; nothing of one that is not named.
    pub fn hold_elsewhere(&self, parts: &BTreeMap<String, u32>) {
        let in_force = self.in_force();
        for site in in_force.policy.sites() {
            site.hold_elsewhere(parts.get(site.id().as_str()).copied().unwrap_or_default());
        }
    }

    /// Whether a request holds a slot of any site.
    pub fn is_busy(&self) -> bool {
        self.in_force().policy.sites().iter().any(|site| site.gate().in_flight().total() > Slots::ZERO)
    }

    /// The state directory is ours again, and all slots with it.
    pub fn take_back(&self) {
        self.in_force().policy.sites().iter().for_each(|site| site.keep_all());
        *self.is_handed_over.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    fn write_room(&self) -> Result<(), GatewayError> {
        let in_force = self.in_force();
        let path = room_file(&in_force.config);
        let text = serde_json::to_vec(&in_force.policy.room().snapshot()).expect("three numbers");
        replace_file(&path, &text, 0o600).map_err(|source| GatewayError::Disk { path, source })
    }

    /// Every 100 ms moves limits and calls those who wait; now and then keeps the line.
    pub fn keep_time(self: &Arc<Self>, tasks: &Tasks) {
        let (gateway, stop) = (self.clone(), tasks.stop_token());
        tasks.spawn("steps", async move {
            let mut steps = tokio::time::interval(Duration::from_millis(STEP_MS));
            steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(steps.tick()).await.is_some() {
                gateway.in_force.load().policy.step(gateway.now());
            }
        });
        let (gateway, stop) = (self.clone(), tasks.stop_token());
        tasks.spawn("line", async move {
            let mut kept = tokio::time::interval(ROOM_KEPT_EVERY);
            kept.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(kept.tick()).await.is_some() {
                let gateway = gateway.clone();
                match tokio::task::spawn_blocking(move || gateway.keep_room()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(error = &error as &dyn std::error::Error, "the line is not kept"),
                    Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
                }
            }
        });
    }

    /// Keeps the line and seals the decision log. Blocks on the disk.
    ///
    /// # Errors
    /// What could not be written.
    pub fn close(&self) -> Result<(), GatewayError> {
        if let Some(access) = &self.access {
            access.close();
        }
        self.keep_room()?;
        self.decisions.close()?;
        Ok(())
    }

    /// What one client address is counted by in logs: a keyed hash, since an address is a person's.
    pub fn pseudonym(&self, of: &[u8]) -> u64 {
        let tag = self.pseudonyms.tag(of).bytes;
        u64::from_be_bytes(*tag.first_chunk().expect("a tag has 32 bytes"))
    }

    /// Takes one request of a client by its rate in force. False when that is one too many.
    #[must_use]
    pub(crate) fn may_ask(&self, client_number: u64, in_force: &InForce, moment: Moment) -> bool {
        self.rates.take(client_number, in_force.config.limits.requests_per_client_s, moment.monotonic)
    }

    /// The same for an address; in IPv6 for its network of 64 bits, which is what one client is given.
    pub fn client_number(&self, client: IpAddr) -> u64 {
        match client {
            IpAddr::V4(ip) => self.pseudonym(&ip.octets()),
            IpAddr::V6(ip) => self.pseudonym(&ip.octets()[..8]),
        }
    }
}

fn make(
    config: EdgeConfig,
    plans: &PlanBook,
    meters: &Meters,
    drains: &Drains,
    policy: impl FnOnce(&Blueprint) -> Result<Policy, Vec<Refusal>>,
) -> Result<InForce, GatewayError> {
    let blueprint = plans.added_to(&config.blueprint()).map_err(|flaws| GatewayError::PlanDoesNotFit { flaws })?;
    let policy = policy(&blueprint).map_err(|refusals| {
        let problems = refusals.iter().map(|refusal| config.problem(refusal)).collect();
        GatewayError::Unfit { problems }
    })?;
    drains.apply(&policy);
    let limits = limits(&config);
    let trusted = OwnedNetworks::new(config.trusted_proxies.iter().copied());
    let authorities = Authorities::read(&config.pools)?;
    let meters = meters.of_sites(&policy);
    Ok(InForce { policy, config, plan: plans.generation(), limits, trusted, authorities, meters })
}

/// What a request is held against: the operator's bounds, and the largest body of any route.
fn limits(config: &EdgeConfig) -> request::Limits {
    let asked = &config.limits;
    let head_bytes_max = usize::try_from(asked.head_bytes_max.bytes()).unwrap_or(usize::MAX);
    let ms = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let defaults = request::Limits::default();
    request::Limits {
        head_bytes_max,
        request_line_bytes_max: defaults.request_line_bytes_max.min(head_bytes_max),
        field_line_bytes_max: defaults.field_line_bytes_max.min(head_bytes_max),
        fields_max: asked.fields_max as usize,
        body_bytes_max: config.routes.iter().map(|route| route.body_bytes_max.bytes()).max().unwrap_or_default(),
        head_ms_max: ms(asked.head_timeout),
        idle_ms_max: ms(asked.idle_timeout),
        ..defaults
    }
}

fn control_keys(texts: &[String]) -> Result<Vec<[u8; 32]>, GatewayError> {
    let read = |text: &String| {
        let bytes =
            (0..32).map(|at| text.get(2 * at..2 * at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok()));
        let bytes: Option<Vec<u8>> = bytes.collect();
        bytes
            .filter(|_| text.len() == 64)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| GatewayError::ControlKey { found: text.clone() })
    };
    texts.iter().map(read).collect()
}

fn room_file(config: &EdgeConfig) -> PathBuf {
    config.state.join(format!("line-{}.json", config.waiting_room.line))
}

/// The line as it was kept, or an empty one.
fn room(config: &EdgeConfig) -> Result<Room, GatewayError> {
    let path = room_file(config);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Room::new(config.waiting_room.line)),
        Err(source) => return Err(GatewayError::Disk { path, source }),
    };
    let kept: RoomSnapshot = serde_json::from_slice(&text)
        .map_err(|error| GatewayError::Disk { path, source: std::io::Error::other(error) })?;
    Ok(Room::restore(kept))
}
