//! The state machine of one service group.

use std::collections::BTreeMap;

use naru_model::invariant;

use super::adopting::next_epoch;
use super::config::{GroupConfig, PAUSE_MS};
use super::event::{Action, Alarm, Command, CommandRefused, Event, Seen};
use super::health::{Health, Unfit};
use super::returning::{ReturnStage, Returning};
use super::swapping::Swap;
use super::switching::{Switch, SwitchStage};
use super::{Absence, Cause, GroupRecord, Standing};
use crate::sequence::{Millis, Suspicion};
use crate::side::{Side, SideMap, SideSet};

/// What is known of a group when its relay starts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Boot {
    /// What the coordinator holds, with its version.
    pub found: Option<(u64, GroupRecord)>,
    /// What this relay's own checkpoints remember as read back last.
    pub remembered: Option<GroupRecord>,
    /// The coordinator is empty, or another one than the checkpoints know (RELAY-13).
    pub coordinator_in_doubt: bool,
}

/// The last change of the active side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// From which side.
    pub from: Side,
    /// Why; None for a planned switch.
    pub cause: Option<Cause>,
    /// When it was read back.
    pub at: Millis,
    /// From the first sign of absence, or from the quiescing of a planned switch, until then.
    pub took_ms: Millis,
}

/// What an operator may see of a group.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// What holds.
    pub record: GroupRecord,
    /// The version it has in the coordinator.
    pub version: u64,
    /// A change that was sent and is not read back, or that is required already.
    pub sent: Option<Standing>,
    /// Alarms with their texts.
    pub alarms: BTreeMap<Alarm, String>,
    /// How far the side that is not in sync has come back.
    pub returning: ReturnStage,
    /// A planned switch under way.
    pub switching: Option<SwitchStage>,
    /// Records that each side lacks, as far as every partition has said.
    pub lag: SideMap<Option<i64>>,
    /// Since when each side is absent.
    pub absent_since: SideMap<Option<Millis>>,
    /// Whether the state after the start is still in doubt for going on alone.
    pub in_doubt: bool,
    /// The last change of the active side since this relay started.
    pub last_change: Option<Change>,
}

/// What should become of the record, apart from what operators and returning sides want.
pub(super) enum Forced {
    Nothing,
    Send(GroupRecord),
    /// Something should, and there is no side to go on with.
    Stopped,
    /// Something should, but RELAY-13 forbids it.
    InDoubt,
}

/// One service group.
#[derive(Debug)]
pub struct Group {
    pub(super) config: GroupConfig,
    pub(super) held: GroupRecord,
    pub(super) version: u64,
    /// Whether it is known which side counts, which the record says as soon as it can. Without that no different tail is
    /// removed unasked.
    pub(super) trusted: bool,
    pub(super) coordinator_in_doubt: bool,
    /// What is held is this relay's memory, newer than the coordinator's: it has to be written.
    pub(super) rewrite: Option<GroupRecord>,
    pub(super) swap: Option<Swap>,
    /// The pair was sent and may have been set for a moment, in a coordinator that then went back: until something newer
    /// is read, both are required.
    pub(super) unread: Option<Standing>,
    pub(super) coordinator_lost_at: Option<Millis>,
    pub(super) restored: bool,
    pub(super) lease_until: Option<Millis>,
    pub(super) health: Health,
    pub(super) returning: Returning,
    pub(super) switch: Option<Switch>,
    pub(super) confirming: Option<u64>,
    /// How often committed offsets were to be made equal.
    pub(super) attempts: u64,
    pub(super) solo_allowed_once: bool,
    pub(super) alarms: BTreeMap<Alarm, String>,
    announced: Option<(Standing, Option<Standing>)>,
    pub(super) last_change: Option<Change>,
    /// The first sign of what the change on its way is made for.
    pub(super) change_began: Millis,
    pub(super) losses: SideMap<u32>,
    pub(super) in_sync_since: Millis,
    last_at: Millis,
    /// When this relay last went on after a pause of its own.
    resumed_at: Millis,
}

