//! Reading both sides, comparing, and repairing the one that is behind: after a start, before a planned flip, after
//! time alone, and when asked to.

use std::collections::BTreeSet;

use naru_kafka::{client::TopicPartition, wire::ErrorCode};

use super::{
    Action, Failed, Offsets,
    event::Codes,
    group::Group,
    lane::{Change, Doubt, Members},
    mutant::mutant,
};
use crate::sequence::{Millis, OrderId};
use crate::side::{Side, SideMap};
use crate::sides::Standing;

/// How far the comparison of both sides is.
#[derive(Debug)]
pub(super) enum Sync {
    /// To be begun.
    Idle,
    Reading(Reading),
    /// Repairs up to this change are being written; then both are read again.
    Repairing {
        until: u64,
        excused: BTreeSet<TopicPartition>,
    },
    Done,
}

#[derive(Debug)]
pub(super) struct Reading {
    orders: SideMap<OrderId>,
    found: SideMap<Option<Offsets>>,
    /// Places that changed since the reading was ordered: it says nothing about them, and their own writes do.
    touched: BTreeSet<TopicPartition>,
    /// Places that the active side lacks and would not take back, because members hold the group there.
    excused: BTreeSet<TopicPartition>,
}

impl Sync {
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Whether changes of now have to go to the other side too.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self, Self::Idle)
    }

    pub(super) fn restart_if_done(&mut self) {
        if self.is_done() {
            *self = Self::Idle;
        }
    }

    pub(super) fn touch(&mut self, place: &TopicPartition) {
        if let Self::Reading(reading) = self {
            reading.touched.insert(place.clone());
        }
    }

    pub(super) fn excuse(&mut self, places: impl Iterator<Item = TopicPartition>) {
        if let Self::Repairing { excused, .. } = self {
            excused.extend(places);
        }
    }
}

impl Group {
    pub(super) fn advance_sync(&mut self, now: Millis, standing: Standing, out: &mut Vec<Action>) {
        let may_read = self.may_read(standing);
        match &mut self.sync {
            Sync::Idle if now >= self.sync_at && may_read => {
                self.begin_sync(standing, BTreeSet::new(), out);
            }
            Sync::Repairing { until, excused } => {
                let until = *until;
                let open = |side: Side| self.lanes[side].oldest_open().is_some_and(|oldest| oldest <= until);
                if !Side::BOTH.into_iter().any(open) && may_read {
                    let excused = std::mem::take(excused);
                    // The bulk is over: from here on the other side takes part in every acknowledgement.
                    self.tied = !standing.is_duplex();
                    self.begin_sync(standing, excused, out);
                }
            }
            _ => {}
        }
        self.report_equal(standing, out);
    }

    /// Whether a reading of both sides would say what they hold.
    fn may_read(&self, standing: Standing) -> bool {
        let (active, standby) = (&self.lanes[standing.active], &self.lanes[standing.standby()]);
        // What is in doubt may change what is read.
        let doubtful = !active.doubts.is_empty() || !standby.doubts.is_empty();
        // So does a write from a time when not every change went there; what came after it is found by this reading.
        let old = !standing.is_duplex() && !self.tied && standby.flight.is_some();
        // What the active side itself is given, from when it was the standby or by a repair, is written nowhere else.
        !doubtful && !old && active.is_idle()
    }

    fn begin_sync(&mut self, standing: Standing, excused: BTreeSet<TopicPartition>, out: &mut Vec<Action>) {
        let side = standing.standby();
        match self.lanes[side].members {
            Members::Gone => {}
            Members::Present => return self.remove_members(side, out),
            Members::Removing(_) => return,
        }
        // What is in flight to a side may be seen or not. What the active side takes from now on touches its place.
        let flights = Side::BOTH.into_iter().filter_map(|side| self.lanes[side].flight.as_ref());
        let touched = flights.flat_map(|flight| flight.changes.keys()).cloned().collect();
        let orders = SideMap::from_fn(|_| self.order());
        out.extend(Side::BOTH.map(|side| Action::Read { order: orders[side], side }));
        self.sync = Sync::Reading(Reading { orders, found: SideMap::default(), touched, excused });
    }

