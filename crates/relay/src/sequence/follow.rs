//! A side that is not in sync, and the standby of an `async` topic: what it has is held against the active side's log,
//! what it lacks is copied, until it has everything and every batch since is required of it as well.

use naru_kafka::wire::Batch;

use super::compare::{Comparison, Locating, Step};
use super::event::{Located, ReadFailed};
use super::partition::Partition;
use super::track::{Follow, RETRY_MS, Spool, Stage};
use super::{Action, Millis, OrderId, Suspicion};
use crate::side::{Side, SideMap};

impl Partition {
    pub(super) fn follow(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        if !self.is_running() {
            return;
        }
        let Stage::Follow(follow) = &self.sides[side].stage else { return };
        match follow {
            Follow::Unlocated => self.locate_follower(now, side, out),
            Follow::Locating(_) => {}
            Follow::Aligning { .. } => self.begin_aligning(now, side, out),
            Follow::Comparing { .. } => self.compare_follower(now, side, out),
            Follow::Padding(_) => self.pad(now, side, out),
            Follow::Copying => {}
        }
        if let Stage::Follow(Follow::Copying) = self.sides[side].stage {
            self.join(now, side, out);
        }
    }

    fn locate_follower(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        let active = self.standing.active;
        let track = &self.sides[side];
        // A writer's last orders first: what they did must be there when the end is read.
        if side == active || track.fault.is_some() || !track.flight.is_empty() || now < track.retry_at {
            return;
        }
        if self.sides[active].fault.is_some() || now < self.sides[active].retry_at {
            return;
        }
        let mut locating = Locating::default();
        for of in Side::BOTH {
            let order = self.order_id();
            locating.orders[of] = Some((order, now));
            let epoch = self.sides[of].whole_epoch;
            out.push(Action::ReadEnd { order, side: of, epoch });
        }
        self.sides[side].stage = Stage::Follow(Follow::Locating(Box::new(locating)));
    }

    /// Takes an end that was read for a follower. False if the order is not one of a follower's.
    pub(super) fn follower_located(
        &mut self,
        now: Millis,
        of: Side,
        order: OrderId,
        outcome: &Result<Located, ReadFailed>,
    ) -> bool {
        for side in Side::BOTH {
            let Stage::Follow(Follow::Locating(locating)) = &mut self.sides[side].stage else { continue };
            let Some((_, given)) = locating.orders[of].take_if(|(id, _)| *id == order) else { continue };
            match outcome {
                Ok(located) => {
                    locating.found[of] = Some(*located);
                    let found = locating.found;
                    self.located(of, located);
                    if let (Some(ours), Some(theirs)) = (found[side], found[side.other()]) {
                        self.align(now, side, ours, theirs);
                    }
                }
                Err(failed) => {
                    self.sides[side].stage = Stage::Follow(Follow::Unlocated);
                    self.unread(now, of, given, *failed);
                    self.sides[side].retry_at = now + RETRY_MS;
                }
            }
            return true;
        }
        false
    }

    /// Both ends are known: what there is to compare, or to pad.
    fn align(&mut self, now: Millis, side: Side, follower: Located, active: Located) {
        let has = self.sides[self.standing.active].end;
        let track = &mut self.sides[side];
        track.spool.clear();
        // What only it holds is not the active side's, whatever was thought of it before.
        track.end = track.end.min(follower.log_end).min(has).min(follower.epoch_end.unwrap_or(i64::MAX));
        let low = follower.log_start.max(active.log_start);
        if follower.log_end < active.log_start || follower.log_end == follower.log_start && follower.log_end < low {
            // The active side no longer has what comes next here.
            track.end = follower.log_end;
            track.stage = Stage::Follow(Follow::Aligning { order: None, log_start: active.log_start });
            return;
        }
        track.end = track.end.max(low);
        // From the last batch that was equal and that both hold on, so that a log made anew is not taken for the old one.
        let from = (track.end - 1).max(low);
        let until = follower.log_end.min(has);
        let until = SideMap::from_fn(|_| until);
        let comparison = Box::new(Comparison::new(from, until, self.copiers()));
        let log_end = follower.log_end;
        self.sides[side].stage = Stage::Follow(Follow::Comparing { comparison, log_end });
        self.sides[side].retry_at = now;
    }

