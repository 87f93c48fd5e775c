//! The event day's processes as the watch sees them: what each shows, with noise, and what a fault does to all of them. The
//! effects were written down before the rule of causes was tried on them, and the watch is told nothing of faults.

use naru_runtime::config::Sources;
use naru_runtime::exposition::Sample;
use naru_watch::config::WatchConfig;
use naru_watch::desk::Desk;
use naru_watch::engine::{DISK_USED, Engine, Scrape};
use naru_watch::event::{Change, ChangeKind, Entry};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// 2026-11-11 00:00 in Korea.
pub const MIDNIGHT_MS: i64 = 1_794_322_800_000;
/// As the engine is driven by the process.
const JUDGE_MS: i64 = 250;
const LOOK_MS: i64 = 1_000;

const CONFIG: &str = r#"
state = "/nowhere"

[[target]]
name = "cluster-a"
site = "owned-1"
probe = "a:1"
[[target]]
name = "edge-1"
site = "owned-1"
probe = "a:2"
needs = ["payment-1"]
[[target]]
name = "payment-1"
site = "owned-1"
probe = "a:3"
needs = ["relay"]
[[target]]
name = "cluster-b"
site = "owned-2"
probe = "a:4"
[[target]]
name = "edge-2"
site = "owned-2"
probe = "a:5"
needs = ["transfer-2"]
[[target]]
name = "transfer-2"
site = "owned-2"
probe = "a:6"
needs = ["relay"]
[[target]]
name = "relay"
probe = "a:7"
needs = ["cluster-a", "cluster-b"]
[[target]]
name = "lake"
probe = "a:8"
needs = ["relay"]
[[target]]
name = "capture"
probe = "a:9"
needs = ["relay"]
[[target]]
name = "courier"
probe = "a:10"
needs = ["relay", "provider"]
[[target]]
name = "provider"
probe = "a:11"
[[target]]
name = "control"
probe = "a:12"

[[limit]]
name = "log-disk"
kind = "disk"
path = "/var/lib/naru"
on = ["cluster-b"]
[[limit]]
name = "lake-lag"
kind = "lag"
series = "lake/naru_lake_lag_records"
full = 50000
on = ["lake"]
[[limit]]
name = "slot"
kind = "wal"
series = "capture/naru_capture_held_wal_bytes"
full = 1e9
on = ["capture"]
[[limit]]
name = "gifts"
kind = "tickets"
series = "control/naru_control_tickets_left"
full = 0
falls = true
on = ["control"]

[[level]]
name = "slots"
series = "naru_edge_slots_used_ratio"
above = 0.95
for = "2s"
on = ["edge-1", "edge-2"]

[[objective]]
name = "core"
bad = "naru_edge_requests_total{class=core,status=5xx}"
all = "naru_edge_requests_total{class=core}"
on = ["edge-1", "edge-2"]

[[page]]
name = "rota"
webhook = "http://127.0.0.1:1/page"
"#;

/// A fault, by the name of the cause that a person would give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Away(&'static str),
    Site(&'static str),
    DiskFilling,
    ConsumerSlow,
    WalHeld,
    Overload,
    BadConfig,
}

impl Fault {
    pub const ALL: [Self; 12] = [
        Self::Away("cluster-a"),
        Self::Away("cluster-b"),
        Self::Away("relay"),
        Self::Away("lake"),
        Self::Away("provider"),
        Self::Site("owned-1"),
        Self::Site("owned-2"),
        Self::DiskFilling,
        Self::ConsumerSlow,
        Self::WalHeld,
        Self::Overload,
        Self::BadConfig,
    ];

    pub fn cause(self) -> String {
        match self {
            Self::Away(target) => format!("{target}-away"),
            Self::Site(site) => format!("site-{site}-away"),
            Self::DiskFilling => "disk-filling".to_owned(),
            Self::ConsumerSlow => "consumer-slow".to_owned(),
            Self::WalHeld => "wal-held".to_owned(),
            Self::Overload => "overload".to_owned(),
            Self::BadConfig => "change-config".to_owned(),
        }
    }
}

/// Levels that go on from second to second.
#[derive(Debug, Default)]
struct Levels {
    requests: [f64; 2],
    failed: [f64; 2],
    lake_lag: f64,
    uncommitted: f64,
    wal: f64,
    disk: f64,
    outbox: f64,
    waiting: f64,
    tickets: f64,
}

