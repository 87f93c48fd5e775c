//! What is to be done next for a topic: a pure function of what is kept and what both sides show.

use std::collections::BTreeMap;

use naru_kafka::wire::TopicId;

use super::record::{Change, Life, TopicRecord};
use crate::side::{Side, SideMap, SideSet};

/// One configuration of a topic as a side shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its value, whoever set it.
    pub value: String,
    /// Whether nobody set it for this topic.
    pub is_default: bool,
}

/// A topic on a side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Its identity there.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many replicas its first partition has.
    pub replication: i32,
    /// Its configuration.
    pub configs: BTreeMap<String, Setting>,
}

/// What a side shows of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// The side cannot be asked.
    Unreachable,
    /// It has no topic of that name.
    Absent,
    /// It has one.
    Present(Present),
}

/// What is to be done. Each is harmless when it was done already and only its record is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make the topic on a side.
    Create(Side),
    /// Delete it there.
    Delete(Side),
    /// Raise its number of partitions there.
    Grow(Side, i32),
    /// Configure it there.
    Alter(Side, Vec<Change>),
    /// Keep this.
    Record(TopicRecord),
    /// A side that is needed cannot be asked: later.
    Wait(Side),
    /// A side has something else of that name: a person must look.
    Blocked(Side, &'static str),
    /// Nothing.
    Done,
}

const OTHER_PARTITIONS: &str = "a topic of this name with another number of partitions is there";
const OTHER_TOPIC: &str = "a topic of this name that is not the recorded one is there";
const GONE: &str = "the topic is not there";

/// The next step of a topic's intent. `needed` are the sides that must take part: one that is not in sync is made equal
/// when it returns.
pub fn next(record: &TopicRecord, needed: SideSet, observed: &SideMap<Observed>) -> Step {
    let sides = Side::BOTH.into_iter().filter(|side| needed.contains(*side));
    match &record.life {
        Life::Live | Life::Gone | Life::Deleted => Step::Done,
        Life::Creating => create(record, sides, observed),
        Life::Deleting => delete(record, observed),
        Life::Growing { to } => {
            let step = sides.map(|side| grow(record, side, *to, &observed[side])).find(|step| *step != Step::Done);
            step.unwrap_or_else(|| Step::Record(TopicRecord { partitions: *to, life: Life::Live, ..record.clone() }))
        }
        Life::Altering { changes } => {
            let step = sides.map(|side| alter(record, side, changes, &observed[side])).find(|step| *step != Step::Done);
            step.unwrap_or_else(|| Step::Record(TopicRecord { life: Life::Live, ..record.altered(changes) }))
        }
    }
}

fn create(record: &TopicRecord, sides: impl Iterator<Item = Side>, observed: &SideMap<Observed>) -> Step {
    for side in sides {
        let step = match (&observed[side], record.sides[side]) {
            (Observed::Unreachable, _) => Step::Wait(side),
            (Observed::Absent, _) => Step::Create(side),
            (Observed::Present(there), _) if there.partitions != record.partitions => {
                Step::Blocked(side, OTHER_PARTITIONS)
            }
            (Observed::Present(there), Some(known)) if there.id == known => continue,
            // Made by this intent before a crash: nobody had it when the intent was written down.
            (Observed::Present(there), _) => {
                let mut known = record.clone();
                known.sides[side] = Some(there.id);
                Step::Record(known)
            }
        };
        return step;
    }
    Step::Record(TopicRecord { life: Life::Live, ..record.clone() })
}

/// Both sides are needed: what stays on one would come back.
fn delete(record: &TopicRecord, observed: &SideMap<Observed>) -> Step {
    for side in Side::BOTH {
        match (&observed[side], record.sides[side]) {
            // The topic that this record is about; another one of the name is somebody else's.
            (Observed::Present(there), Some(known)) if there.id == known => return Step::Delete(side),
            (Observed::Present(_) | Observed::Absent, Some(_)) => {
                let mut gone = record.clone();
                gone.sides[side] = None;
                return Step::Record(gone);
            }
            _ => {}
        }
    }
    let left = Side::BOTH.into_iter().find(|side| record.sides[*side].is_some());
    match left {
        Some(side) => Step::Wait(side),
        None => Step::Record(TopicRecord { life: Life::Deleted, ..record.clone() }),
    }
}

fn grow(record: &TopicRecord, side: Side, to: i32, observed: &Observed) -> Step {
    match observed {
        Observed::Unreachable => Step::Wait(side),
        Observed::Absent => Step::Blocked(side, GONE),
        Observed::Present(there) if record.sides[side].is_some_and(|known| known != there.id) => {
            Step::Blocked(side, OTHER_TOPIC)
        }
        Observed::Present(there) if there.partitions < to => Step::Grow(side, to),
        Observed::Present(there) if there.partitions > to => Step::Blocked(side, OTHER_PARTITIONS),
        Observed::Present(_) => Step::Done,
    }
}

fn alter(record: &TopicRecord, side: Side, changes: &[Change], observed: &Observed) -> Step {
    match observed {
        Observed::Unreachable => Step::Wait(side),
        Observed::Absent => Step::Blocked(side, GONE),
        Observed::Present(there) if record.sides[side].is_some_and(|known| known != there.id) => {
            Step::Blocked(side, OTHER_TOPIC)
        }
        Observed::Present(there) => {
            let open: Vec<_> = changes.iter().filter(|change| !is_so(there, change)).cloned().collect();
            if open.is_empty() { Step::Done } else { Step::Alter(side, open) }
        }
    }
}

fn is_so(there: &Present, change: &Change) -> bool {
    match (there.configs.get(&change.name), &change.value) {
        (Some(setting), Some(value)) => setting.value == *value && !setting.is_default,
        (Some(setting), None) => setting.is_default,
        (None, value) => value.is_none(),
    }
}

/// What a side that is back has to be told of a live topic before it follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Return {
    /// It is the recorded topic, and as it should be.
    Same,
    /// It is the recorded topic, and these steps make it as it should be.
    Mend(Vec<Step>),
    /// It is not there, or another topic of the name is (RELAY-12): it is made again, empty.
    Rebuild,
}

/// What a side that is back has of a live topic.
pub fn assess(record: &TopicRecord, side: Side, there: Option<&Present>) -> Return {
    let Some(there) = there.filter(|there| record.sides[side] == Some(there.id)) else { return Return::Rebuild };
    if there.partitions > record.partitions {
        return Return::Rebuild;
    }
    let mut steps = Vec::new();
    if there.partitions < record.partitions {
        steps.push(Step::Grow(side, record.partitions));
    }
    let wanted = record.configs.iter().map(|(name, value)| Change { name: name.clone(), value: Some(value.clone()) });
    let open: Vec<_> = wanted.filter(|change| !is_so(there, change)).collect();
    if !open.is_empty() {
        steps.push(Step::Alter(side, open));
    }
    if steps.is_empty() { Return::Same } else { Return::Mend(steps) }
}
