//! The gate: what every side that must hold a batch has confirmed is acknowledged and shown.

use naru_model::invariant;

use super::mutant::mutant;
use super::partition::Partition;
use super::track::{Follow, Stage};
use super::{Acked, Action, Millis};
use crate::side::Side;

impl Partition {
    /// Up to where every side that must hold a record does.
    pub(super) fn reach(&self) -> i64 {
        if self.is_running() && self.is_blocked() {
            return self.line.gate;
        }
        let ends = Side::BOTH.into_iter().filter(|side| self.requires(*side)).map(|side| {
            let track = &self.sides[side];
            // A side under suspicion confirms nothing.
            match (track.fault, track.contradicted) {
                (Some(_), _) => self.line.gate,
                (None, Some(offset)) => track.end.min(offset).max(self.line.gate),
                (None, None) => track.end,
            }
        });
        ends.min().unwrap_or(self.line.gate)
    }

    pub(super) fn move_gate(&mut self, now: Millis, out: &mut Vec<Action>) {
        let reach = self.reach();
        let leased = self.is_leased(now);
        let mut shown = Vec::new();
        if mutant!(self.config, AcknowledgeBeforeStandby) {
            self.acknowledge_placed(now, out);
        }
        while let Some(entry) = self.line.placed.front() {
            let waits = !entry.waiters.is_empty();
            // Without a lease, or by one side alone where that may not be, nothing is acknowledged; what nobody waits for is
            // only known (RELAY-9).
            if entry.next_offset() > reach || waits && (!leased || self.is_blocked()) {
                break;
            }
            let Some(mut entry) = self.line.placed.pop_front() else { break };
            self.line.gate = entry.next_offset();
            self.last_batch = (entry.offset, entry.header.crc);
            self.acknowledge(now, &mut entry, out);
            // The client's own producer, under whichever the batch was written.
            let client = *entry.batch.header();
            self.producers.done(entry.key, client.producer_id);
            self.producers.remember(entry.offset, &client);
            self.is_remembered(&client);
            self.check_window(client.producer_id);
            if self.is_running() {
                shown.push(entry.shown());
            }
            self.spool(&entry);
        }
        if self.is_running() && self.shown != Some(self.line.gate) {
            let mut gate = self.line.gate;
            if mutant!(self.config, SkipGate) {
                gate = self.line.end;
            }
            invariant!(RELAY_2, gate <= self.reach(), "gate {gate} shown, {} held by all", self.reach());
            self.shown = Some(gate);
            out.push(Action::Gate { gate, batches: shown });
        }
    }

    /// Answers everyone who waits for a batch that is where it must be.
    fn acknowledge(&self, now: Millis, entry: &mut super::line::Entry, out: &mut Vec<Action>) {
        if entry.waiters.is_empty() {
            return;
        }
        let (offset, next) = (entry.offset, entry.next_offset());
        invariant!(RELAY_1, next <= self.reach(), "{offset} acknowledged, {} held by all", self.reach());
        invariant!(RELAY_9, now < self.leased_until, "{offset} acknowledged at {now}, lease {}", self.leased_until);
        entry.answer(Ok(Acked { base_offset: offset, log_start: self.log_start }), out);
    }

    fn acknowledge_placed(&mut self, now: Millis, out: &mut Vec<Action>) {
        let mut placed = std::mem::take(&mut self.line.placed);
        for entry in &mut placed {
            self.acknowledge(now, entry, out);
        }
        self.line.placed = placed;
    }

    pub(super) fn check_window(&self, producer_id: i64) {
        let newest = self.producers.newest_of(producer_id);
        invariant!(
            RELAY_11,
            newest.is_none_or(|newest| newest < self.line.gate),
            "{newest:?} remembered, gate {}",
            self.line.gate
        );
    }

    /// Says so once nothing is in flight, both ends are equal and nothing is admitted.
    pub(super) fn quiesce(&mut self, out: &mut Vec<Action>) {
        let is_still = |side: Side| {
            let track = &self.sides[side];
            // The standby of an `async` topic may become the active side next, and must hold all that was acknowledged.
            let counts = self.requires(side) || self.standing.in_sync.contains(side);
            let follows = !self.config.duplex && matches!(track.stage, Stage::Follow(Follow::Copying));
            let holds = (track.is_checked() || follows) && track.end == self.line.gate;
            track.flight.is_empty() && (!counts || holds)
        };
        if self.quiescing
            && !self.quiesced
            && self.is_running()
            && self.line.len() == 0
            && Side::BOTH.into_iter().all(is_still)
        {
            self.quiesced = true;
            out.push(Action::Quiesced { end: self.line.gate });
        }
    }
}
