//! Everything between what was read and what is said: series, detectors and the desk. It reads no clock and waits for
//! nothing; every time comes from outside, so that hours are played in seconds.

use std::collections::BTreeMap;

use naru_runtime::clocks::millis;
use naru_runtime::exposition::Sample;

use crate::config::{LimitKind, WatchConfig};
use crate::desk::Desk;
use crate::detect::{Away, Burn, Exhaustion, Forecast, Level};
use crate::event::{Change, ChangeKind, Kind, Signal, SignalId, seconds};
use crate::selector::Selector;
use crate::series::{Book, Chosen};

/// What the watch measures itself is shown as of this target.
pub const SELF: &str = "watch";
/// Use of the file system of a limit with a path, from 0 to 1.
pub const DISK_USED: &str = "naru_watch_disk_used_ratio";
/// Detectors of levels look once a second, as the readings come.
const LOOK_MS: i64 = 900;
/// Without a look for so long, the watch itself stood still, and what it did not see is nobody's fault.
const BLIND_MS: i64 = 5_000;
/// How long what should be read may be missing.
const ABSENT_MS: i64 = 10_000;
/// How long roles have after the watch's start until they must show what should be read.
const WARM_MS: i64 = 60_000;
/// How long a role raises an alarm of its own until it counts: many take themselves back at once.
const ALARM_MS: i64 = 3_000;
/// How fast a forecast may come and go: what was sure a moment ago stays for so long.
const HOLD_MS: i64 = 5_000;

/// What one look at a target found.
#[derive(Debug, Clone, PartialEq)]
pub struct Scrape {
    /// Which, by place in the configuration.
    pub target: usize,
    /// When the look began.
    pub at_unix_ms: i64,
    /// What it did not answer to; nothing while it is there.
    pub missing: Option<&'static str>,
    /// What it shows of itself.
    pub samples: Vec<Sample>,
}

/// A target as it is shown.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TargetView {
    /// Its name.
    pub name: String,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Since when it is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_since_unix_ms: Option<i64>,
    /// When it was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_unix_ms: Option<i64>,
}

/// Something that runs out, as it is shown.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LimitView {
    /// Its name.
    pub name: String,
    /// What it is: `disk`, `lag`, `wal`, `quota`, `budget`, `tickets`.
    pub kind: String,
    /// The level now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<f64>,
    /// The level at which it has run out.
    pub full: f64,
    /// When it will have; nothing while nobody can say, or it will not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
}

#[derive(Debug)]
struct Target {
    name: String,
    site: Option<String>,
    away: Away,
    missing: &'static str,
    seen_ms: Option<i64>,
    plan: Option<f64>,
    alarmed: Level,
}

#[derive(Debug)]
struct Limit {
    name: String,
    kind: LimitKind,
    series: Chosen,
    full: f64,
    falls: bool,
    exhaustion: Exhaustion,
    on: Vec<String>,
    level: Option<f64>,
    forecast: Option<Forecast>,
    /// Since when the end is near, and when it last was.
    near: Option<(i64, i64)>,
    absent: Absent,
}

#[derive(Debug)]
struct LevelOf {
    name: String,
    series: Chosen,
    rate: bool,
    above: f64,
    level: Level,
    means: String,
    on: Vec<String>,
    absent: Absent,
}

#[derive(Debug)]
struct Objective {
    name: String,
    bad: Chosen,
    all: Chosen,
    burn: Burn,
    on: Vec<String>,
    absent: Absent,
}

/// How long something has not been read.
#[derive(Debug, Default)]
struct Absent {
    seen_ms: Option<i64>,
}

impl Absent {
    fn judge(&mut self, there: bool, now_ms: i64, started_ms: i64) -> Option<i64> {
        if there {
            self.seen_ms = Some(now_ms);
        }
        let (since, patience) = match self.seen_ms {
            Some(seen) => (seen, ABSENT_MS),
            None => (started_ms, WARM_MS),
        };
        (now_ms - since >= patience).then_some(since)
    }
}

