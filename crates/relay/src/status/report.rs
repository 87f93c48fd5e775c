//! What is shown of a relay and its service groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::history::Histories;
use crate::groups::Mirror;
use crate::partition::PartitionHandle;
use crate::relay::{Relay, ServiceGroup};
use crate::sequence::Millis;
use crate::side::{Side, SideMap};
use crate::sides::{Absence, Alarm, Cause, GroupView, ReturnStage, SwitchStage};
use crate::unserved::Split;

/// Of a list of names that may be long: as many as a person reads.
const NAMES_MAX: usize = 10;
/// The alarm of a mirror that has no room.
const GROUPS_FULL: &str = "groups-full";
/// The alarm of topics that are two logs.
const TWO_LOGS: &str = "two-logs";
/// The alarm of topics that somebody has deleted on both sides.
const TOPIC_GONE: &str = "topic-gone";
/// The alarm of changes of topics that cannot be finished.
const BLOCKED: &str = "blocked";

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Number of the node that clients see.
    pub node_id: i32,
    /// The leader epoch that clients see, of this start.
    pub epoch: i32,
    /// The cluster id that clients see.
    pub cluster_id: String,
    /// Milliseconds until the right to decide ends, if it is not renewed.
    pub lease_ms: u64,
    /// Which cluster each side is.
    pub clusters: SideMap<ClusterStatus>,
    /// By name.
    pub groups: Vec<GroupStatus>,
}

/// Which cluster a side is, by its ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// What it showed last; None before its first answer, and for a cluster that shows none.
    pub shown: Option<String>,
    /// What it must show: as configured, or seen first. None before that.
    pub expected: Option<String>,
}

impl ClusterStatus {
    /// Whether another cluster answers at the side's addresses, for people.
    pub fn wrong(&self) -> Option<String> {
        let shown = self.shown.as_ref().filter(|shown| self.expected.as_ref() != Some(shown))?;
        Some(match &self.expected {
            Some(expected) => format!("it shows the id {shown}, not {expected}"),
            None => format!("it shows the id {shown}, which is the other side's"),
        })
    }
}

/// By how many sides a group's records are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Both.
    Duplex,
    /// One, by a grant.
    Solo,
    /// Nothing is acknowledged: no side can go on, or policy or doubt forbids it.
    Stopped,
}

/// A service group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// The side that orders records.
    pub active: Side,
    /// By how many sides records are acknowledged.
    pub mode: Mode,
    /// Why one side may acknowledge alone.
    pub grant: Option<Cause>,
    /// The policy without the standby.
    pub absence: Absence,
    /// Of the coordinator's record.
    pub epoch: u64,
    /// A change is sent and not read back, or both sides are required already.
    pub changing: bool,
    /// How far a planned switch has come.
    pub switching: Option<String>,
    /// The side to which an unconfirmed switch can be taken back.
    pub rollback: Option<Side>,
    /// Whether a start left doubts that keep one side from going on alone.
    pub in_doubt: bool,
    /// Each side.
    pub sides: SideMap<SideStatus>,
    /// How far a side that is not in sync has come back.
    pub catch_up: Option<CatchUp>,
    /// The last change of the active side since the relay started.
    pub last_takeover: Option<Takeover>,
    /// The last time that topics were deleted on a side and copied anew, since the relay started.
    pub last_rebuild: Option<RebuildStatus>,
    /// What wants attention.
    pub alarms: Vec<AlarmStatus>,
    /// Partitions served.
    pub partitions: usize,
    /// Those of them that clients are told to come again for: both ends are not read and compared yet.
    pub partitions_opening: usize,
    /// Whether the topics of both sides were read since the relay started: until then others may be missing.
    pub topics_read: bool,
    /// Topics of the group that clients do not see yet: the relay takes them in.
    pub topics_waiting: Names,
    /// Topics of the group that clients do not see until somebody mends them.
    pub topics_refused: Names,
}

impl GroupStatus {
    /// Whether every topic that is not refused is served, by both sides, and nothing wants attention.
    pub fn is_well(&self) -> bool {
        self.mode == Mode::Duplex && self.alarms.is_empty() && self.is_complete()
    }

    /// Whether everything that the relay takes in by itself is there.
    pub fn is_complete(&self) -> bool {
        self.topics_read && self.topics_waiting.count == 0 && self.partitions_opening == 0
    }
}

/// Names, of which there may be many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub first: Vec<String>,
}

impl Names {
    fn of(names: &[Arc<str>]) -> Self {
        let first = names.iter().take(NAMES_MAX).map(ToString::to_string).collect();
        Self { count: names.len(), first }
    }
}