impl Group {
    /// A group as a relay finds it. The caller adds its partitions, then the first [`Event::Tick`] sets it going.
    pub fn new(config: GroupConfig, boot: Boot) -> Self {
        let found = boot.found.map(|(_, record)| record);
        let newest = match (found, boot.remembered) {
            (Some(found), Some(remembered)) if remembered.standing.epoch > found.standing.epoch => remembered,
            (Some(found), _) => found,
            (None, Some(remembered)) => remembered,
            (None, None) => GroupRecord::first(config.first_active),
        };
        let is_written = found == Some(newest);
        let restored = !is_written && boot.remembered.is_some();
        // The relay before may have sent the pair, and that may be applied yet: before one side goes on alone, the record
        // is written anew, so that nothing older can be.
        let alone = !newest.standing.is_duplex();
        let rewrite = (!is_written || alone).then(|| match found.or(boot.remembered) {
            Some(_) => GroupRecord { standing: next_epoch(newest.standing, newest.standing), ..newest },
            None => newest,
        });
        let pair = Standing { in_sync: SideSet::PAIR, epoch: newest.standing.epoch + 1, ..newest.standing };
        Self {
            config,
            held: newest,
            version: boot.found.map_or(0, |(version, _)| version),
            trusted: newest.confirmed,
            coordinator_in_doubt: boot.coordinator_in_doubt || !is_written,
            rewrite,
            swap: None,
            unread: alone.then_some(pair),
            coordinator_lost_at: None,
            restored,
            lease_until: None,
            health: Health::default(),
            returning: Returning::default(),
            switch: None,
            confirming: None,
            attempts: 0,
            solo_allowed_once: false,
            alarms: BTreeMap::new(),
            announced: None,
            last_change: None,
            change_began: 0,
            losses: SideMap::default(),
            in_sync_since: 0,
            last_at: 0,
            resumed_at: 0,
        }
    }

    /// What a partition that is opened now is made with, and what it is told: what holds, and what was sent.
    pub fn announcement(&self) -> (Standing, Option<Standing>) {
        // Whatever else is sent: what was required once is required until the try is given up, or what was compared
        // meanwhile would not hold.
        let joins = self.returning.requires_both() && !self.held.standing.is_duplex();
        let joining = joins.then(|| self.pair().standing);
        (self.held.standing, self.unread.or(joining).or_else(|| self.swap.map(|swap| swap.sent())))
    }

    /// What may be seen.
    pub fn view(&self) -> GroupView {
        let active = self.held.standing.active;
        GroupView {
            record: self.held,
            version: self.version,
            sent: self.announcement().1,
            alarms: self.alarms.clone(),
            returning: if self.held.standing.is_duplex() { ReturnStage::InSync } else { self.returning.stage() },
            switching: self.switch.map(|switch| switch.stage()),
            lag: SideMap::from_fn(|side| {
                if self.held.standing.in_sync.contains(side) { Some(0) } else { self.health.lag(side) }
            }),
            absent_since: SideMap::from_fn(|side| self.health.absent_since(side)),
            in_doubt: !self.health.is_beyond_doubt(active, self.coordinator_in_doubt),
            last_change: self.last_change,
        }
    }

    /// One step.
    pub fn on(&mut self, now: Millis, event: Event, out: &mut Vec<Action>) {
        self.on_all(now, [event], out);
    }

    /// Several events at once, with one decision behind all of them: what is decided looks at every partition.
    pub fn on_all(&mut self, now: Millis, events: impl IntoIterator<Item = Event>, out: &mut Vec<Action>) {
        if now > self.last_at.saturating_add(PAUSE_MS) {
            self.resumed_at = now;
        }
        self.last_at = now;
        events.into_iter().for_each(|event| self.take(now, event, out));
        self.decide(now, out);
    }