/// The watch without its sockets.
#[derive(Debug)]
pub struct Engine {
    book: Book,
    targets: Vec<Target>,
    limits: Vec<Limit>,
    levels: Vec<LevelOf>,
    objectives: Vec<Objective>,
    away_after: u32,
    exhaust_within_s: f64,
    /// Who says what.
    pub desk: Desk,
    started_ms: i64,
    judged_ms: i64,
    looked_ms: i64,
    /// What the slower detectors saw at their last look.
    slow: Vec<Signal>,
}

impl Engine {
    /// With a desk that knows what was said before.
    pub fn new(config: &WatchConfig, desk: Desk, now_ms: i64) -> Self {
        let target = |one: &crate::config::TargetConfig| Target {
            name: one.name.clone(),
            site: one.site.clone(),
            away: Away::default(),
            missing: "anything",
            seen_ms: None,
            plan: None,
            alarmed: Level::new(0.0, ALARM_MS),
        };
        let limit = |one: &crate::config::LimitConfig| Limit {
            name: one.name.clone(),
            kind: one.kind,
            series: Chosen::new(one.series.clone().unwrap_or_else(|| disk_series(&one.name))),
            full: one.full,
            falls: one.falls,
            exhaustion: Exhaustion::new(one.full, one.falls),
            on: one.on.clone(),
            level: None,
            forecast: None,
            near: None,
            absent: Absent::default(),
        };
        let level = |one: &crate::config::LevelConfig| LevelOf {
            name: one.name.clone(),
            series: Chosen::new(one.series.clone()),
            rate: one.rate,
            above: one.above,
            level: Level::new(one.above, millis(one.lasting)),
            means: one.cause.clone(),
            on: one.on.clone(),
            absent: Absent::default(),
        };
        let objective = |one: &crate::config::ObjectiveConfig| Objective {
            name: one.name.clone(),
            bad: Chosen::new(one.bad.clone()),
            all: Chosen::new(one.all.clone()),
            burn: Burn::new(one.objective),
            on: one.on.clone(),
            absent: Absent::default(),
        };
        Self {
            book: Book::new(config.series_max as usize),
            targets: config.targets.iter().map(target).collect(),
            limits: config.limits.iter().map(limit).collect(),
            levels: config.levels.iter().map(level).collect(),
            objectives: config.objectives.iter().map(objective).collect(),
            away_after: config.away_after,
            exhaust_within_s: config.exhaust_within.as_secs_f64(),
            desk,
            started_ms: now_ms,
            judged_ms: now_ms,
            looked_ms: i64::MIN / 2,
            slow: Vec::new(),
        }
    }

    /// The series in memory.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Takes a look at a target in.
    pub fn feed(&mut self, scrape: Scrape) {
        let Some(target) = self.targets.get_mut(scrape.target) else { return };
        target.away.look(scrape.at_unix_ms, scrape.missing.is_none(), self.away_after);
        target.missing = scrape.missing.unwrap_or(target.missing);
        target.seen_ms = Some(scrape.at_unix_ms);
        for sample in scrape.samples {
            if sample.name == "naru_edge_plan_generation" {
                let before = target.plan.replace(sample.value);
                if let Some(before) = before.filter(|before| *before != sample.value) {
                    let what = format!("the capacity plan went from generation {before} to {}", sample.value);
                    let change =
                        Change { kind: ChangeKind::Plan, what, by: target.name.clone(), on: vec![target.name.clone()] };
                    // Made here of numbers and a configured name: nothing in it can be refused.
                    if let Err(error) = self.desk.changed(scrape.at_unix_ms, change) {
                        tracing::warn!(error = &error as &dyn std::error::Error, "a change of plan was not kept");
                    }
                }
            }
            self.book.put(&target.name, sample, scrape.at_unix_ms);
        }
    }

