//! The way of a side back into the pair.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::event::{Action, Assessment};
use super::group::Group;
use crate::sequence::{Millis, Suspicion};
use crate::side::Side;

/// How far a side that left the pair has come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnStage {
    /// Both sides are in sync.
    InSync,
    /// It is away, or has not answered for long enough.
    Away,
    /// Its cluster and topics are looked at.
    Assessing,
    /// Topics are made again on it.
    Rebuilding,
    /// Records and committed offsets are copied to it.
    Following,
    /// Both sides are required for every acknowledgement; ends are about to be equal.
    Joining,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offsets {
    Wanted,
    Copying,
    Equal,
}

#[derive(Debug)]
enum Stage {
    Away,
    Assessing,
    Rebuilding { left: BTreeSet<Arc<str>>, failed: bool },
    Following { offsets: Offsets },
    Joining { until: Millis, offsets: Offsets },
}

/// The return of the side that is not in sync.
#[derive(Debug)]
pub(super) struct Returning {
    stage: Stage,
    /// Nothing new is begun before this time.
    again_at: Millis,
}

impl Default for Returning {
    fn default() -> Self {
        Self { stage: Stage::Away, again_at: 0 }
    }
}

impl Returning {
    pub fn stage(&self) -> ReturnStage {
        match self.stage {
            Stage::Away => ReturnStage::Away,
            Stage::Assessing => ReturnStage::Assessing,
            Stage::Rebuilding { .. } => ReturnStage::Rebuilding,
            Stage::Following { .. } => ReturnStage::Following,
            Stage::Joining { .. } => ReturnStage::Joining,
        }
    }

    /// Whether every acknowledgement needs both sides already.
    pub fn requires_both(&self) -> bool {
        matches!(self.stage, Stage::Joining { .. })
    }

    /// Gives the present step up and begins again later.
    fn back_to(&mut self, stage: Stage, again_at: Millis) {
        *self = Self { stage, again_at };
    }
}

impl Group {
    fn out_of_sync(&self) -> Option<Side> {
        Side::BOTH.into_iter().find(|side| !self.held.standing.in_sync.contains(*side))
    }

    pub(super) fn advance_return(&mut self, now: Millis, out: &mut Vec<Action>) {
        let Some(side) = self.out_of_sync() else { return };
        let Some(serving_since) = self.health.serving_since(side) else {
            if self.returning.stage() != ReturnStage::Away {
                self.returning = Returning::default();
            }
            return;
        };
        let rested = now >= self.returning.again_at;
        let topics = self.topics_to_rebuild(side);
        let may_join = rested && self.is_near(side) && self.may_send(now);
        // A change that is on its way may yet put the side into the set: nothing of it is deleted meanwhile.
        let may_rebuild = rested && self.trusted && self.swap.is_none();
        match &mut self.returning.stage {
            Stage::Away => {
                if rested && now >= serving_since + self.settle_ms(side) {
                    self.returning.stage = Stage::Assessing;
                    out.push(Action::AssessReturn { side });
                }
            }
            Stage::Assessing | Stage::Rebuilding { .. } => {}
            Stage::Following { .. } | Stage::Joining { .. } if !topics.is_empty() => {
                if may_rebuild {
                    self.rebuild(side, topics, out);
                } else if self.returning.requires_both() {
                    self.returning.stage = Stage::Following { offsets: Offsets::Wanted };
                }
            }
            Stage::Following { offsets } => match offsets {
                Offsets::Wanted if rested => {
                    *offsets = Offsets::Copying;
                    out.push(Action::RemoveMembers { side });
                    self.copy_offsets(side, out);
                }
                Offsets::Equal if may_join => {
                    let until = now + self.config.join_ms_max;
                    self.returning.stage = Stage::Joining { until, offsets: Offsets::Copying };
                    // Before the offsets are compared: what is committed from here on goes to both.
                    self.announce(out);
                    self.copy_offsets(side, out);
                }
                Offsets::Wanted | Offsets::Copying | Offsets::Equal => {}
            },
            Stage::Joining { until, offsets } => {
                let (until, offsets) = (*until, *offsets);
                if self.swap.is_some() {
                    return;
                }
                if now >= until {
                    let again_at = now + self.config.join_again_ms;
                    self.returning.back_to(Stage::Following { offsets: Offsets::Equal }, again_at);
                } else if offsets == Offsets::Equal
                    && self.health.has_caught_up(side, self.seen(), self.config.join_lag_max)
                    && self.may_send(now)
                {
                    self.send(self.pair(), out);
                }
            }
        }
    }

