//! Places of a group that were set back, and what counts there.
//!
//! Committed offsets mostly rise. Where two sides differ and nothing else is known, as at a start, the larger one is
//! therefore the newer, and the other side has lost the end of its log of offsets. A place that was set back breaks that:
//! as long as the group has not come as far again as a side has ever been, what counts there is a mark, durable before
//! it is acknowledged.

use std::collections::BTreeMap;

use naru_kafka::client::TopicPartition;

use super::{Action, Position, group::Group, mutant::mutant};
use crate::sequence::{Millis, OrderId};
use crate::sides::Standing;

/// What counts at a place that was set back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The newest position that the active side took.
    pub position: Position,
    /// The farthest that a side was ever known to hold: from there on the larger one is the newer again.
    pub farthest: Position,
}

/// All of a group.
pub type Marks = BTreeMap<TopicPartition, Mark>;

/// What is known of a group before it is read.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Those that were made durable last.
    pub marks: Marks,
    /// Whether no relay with this state was ever here: what the active side holds counts.
    pub adopts: bool,
}

/// The marks of a group, and how far they are durable.
#[derive(Debug, Default)]
pub(super) struct Marking {
    pub(super) marks: Marks,
    /// The farthest that either side was known to hold, by place.
    farthest: BTreeMap<TopicPartition, Position>,
    /// Rises with each change of a mark.
    version: u64,
    /// The newest change of a mark that is not durable, by place.
    open: BTreeMap<TopicPartition, u64>,
    /// The version that is durable.
    durable: u64,
    keeping: Option<(OrderId, u64)>,
    retry_at: Millis,
}

impl Marking {
    pub(super) fn new(marks: Marks) -> Self {
        let farthest = marks.iter().map(|(place, mark)| (place.clone(), mark.farthest.clone())).collect();
        Self { marks, farthest, ..Self::default() }
    }

    /// A side was found to hold this.
    pub(super) fn saw(&mut self, place: &TopicPartition, position: &Position) {
        if self.farthest.get(place).is_none_or(|farthest| farthest.offset < position.offset) {
            self.farthest.insert(place.clone(), position.clone());
        }
    }

    /// This counts from now on. The change of marks that has to be durable before it is acknowledged; 0 if none.
    pub(super) fn counts(&mut self, place: &TopicPartition, position: &Position) -> u64 {
        let farthest = self.farthest.get(place).filter(|farthest| farthest.offset >= position.offset);
        match farthest.filter(|farthest| *farthest != position).cloned() {
            None => {
                self.farthest.insert(place.clone(), position.clone());
                if self.marks.remove(place).is_some() {
                    self.changed(place);
                }
            }
            Some(farthest) => {
                let mark = Mark { position: position.clone(), farthest };
                if self.marks.get(place) != Some(&mark) {
                    self.marks.insert(place.clone(), mark);
                    self.changed(place);
                }
            }
        }
        self.open.get(place).copied().unwrap_or(0)
    }

    /// Of two that differ this one counts, and the other side may yet go back to its own.
    pub(super) fn counts_over(&mut self, place: &TopicPartition, position: &Position, other: &Position) {
        if other.offset >= position.offset {
            let farthest = self.farthest.get(place).filter(|farthest| farthest.offset > other.offset).unwrap_or(other);
            let farthest = farthest.clone();
            self.farthest.insert(place.clone(), farthest);
        }
        self.counts(place, position);
    }

    /// Neither side holds anything there.
    pub(super) fn gone(&mut self, place: &TopicPartition) {
        self.farthest.remove(place);
        if self.marks.remove(place).is_some() {
            self.changed(place);
        }
    }

    fn changed(&mut self, place: &TopicPartition) {
        self.version += 1;
        self.open.insert(place.clone(), self.version);
    }

    /// Whether the marks are durable as they were after this change, or later.
    pub(super) fn is_durable(&self, version: u64) -> bool {
        version <= self.durable
    }

    /// Whether every mark is durable.
    pub(super) fn rests(&self) -> bool {
        self.open.is_empty()
    }
}

impl Group {
    /// Orders that changed marks are made durable, all at once.
    pub(super) fn keep_marks(&mut self, now: Millis, out: &mut Vec<Action>) {
        let marking = &self.marking;
        if marking.rests() || marking.keeping.is_some() || now < marking.retry_at {
            return;
        }
        let (order, version) = (self.order(), self.marking.version);
        self.marking.keeping = Some((order, version));
        out.push(Action::Keep { order, marks: self.marking.marks.clone() });
    }

    pub(super) fn kept(&mut self, now: Millis, order: OrderId, done: bool) {
        let Some((_, version)) = self.marking.keeping.take_if(|(ordered, _)| *ordered == order) else { return };
        if done {
            self.marking.durable = version;
            self.marking.open.retain(|_, open| *open > version);
        } else {
            self.marking.retry_at = now + self.config.retry_ms;
        }
    }

    /// What counts at a place where the sides differ: what the active side holds, unless it has gone back behind what
    /// was known of it or, with both in sync, behind a mark or, where nothing is known, behind the other side.
    pub(super) fn truth(
        &self,
        standing: Standing,
        place: &TopicPartition,
        found: &Position,
        other: Option<&Position>,
    ) -> Position {
        let lane = &self.lanes[standing.active];
        if mutant!(self.config, ActiveOffsetsCount) || lane.doubts.iter().any(|d| d.changes.contains_key(place)) {
            return found.clone();
        }
        if let Some(mark) = self.marking.marks.get(place).filter(|_| standing.is_duplex()) {
            return if found.offset > mark.farthest.offset { found } else { &mark.position }.clone();
        }
        let known = lane.known.get(place).and_then(|known| known.position.as_ref());
        let newer = match known {
            Some(known) => Some(known).filter(|known| lane.known[place].version > 0 || other == Some(known)),
            None => other.filter(|_| standing.is_duplex() && !self.adopts),
        };
        newer.filter(|newer| newer.offset > found.offset).unwrap_or(found).clone()
    }
}