    /// Takes a figure in that the watch has measured itself.
    pub fn measured(&mut self, at_unix_ms: i64, sample: Sample) {
        self.book.put(SELF, sample, at_unix_ms);
    }

    /// Looks at everything as it is now.
    pub fn judge(&mut self, now_ms: i64) {
        let gap_ms = now_ms - self.judged_ms;
        self.judged_ms = now_ms;
        if gap_ms >= BLIND_MS {
            self.desk.blind(now_ms, gap_ms);
            self.targets
                .iter_mut()
                .filter(|one| one.away.since_ms().is_none())
                .for_each(|one| one.away = Away::default());
            return;
        }
        if now_ms - self.looked_ms >= LOOK_MS {
            self.looked_ms = now_ms;
            self.slow = self.look(now_ms);
        }
        let away = |one: &Target| {
            Some(Signal {
                id: SignalId { kind: Kind::Away, subject: one.name.clone() },
                since_unix_ms: one.away.since_ms()?,
                detail: format!("no answer of its {}", one.missing),
                on: vec![one.name.clone()],
                means: None,
            })
        };
        let mut signals: Vec<Signal> = self.targets.iter().filter_map(away).collect();
        signals.extend(self.slow.iter().cloned());
        // In the order in which they began: the first opens the incident.
        signals.sort_by_key(|one| one.since_unix_ms);
        self.desk.judge(now_ms, &signals);
    }