    pub(super) fn offsets_read(
        &mut self,
        now: Millis,
        order: OrderId,
        side: Side,
        outcome: Result<Offsets, Failed>,
        out: &mut Vec<Action>,
    ) {
        if self.lanes[side].reading.take_if(|reading| *reading == order).is_some() {
            return match outcome {
                Ok(found) => self.resolve_doubts(now, side, &found, out),
                Err(_) => self.failing(now, side, out),
            };
        }
        let Sync::Reading(reading) = &mut self.sync else { return };
        if reading.orders[side] != order {
            return;
        }
        match outcome {
            Ok(found) => {
                reading.found[side] = Some(found);
                if self.standing.is_some_and(|standing| standing.standby() == side) {
                    self.sync_pause_ms = self.config.retry_ms;
                }
                self.serving(side, out);
                let Sync::Reading(reading) = &mut self.sync else { return };
                if let SideMap { a: Some(a), b: Some(b) } = &mut reading.found {
                    let found = SideMap { a: std::mem::take(a), b: std::mem::take(b) };
                    let (touched, excused) =
                        (std::mem::take(&mut reading.touched), std::mem::take(&mut reading.excused));
                    self.compare(found, &touched, excused);
                }
            }
            Err(_) => {
                self.sync = Sync::Idle;
                self.sync_at = now + self.config.retry_ms;
                self.failing(now, side, out);
            }
        }
    }

    fn compare(
        &mut self,
        found: SideMap<Offsets>,
        touched: &BTreeSet<TopicPartition>,
        excused: BTreeSet<TopicPartition>,
    ) {
        let Some(standing) = self.standing else { return };
        let (active, standby) = (standing.active, standing.standby());
        let known = self.acknowledged.keys().chain(self.marking.marks.keys());
        let places: BTreeSet<_> = found.a.keys().chain(found.b.keys()).chain(known).cloned().collect();
        self.gone_back.clear();
        let mut until = None;
        let mut again = false;
        for place in places {
            // A client's commit of it is on its way to the active side, and what was read may be from before it.
            if self.forwarded.values().any(|request| request.changes.contains_key(&place)) {
                again |= found.a.get(&place) != found.b.get(&place);
                continue;
            }
            if touched.contains(&place) || self.lanes[standby].is_open(&place) || self.lanes[active].is_open(&place) {
                continue;
            }
            let truth = found[active].get(&place).cloned();
            let other = found[standby].get(&place).cloned();
            truth.iter().chain(&other).for_each(|position| self.marking.saw(&place, position));
            let version = self.lanes[active].known.get(&place).map_or(0, |known| known.version);
            if truth == other || mutant!(self.config, SkipRecopy) {
                match &truth {
                    Some(truth) => drop(self.marking.counts(&place, truth)),
                    None => self.marking.gone(&place),
                }
                for side in Side::BOTH {
                    self.confirm(side, [(place.clone(), Change { position: truth.clone(), version })].into());
                }
                continue;
            }
            // Never a step back for a group: what only the other side still holds was acknowledged once, and the
            // active side has forgotten it (an idle group's offsets expire), unless it is known to have been deleted
            // there. It is given back, if it is taken. Alone, too: it may have been forgotten just before.
            let known = self.lanes[active].known.get(&place);
            let deleted = known.is_some_and(|known| known.version > 0 && known.position.is_none());
            let forgotten = truth.is_none() && (standing.is_duplex() || !deleted);
            if forgotten && excused.contains(&place) {
                // Members hold the group there, and commit anew.
                self.acknowledged.remove(&place);
                continue;
            }
            let version = self.version();
            until = Some(version);
            let counting = truth.as_ref().map(|found| self.truth(standing, &place, found, other.as_ref()));
            let counting = if forgotten { other.clone() } else { counting };
            for found in truth.iter().chain(&other).filter(|found| Some(*found) != counting.as_ref()) {
                if let Some(counting) = &counting {
                    self.marking.counts_over(&place, counting, found);
                }
            }
            if counting != truth {
                // The end of the active side's log of offsets is gone, or the place has expired there.
                if truth.is_some() {
                    self.gone_back.insert(place.clone());
                }
                let change = Change { position: counting.clone(), version };
                if counting != other {
                    self.lanes[standby].put(place.clone(), change.clone());
                }
                self.lanes[active].put(place, change);
            } else {
                let change = Change { position: truth, version };
                self.lanes[active].known.insert(place.clone(), change.clone());
                // It holds the older one still, which may have been acknowledged.
                let before = self.lanes[standby].known.get(&place).filter(|before| before.position == other);
                let before = Change { version: before.map_or(0, |before| before.version), position: other };
                self.lanes[standby].known.insert(place.clone(), before);
                self.wait_again(&place);
                self.lanes[standby].put(place, change);
            }
        }
        for side in Side::BOTH {
            self.lanes[side].is_known_whole = true;
        }
        // What the standby holds of an acknowledged place must be known: by this reading, or by a write that waits.
        again |= self.acknowledged.iter().any(|(place, version)| {
            let lane = &self.lanes[standby];
            !lane.is_open(place) && lane.known.get(place).is_none_or(|known| known.version < *version)
        });
        // So is what could not be judged; and a follower is read a second time with every change of now written to both.
        let first_look = again || !standing.is_duplex() && !self.tied;
        self.sync = match until {
            None if !first_look => {
                self.compared = true;
                Sync::Done
            }
            until => Sync::Repairing { until: until.unwrap_or(0), excused },
        };
    }