/// A side of a service group.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SideStatus {
    /// Whether it holds every acknowledged record.
    pub in_sync: bool,
    /// For how long it has not answered; None while it does.
    pub absent_seconds: Option<f64>,
    /// Records that it lacks; None while it cannot be known.
    pub lag_records: Option<i64>,
    /// Their bytes: of the batches that passed since the relay started; older ones, and those on their way, count with
    /// the mean size of these. None while no batch was seen.
    pub lag_bytes: Option<i64>,
    /// Age of what it lacks.
    pub lag_seconds: f64,
}

/// The return of a side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatchUp {
    /// Which.
    pub side: Side,
    /// How far it has come.
    pub stage: String,
    /// Records a second that are copied.
    pub records_per_second: Option<f64>,
    /// Seconds until it has everything, at the pace of now; None while it does not come nearer or nobody knows.
    pub ends_in_seconds: Option<f64>,
}

impl CatchUp {
    /// Whether it has not begun to come back.
    pub fn is_away(&self) -> bool {
        self.stage == stage(ReturnStage::Away)
    }
}

/// A change of the active side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Takeover {
    /// The side before.
    pub from: Side,
    /// Why; None for a planned switch.
    pub cause: Option<Cause>,
    /// How long ago.
    pub ago_seconds: f64,
    /// When, on the relay's own clock.
    pub at_ms: Millis,
    /// From the first sign of absence, or the quiescing, until it was done.
    pub took_ms: Millis,
}

/// Topics that were deleted on a side and copied anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RebuildStatus {
    /// The side.
    pub side: Side,
    /// How long ago they were deleted.
    pub ago_seconds: f64,
    /// Which.
    pub topics: Names,
    /// Why, for people.
    pub because: String,
    /// How many of the group, each time counted, since the relay started.
    pub topics_in_all: u64,
}

/// An alarm that is raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmStatus {
    /// Which.
    pub name: String,
    /// For people.
    pub text: String,
}

pub(super) fn report(relay: &Relay, histories: &Histories, now: Millis) -> StatusReport {
    let groups = relay.groups.iter().filter_map(|(name, served)| {
        let view = served.runner()?.view();
        Some(group(relay, histories, now, name, served, view))
    });
    StatusReport {
        node_id: relay.config.node_id,
        epoch: relay.epoch,
        cluster_id: relay.cluster_id.clone(),
        lease_ms: relay.lease.borrow().saturating_sub(now),
        clusters: SideMap::from_fn(|side| relay.cluster(side)),
        groups: groups.collect(),
    }
}

fn group(
    relay: &Relay,
    histories: &Histories,
    now: Millis,
    name: &str,
    served: &ServiceGroup,
    view: GroupView,
) -> GroupStatus {
    let standing = view.record.standing;
    let active = standing.active;
    let absence = served.config.absence.into();
    let stopped =
        [Alarm::Stopped, Alarm::InDoubt, Alarm::LeaseEnded].iter().any(|alarm| view.alarms.contains_key(alarm));
    let blocked = absence == Absence::Block && (!standing.is_duplex() || view.absent_since[active.other()].is_some());
    let mode = match standing.is_duplex() {
        _ if stopped || blocked => Mode::Stopped,
        true => Mode::Duplex,
        false => Mode::Solo,
    };
    let partitions = relay.served.partitions_of(name);
    let sides = SideMap::from_fn(|side| {
        let in_sync = standing.in_sync.contains(side);
        let lacks = partitions.iter().map(|partition| {
            let ends = partition.shown().view.ends;
            Some((ends[active]? - ends[side]?).max(0))
        });
        let lag_records: Option<i64> = if side == active { Some(0) } else { lacks.sum::<Option<i64>>() };
        let lag_records = lag_records.or(view.lag[side]);
        let lag_bytes = match lag_records {
            Some(0) => Some(0),
            _ => partitions.iter().map(|partition| partition.lag_bytes(side, active)).sum(),
        };
        SideStatus {
            in_sync,
            absent_seconds: view.absent_since[side].map(|since| seconds(now.saturating_sub(since))),
            lag_records,
            lag_bytes,
            lag_seconds: seconds(histories.of(name, |history| history.lag_ms(now, side, active))),
        }
    });
    let returning = Side::BOTH.into_iter().find(|side| !standing.in_sync.contains(*side));
    let catch_up = returning.map(|side| {
        // Only while records are copied: what an end moves by otherwise is no progress.
        let copies = matches!(view.returning, ReturnStage::Following | ReturnStage::Joining);
        let pace = histories.of(name, |history| history.pace(side, active)).filter(|_| copies);
        let left = sides[side].lag_records;
        let ends_in = pace.zip(left).filter(|(pace, _)| pace.gained > 0.0);
        CatchUp {
            side,
            stage: stage(view.returning).to_owned(),
            records_per_second: pace.map(|pace| pace.copied),
            ends_in_seconds: ends_in.map(|(pace, left)| left as f64 / pace.gained),
        }
    });
    let belongs = |topic: &str| relay.config.group_of_topic(topic) == name;
    let is_opening = |partition: &&PartitionHandle| !partition.shown().view.ready;
    let is_open = |topic: &str| {
        let served = relay.served.get(topic);
        served.is_some_and(|topic| !topic.partitions.iter().any(|partition| partition.shown().view.differs))
    };
    let unserved = relay.unserved.split(|topic| belongs(topic) && !is_open(topic));
    let topics_read = unserved.is_some();
    let split = unserved.unwrap_or_default();
    let blocked = relay.unserved.blocked_of(belongs);
    GroupStatus {
        name: name.to_owned(),
        active,
        mode,
        grant: view.record.grant,
        absence,
        epoch: standing.epoch,
        changing: view.sent.is_some(),
        switching: view.switching.map(|stage| switching(stage).to_owned()),
        rollback: view.record.rollback,
        in_doubt: view.in_doubt,
        sides,
        catch_up,
        last_takeover: view.last_change.map(|change| Takeover {
            from: change.from,
            cause: change.cause,
            ago_seconds: seconds(now.saturating_sub(change.at)),
            at_ms: change.at,
            took_ms: change.took_ms,
        }),
        last_rebuild: served.rebuilds.last().map(|rebuild| RebuildStatus {
            side: rebuild.side,
            ago_seconds: seconds(now.saturating_sub(rebuild.at)),
            topics: Names::of(&rebuild.topics),
            because: rebuild.because,
            topics_in_all: served.rebuilds.topics(),
        }),
        alarms: alarms(relay, view.alarms, &served.mirror, &split, &blocked),
        partitions: partitions.len(),
        partitions_opening: partitions.iter().filter(is_opening).count(),
        topics_read,
        topics_waiting: Names::of(&split.waiting),
        topics_refused: Names::of(&split.refused),
    }
}

