//! A change of the record comes back: what was read holds from then on.

use super::event::{Action, CommandRefused, SwapOutcome};
use super::group::{Change, Group};
use super::health::Unfit;
use super::returning::Returning;
use super::swapping::Step;
use super::{Cause, GroupRecord, Standing};
use crate::sequence::Millis;
use crate::side::{Side, SideMap};

impl Group {
    pub(super) fn swapped(&mut self, now: Millis, outcome: SwapOutcome, out: &mut Vec<Action>) {
        self.coordinator_lost_at = (outcome == SwapOutcome::Unavailable).then_some(now);
        let Some(swap) = &mut self.swap else { return };
        if swap.swapped(now, self.config.retry_ms, outcome, out) == Step::NotWritten {
            self.swap = None;
            self.fail_switch(CommandRefused::NoCoordinator, out);
            if let Some(id) = self.confirming.take() {
                out.push(Action::Answer { id, result: Err(CommandRefused::NoCoordinator) });
            }
        }
    }

    pub(super) fn read(&mut self, now: Millis, found: Option<Option<(u64, GroupRecord)>>, out: &mut Vec<Action>) {
        self.coordinator_lost_at = found.is_none().then_some(now);
        let step = match (&mut self.swap, found) {
            (Some(swap), found) => swap.read(now, self.config.retry_ms, found),
            (None, Some(Some((version, record)))) if version > self.version => Step::ReadBack(version, record),
            (None, Some(Some((version, _)))) if version == self.version => Step::Goes,
            (None, Some(None)) if self.version == 0 => Step::Goes,
            (None, Some(older)) => Step::WentBack(older),
            (None, None) => Step::Goes,
        };
        match step {
            Step::ReadBack(version, record) if record.standing.epoch >= self.held.standing.epoch => {
                self.adopt(now, version, record, out);
            }
            Step::ReadBack(version, record) => self.went_back(Some((version, record))),
            Step::WentBack(older) => self.went_back(older),
            Step::Goes | Step::NotWritten => {}
        }
    }

    /// The coordinator holds less than was read back once: it was restored or emptied. What this relay knows is newer,
    /// and is written again; nothing is granted until both sides were read since (RELAY-13).
    pub(super) fn went_back(&mut self, older: Option<(u64, GroupRecord)>) {
        let unread = self.swap.take().map(|swap| swap.record());
        let sent = unread.map_or(self.held.standing, |record| record.standing);
        if sent.is_duplex() && !self.held.standing.is_duplex() {
            self.unread = Some(sent);
        }
        self.version = older.map_or(0, |(version, _)| version);
        let after = [Some(sent), older.map(|(_, record)| record.standing)].into_iter().flatten();
        let after = after.max_by_key(|standing| standing.epoch).unwrap_or(sent);
        // What was sent because a side is damaged may have held for a moment: that side does not come back by this.
        let damaged = |side| matches!(self.health.unfit(side), Some((_, Unfit::Damaged)));
        let keeps_damaged = |record: &GroupRecord| {
            Side::BOTH.into_iter().any(|side| record.standing.in_sync.contains(side) && damaged(side))
        };
        let base = match unread {
            Some(unread) if keeps_damaged(&self.held) && !keeps_damaged(&unread) => unread,
            _ => self.held,
        };
        self.rewrite = Some(GroupRecord { standing: next_epoch(base.standing, after), ..base });
        self.restored = true;
        self.coordinator_in_doubt = true;
        for member in self.health.members.values_mut() {
            member.read = SideMap::default();
        }
    }

    /// What was read back holds from now on.
    pub(super) fn adopt(&mut self, now: Millis, version: u64, record: GroupRecord, out: &mut Vec<Action>) {
        let before = std::mem::replace(&mut self.held, record);
        (self.version, self.swap, self.rewrite, self.unread) = (version, None, None, None);
        let (was, is) = (before.standing, record.standing);
        if was.in_sync != is.in_sync || was.active != is.active {
            self.solo_allowed_once = false;
            self.returning = Returning::default();
        }
        if record.grant == Some(Cause::Operator) && was.in_sync != is.in_sync {
            self.trusted = record.confirmed;
        }
        self.announce(out);
        for side in Side::BOTH {
            if was.in_sync.contains(side) && !is.in_sync.contains(side) {
                self.losses[side] += 1;
                self.health.forget(side, None);
            }
        }
        if is.is_duplex() && !was.is_duplex() {
            self.in_sync_since = now;
            self.trusted = true;
            Side::BOTH.into_iter().for_each(|side| self.health.forget(side, None));
        }
        if was.active != is.active {
            let began = self.switch.and_then(|switch| switch.quiesced_at()).unwrap_or(self.change_began);
            let took_ms = now.saturating_sub(began);
            self.last_change = Some(Change { from: was.active, cause: record.grant, at: now, took_ms });
        }
        self.switch_adopted(now, was.active, out);
        if let Some(id) = self.confirming.take_if(|_| record.rollback.is_none()) {
            out.push(Action::Answer { id, result: Ok(()) });
        }
    }
}

pub(super) fn next_epoch(standing: Standing, or_after: Standing) -> Standing {
    Standing { epoch: standing.epoch.max(or_after.epoch) + 1, ..standing }
}
