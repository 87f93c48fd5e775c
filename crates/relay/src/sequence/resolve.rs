//! A side in sync whose log is in doubt: after an answer that did not come or was not the expected one, a new connection
//! or a new leader epoch, its end is read, and from its last confirmed batch on everything is held against the line
//! (RELAY-3). Nothing is sent again before.

use naru_kafka::wire::{Batch, BatchHeader, ErrorCode};

use super::event::{Located, ReadFailed};
use super::line::Sent;
use super::partition::Partition;
use super::stamp::spare_id;
use super::track::{RETRY_MS, Stage};
use super::{Acked, Action, Millis, OrderId, Suspicion};
use crate::side::Side;

impl Partition {
    pub(super) fn examine(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        let track = &self.sides[side];
        let due = track.flight.is_empty() && track.fault.is_none() && now >= track.retry_at;
        if self.is_running() && due && matches!(track.stage, Stage::Unchecked) {
            let order = self.order_id();
            self.sides[side].stage = Stage::Locating(order, now);
            let epoch = self.sides[side].whole_epoch;
            out.push(Action::ReadEnd { order, side, epoch });
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
        if self.opening_located(now, side, order, &outcome) || self.follower_located(now, side, order, &outcome) {
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
        let other = side.other();
        let compares = self.requires(other) && self.sides[other].fault.is_none();
        let gate = self.line.gate;
        let track = &mut self.sides[side];
        if located.log_end < track.end {
            track.fault = Some(Suspicion::Damaged);
            return;
        }
        let newer_from = located.epoch_end.unwrap_or(i64::MAX);
        if newer_from < gate.min(track.end) && compares {
            // Below the gate something came under a newer leader epoch than was known: ours, if nothing was lost. The
            // line has it no longer, the other side does.
            return self.reopen();
        }
        // From the last batch that it confirmed: a log that was cut and written anew is as long as before.
        let from = match track.tail {
            Some(tail) if tail.base_offset >= located.log_start && tail.next_offset() == track.end => tail.base_offset,
            _ => track.end,
        };
        let from = if newer_from >= gate { from.min(newer_from) } else { from };
        self.read_on(now, side, from, located.log_end, out);
    }

    fn read_on(&mut self, now: Millis, side: Side, at: i64, until: i64, out: &mut Vec<Action>) {
        if at >= until {
            return self.resolved(now, side, out);
        }
        let order = self.order_id();
        self.sides[side].stage = Stage::Reading { order, given: now, at, until };
        let bytes_max = self.config.copy_bytes_max;
        out.push(Action::Read { order, side, from: at, before: until, bytes_max });
    }

    /// Everything above its confirmed end is known: what is not there is sent again, unless the side took it for a
    /// duplicate of something older.
    fn resolved(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        self.sides[side].found_whole();
        if self.standing.active != side {
            return;
        }
        let gate = self.line.gate;
        let mut claim = None;
        for entry in self.line.waiting.iter_mut().filter(|entry| entry.sent == Sent::Unknown) {
            match entry.claimed {
                Some(base) => claim = claim.or(Some((entry.key, base, entry.records()))),
                None => entry.sent = Sent::No,
            }
        }
        let Some((key, base, records)) = claim else { return };
        if base >= gate || base < self.sides[side].log_start {
            return self.judge(now, side, key, None, out);
        }
        let order = self.order_id();
        self.sides[side].stage = Stage::Judging { order, given: now, key };
        out.push(Action::Read { order, side, from: base, before: base + records, bytes_max: 1 });
    }

    /// Decides over a batch that a side took for a duplicate, by what it holds where it says.
    fn judge(&mut self, now: Millis, side: Side, key: u64, found: Option<Batch>, out: &mut Vec<Action>) {
        self.sides[side].stage = Stage::Checked;
        let Some(index) = self.line.waiting_index(key) else { return self.resolved(now, side, out) };
        let Some(base) = self.line.waiting.get_mut(index).and_then(|entry| entry.claimed.take()) else { return };
        let held = self.line.at(base).map(|entry| (entry.key, entry.batch.clone()));
        let entry = &self.line.waiting[index];
        let (plain, epoch) = (entry.plain, entry.header.producer_epoch);
        let is_below = found.is_some_and(|batch| batch.header().base_offset == base && self.is_same(entry, &batch));
        let placed = held.filter(|(_, batch)| base >= self.line.gate && self.is_same(entry, batch)).map(|(key, _)| key);
        if is_below && self.is_leased(now) {
            // Both sides hold it, below the gate: written before our time, or before we forgot.
            if let Some(mut entry) = self.line.waiting.remove(index) {
                self.producers.done(entry.key, entry.batch.header().producer_id);
                entry.answer(Ok(Acked { base_offset: base, log_start: self.log_start }), out);
            }
        } else if let Some(placed) = placed {
            // An older writer's, found above the gate: acknowledged with it.
            if let Some(entry) = self.line.waiting.remove(index) {
                self.producers.done(entry.key, entry.batch.header().producer_id);
                if let Some(held) = self.line.entry(placed) {
                    held.waiters.extend(entry.waiters);
                }
            }
        } else if is_below {
            self.line.waiting[index].claimed = Some(base);
            self.sides[side].retry_at = now + RETRY_MS;
            return self.sides[side].doubt();
        } else if plain {
            self.line.waiting[index].sent = Sent::No;
            self.stamp.beyond(epoch, spare_id);
            self.stamp_again();
        } else {
            // Nothing was written, and the producer's sequence is taken by something else.
            self.line.waiting[index].sent = Sent::No;
            self.drop_waiting(key, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, "taken for another batch", out);
        }
        self.resolved(now, side, out);
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
        if self.opening_read(now, order, &mut outcome) || self.follower_read(now, order, &mut outcome) {
            return;
        }
        let Some(outcome) = outcome else { return };
        if let Stage::Judging { order: id, given, key } = self.sides[side].stage
            && id == order
        {
            self.sides[side].stage = Stage::Unchecked;
            match outcome {
                Ok(batches) => self.judge(now, side, key, batches.into_iter().next(), out),
                Err(failed) => self.unread(now, side, given, failed),
            }
            return;
        }
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
            let in_line = self.line.at(at).is_some_and(|entry| self.is_same(entry, &batch));
            let confirmed = in_line || track.tail.is_some_and(|tail| is_tail(&tail, &header));
            return if confirmed { Ok(()) } else { Err(Suspicion::Damaged) };
        }
        let (next, is_active) = (header.next_offset(), self.standing.active == side);
        if at < self.line.end {
            let matches = self.line.at(at).is_some_and(|entry| self.is_same(entry, &batch));
            if !matches {
                return Err(Suspicion::Diverged { offset: at });
            }
            self.sides[side].took(next, header);
            return Ok(());
        }
        if !is_active {
            return Err(Suspicion::Diverged { offset: at });
        }
        if self.is_late(side, &header) {
            return Err(Suspicion::Diverged { offset: at });
        }
        // At the end of the line: one of ours whose answer did not come, or an older writer's late batch.
        self.adopt(batch);
        self.sides[side].took(next, header);
        Ok(())
    }
}

fn is_tail(tail: &BatchHeader, found: &BatchHeader) -> bool {
    let key = |header: &BatchHeader| (header.base_offset, header.last_offset_delta, header.crc, header.producer_id);
    key(tail) == key(found)
}