/// What the sides call for, and what the mirror of committed offsets does.
fn alarms(
    relay: &Relay,
    raised: BTreeMap<Alarm, String>,
    mirror: &Mirror,
    unserved: &Split,
    blocked: &[(Arc<str>, String)],
) -> Vec<AlarmStatus> {
    let of_sides = raised.into_iter().map(|(alarm, text)| {
        let which = match alarm {
            Alarm::WrongCluster(side) => relay.cluster(side).wrong(),
            _ => None,
        };
        let text = which.map_or(text.clone(), |which| format!("{text}: {which}"));
        AlarmStatus { name: alarm.name().to_owned(), text }
    });
    let full = mirror.is_full().then(|| AlarmStatus {
        name: GROUPS_FULL.to_owned(),
        text: "more consumer groups than the relay carries: offsets of the rest are on one side only".to_owned(),
    });
    let of_topics = |alarm: &str, topics: &[Arc<str>], what: &str| {
        (!topics.is_empty()).then(|| {
            let Names { count, first } = Names::of(topics);
            AlarmStatus { name: alarm.to_owned(), text: format!("{count} topics {what}: {}", first.join(", ")) }
        })
    };
    let what = "are not taken in, as the sides hold two logs of each and nothing says which counts";
    let forked = of_topics(TWO_LOGS, &unserved.two_logs, what);
    let gone = of_topics(TOPIC_GONE, &unserved.gone, "were deleted on both sides past the relay");
    let blocked = blocked.iter().take(NAMES_MAX).map(|(topic, reason)| AlarmStatus {
        name: BLOCKED.to_owned(),
        text: format!("a change of topic {topic} cannot be finished: {reason}"),
    });
    of_sides.chain(full).chain(forked).chain(gone).chain(blocked).collect()
}

fn seconds(ms: Millis) -> f64 {
    ms as f64 / 1000.0
}

fn stage(stage: ReturnStage) -> &'static str {
    match stage {
        ReturnStage::InSync => "in sync",
        ReturnStage::Away => "away",
        ReturnStage::Assessing => "assessing",
        ReturnStage::Rebuilding => "rebuilding topics",
        ReturnStage::Following => "copying",
        ReturnStage::Joining => "joining",
    }
}

fn switching(stage: SwitchStage) -> &'static str {
    match stage {
        SwitchStage::Preparing => "preparing",
        SwitchStage::Marking => "marking",
        SwitchStage::Quiescing => "quiescing",
        SwitchStage::Flipping => "flipping",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_cluster_is_named_with_the_id_that_would_make_it_right() {
        let check = |shown: Option<&str>, expected: Option<&str>, says: Option<&str>| {
            let seen = ClusterStatus { shown: shown.map(str::to_owned), expected: expected.map(str::to_owned) };
            assert_eq!(seen.wrong().as_deref(), says, "{seen:?}");
        };
        check(Some("x"), Some("x"), None);
        check(None, Some("x"), None);
        check(None, None, None);
        check(Some("y"), Some("x"), Some("it shows the id y, not x"));
        check(Some("y"), None, Some("it shows the id y, which is the other side's"));
    }
}