    fn take(&mut self, now: Millis, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Added { partition, duplex } => {
                let member = super::health::Member { duplex, ..Default::default() };
                self.health.members.insert(partition, member);
                self.fail_switch(CommandRefused::Cancelled, out);
            }
            Event::Removed { partition } => {
                self.health.members.remove(&partition);
            }
            Event::Report { partition, side, suspicion, seen } => {
                self.health.report(now, &partition, side, suspicion, seen);
            }
            Event::Quiesced { partition, end, seen } => {
                if let Some(member) = self.health.members.get_mut(&partition) {
                    member.quiesced = Some((end, seen));
                }
            }
            Event::Probed { side, outcome } => self.health.probed(now, side, outcome),
            Event::Complained { side, complaint } => self.health.complaints[side] = complaint,
            Event::Swapped(outcome) => self.swapped(now, outcome, out),
            Event::Read(found) => self.read(now, found, out),
            Event::Changed => {
                if self.swap.is_none() {
                    out.push(Action::ReadBack);
                }
            }
            Event::OffsetsCopied { side, attempt, equal } if attempt == self.attempts => {
                self.offsets_copied(now, side, equal);
            }
            // What was found in a try before does not count for one that requires more.
            Event::OffsetsCopied { .. } => {}
            Event::Assessed { side, outcome } => self.assessed(now, side, outcome, out),
            Event::Recreated { side, topic, done } => self.recreated(now, side, &topic, done),
            Event::Command { id, command } => self.command(now, id, command, out),
            Event::Lease { until } => self.lease_until = Some(until),
            Event::Tick => {}
        }
    }

    fn decide(&mut self, now: Millis, out: &mut Vec<Action>) {
        let may_write = self.has_lease(now);
        let spoiled = self.is_spoiled();
        self.settle(now);
        let forced = self.forced(now);
        if let Some(swap) = &mut self.swap {
            swap.tick(now, may_write && !spoiled, out);
        }
        if spoiled && may_write && self.swap.is_some_and(|swap| swap.stands_unwritten()) {
            let instead = match forced {
                Forced::Send(record) => Some(record),
                // One side alone as before: whatever else was sent can then be written no more.
                Forced::Nothing => Some(self.held),
                Forced::Stopped | Forced::InDoubt => None,
            };
            if let Some(record) = instead {
                self.fail_switch(CommandRefused::Cancelled, out);
                self.send_instead(record, out);
            }
        } else if let Forced::Send(record) = forced {
            if self.may_send(now) {
                self.fail_switch(CommandRefused::Cancelled, out);
                self.send(record, out);
            }
        } else {
            self.advance_switch(now, out);
        }
        self.advance_return(now, out);
        self.announce(out);
        self.raise(now, &forced, out);
    }

    /// Whether a change may be sent now: the lease holds, none is on its way, and the coordinator was not lost just now.
    pub(super) fn may_send(&self, now: Millis) -> bool {
        let rested = self.coordinator_lost_at.is_none_or(|at| now >= at + self.config.retry_ms);
        self.swap.is_none() && self.has_lease(now) && rested
    }

    pub(super) fn has_lease(&self, now: Millis) -> bool {
        self.lease_until.is_some_and(|until| now < until)
    }

    /// Sends a change. What it may require is announced before it can be applied.
    pub(super) fn send(&mut self, record: GroupRecord, out: &mut Vec<Action>) {
        let record = self.vetted(record);
        self.swap = Some(Swap::new(self.version, record));
        self.announce(out);
        out.push(Action::Swap { expected: self.version, record });
    }

    /// Sends another change in place of the one that is not written yet: of the two the coordinator takes one.
    fn send_instead(&mut self, record: GroupRecord, out: &mut Vec<Action>) {
        let mut record = self.vetted(record);
        if let Some(swap) = &mut self.swap {
            // Not to be taken for the other one.
            record.standing = next_epoch(record.standing, swap.sent());
            swap.instead(record, out);
        }
        self.announce(out);
    }

    /// Whether the change on its way would put a side into the set, or leave it there, that is known to be damaged since
    /// it was sent. It is not sent again.
    fn is_spoiled(&self) -> bool {
        let Some(sent) = self.swap.map(|swap| swap.sent()).filter(|_| self.rewrite.is_none()) else { return false };
        let damaged = |side| matches!(self.health.unfit(side), Some((_, Unfit::Damaged)));
        sent.in_sync != self.held.standing.in_sync
            && Side::BOTH.into_iter().any(|side| sent.in_sync.contains(side) && damaged(side))
    }

    fn vetted(&self, record: GroupRecord) -> GroupRecord {
        // Whoever allows one side alone to go on in doubt has not said that the other's records may be removed.
        let in_doubt = record.grant == Some(Cause::Operator) && record.standing.in_sync != self.held.standing.in_sync;
        let confirmed = self.trusted && !in_doubt;
        let record = GroupRecord { confirmed, ..record };
        let Standing { active, in_sync, .. } = record.standing;
        let damaged = |side| in_sync.contains(side) && matches!(self.health.unfit(side), Some((_, Unfit::Damaged)));
        invariant!(RELAY_5, in_sync.contains(active), "{}", record.standing);
        // What is only written again as it was before a restart is judged when it is held.
        let is_new = self.rewrite.is_none() && in_sync != self.held.standing.in_sync;
        #[cfg(feature = "mutation")]
        let is_new = is_new && self.config.mutant.is_none();
        invariant!(RELAY_5, !(is_new && Side::BOTH.into_iter().any(damaged)), "{}: a damaged side", record.standing);
        let alone = is_new && !in_sync.is_pair();
        invariant!(RELAY_13, !alone || self.may_be_alone(active), "{}: in doubt after a start", record.standing);
        record
    }

    /// The record that sets the pair again.
    pub(super) fn pair(&self) -> GroupRecord {
        self.held.then(self.held.standing.active, SideSet::PAIR)
    }

    pub(super) fn may_be_alone(&self, side: Side) -> bool {
        self.solo_allowed_once || self.health.is_beyond_doubt(side, self.coordinator_in_doubt)
    }

    pub(super) fn announce(&mut self, out: &mut Vec<Action>) {
        let announcement = self.announcement();
        if self.announced != Some(announcement) {
            self.announced = Some(announcement);
            out.push(Action::Announce { held: announcement.0, sent: announcement.1 });
        }
    }

    fn forced(&mut self, now: Millis) -> Forced {
        if let Some(record) = self.rewrite {
            return Forced::Send(record);
        }
        let Standing { active, .. } = self.held.standing;
        let standby = active.other();
        let active_lost = self.lost(now, active);
        if !self.held.standing.is_duplex() {
            return if active_lost.is_some() { Forced::Stopped } else { self.housekeeping() };
        }
        let alone = |side: Side, cause: Cause| {
            let cause = if self.solo_allowed_once { Cause::Operator } else { cause };
            GroupRecord { grant: Some(cause), rollback: None, ..self.held.then(side, SideSet::only(side)) }
        };
        if let Some((loss, since)) = active_lost {
            #[cfg(feature = "mutation")]
            if self.config.mutant == Some(crate::sequence::Mutant::KeepDamagedActive) && loss == Loss::Damaged {
                return Forced::Send(alone(active, Cause::StandbyAbsent));
            }
            let cause = if loss == Loss::Damaged { Cause::ActiveDamaged } else { Cause::ActiveAbsent };
            return match (self.health.is_fit(standby), self.may_be_alone(standby)) {
                (false, _) => Forced::Stopped,
                (true, false) => Forced::InDoubt,
                (true, true) => {
                    let record = alone(standby, cause);
                    self.change_began = since;
                    Forced::Send(record)
                }
            };
        }
        if let Some((loss, since)) = self.lost(now, standby) {
            let (cause, wanted) = match loss {
                // Never trusted by a later start: it leaves the set whatever the policy. Under `block` nothing is
                // acknowledged all the same.
                Loss::Damaged => (Cause::StandbyDamaged, true),
                Loss::Refuses => (Cause::StandbyRefused, self.config.absence == Absence::Available),
                Loss::Absent => (Cause::StandbyAbsent, self.config.absence == Absence::Available),
            };
            if !wanted {
                return self.housekeeping();
            }
            // The active side must be known to be well: two sides lost at once is not the loss of the standby.
            let active_well = self.health.is_fit(active) || (loss == Loss::Damaged && active_lost.is_none());
            return match (active_well, self.may_be_alone(active)) {
                (false, _) => Forced::Stopped,
                (true, false) => Forced::InDoubt,
                (true, true) => {
                    let record = alone(active, cause);
                    self.change_began = since;
                    Forced::Send(record)
                }
            };
        }
        self.housekeeping()
    }

    fn housekeeping(&self) -> Forced {
        // A switch that this process does not know was cut short by a restart, or has been given up.
        let left_behind = self.held.switching.is_some() && self.switch.is_none();
        let unsaid = self.trusted && !self.held.confirmed && self.switch.is_none();
        if left_behind || unsaid || self.confirming.is_some() {
            let Standing { active, in_sync, .. } = self.held.standing;
            let mut record = GroupRecord { grant: self.held.grant, ..self.held.then(active, in_sync) };
            if self.confirming.is_some() {
                record.rollback = None;
            }
            return Forced::Send(record);
        }
        Forced::Nothing
    }

    /// Whether a side in sync is lost for the group by now, how, and since when.
    fn lost(&self, now: Millis, side: Side) -> Option<(Loss, Millis)> {
        // What happened while this relay itself stood still is not the sides' silence.
        let due = |since: Millis| now >= since.max(self.resumed_at).saturating_add(self.config.takeover_after_ms);
        match self.health.unfit(side) {
            Some((_, Unfit::Damaged)) => return Some((Loss::Damaged, now)),
            Some((_, Unfit::Refuses(since))) if due(since) => return Some((Loss::Refuses, since)),
            _ => {}
        }
        self.health.absent_since(side).filter(|since| due(*since)).map(|since| (Loss::Absent, since))
    }

    /// Lets go of doubts that reading has settled, and of losses long past.
    fn settle(&mut self, now: Millis) {
        if self.health.has_read_both() {
            let members = &self.health.members;
            self.coordinator_in_doubt = false;
            let well = |side| self.health.opinions(side).filter(|(_, o)| o.suspicion == Suspicion::Serving).count();
            self.trusted |= Side::BOTH.into_iter().all(|side| well(side) == members.len());
        }
        let duplex = self.held.standing.is_duplex();
        if duplex && now >= self.in_sync_since.saturating_add(self.config.forget_losses_after_ms) {
            self.losses = SideMap::default();
        }
    }

    /// How long a side that is back must answer without a gap.
    pub(super) fn settle_ms(&self, side: Side) -> Millis {
        const DOUBLINGS_MAX: u32 = 5;
        self.config.settle_ms << self.losses[side].saturating_sub(1).min(DOUBLINGS_MAX)
    }

    fn command(&mut self, now: Millis, id: u64, command: Command, out: &mut Vec<Action>) {
        let result = match command {
            Command::Switch { to } => match self.start_switch(now, id, to, out) {
                Ok(()) => return,
                Err(refused) => Err(refused),
            },
            Command::Cancel => match self.cancel(now, id, out) {
                Ok(true) => Ok(()),
                Ok(false) => return,
                Err(refused) => Err(refused),
            },
            Command::Confirm if !self.trusted => {
                self.trusted = true;
                Ok(())
            }
            Command::Confirm if self.held.rollback.is_none() => Err(CommandRefused::Nothing),
            Command::Confirm if self.confirming.is_some() || self.switch.is_some() => Err(CommandRefused::Busy),
            Command::Confirm => {
                self.confirming = Some(id);
                return;
            }
            // Only what is asked for now is allowed: a permission must not wait for a doubt of another day.
            Command::AllowSoloOnce if !self.alarms.contains_key(&Alarm::InDoubt) => Err(CommandRefused::NotInDoubt),
            Command::AllowSoloOnce => {
                self.solo_allowed_once = true;
                Ok(())
            }
        };
        out.push(Action::Answer { id, result });
    }

    /// What partitions must have seen for their reports to count under the announcement of now.
    pub(super) fn seen(&self) -> Seen {
        let (held, sent) = self.announcement();
        Seen::of(held, sent)
    }
}

/// How a side is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Damaged,
    Refuses,
    Absent,
}
