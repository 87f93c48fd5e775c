//! Sides that do not do what they are asked for.

use super::{Action, group::Group, sync::Sync};
use crate::sequence::{Millis, Suspicion};
use crate::side::Side;
use crate::sides::Standing;

/// Longest pause between two looks at a follower that fails: thousands of groups then ask the other side some hundred
/// times a second at most.
const SYNC_PAUSE_MS_MAX: Millis = 60_000;

impl Group {
    /// An attempt at a side failed: says so the first time, and waits before the next.
    pub(super) fn failing(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        let lane = &mut self.lanes[side];
        lane.retry_at = now + self.config.retry_ms;
        lane.doubts.iter_mut().for_each(|doubt| doubt.answered = None);
        if lane.failing_since.is_none() {
            lane.failing_since = Some(now);
            out.push(Action::Suspect { side, suspicion: Suspicion::Absent { since: now } });
        }
        self.untie(now, side);
    }

    pub(super) fn serving(&mut self, side: Side, out: &mut Vec<Action>) {
        if self.lanes[side].failing_since.take().is_some() {
            // Another coordinator may have less than this one had.
            if self.standing.is_some_and(Standing::is_duplex) {
                self.sync.restart_if_done();
            }
            out.push(Action::Suspect { side, suspicion: Suspicion::Serving });
        }
    }

    /// A follower that fails no longer takes part: it is copied anew, as soon as somebody asks for a comparison, and
    /// now and then. Each attempt reads the other side as well, which has all the clients to serve.
    pub(super) fn untie(&mut self, now: Millis, side: Side) {
        let follows = self.standing.is_some_and(|standing| !standing.in_sync.contains(side));
        if follows {
            self.tied = false;
            self.reported_equal = false;
            self.sync = Sync::Idle;
            self.lanes[side].pending.clear();
            self.sync_at = now + self.sync_pause_ms;
            self.lanes[side].look_at = self.sync_at;
            self.sync_pause_ms = (self.sync_pause_ms * 2).min(SYNC_PAUSE_MS_MAX);
        }
    }

    pub(super) fn suspect_slow(&mut self, now: Millis, out: &mut Vec<Action>) {
        let Some(standing) = self.standing else { return };
        let patience = self.config.suspect_after_ms;
        let sent = self.forwarded.values().map(|request| request.since).min();
        for side in Side::BOTH {
            let since = if side == standing.active { sent } else { self.lanes[side].flight.as_ref().map(|f| f.since) };
            if let Some(since) = since.filter(|since| now >= since + patience)
                && self.lanes[side].failing_since.is_none()
            {
                self.lanes[side].failing_since = Some(since);
                out.push(Action::Suspect { side, suspicion: Suspicion::Absent { since } });
                self.untie(now, side);
            }
        }
    }
}
