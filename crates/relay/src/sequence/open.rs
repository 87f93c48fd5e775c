//! A start: the ends of the sides in sync are read, what lies above the checkpoint is compared, and becomes the line.

use naru_kafka::wire::{Batch, BatchHeader, ErrorCode};

use super::compare::{Comparison, Locating, Step};
use super::event::{Located, ReadFailed};
use super::line::{Entry, Line, Sent};
use super::partition::{Partition, Phase};
use super::stamp::spare_id;
use super::track::{Follow, RETRY_MS, Stage};
use super::{Action, Millis, OrderId, Suspicion};
use crate::side::{Side, SideMap};

/// How far a start has come.
#[derive(Debug)]
pub(super) enum Opening {
    /// The ends are being read.
    Locating(Locating),
    /// What lies above the checkpoint is being compared.
    Surveying(Box<Comparison>),
}

impl Default for Opening {
    fn default() -> Self {
        Self::Locating(Locating::default())
    }
}

impl Partition {
    pub(super) fn opening_oldest(&self, side: Side) -> Option<Millis> {
        match &self.phase {
            Phase::Opening(Opening::Locating(locating)) => locating.orders[side].map(|(_, given)| given),
            Phase::Opening(Opening::Surveying(comparison)) => comparison.oldest(side),
            Phase::Running => None,
        }
    }

    /// Whether the side's end was read at the start.
    pub(super) fn has_opened(&self, side: Side) -> bool {
        match &self.phase {
            Phase::Opening(Opening::Locating(locating)) => locating.found[side].is_some(),
            Phase::Opening(Opening::Surveying(_)) | Phase::Running => true,
        }
    }

    /// Whether the side may be asked while the partition starts: nothing is on its way there any more.
    fn may_open(&self, now: Millis, side: Side) -> bool {
        let track = &self.sides[side];
        track.flight.is_empty() && track.fault.is_none() && now >= track.retry_at
    }

    /// What was read of a side over the connection before says nothing of what is there now.
    pub(super) fn reconnected(&mut self, side: Side) {
        self.sides[side].doubt();
        // It may have been away: nothing is left to it alone before it was looked at.
        self.sides[side].changed |= self.is_running() && self.standing.in_sync.contains(side);
        let counts = self.opens_with(side);
        match &mut self.phase {
            Phase::Opening(Opening::Locating(locating)) => locating.found[side] = None,
            Phase::Opening(Opening::Surveying(_)) if counts => self.reopen(),
            Phase::Opening(_) | Phase::Running => {}
        }
    }

    pub(super) fn open(&mut self, now: Millis, out: &mut Vec<Action>) {
        if self.waits_for_standing() {
            return;
        }
        if let Phase::Opening(Opening::Locating(_)) = self.phase {
            self.locate(now, out);
        }
        if let Phase::Opening(Opening::Surveying(_)) = self.phase {
            self.survey(now, out);
        }
    }

    /// Whether it has to be known first if one side alone counts: what that one has shown the other may lack, and the gate
    /// would be a smaller one (RELAY-2).
    fn waits_for_standing(&self) -> bool {
        let pair_is_sent = self.sent.is_some_and(|sent| sent.in_sync.is_pair());
        self.config.duplex && self.shown.is_none() && !self.standing.is_duplex() && pair_is_sent
    }

    pub(super) fn opens_with(&self, side: Side) -> bool {
        self.requires(side) || self.standing.active == side
    }

    fn locate(&mut self, now: Millis, out: &mut Vec<Action>) {
        for side in Side::BOTH {
            let (needed, may) = (self.opens_with(side), self.may_open(now, side));
            let order = self.order_id();
            let Phase::Opening(Opening::Locating(locating)) = &mut self.phase else { return };
            if needed && may && locating.orders[side].is_none() && locating.found[side].is_none() {
                locating.orders[side] = Some((order, now));
                out.push(Action::ReadEnd { order, side, epoch: self.sides[side].whole_epoch });
            }
        }
        let Phase::Opening(Opening::Locating(locating)) = &self.phase else { return };
        let found = locating.found;
        let all_found = Side::BOTH.into_iter().all(|side| !self.opens_with(side) || found[side].is_some());
        let no_fault = Side::BOTH.into_iter().all(|side| !self.opens_with(side) || self.sides[side].fault.is_none());
        if all_found && no_fault {
            self.begin_survey(found);
        }
    }

