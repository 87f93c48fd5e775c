//! The settings of the watch: whom it looks at, what may run out, what was promised, and whom it wakes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use naru_runtime::config::{HostPort, Mistake, Secret};
use naru_runtime::telemetry::TelemetryConfig;

use crate::selector::Selector;

naru_runtime::config! {
    /// A process that is looked at each second.
    pub struct TargetConfig {
        /// Its name, of a to z, digits, `-` and `_`: causes are named after it, as in `cluster-a-away`.
        pub name: String,
        /// Where it runs; targets of one site may go away together.
        pub site: Option<String>,
        /// Where it takes connections; it is away when it does not.
        pub probe: Option<HostPort>,
        /// Where its metrics are read, `GET /metrics`; it is away when it does not answer.
        pub metrics: Option<HostPort>,
        /// A page by HTTP that answers 200 while it is well, such as `127.0.0.1:9644/status`.
        #[check(page_address)]
        pub status: Option<String>,
        /// Targets that it cannot do without.
        pub needs: Vec<String>,
    }
}

naru_runtime::choice! {
    /// What may run out.
    pub enum LimitKind {
        /// Space on a disk.
        Disk = "disk",
        /// How far a reader may fall behind.
        Lag = "lag",
        /// What a database keeps for a reader.
        Wal = "wal",
        /// What a provider allows.
        Quota = "quota",
        /// Money.
        Budget = "budget",
        /// What is given out until there is no more.
        Tickets = "tickets",
    }
}

naru_runtime::config! {
    /// Something that runs out: the time until then is estimated.
    #[check(limit_has_a_source)]
    pub struct LimitConfig {
        /// Its name.
        pub name: String,
        /// What it is.
        pub kind: LimitKind = "lag",
        /// The level, as a series; of several the worst counts.
        pub series: Option<Selector>,
        /// A directory of this machine, whose file system's use is measured here, from 0 to 1.
        pub path: Option<PathBuf>,
        /// The level at which it has run out; 1 for a path.
        pub full: f64 = 1,
        /// Whether it runs out by falling to `full`: tickets that are left, money that is left.
        pub falls: bool = "false",
        /// Whose it is.
        pub on: Vec<String>,
    }
}

naru_runtime::config! {
    /// A level that must not be exceeded for long.
    pub struct LevelConfig {
        /// Its name.
        pub name: String,
        /// The series; of several the greatest counts.
        pub series: Selector,
        /// Whether the series is a counter, and its rise per second is what counts.
        pub rate: bool = "false",
        /// What must not be exceeded.
        pub above: f64,
        /// For how long it must be exceeded.
        #[key("for")]
        #[range("1s", "10m")]
        pub lasting: Duration = "3s",
        /// What it most likely means if nothing else moved before.
        pub cause: String = "overload",
        /// Whose it is.
        pub on: Vec<String>,
    }
}

naru_runtime::config! {
    /// A promise: at most so many of all may be bad.
    pub struct ObjectiveConfig {
        /// Its name.
        pub name: String,
        /// Counters of what went wrong.
        pub bad: Selector,
        /// Counters of everything.
        pub all: Selector,
        /// Share that is good.
        #[range(0.5, 0.99999)]
        pub objective: f64 = 0.999,
        /// Who keeps the promise.
        pub on: Vec<String>,
    }
}

naru_runtime::config! {
    /// The relay host of electronic mail; without encryption and without a password, as on loopback.
    pub struct MailConfig {
        /// Where it takes mail.
        pub relay: HostPort = "127.0.0.1:25",
        /// The sender's address.
        pub from: String,
        /// The address that is woken.
        pub to: String,
    }
}

naru_runtime::config! {
    /// Who is woken. The first is woken at once, each next one when the one before does not acknowledge.
    #[check(page_has_a_way)]
    pub struct PageConfig {
        /// A name for the ledger: a rota or a role, not a person's.
        pub name: String,
        /// Where a page is posted as JSON, `http://`.
        pub webhook: Option<String>,
        /// Where a page is mailed.
        pub mail: Option<MailConfig>,
        /// How long until the next one is woken.
        #[range("1s", "1d")]
        pub escalate_after: Duration = "5m",
    }
}

