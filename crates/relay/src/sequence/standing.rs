//! The group's standing changes: solo, the pair again, takeover.

use super::line::Sent;
use super::mutant::mutant;
use super::open::Opening;
use super::partition::{Partition, Phase};
use super::track::{Follow, Stage};
use super::{Action, Millis};
use crate::side::Side;
use crate::sides::Standing;

impl Partition {
    pub(super) fn stand(&mut self, _now: Millis, held: Standing, sent: Option<Standing>, _out: &mut Vec<Action>) {
        if held.epoch < self.standing.epoch {
            return;
        }
        let before = self.standing;
        let opened = Side::BOTH.map(|side| self.opens_with(side));
        let (mut held, mut sent) = (held, sent);
        if mutant!(self.config, TrustUnreadSwap)
            && let Some(unread) = sent.take()
        {
            held = unread;
        }
        self.standing = held;
        self.sent = sent;
        for side in Side::BOTH {
            self.sides[side].told = None;
        }
        if let Phase::Opening(_) = self.phase {
            for side in Side::BOTH {
                if !self.is_in_sync(side) {
                    self.sides[side].fault = None;
                }
            }
            // What a side holds counts only where it was read.
            if before != held || opened != Side::BOTH.map(|side| self.opens_with(side)) {
                self.phase = Phase::Opening(Opening::default());
            }
            return;
        }
        for side in Side::BOTH {
            self.place_side(side);
        }
        if before.active != held.active {
            self.take_over();
        }
    }

    /// A side that left the set follows. (One that came into it is required from now on, and joins when it has caught up.)
    fn place_side(&mut self, side: Side) {
        let in_sync = self.is_in_sync(side);
        let track = &mut self.sides[side];
        if in_sync || matches!(track.stage, Stage::Follow(_)) {
            return;
        }
        track.stage = Stage::Follow(Follow::Unlocated);
        track.changed = false;
        if track.fault.is_some() {
            // Where its leader epochs do not tell how much it lost or holds otherwise, all of it is compared.
            (track.end, track.tail) = (track.end.min(track.cut.unwrap_or(0)), None);
        }
        track.fault = None;
        track.contradicted = None;
        (track.refuses, track.stuck_since) = (None, None);
        track.spool.clear();
    }

    /// Another side orders now. What was on its way to the one before is sent again, in the same order: first what has
    /// an offset, at that very offset (`catch_up`), then the rest (`order`).
    /// What the one before did with its last orders is looked at when their outcomes are there (`new_written`).
    fn take_over(&mut self) {
        for entry in &mut self.line.waiting {
            entry.sent = Sent::No;
            entry.claimed = None;
            entry.refused_before = false;
        }
        let active = &self.sides[self.standing.active];
        if matches!(active.stage, Stage::Follow(_)) || active.end < self.line.gate {
            self.demote();
        }
    }

    /// The new active side holds less than was acknowledged: only an `async` topic's may. What it holds is the log.
    fn demote(&mut self) {
        self.unplace();
        self.reopen();
    }
}