    /// Takes an end that was read during a start. False if the order is not one of the start's.
    pub(super) fn opening_located(
        &mut self,
        now: Millis,
        side: Side,
        order: OrderId,
        outcome: &Result<Located, ReadFailed>,
    ) -> bool {
        let Phase::Opening(Opening::Locating(locating)) = &mut self.phase else { return false };
        let Some((_, given)) = locating.orders[side].take_if(|(id, _)| *id == order) else { return false };
        match outcome {
            Ok(located) => {
                locating.found[side] = Some(*located);
                self.located(side, located);
                let agreed = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.agreed[side]);
                if self.uncompared && located.log_end < self.line.gate {
                    // Of what was copied something is gone again. Nothing was promised: it begins from the beginning.
                    self.unplace();
                    (self.line, self.last_batch) = (Line::new(0), (-1, 0));
                    self.reopen();
                    return true;
                }
                let track = &mut self.sides[side];
                if self.config.duplex && located.log_end < agreed.max(self.line.gate) {
                    track.fault = Some(Suspicion::Damaged);
                } else if track.whole_epoch >= 0 && track.whole_epoch != located.leader_epoch {
                    track.changed = true;
                }
            }
            Err(failed) => self.unread(now, side, given, *failed),
        }
        true
    }

    /// Notes what every reading of an end tells.
    pub(super) fn located(&mut self, side: Side, located: &Located) {
        let track = &mut self.sides[side];
        track.answered();
        track.log_start = located.log_start;
        track.cut = located.epoch_end.map(|end| end.min(located.log_end));
        track.leader_epoch = located.leader_epoch;
    }

    /// Notes that a side could not be read.
    pub(super) fn unread(&mut self, now: Millis, side: Side, given: Millis, failed: ReadFailed) {
        let track = &mut self.sides[side];
        match failed {
            ReadFailed::OtherTopic(_) => track.fault = Some(Suspicion::OtherTopic),
            // Its log begins higher or ends lower than it did: it is looked at again.
            ReadFailed::Refused(ErrorCode::OFFSET_OUT_OF_RANGE) => track.retry_at = now + RETRY_MS,
            ReadFailed::Unreachable | ReadFailed::Refused(_) => track.failed(now, given),
        }
    }

    fn begin_survey(&mut self, found: SideMap<Option<Located>>) {
        let known = || Side::BOTH.into_iter().filter_map(|side| found[side]);
        let log_start = known().map(|located| located.log_start).max().unwrap_or(0);
        let is_solo = known().count() == 1;
        let known_gate = self.knows_of_before();
        let mut gate = self.line.gate;
        if !known_gate && is_solo {
            // Nothing is known of what clients have seen, and there is nothing to compare with: all of it counts.
            gate = known().map(|located| located.log_end).fold(gate, i64::max);
        }
        if !self.config.duplex {
            gate = known().map(|located| located.log_end).min().unwrap_or(gate).min(gate);
            // What was acknowledged above it is gone, and with it what came before those producers' next batches: the
            // side would refuse them.
            let active = self.standing.active;
            for producer in self.producers.cut(gate) {
                self.restamp(active, producer);
            }
            self.keeper.fell_to(gate);
        }
        self.line.gate = gate.max(log_start);
        self.unplace();
        // Nothing is under way any more: what is not found is not there.
        for entry in &mut self.line.waiting {
            (entry.sent, entry.claimed) = (Sent::No, None);
        }
        // From the last batch below the gate on, if it is known: the logs may have been cut and written anew.
        let (last, _) = self.last_batch;
        let from = if last >= log_start && last < self.line.gate { last } else { self.line.gate };
        // And from where a newer leader epoch began than was known.
        let from = known().filter_map(|located| located.epoch_end).fold(from, i64::min).max(log_start);
        for side in Side::BOTH {
            if found[side].is_some() {
                let track = &mut self.sides[side];
                (track.end, track.tail, track.stage) = (self.line.gate, None, Stage::Unchecked);
            }
        }
        let until = SideMap::from_fn(|side| found[side].map_or(from, |located| located.log_end));
        let comparison = Comparison::new(from, until, self.copiers());
        self.phase = Phase::Opening(Opening::Surveying(Box::new(comparison)));
    }

    fn survey(&mut self, now: Millis, out: &mut Vec<Action>) {
        let may_ask = SideMap::from_fn(|side| self.may_open(now, side) || self.sides[side].is_checked());
        let bytes_max = self.config.copy_bytes_max;
        let ids = SideMap::from_fn(|_| self.order_id());
        loop {
            // What one side lacks is written before more is read.
            if self.line.bytes() >= bytes_max && !self.line.placed.is_empty() {
                return;
            }
            if self.transactional {
                return;
            }
            let Phase::Opening(Opening::Surveying(comparison)) = &mut self.phase else { return };
            match comparison.step() {
                Step::Both(batch, headers) => self.found(batch, None, headers),
                Step::Only(side, batch) => {
                    let headers = SideMap::from_fn(|_| *batch.header());
                    self.found(batch, Some(side), headers);
                }
                Step::Differ(headers) => return self.differs(headers),
                Step::More => return comparison.read(now, bytes_max, may_ask, ids, out),
                Step::Done => {
                    // What a start finds on every side in sync counts, also where nothing new would be acknowledged.
                    self.move_gate(now, out);
                    if !self.lacks_a_tail() {
                        self.run();
                    }
                    return;
                }
            }
        }
    }

    /// A batch that stands on both sides, or on one, with its header as it stands there.
    fn found(&mut self, batch: Batch, only: Option<Side>, headers: SideMap<BatchHeader>) {
        let header = *batch.header();
        if self.uncompared && (header.is_transactional() || header.is_control()) {
            self.transactional = true;
            return;
        }
        if header.producer_id == self.stamp.id {
            self.stamp.beyond(header.producer_epoch, spare_id);
        }
        if header.base_offset < self.line.gate {
            let (last, crc) = self.last_batch;
            let is_other = last >= 0 && header.base_offset >= last && (header.base_offset, header.crc) != (last, crc);
            if is_other && !self.is_copier(header.producer_id) {
                // Below the gate stands another batch than the one that was acknowledged.
                for side in Side::BOTH {
                    if only.is_none_or(|only| only == side) && self.opens_with(side) {
                        self.sides[side].fault = Some(Suspicion::Damaged);
                    }
                }
                self.reopen();
            }
            return;
        }
        if let Some(side) = only.filter(|side| self.is_late(*side, &header)) {
            self.sides[side].fault = Some(Suspicion::Diverged { offset: header.base_offset });
            return self.reopen();
        }
        let next = header.next_offset();
        for side in Side::BOTH {
            if only.is_none_or(|only| only == side) && self.opens_with(side) {
                (self.sides[side].end, self.sides[side].tail) = (next, Some(headers[side]));
            } else if self.opens_with(side) {
                // It ends where it was compared last, and gets the rest.
                self.sides[side].stage = Stage::Checked;
            }
        }
        self.adopt(batch);
    }

    /// Whether this side alone holds a client's batch that both have already, under whichever name: it came late, and
    /// the side takes it for a new one. The other side is left with what counts.
    pub(super) fn is_late(&self, side: Side, header: &BatchHeader) -> bool {
        let id = header.producer_id;
        let other = side.other();
        let is_whole = self.opens_with(other) && self.sides[other].fault.is_none();
        let is_clients = header.has_producer() && id != self.stamp.id && !self.is_copier(id);
        let name = |header: &BatchHeader| (header.producer_id, header.producer_epoch, header.base_sequence);
        let stands = || self.line.placed.iter().any(|entry| name(entry.batch.header()) == name(header));
        is_whole
            && is_clients
            && self.config.duplex
            && self.knows_of_before()
            && (self.producers.is_past(header) || stands())
    }

    /// Takes a batch that stands at the end of the line on some side into it: one of ours that waits, or another's.
    pub(super) fn adopt(&mut self, batch: Batch) {
        let header = *batch.header();
        match self.line.waiting.iter().position(|entry| self.is_same(entry, &batch)) {
            Some(index) => {
                if let Some(entry) = self.line.place(index)
                    && entry.plain
                {
                    self.stamp.placed(header.producer_epoch, header.last_sequence());
                }
            }
            None => {
                let own = self.owned(&batch);
                let is_stamped = !self.is_copier(header.producer_id);
                let mut entry = Entry::found(self.line.key(), batch);
                if let Some(own) = own {
                    (entry.batch, entry.plain, entry.stamped) = (own, true, is_stamped);
                }
                self.producers.found(entry.key, entry.batch.header());
                self.line.push(entry);
            }
        }
    }

    /// The line is about to be made anew.
    pub(super) fn unplace(&mut self) {
        for entry in self.line.unplace() {
            self.producers.done(entry.key, entry.batch.header().producer_id);
        }
    }

    /// The tails differ. A side that lost its tail and was written to again holds there what is of a newer leader epoch
    /// than the one under which it was whole, or not what was acknowledged last: the other's is the log. If neither has
    /// lost anything, neither was acknowledged, and the active side's is the log.
    fn differs(&mut self, headers: SideMap<BatchHeader>) {
        let (offset, crc) = self.last_batch;
        let is_last = |side: Side| (headers[side].base_offset, headers[side].crc) == (offset, crc);
        let is_newer = |side: Side| {
            let epoch = self.sides[side].whole_epoch;
            epoch >= 0 && headers[side].partition_leader_epoch > epoch
        };
        let standby = self.standing.standby();
        let acknowledged = Side::BOTH.into_iter().find(|side| is_last(*side) && !is_last(side.other()));
        let older = Side::BOTH.into_iter().find(|side| !is_newer(*side) && is_newer(side.other()));
        if let Some(side) = acknowledged.or(older) {
            let track = &mut self.sides[side];
            (track.changed, track.whole_epoch) = (false, track.leader_epoch);
            self.sides[side.other()].fault = Some(Suspicion::Damaged);
        } else {
            let offset = headers.a.base_offset.min(headers.b.base_offset);
            self.sides[standby].fault = Some(Suspicion::Diverged { offset });
        }
        self.reopen();
    }

    /// Whether a side ends below the other and may have lost what was shown: until it has that again, the gate is not
    /// known (RELAY-2). Where nothing is known of before, it may have.
    fn lacks_a_tail(&self) -> bool {
        let may_have_lost = |side: Side| self.sides[side].changed || !self.knows_of_before();
        let lacks = |side| self.opens_with(side) && may_have_lost(side) && self.sides[side].end < self.line.end;
        self.config.duplex && Side::BOTH.into_iter().any(lacks)
    }

    /// Whether anything says what was shown and acknowledged before: a checkpoint, or a start that was completed.
    pub(super) fn knows_of_before(&self) -> bool {
        self.checkpoint.is_some() || self.shown.is_some()
    }

    fn run(&mut self) {
        self.uncompared = false;
        for side in Side::BOTH {
            let in_sync = self.opens_with(side);
            let track = &mut self.sides[side];
            if in_sync {
                track.found_whole();
            } else {
                track.changed = false;
                track.stage = Stage::Follow(Follow::Unlocated);
            }
        }
        self.phase = Phase::Running;
    }

    /// Takes batches that were read during a start. False if the order is not one of the start's.
    pub(super) fn opening_read(
        &mut self,
        now: Millis,
        order: OrderId,
        outcome: &mut Option<Result<Vec<Batch>, ReadFailed>>,
    ) -> bool {
        let Phase::Opening(Opening::Surveying(comparison)) = &mut self.phase else { return false };
        let Some((side, given)) = comparison.owner(order) else { return false };
        let Some(outcome) = outcome.take() else { return true };
        match comparison.take(side, outcome) {
            Ok(()) => self.sides[side].answered(),
            Err(failed) => {
                self.unread(now, side, given, failed);
                self.reopen();
            }
        }
        true
    }
}
