//! The most likely cause, by a rule that anybody can follow with the incident's timeline in hand.
//!
//! 1. Signals stand in the order in which their first readings were; what was noticed late may have begun early.
//! 2. A signal is explained by another that began before it, or at most [`TOGETHER_MS`] after it (two targets are not looked
//!    at in the same instant), if that one is on a target that this one's targets are on or need: a promise broken at the
//!    gateway by the cluster behind it, a target that is away by a disk of its own that had filled before. A target that is away
//!    is explained by nothing but another target that it needs and that is away too, or its own disk.
//! 3. If every target of a site is away, of at least two, and none of them is explained from outside of the site, the cause
//!    is `site-SITE-away`.
//! 4. Else the cause is the earliest signal that nothing explains; of those within [`TOGETHER_MS`], a target that is away
//!    goes before something that runs out, and that before a level or a promise; then the one that explains most.
//! 5. If that is no target that is away and nothing that runs out, and a change was made on its targets within the
//!    window before it, the cause is that change: `change-deploy`, `change-config`, `change-plan`.
//!
//! Names: `TARGET-away`, `site-SITE-away`, `disk-filling`, `consumer-slow`, `wal-held`, `quota-ending`, `budget-ending`,
//! `tickets-ending`, `TARGET-alarm`, `data-absent`, what a level says it means (`overload` unless configured otherwise),
//! `NAME-burning` for a promise alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::TargetConfig;
use crate::event::{ChangeKind, Kind, Signal};

/// Two looks at two targets, and their longest answers: what begins within this began together.
pub const TOGETHER_MS: i64 = 3_000;

/// Who needs whom, and where everybody is.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    /// By target, all it needs, directly or not.
    needs: BTreeMap<String, BTreeSet<String>>,
    sites: BTreeMap<String, BTreeSet<String>>,
}

impl Topology {
    /// Of the targets of a configuration.
    pub fn of(targets: &[TargetConfig]) -> Self {
        let direct: BTreeMap<&str, &[String]> =
            targets.iter().map(|one| (one.name.as_str(), one.needs.as_slice())).collect();
        let mut topology = Self::default();
        for target in targets {
            let mut reached = BTreeSet::new();
            let mut open: Vec<&String> = target.needs.iter().collect();
            while let Some(next) = open.pop() {
                if reached.insert(next.clone()) {
                    open.extend(direct.get(next.as_str()).copied().unwrap_or_default());
                }
            }
            topology.needs.insert(target.name.clone(), reached);
            if let Some(site) = &target.site {
                topology.sites.entry(site.clone()).or_default().insert(target.name.clone());
            }
        }
        topology
    }

    fn needs(&self, who: &str, whom: &str) -> bool {
        self.needs.get(who).is_some_and(|needs| needs.contains(whom))
    }

    fn site(&self, target: &str) -> Option<&String> {
        self.sites.iter().find(|(_, targets)| targets.contains(target)).map(|(site, _)| site)
    }

    /// Whether two targets can have to do with one another: one needs the other or they share a site.
    pub fn related(&self, one: &str, other: &str) -> bool {
        one == other
            || self.needs(one, other)
            || self.needs(other, one)
            || (self.site(one).is_some() && self.site(one) == self.site(other))
    }
}

/// A change as the rule sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// Its entry in the ledger.
    pub entry: u64,
    /// When.
    pub at_unix_ms: i64,
    /// What kind.
    pub kind: ChangeKind,
    /// On which targets; all without any.
    pub on: Vec<String>,
}

/// What the rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Its name.
    pub name: String,
    /// Why.
    pub because: String,
    /// The change that it is, by its entry.
    pub change: Option<u64>,
}