    fn compare_follower(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        let bytes_max = self.config.copy_bytes_max;
        let ids = SideMap::from_fn(|_| self.order_id());
        let may_ask = SideMap::from_fn(|of| now >= self.sides[of].retry_at);
        loop {
            let has = self.sides[self.standing.active].end;
            let idle = self.line.waiting.is_empty() && has >= self.line.end;
            let track = &mut self.sides[side];
            let Stage::Follow(Follow::Comparing { comparison, log_end }) = &mut track.stage else { return };
            match comparison.step() {
                Step::Both(batch, headers) => {
                    if batch.header().next_offset() >= track.end {
                        (track.end, track.tail) = (batch.header().next_offset(), Some(headers[side]));
                    }
                }
                Step::Differ(headers) => {
                    let offset = headers.a.base_offset.min(headers.b.base_offset);
                    track.fault = Some(Suspicion::Diverged { offset });
                }
                Step::Only(_, batch) => track.fault = Some(Suspicion::Diverged { offset: batch.header().base_offset }),
                Step::More => return comparison.read(now, bytes_max, may_ask, ids, out),
                Step::Done if *log_end <= track.end => {
                    track.whole_epoch = track.leader_epoch;
                    track.stage = Stage::Follow(Follow::Copying);
                    return;
                }
                // It holds more than the active side: perhaps what is on its way there now.
                Step::Done if !idle || track.end < has => {
                    track.retry_at = now + RETRY_MS;
                    track.stage = Stage::Follow(Follow::Unlocated);
                    return;
                }
                Step::Done => track.fault = Some(Suspicion::Diverged { offset: track.end }),
            }
            if track.fault.is_some() {
                track.stage = Stage::Follow(Follow::Unlocated);
                return;
            }
        }
    }

    pub(super) fn pause_copying(&mut self, side: Side, until: Millis) {
        if !self.requires(side) {
            let track = &mut self.sides[side];
            track.retry_at = track.retry_at.max(until);
        }
    }

    /// Orders the next batches that a follower lacks from the active side.
    pub(super) fn spool_more(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        let (active, gate) = (self.standing.active, self.line.gate);
        let before = gate.min(self.sides[active].end);
        let (from, may_ask) = (self.sides[side].end, now >= self.sides[active].retry_at);
        if side == active || from >= before || !may_ask || self.sides[side].spool.order.is_some() {
            return;
        }
        let order = self.order_id();
        // What is kept does not continue where the side ends.
        self.sides[side].spool = Spool { next: from, order: Some((order, now)), ..Spool::default() };
        let bytes_max = self.config.copy_bytes_max;
        // A log may begin inside a batch, and is not read below where it begins.
        let from = from.max(self.sides[active].log_start);
        out.push(Action::Read { order, side: active, from, before, bytes_max });
    }

    /// Takes batches that were read for a follower. False if the order is not one of a follower's.
    pub(super) fn follower_read(
        &mut self,
        now: Millis,
        order: OrderId,
        outcome: &mut Option<Result<Vec<Batch>, ReadFailed>>,
    ) -> bool {
        for side in Side::BOTH {
            let active = self.standing.active;
            let track = &mut self.sides[side];
            let (of, given, result) = match &mut track.stage {
                Stage::Follow(Follow::Comparing { comparison, .. }) => {
                    let Some((of, given)) = comparison.owner(order) else { continue };
                    let Some(outcome) = outcome.take() else { return true };
                    (of, given, comparison.take(of, outcome))
                }
                Stage::Follow(Follow::Aligning { order: Some((id, given)), .. }) if *id == order => {
                    let (given, Some(outcome)) = (*given, outcome.take()) else { return true };
                    (active, given, self.aligned(side, outcome))
                }
                _ => {
                    let Some((_, given)) = track.spool.order.take_if(|(id, _)| *id == order) else { continue };
                    let Some(outcome) = outcome.take() else { return true };
                    // An empty log that begins inside a batch of the active side can never hold that batch at its offset.
                    let first = outcome.as_ref().ok().and_then(|batches| batches.first());
                    if first.is_some_and(|batch| batch.header().base_offset < track.spool.next) {
                        track.fault = Some(Suspicion::Diverged { offset: track.spool.next });
                        track.stage = Stage::Follow(Follow::Unlocated);
                        return true;
                    }
                    (active, given, track.spooled(outcome))
                }
            };
            match result {
                Ok(()) => self.sides[of].answered(),
                Err(failed) => {
                    self.sides[side].doubt();
                    self.sides[side].retry_at = now + RETRY_MS;
                    self.unread(now, of, given, failed);
                }
            }
            return true;
        }
        false
    }

    /// A follower that has everything below the gate, and is required to have everything above it, is as good as in sync.
    fn join(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        self.trim_follower(now, side, out);
        let (gate, log_start, required) = (self.line.gate, self.log_start, self.config.duplex && self.is_in_sync(side));
        let track = &mut self.sides[side];
        if required && track.fault.is_none() && track.end >= gate && track.log_start >= log_start {
            track.found_whole();
            track.spool.clear();
        }
    }

    /// The topic was made again there: its log is empty.
    pub(super) fn recreated(&mut self, side: Side) {
        self.restamped[side].producers.clear();
        let track = &mut self.sides[side];
        track.fault = None;
        (track.refuses, track.stuck_since) = (None, None);
        track.changed = false;
        track.tail = None;
        track.end = 0;
        track.log_start = 0;
        (track.whole_epoch, track.cut) = (-1, None);
        track.told = None;
        track.spool.clear();
        track.stage = Stage::Follow(Follow::Unlocated);
        if !self.is_running() {
            self.reopen();
        }
    }
}