naru_runtime::config! {
    /// Looks at roles by the second, opens incidents, names a cause and wakes somebody.
    #[check(whole)]
    pub struct WatchConfig for "watch" {
        /// Address to listen on; port 0 takes a free one. On loopback, or behind a gateway with TLS.
        pub listen: SocketAddr = "127.0.0.1:7580",
        /// Directory of the ledger and its key; made if missing, for one process at a time.
        pub state: PathBuf,
        /// What those who acknowledge or tell of a change must send as a bearer; without it everybody who can connect may.
        pub token: Option<Secret>,
        /// Processes that are looked at.
        #[key("target")]
        pub targets: Vec<TargetConfig>,
        /// What may run out.
        #[key("limit")]
        pub limits: Vec<LimitConfig>,
        /// Levels that must not be exceeded.
        #[key("level")]
        pub levels: Vec<LevelConfig>,
        /// What was promised.
        #[key("objective")]
        pub objectives: Vec<ObjectiveConfig>,
        /// Who is woken, in their order; nobody without any.
        #[key("page")]
        pub pages: Vec<PageConfig>,
        /// How often each target is looked at.
        #[range("100ms", "1m")]
        pub interval: Duration = "1s",
        /// Longest wait for an answer of a target.
        #[range("50ms", "10s")]
        pub answer_max: Duration = "800ms",
        /// Looks in a row without an answer after which a target is away.
        #[range(1, 60)]
        pub away_after: u32 = 2,
        /// How long everything must be well until an incident is over.
        #[range("1s", "1h")]
        pub recovered_after: Duration = "10s",
        /// How far back a change of configuration, plan or deployment may have been to be a cause.
        #[range("1s", "1d")]
        pub change_window: Duration = "10m",
        /// Something that runs out within this opens an incident.
        #[range("1s", "7d")]
        pub exhaust_within: Duration = "10m",
        /// Most series in memory: 20 KiB each at most.
        #[range(16, 65536)]
        pub series_max: u32 = 4096,
        /// Longest wait for pages and the ledger when the watch is told to stop.
        pub drain_max: Duration = "5s",
        /// Logs, metrics and traces.
        pub telemetry: TelemetryConfig,
    }
}

/// Whether a name can stand in a cause, a path and the ledger.
pub fn is_name(text: &str) -> bool {
    let letter = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '-' || one == '_';
    (1..=64).contains(&text.len()) && text.chars().all(letter)
}

fn page_address(address: &Option<String>) -> Result<(), Mistake> {
    match address {
        Some(address) if address.contains("://") || !address.contains('/') => {
            Err(Mistake::new(format!("is {address:?}"), "write HOST:PORT/PATH, such as 127.0.0.1:9644/status"))
        }
        _ => Ok(()),
    }
}

fn limit_has_a_source(limit: &LimitConfig) -> Result<(), Mistake> {
    match (&limit.series, &limit.path) {
        (Some(_), None) | (None, Some(_)) => Ok(()),
        _ => Err(Mistake::new(format!("{:?} has no level, or two", limit.name), "give it `series` or `path`")),
    }
}

fn page_has_a_way(page: &PageConfig) -> Result<(), Mistake> {
    match (&page.webhook, &page.mail) {
        (None, None) => {
            Err(Mistake::new(format!("{:?} cannot be woken", page.name), "give it `webhook`, `mail` or both"))
        }
        (Some(url), _) if !url.starts_with("http://") => {
            let what = format!("{:?} has a webhook that is not http://", page.name);
            Err(Mistake::new(what, "use http:// to something on this machine that goes on by TLS"))
        }
        (_, Some(mail)) if [&mail.from, &mail.to].iter().any(|one| !is_address(one)) => {
            Err(Mistake::new(format!("{:?} has an address that is none", page.name), "write rota@example.com"))
        }
        _ => Ok(()),
    }
}

/// Whether a text can stand between the brackets of SMTP without being more than an address.
fn is_address(text: &str) -> bool {
    let plain = |one: char| one.is_ascii_graphic() && !"<>()[],;:\\\"".contains(one);
    text.len() <= 254 && text.matches('@').count() == 1 && text.chars().all(plain)
}

fn whole(config: &WatchConfig) -> Result<(), Mistake> {
    let targets = config.targets.iter().map(|one| &one.name);
    let rest = config.limits.iter().map(|one| &one.name).chain(config.levels.iter().map(|one| &one.name));
    let rest =
        rest.chain(config.objectives.iter().map(|one| &one.name)).chain(config.pages.iter().map(|one| &one.name));
    let mut names: Vec<&String> = targets.clone().chain(rest).collect();
    let sites = config.targets.iter().filter_map(|one| one.site.as_ref());
    if let Some(name) = names.iter().copied().chain(sites).find(|name| !is_name(name)) {
        return Err(Mistake::new(format!("has the name {name:?}"), "use a to z, digits, - and _"));
    }
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Mistake::new(format!("has the name {:?} twice", twice[0]), "give each its own name"));
    }
    let known: Vec<&String> = targets.collect();
    let needs = config.targets.iter().flat_map(|one| &one.needs).chain(config.limits.iter().flat_map(|one| &one.on));
    let needs = needs.chain(config.levels.iter().flat_map(|one| &one.on));
    let mut needs = needs.chain(config.objectives.iter().flat_map(|one| &one.on));
    if let Some(unknown) = needs.find(|name| !known.contains(name)) {
        return Err(Mistake::new(format!("names the target {unknown:?}, which is not there"), "add the [[target]]"));
    }
    if let Some(blind) =
        config.targets.iter().find(|one| one.probe.is_none() && one.metrics.is_none() && one.status.is_none())
    {
        let fix = "give it `probe`, `metrics` or `status`";
        return Err(Mistake::new(format!("cannot look at the target {:?}", blind.name), fix));
    }
    Ok(())
}
