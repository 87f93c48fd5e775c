//! A side in sync whose log is in doubt: after an answer that did not come or was not the expected one, a new connection
//! or a new leader epoch, its end is read, and from its last confirmed batch on everything is held against the line
//! (RELAY-3). Nothing is sent again before.

use naru_kafka::wire::{Batch, BatchHeader};

use super::event::{Located, ReadFailed};
use super::line::{Entry, Sent};
use super::partition::Partition;
use super::track::Stage;
use super::{Action, Millis, OrderId, Suspicion};
use crate::side::Side;

impl Partition {
    pub(super) fn examine(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        let track = &self.sides[side];
        let due = track.flight.is_empty() && track.fault.is_none() && now >= track.retry_at;
        if self.is_running() && due && matches!(track.stage, Stage::Unchecked) {
            let order = self.order_id();
            self.sides[side].stage = Stage::Locating(order, now);
            out.push(Action::ReadEnd { order, side });
        }
    }

    pub(super) fn end_read(
        &mut self,
        now: Millis,
        side: Side,
        order: OrderId,
        outcome: Result<Located, ReadFailed>,
        out: &mut Vec<Action>,
    ) {
        if self.opening_located(now, side, order, &outcome) {
            return;
        }
        let Stage::Locating(id, given) = self.sides[side].stage else { return };
        if id != order {
            return;
        }
        self.sides[side].stage = Stage::Unchecked;
        let located = match outcome {
            Ok(located) => located,
            Err(failed) => return self.unread(now, side, given, failed),
        };
        self.located(side, &located);
        let track = &mut self.sides[side];
        if located.log_end < track.end {
            track.fault = Some(Suspicion::Damaged);
            return;
        }
        // From the last batch that it confirmed: a log that was cut and written anew is as long as before.
        let from = match track.tail {
            Some(tail) if tail.base_offset >= located.log_start => tail.base_offset,
            _ => track.end,
        };
        self.read_on(now, side, from, located.log_end, out);
    }

    fn read_on(&mut self, now: Millis, side: Side, at: i64, until: i64, out: &mut Vec<Action>) {
        if at >= until {
            return self.resolved(side);
        }
        let order = self.order_id();
        self.sides[side].stage = Stage::Reading { order, given: now, at, until };
        let bytes_max = self.config.copy_bytes_max;
        out.push(Action::Read { order, side, from: at, before: until, bytes_max });
    }

    /// Everything there is known: what is not there is sent again.
    fn resolved(&mut self, side: Side) {
        self.sides[side].stage = Stage::Checked;
        if self.standing.active == side {
            for entry in self.line.waiting.iter_mut().filter(|entry| entry.sent == Sent::Unknown) {
                entry.sent = Sent::No;
            }
        }
    }

    pub(super) fn batches_read(
        &mut self,
        now: Millis,
        side: Side,
        order: OrderId,
        outcome: Result<Vec<Batch>, ReadFailed>,
        out: &mut Vec<Action>,
    ) {
        let mut outcome = Some(outcome);
        if self.opening_read(now, order, &mut outcome) {
            return;
        }
        let Some(outcome) = outcome else { return };
        let Stage::Reading { order: id, given, mut at, until } = self.sides[side].stage else { return };
        if id != order {
            return;
        }
        self.sides[side].stage = Stage::Unchecked;
        let batches = match outcome {
            Ok(batches) => batches,
            Err(failed) => return self.unread(now, side, given, failed),
        };
        self.sides[side].answered();
        let before = at;
        for batch in batches {
            if at >= until {
                break;
            }
            let header = *batch.header();
            if header.base_offset != at {
                self.sides[side].fault = Some(self.contradiction(side, at));
                return;
            }
            at = header.next_offset();
            if let Err(fault) = self.hold_against(side, batch) {
                self.sides[side].fault = Some(fault);
                return;
            }
        }
        if at == before {
            // Nothing where something should be: its end fell meanwhile, which the next look tells.
            self.sides[side].failed(now, given);
            return;
        }
        self.read_on(now, side, at, until, out);
    }

    /// What it means that other records stand at an offset than the line holds.
    fn contradiction(&self, side: Side, offset: i64) -> Suspicion {
        if offset < self.sides[side].end { Suspicion::Damaged } else { Suspicion::Diverged { offset } }
    }

    /// Holds a batch that was found on a side against the line.
    fn hold_against(&mut self, side: Side, batch: Batch) -> Result<(), Suspicion> {
        let header = *batch.header();
        let at = header.base_offset;
        let track = &self.sides[side];
        if at < track.end {
            let confirmed = track.tail.is_some_and(|tail| is_tail(&tail, &header));
            return if confirmed { Ok(()) } else { Err(Suspicion::Damaged) };
        }
        let (next, is_active) = (header.next_offset(), self.standing.active == side);
        if at < self.line.end {
            let matches = self.line.at(at).is_some_and(|entry| self.is_same(entry, &batch));
            if !matches {
                return Err(Suspicion::Diverged { offset: at });
            }
            let track = &mut self.sides[side];
            (track.end, track.tail) = (next, Some(header));
            return Ok(());
        }
        if !is_active {
            return Err(Suspicion::Diverged { offset: at });
        }
        // At the end of the line: one of ours whose answer did not come, or an older writer's late batch.
        match self.line.waiting.iter().position(|entry| entry.sent == Sent::Unknown && self.is_same(entry, &batch)) {
            Some(index) => self.place(side, index),
            None => {
                let entry = Entry::found(self.line.key(), batch);
                self.line.push(entry);
                let track = &mut self.sides[side];
                (track.end, track.tail) = (next, Some(header));
            }
        }
        Ok(())
    }
}

fn is_tail(tail: &BatchHeader, found: &BatchHeader) -> bool {
    let key = |header: &BatchHeader| (header.base_offset, header.last_offset_delta, header.crc, header.producer_id);
    key(tail) == key(found)
}