pub struct World {
    pub engine: Engine,
    pub now_ms: i64,
    pub said: Vec<Entry>,
    pub pages: usize,
    config: WatchConfig,
    random: ChaCha8Rng,
    levels: Levels,
    /// With when it began.
    fault: Option<(Fault, i64)>,
    /// Each target is looked at in its own part of the second.
    phases: Vec<i64>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let config: WatchConfig = Sources::default().document("watch.toml", CONFIG).load().unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let phases = config.targets.iter().map(|_| i64::from(random.next_u32() % 4) * JUDGE_MS).collect();
        let mut desk = Desk::new(&config);
        desk.started(MIDNIGHT_MS, config.targets.len());
        let engine = Engine::new(&config, desk, MIDNIGHT_MS);
        let levels = Levels { disk: 0.4, wal: 2e7, tickets: 1e6, ..Levels::default() };
        Self { engine, now_ms: MIDNIGHT_MS, said: Vec::new(), pages: 0, config, random, levels, fault: None, phases }
    }

    /// Evenly from 0 to 1.
    pub fn chance(&mut self) -> f64 {
        f64::from(self.random.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }

    fn around(&mut self, level: f64, share: f64) -> f64 {
        let noise: f64 = (0..3).map(|_| self.chance() * 2.0 - 1.0).sum::<f64>() / 3.0;
        level * (1.0 + share * noise)
    }

    pub fn begin(&mut self, fault: Fault) {
        if fault == Fault::BadConfig {
            let change = Change {
                kind: ChangeKind::Config,
                what: "timeouts of the gateway".to_owned(),
                by: "ci".to_owned(),
                on: vec!["edge-1".to_owned()],
            };
            self.engine.desk.changed(self.now_ms, change).unwrap();
        }
        self.fault = Some((fault, self.now_ms));
    }

    pub fn end(&mut self) {
        self.fault = None;
    }

    /// Seconds since the fault began.
    fn lasting(&self, fault: Fault) -> Option<f64> {
        self.fault.filter(|(one, _)| *one == fault).map(|(_, began)| (self.now_ms - began) as f64 / 1000.0)
    }

    fn is_away(&self, target: usize) -> bool {
        let target = &self.config.targets[target];
        match self.fault {
            Some((Fault::Away(name), _)) => target.name == name,
            Some((Fault::Site(site), _)) => target.site.as_deref() == Some(site),
            _ => false,
        }
    }

    fn gone(&self, name: &str) -> bool {
        (0..self.config.targets.len()).any(|target| self.config.targets[target].name == name && self.is_away(target))
    }

    /// One part of a second.
    pub fn step(&mut self) {
        self.now_ms += JUDGE_MS;
        if self.now_ms % LOOK_MS == 0 {
            self.pass();
            let sample = Sample {
                name: DISK_USED.to_owned(),
                labels: vec![("limit".to_owned(), "log-disk".to_owned())],
                value: self.levels.disk,
            };
            self.engine.measured(self.now_ms, sample);
        }
        for target in 0..self.phases.len() {
            if self.now_ms % LOOK_MS == self.phases[target] {
                let scrape = self.scrape(target);
                self.engine.feed(scrape);
            }
        }
        self.engine.judge(self.now_ms);
        self.said.extend(self.engine.desk.take_said());
        self.pages += self.engine.desk.take_jobs().len();
    }

    pub fn play(&mut self, seconds: i64) {
        (0..seconds * LOOK_MS / JUDGE_MS).for_each(|_| self.step());
    }

    /// What a second does to the levels.
    fn pass(&mut self) {
        let (relay, a, b) = (self.gone("relay"), self.gone("cluster-a"), self.gone("cluster-b"));
        let taking_over = (a || b) && self.fault.is_some_and(|(_, began)| self.now_ms - began < 4_000);
        let overload = self.lasting(Fault::Overload).is_some();
        for edge in 0..2 {
            if self.gone(["edge-1", "edge-2"][edge]) {
                continue;
            }
            let load = self.around(if overload { 900.0 } else { 150.0 }, 0.3).round();
            let mut failing = if self.chance() < 0.02 { 0.004 } else { 0.0 };
            if relay {
                failing = 0.6;
            } else if taking_over {
                failing = 0.2;
            } else if overload {
                failing = 0.08;
            } else if edge == 0 && self.lasting(Fault::BadConfig).is_some() {
                failing = 0.3;
            }
            self.levels.requests[edge] += load;
            self.levels.failed[edge] += (load * failing).round();
        }
        // A batch is committed every ten seconds, or some later; without the relay there is nothing to read.
        self.levels.uncommitted += 1.0;
        let commits = self.levels.uncommitted >= 10.0 && self.chance() < 0.3;
        let rise = if relay { 0.0 } else { self.around(160.0, 0.5) };
        self.levels.lake_lag += rise;
        match self.lasting(Fault::ConsumerSlow) {
            Some(_) => self.levels.lake_lag += self.around(1_500.0, 0.3),
            None if commits && !self.gone("lake") => (self.levels.lake_lag, self.levels.uncommitted) = (0.0, 0.0),
            None => {}
        }
        match self.lasting(Fault::WalHeld) {
            Some(_) => self.levels.wal += self.around(2e7, 0.2),
            None if relay => self.levels.wal += self.around(4e5, 0.5),
            None => self.levels.wal = self.around(2e7, 0.4),
        }
        match self.lasting(Fault::DiskFilling) {
            Some(_) => self.levels.disk = (self.levels.disk + self.around(0.012, 0.3)).min(1.0),
            // Retention takes away what was filled, and a day's worth comes slowly.
            None if self.levels.disk > 0.46 => self.levels.disk = 0.4,
            None => self.levels.disk += self.around(6e-6, 3.0),
        }
        self.levels.outbox = if relay { self.levels.outbox + 13.0 } else { self.around(4.0, 1.0).round() };
        self.levels.waiting =
            if self.gone("provider") { self.levels.waiting + 20.0 } else { self.around(10.0, 1.0).round() };
        self.levels.tickets = (self.levels.tickets - self.around(20.0, 1.0)).max(0.0);
    }

    fn scrape(&mut self, target: usize) -> Scrape {
        let at_unix_ms = self.now_ms;
        // A packet that is lost, a pause of a collector: one look in two thousand.
        let unlucky = self.chance() < 0.0005;
        if self.is_away(target) || unlucky {
            return Scrape { target, at_unix_ms, missing: Some("port"), samples: Vec::new() };
        }
        let sample = |name: &str, labels: &[(&str, &str)], value: f64| Sample {
            name: name.to_owned(),
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            value,
        };
        let name = self.config.targets[target].name.clone();
        let alarmed = |gone: bool| f64::from(u8::from(gone));
        let samples = match name.as_str() {
            "edge-1" | "edge-2" => {
                let edge = usize::from(name == "edge-2");
                let (all, bad) = (self.levels.requests[edge], self.levels.failed[edge]);
                let overload = self.lasting(Fault::Overload).is_some();
                let used = self.around(if overload { 0.99 } else { 0.5 }, if overload { 0.005 } else { 0.5 });
                let core = ("class", "core");
                vec![
                    sample("naru_edge_requests_total", &[core, ("status", "2xx")], all - bad),
                    sample("naru_edge_requests_total", &[core, ("status", "5xx")], bad),
                    sample("naru_edge_slots_used_ratio", &[], used),
                ]
            }
            "relay" => {
                let alone = self.gone("cluster-a") || self.gone("cluster-b");
                let lag = if alone { 1000.0 } else { self.around(5.0, 1.0) };
                vec![
                    sample("naru_relay_alarms", &[("group", "money")], alarmed(alone)),
                    sample("naru_relay_gate_lag_records", &[], lag.round()),
                ]
            }
            "lake" => vec![sample("naru_lake_lag_records", &[], self.levels.lake_lag.round())],
            "capture" => vec![sample("naru_capture_held_wal_bytes", &[], self.levels.wal.round())],
            "courier" => vec![
                sample("naru_courier_waiting_notifications", &[], self.levels.waiting),
                sample("naru_courier_alarms", &[], alarmed(self.gone("provider") && self.levels.waiting > 100.0)),
            ],
            "control" => vec![sample("naru_control_tickets_left", &[], self.levels.tickets.round())],
            "payment-1" | "transfer-2" => vec![sample("naru_outbox_pending", &[], self.levels.outbox)],
            _ => {
                let open = self.around(12.0, 0.5).round();
                vec![sample("naru_broker_connections_open", &[], open)]
            }
        };
        Scrape { target, at_unix_ms, missing: None, samples }
    }
}
