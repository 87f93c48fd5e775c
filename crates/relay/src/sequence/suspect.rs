//! What the group is told of the sides.

use super::partition::Partition;
use super::track::{Follow, Stage};
use super::{Action, Millis, Suspicion};
use crate::side::Side;

impl Partition {
    /// A side that has not answered an order for long is taken for absent, and so is one that answers and takes
    /// nothing: it lacks replicas, its disk is full, the topic is gone.
    pub(super) fn suspect_overdue(&mut self, now: Millis) {
        for side in Side::BOTH {
            // What it did not take is not wanted any more, or is there: nothing shows that it takes none.
            if self.is_running() && !self.lacks_something(side) {
                self.sides[side].unstick();
            }
            for given in [self.oldest_order(side), self.sides[side].stuck_since].into_iter().flatten() {
                if now.saturating_sub(given) >= self.config.suspect_after_ms {
                    self.sides[side].absent_since.get_or_insert(given);
                }
            }
        }
    }

    /// Whether there is a batch that has to be written to the side.
    fn lacks_something(&self, side: Side) -> bool {
        self.sides[side].end < self.line.end || self.standing.active == side && !self.line.waiting.is_empty()
    }

    /// When the oldest order to a side that has no outcome was given.
    fn oldest_order(&self, side: Side) -> Option<Millis> {
        let compared = Side::BOTH.into_iter().filter_map(|of| match &self.sides[of].stage {
            Stage::Follow(Follow::Comparing { comparison, .. }) => comparison.oldest(side),
            Stage::Follow(Follow::Aligning { order: Some((_, given)), .. }) if side != of => Some(*given),
            Stage::Follow(Follow::Locating(locating)) => locating.orders[side].map(|(_, given)| given),
            _ => None,
        });
        let opened = self.opening_oldest(side);
        let spooled = self.sides[side.other()].spool.order.map(|(_, given)| given);
        compared.chain(opened).chain(spooled).chain(self.sides[side].oldest()).min()
    }

    pub(super) fn suspicion(&self, side: Side) -> Suspicion {
        let track = &self.sides[side];
        if let Some(fault) = track.fault {
            return fault;
        }
        if let Some(since) = track.absent_since {
            return Suspicion::Absent { since };
        }
        // A side that lacks nothing any more has nothing left to refuse, whoever gave it the rest.
        if let Some(code) = track.refuses
            && (self.standing.active == side || track.end < self.line.end)
        {
            return Suspicion::Refuses(code);
        }
        if track.changed || self.is_uncompared() {
            return Suspicion::Changed;
        }
        if self.is_running() && !self.standing.in_sync.contains(side) {
            return Suspicion::Behind { records: self.records_behind(side) };
        }
        Suspicion::Serving
    }

    /// Whether both have to be compared for the first time: until that is done either may be the one that lacks what
    /// the other has, such as a topic's history from before the relay came.
    fn is_uncompared(&self) -> bool {
        let needs_both = self.config.duplex && Side::BOTH.into_iter().all(|side| self.requires(side));
        needs_both && !self.is_running() && !self.knows_of_before()
    }

    /// How many records a side lacks that is not in sync; 0 only where every batch since is required to be on both.
    fn records_behind(&self, side: Side) -> i64 {
        let track = &self.sides[side];
        let behind = (self.line.gate - track.end).max(0);
        let has_joined =
            track.is_checked() || !self.config.duplex && matches!(track.stage, Stage::Follow(Follow::Copying));
        if has_joined { behind } else { behind.max(1) }
    }

    pub(super) fn tell(&mut self, tick: bool, out: &mut Vec<Action>) {
        for side in Side::BOTH {
            let suspicion = self.suspicion(side);
            // Nothing is known yet; but a side whose end was read as it was left can go on without one that is away or
            // is not to be trusted.
            let other = &self.sides[side.other()];
            let waits = (other.absent_since.is_some() || other.fault.is_some()) && self.has_opened(side);
            let known = self.is_running() || waits;
            let is_news = match suspicion {
                Suspicion::Serving => false,
                Suspicion::Changed => !self.is_uncompared(),
                _ => true,
            };
            if self.sides[side].told.is_none() && !known && !is_news {
                continue;
            }
            let progress = matches!(
                (self.sides[side].told, suspicion),
                (Some(Suspicion::Behind { records: before }), Suspicion::Behind { records }) if before > 0 && records > 0
            );
            if self.sides[side].told == Some(suspicion) || progress && !tick {
                continue;
            }
            self.sides[side].told = Some(suspicion);
            out.push(Action::Suspect { side, suspicion });
        }
    }
}