    fn look(&mut self, now_ms: i64) -> Vec<Signal> {
        let mut signals = Vec::new();
        let away: Vec<&str> =
            self.targets.iter().filter(|one| one.away.since_ms().is_some()).map(|one| one.name.as_str()).collect();
        let (book, started) = (&self.book, self.started_ms);
        let absent = |absent: &mut Absent, there: bool, name: &str, on: &[String], what: &Selector| {
            let since = absent.judge(there, now_ms, started)?;
            // Whose target is away has said so already.
            let told = on.iter().map(String::as_str).chain(what.target()).any(|on| away.contains(&on));
            (!told).then(|| signal(Kind::Absent, name, since, format!("nothing is read of {what}"), on, None))
        };
        for limit in &mut self.limits {
            let series = limit.series.of(book, now_ms);
            let levels: Vec<f64> = series.iter().filter_map(|past| past.now()).collect();
            signals.extend(absent(
                &mut limit.absent,
                !levels.is_empty(),
                &limit.name,
                &limit.on,
                limit.series.selector(),
            ));
            limit.level = levels.into_iter().reduce(if limit.falls { f64::min } else { f64::max });
            let forecasts = series.iter().filter_map(|past| limit.exhaustion.forecast(*past, now_ms));
            limit.forecast = forecasts.min_by(|one, other| one.likely_s.total_cmp(&other.likely_s));
            let near = limit.forecast.filter(|forecast| forecast.likely_s <= self.exhaust_within_s);
            limit.near = match (near, limit.near) {
                (Some(_), Some((since, _))) => Some((since, now_ms)),
                (Some(_), None) => Some((now_ms, now_ms)),
                (None, Some((since, last))) if now_ms - last < HOLD_MS => Some((since, last)),
                (None, _) => None,
            };
            let Some((since, _)) = limit.near else { continue };
            let level = limit.level.unwrap_or(limit.full);
            let detail = match limit.forecast {
                Some(Forecast { likely_s: 0.0, .. }) => format!("at {level:.4} of {}, it has run out", limit.full),
                Some(Forecast { early_s, likely_s, late_s, .. }) => {
                    let time = |of: f64| seconds((of * 1000.0) as i64);
                    let late = late_s.map_or("never".to_owned(), time);
                    format!(
                        "at {level:.4} of {}, it runs out in {} ({} to {late})",
                        limit.full,
                        time(likely_s),
                        time(early_s)
                    )
                }
                None => format!("at {level:.4} of {}", limit.full),
            };
            let kind = match limit.kind {
                LimitKind::Disk => Kind::Disk,
                LimitKind::Lag => Kind::Lag,
                LimitKind::Wal => Kind::Wal,
                LimitKind::Quota => Kind::Quota,
                LimitKind::Budget => Kind::Budget,
                LimitKind::Tickets => Kind::Tickets,
            };
            signals.push(signal(kind, &limit.name, since, detail, &limit.on, None));
        }
        for level in &mut self.levels {
            let series = level.series.of(book, now_ms);
            let there = series.iter().any(|past| past.now().is_some());
            signals.extend(absent(&mut level.absent, there, &level.name, &level.on, level.series.selector()));
            let per_second = |past: &crate::series::Past<'_>| past.increase(2_500).map(|rise| rise / 2.0);
            let now = match level.rate {
                true => series.iter().filter_map(per_second).reduce(|one, other| one + other),
                false => series.iter().filter_map(|past| past.now()).reduce(f64::max),
            };
            if let Some(since) = level.level.judge(now, now_ms) {
                let detail = format!("at {:.2}, above {}", now.unwrap_or_default(), level.above);
                signals.push(signal(Kind::Level, &level.name, since, detail, &level.on, Some(level.means.clone())));
            }
        }
        for objective in &mut self.objectives {
            let (bad, all) = (objective.bad.of(book, now_ms), objective.all.of(book, now_ms));
            let there = all.iter().any(|past| past.now().is_some());
            signals.extend(absent(
                &mut objective.absent,
                there,
                &objective.name,
                &objective.on,
                objective.all.selector(),
            ));
            if let Some((pair, rate, since)) = objective.burn.judge(&bad, &all, now_ms) {
                let detail =
                    format!("{rate:.0} times the rate that the promise allows, over {}", seconds(pair.long_ms));
                signals.push(signal(Kind::Burn, &objective.name, since, detail, &objective.on, None));
            }
        }
        let mut raised: BTreeMap<&str, f64> = BTreeMap::new();
        for series in
            book.series().filter(|series| series.name.starts_with("naru_") && series.name.ends_with("_alarms"))
        {
            *raised.entry(&series.target).or_default() += book.past_of(series, now_ms).now().unwrap_or(0.0);
        }
        for target in &mut self.targets {
            let count = raised.get(target.name.as_str()).copied();
            if let Some(since) = target.alarmed.judge(count, now_ms) {
                let detail = format!("{} alarms of its own", count.unwrap_or_default());
                signals.push(signal(
                    Kind::Alarm,
                    &target.name,
                    since,
                    detail,
                    std::slice::from_ref(&target.name),
                    None,
                ));
            }
        }
        signals
    }

    /// Every target as it is shown.
    pub fn targets(&self) -> Vec<TargetView> {
        let view = |one: &Target| TargetView {
            name: one.name.clone(),
            site: one.site.clone(),
            away_since_unix_ms: one.away.since_ms(),
            seen_unix_ms: one.seen_ms,
        };
        self.targets.iter().map(view).collect()
    }

    /// Everything that runs out as it is shown.
    pub fn limits(&self) -> Vec<LimitView> {
        let view = |one: &Limit| LimitView {
            name: one.name.clone(),
            kind: one.kind.as_str().to_owned(),
            level: one.level,
            full: one.full,
            forecast: one.forecast,
        };
        self.limits.iter().map(view).collect()
    }
}

/// The series of a limit that is measured here.
fn disk_series(limit: &str) -> Selector {
    format!("{SELF}/{DISK_USED}{{limit=\"{limit}\"}}").parse().expect("names of limits are checked")
}

fn signal(kind: Kind, name: &str, since_unix_ms: i64, detail: String, on: &[String], means: Option<String>) -> Signal {
    let id = SignalId { kind, subject: name.to_owned() };
    Signal { id, since_unix_ms, detail, on: on.to_vec(), means }
}