    /// Reads a side again as long as something about it is in doubt.
    pub(super) fn read_doubts(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        let lane = &self.lanes[side];
        if lane.doubts.is_empty() || lane.reading.is_some() || now < lane.retry_at {
            return;
        }
        if lane.awaits_another() && now < lane.look_at {
            return;
        }
        let order = self.order();
        self.lanes[side].reading = Some(order);
        out.push(Action::Read { order, side });
    }

    fn resolve_doubts(&mut self, now: Millis, side: Side, found: &Offsets, out: &mut Vec<Action>) {
        self.serving(side, out);
        let settle_ms = self.config.settle_ms;
        let mut doubts = std::mem::take(&mut self.lanes[side].doubts);
        for doubt in &mut doubts {
            doubt.answered.get_or_insert(now);
        }
        let (over, open): (Vec<_>, Vec<_>) = doubts.into_iter().partition(|doubt| {
            let settled = doubt.answered.is_some_and(|first| now >= first + settle_ms)
                || mutant!(self.config, LateCommitOverwrites);
            settled || self.lanes[side].shows(doubt, found)
        });
        self.lanes[side].doubts = open;
        self.lanes[side].retry_at = if self.lanes[side].doubts.is_empty() { now } else { now + self.config.retry_ms };
        let is_active = self.standing.is_some_and(|standing| standing.active == side);
        for doubt in over {
            match (doubt.is_clients, is_active) {
                (true, true) => self.settle_clients(doubt, found),
                // Sent to the side that was active then: whether it arrived, the comparison finds.
                (true, false) => {}
                (false, _) => self.settle_own(side, doubt, found),
            }
        }
    }

    /// A client's request: what is there was taken.
    fn settle_clients(&mut self, doubt: Doubt, found: &Offsets) {
        let code = |(place, change): (&TopicPartition, &Change)| {
            let there = found.get(place) == change.position.as_ref();
            (place.clone(), if there { ErrorCode::NONE } else { ErrorCode::COORDINATOR_NOT_AVAILABLE })
        };
        let codes: Codes = doubt.changes.iter().map(code).collect();
        let changes = doubt.changes.into_iter().map(|(place, change)| (place, change.position)).collect();
        self.accept(doubt.ticket, changes, codes);
    }

    fn settle_own(&mut self, side: Side, doubt: Doubt, found: &Offsets) {
        for (place, change) in doubt.changes {
            let newer = self.lanes[side].known.get(&place).is_some_and(|known| known.version >= change.version);
            if newer {
                continue;
            }
            if found.get(&place) == change.position.as_ref() {
                self.confirm(side, [(place, change)].into());
            } else {
                self.lanes[side].put(place, change);
            }
        }
    }
}