/// Names the cause of an incident by its signals, in whatever order; `changes` are those within the window before it.
/// `None` without a signal.
pub fn name(signals: &[&Signal], changes: &[Before], topology: &Topology) -> Option<Cause> {
    let explained = |one: &Signal| signals.iter().any(|by| explains(by, one, topology));
    if let Some((site, count)) = site_away(signals, topology) {
        let because =
            format!("all {count} targets of the site went away, and none of them for want of another outside of it");
        return Some(Cause { name: format!("site-{site}-away"), because, change: None });
    }
    let roots: Vec<&&Signal> = signals.iter().filter(|one| !explained(one)).collect();
    // A ring of needs explains all of itself: then everything is looked at.
    let roots = if roots.is_empty() { signals.iter().collect() } else { roots };
    let first_ms = roots.iter().map(|one| one.since_unix_ms).min()?;
    let together = roots.iter().filter(|one| one.since_unix_ms <= first_ms + TOGETHER_MS);
    let weight = |one: &Signal| {
        let explains = signals.iter().filter(|other| explains(one, other, topology)).count();
        (rank(one.id.kind), usize::MAX - explains, one.since_unix_ms)
    };
    let root = together.min_by_key(|one| weight(one))?;
    if rank(root.id.kind) >= RANK_SYMPTOM {
        let touches = |change: &&Before| {
            change.at_unix_ms <= root.since_unix_ms
                && (change.on.is_empty()
                    || change.on.iter().any(|on| root.on.iter().any(|of| topology.related(of, on))))
        };
        if let Some(change) = changes.iter().filter(touches).max_by_key(|change| change.at_unix_ms) {
            let name = match change.kind {
                ChangeKind::Plan => "change-plan",
                ChangeKind::Config => "change-config",
                ChangeKind::Deploy => "change-deploy",
                ChangeKind::Restart => "change-restart",
                ChangeKind::Other => "change",
            };
            let because = format!("{} moved first, nothing is away, and a change was made just before", root.id);
            return Some(Cause { name: name.to_owned(), because, change: Some(change.entry) });
        }
    }
    let others = signals.iter().filter(|other| explains(root, other, topology)).count();
    let because = match (signals.len(), others) {
        (1, _) => format!("{} is the only signal", root.id),
        (_, 0) => format!("{} moved first", root.id),
        (_, others) => format!("{} moved first, and explains {others} of the other {}", root.id, signals.len() - 1),
    };
    Some(Cause { name: named(root), because, change: None })
}

const RANK_SYMPTOM: u8 = 3;

fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Away => 0,
        Kind::Disk => 1,
        Kind::Lag | Kind::Wal | Kind::Quota | Kind::Budget | Kind::Tickets => 2,
        Kind::Level => RANK_SYMPTOM,
        Kind::Burn => RANK_SYMPTOM + 1,
        Kind::Alarm => RANK_SYMPTOM + 2,
        Kind::Absent => RANK_SYMPTOM + 3,
    }
}

/// Whether one signal accounts for another.
fn explains(by: &Signal, one: &Signal, topology: &Topology) -> bool {
    if by.id == one.id || by.since_unix_ms > one.since_unix_ms + TOGETHER_MS {
        return false;
    }
    let needed = one.on.iter().any(|on| by.on.iter().any(|of| topology.needs(on, of)));
    let same = one.on.iter().any(|on| by.on.contains(on));
    match (by.id.kind, one.id.kind) {
        (Kind::Away, Kind::Away) => needed,
        // What had filled before: a disk does not fill because its process is gone.
        (Kind::Disk, Kind::Away) => same && by.since_unix_ms < one.since_unix_ms,
        (_, Kind::Away) => false,
        (Kind::Away, _) => needed || same,
        (by_kind, kind) => (needed || same) && rank(by_kind) < rank(kind),
    }
}

fn site_away<'t>(signals: &[&Signal], topology: &'t Topology) -> Option<(&'t String, usize)> {
    let away: BTreeMap<&str, &Signal> =
        signals.iter().filter(|one| one.id.kind == Kind::Away).map(|one| (one.id.subject.as_str(), *one)).collect();
    let whole = |targets: &BTreeSet<String>| {
        let all = targets.len() > 1 && targets.iter().all(|target| away.contains_key(target.as_str()));
        let outside = |target: &String| {
            let mine = away[target.as_str()];
            away.values().any(|by| !targets.contains(&by.id.subject) && explains(by, mine, topology))
        };
        // Those that went one after another did not go with their site.
        let times = targets.iter().filter_map(|target| away.get(target.as_str())).map(|one| one.since_unix_ms);
        let (first, last) = (times.clone().min(), times.max());
        let at_once = first.zip(last).is_some_and(|(first, last)| last - first <= TOGETHER_MS);
        let inside_only = targets.iter().filter(|target| all && !outside(target)).count();
        all && at_once && inside_only == targets.len()
    };
    topology.sites.iter().find(|(_, targets)| whole(targets)).map(|(site, targets)| (site, targets.len()))
}

fn named(signal: &Signal) -> String {
    match signal.id.kind {
        Kind::Away => format!("{}-away", signal.id.subject),
        Kind::Disk => "disk-filling".to_owned(),
        Kind::Lag => "consumer-slow".to_owned(),
        Kind::Wal => "wal-held".to_owned(),
        Kind::Quota => "quota-ending".to_owned(),
        Kind::Budget => "budget-ending".to_owned(),
        Kind::Tickets => "tickets-ending".to_owned(),
        Kind::Burn => signal.means.clone().unwrap_or_else(|| format!("{}-burning", signal.id.subject)),
        Kind::Level => signal.means.clone().unwrap_or_else(|| "overload".to_owned()),
        Kind::Alarm => format!("{}-alarm", signal.id.subject),
        Kind::Absent => "data-absent".to_owned(),
    }
}