    /// Another try to make committed offsets equal.
    pub(super) fn copy_offsets(&mut self, side: Side, out: &mut Vec<Action>) {
        self.attempts += 1;
        out.push(Action::CopyOffsets { side, attempt: self.attempts });
    }

    fn is_near(&self, side: Side) -> bool {
        // It would leave the pair again at once.
        let keeps_offsets = self.health.complaints[side].is_none();
        keeps_offsets && self.health.lag_max(side).is_some_and(|lag| lag <= self.config.join_lag_max)
    }

    fn topics_to_rebuild(&self, side: Side) -> BTreeSet<Arc<str>> {
        let other = |suspicion| matches!(suspicion, Suspicion::Diverged { .. } | Suspicion::OtherTopic);
        let opinions = self.health.opinions(side).filter(|(_, opinion)| other(opinion.suspicion));
        opinions.map(|(partition, _)| partition.topic.clone()).collect()
    }

    fn rebuild(&mut self, side: Side, topics: BTreeSet<Arc<str>>, out: &mut Vec<Action>) {
        out.push(Action::Recreate { side, topics: topics.iter().cloned().collect() });
        self.returning.stage = Stage::Rebuilding { left: topics, failed: false };
    }

    /// The side of which a different tail would have to be removed although nothing says which side counts.
    pub(super) fn unconfirmed(&self) -> Option<Side> {
        self.out_of_sync().filter(|side| !self.trusted && !self.topics_to_rebuild(*side).is_empty())
    }

    pub(super) fn assessed(&mut self, now: Millis, side: Side, outcome: Assessment, out: &mut Vec<Action>) {
        if self.out_of_sync() != Some(side) || self.returning.stage() != ReturnStage::Assessing {
            return;
        }
        match outcome {
            Assessment::Failed => self.returning.back_to(Stage::Away, now + self.config.join_again_ms),
            // What has to be made again, its partitions tell, too: it waits until that may be.
            Assessment::Ready { rebuild } if rebuild.is_empty() || !self.trusted || self.swap.is_some() => {
                self.returning.stage = Stage::Following { offsets: Offsets::Wanted };
            }
            Assessment::Ready { rebuild } => self.rebuild(side, rebuild.into_iter().collect(), out),
        }
    }

    pub(super) fn recreated(&mut self, now: Millis, side: Side, topic: &Arc<str>, done: bool) {
        let Stage::Rebuilding { left, failed } = &mut self.returning.stage else { return };
        if self.held.standing.in_sync.contains(side) || !left.remove(topic) {
            return;
        }
        *failed |= !done;
        let (ended, failed) = (left.is_empty(), *failed);
        if done {
            self.health.forget(side, Some(topic));
        }
        match (ended, failed) {
            (false, _) => {}
            // Making a topic again has deleted what was committed for it.
            (true, false) => self.returning.stage = Stage::Following { offsets: Offsets::Wanted },
            (true, true) => self.returning.back_to(Stage::Away, now + self.config.join_again_ms),
        }
    }

    pub(super) fn offsets_copied(&mut self, now: Millis, side: Side, equal: bool) {
        self.switch_offsets_copied(now, side, equal);
        if self.held.standing.in_sync.contains(side) {
            return;
        }
        match &mut self.returning.stage {
            Stage::Following { offsets } | Stage::Joining { offsets, .. } if *offsets == Offsets::Copying => {
                *offsets = if equal { Offsets::Equal } else { Offsets::Wanted };
            }
            _ => return,
        }
        if !equal {
            let again_at = now + self.config.join_again_ms;
            self.returning.back_to(Stage::Following { offsets: Offsets::Wanted }, again_at);
        }
    }
}
