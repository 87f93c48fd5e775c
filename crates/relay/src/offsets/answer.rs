//! Answers to clients, changes of standing, and the way to rest.

use std::collections::BTreeSet;

use naru_kafka::{client::TopicPartition, wire::ErrorCode};
use naru_model::invariant;

use super::{
    Action,
    event::Codes,
    group::{Group, Quiescing},
    lane::{Change, Doubt, Members},
    mutant::mutant,
    sync::Sync,
};
use crate::sequence::{Millis, Suspicion, Ticket};
use crate::side::{Side, SideSet};
use crate::sides::Standing;

/// A request that the active side took.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) codes: Codes,
    pub(super) version: u64,
    /// The change of marks that has to be durable before.
    pub(super) marked: u64,
    /// Places that the other side is not yet known to hold.
    pub(super) open: BTreeSet<TopicPartition>,
}

impl Group {
    /// Answers what may be answered.
    pub(super) fn answer_waiting(&mut self, now: Millis, out: &mut Vec<Action>) {
        let Some(standing) = self.standing else { return };
        // RELAY-9: not after the end of the lease. The clients' own patience ends these, or a new lease does.
        if !self.is_leased(now) {
            return;
        }
        let needs_both = self.needs_both();
        let mut kept = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            if needs_both && !waiting.open.is_empty() && !mutant!(self.config, AcknowledgeCommitEarly) {
                kept.push(waiting);
                continue;
            }
            if !self.marking.is_durable(waiting.marked) && !mutant!(self.config, SkipMark) {
                kept.push(waiting);
                continue;
            }
            for (place, _) in waiting.codes.iter().filter(|(_, code)| *code == ErrorCode::NONE) {
                for side in Side::BOTH.into_iter().filter(|side| needs_both || *side == standing.active) {
                    let known = self.lanes[side].known.get(place).map_or(0, |change| change.version);
                    let wanted = waiting.version;
                    invariant!(RELAY_4, known >= wanted, "{place} at {side}: {known} acknowledged as {wanted}");
                }
                self.acknowledged.insert(place.clone(), waiting.version);
            }
            out.push(Action::Answer { ticket: waiting.ticket, result: Ok(waiting.codes) });
        }
        self.waiting = kept;
    }

    /// The standby does not hold this place, or no longer: who waits for it waits until it does.
    pub(super) fn wait_again(&mut self, place: &TopicPartition) {
        for waiting in &mut self.waiting {
            if waiting.codes.iter().any(|(at, code)| at == place && *code == ErrorCode::NONE) {
                waiting.open.insert(place.clone());
            }
        }
    }

    /// A client that no longer waits: one that was not sent yet never will be; others go on without an answer.
    pub(super) fn expire(&mut self, ticket: Ticket, out: &mut Vec<Action>) {
        let queued = self.queue.len();
        self.queue.retain(|request| request.ticket != ticket);
        let waiting = self.waiting.len();
        self.waiting.retain(|waiting| waiting.ticket != ticket);
        let mut known = queued != self.queue.len() || waiting != self.waiting.len();
        for doubt in self.lanes.a.doubts.iter_mut().chain(&mut self.lanes.b.doubts) {
            known |= doubt.ticket.take_if(|doubtful| *doubtful == ticket).is_some();
        }
        // One that is being forwarded is answered when its outcome is known: the shell awaits that in any case.
        if known {
            out.push(Action::Answer { ticket, result: Err(ErrorCode::COORDINATOR_NOT_AVAILABLE) });
        }
    }

    /// What holds, and what may hold by now, has changed.
    pub(super) fn stand(&mut self, now: Millis, held: Standing, sent: Option<Standing>, out: &mut Vec<Action>) {
        self.sent = sent;
        let Some(before) = self.standing.replace(held) else {
            return;
        };
        if before.active != held.active {
            self.take_over(now, before, held, out);
        } else if before.in_sync != held.in_sync {
            self.tied = false;
            self.reported_equal = false;
            self.compared = true;
            if held.is_duplex() {
                self.check_acknowledged(held.standby());
            } else {
                // Copied in full before it is in sync again; until then nothing waits for it.
                self.lanes[held.standby()].pending.clear();
                self.sync = Sync::Idle;
                self.sync_pause_ms = self.config.retry_ms;
                self.sync_at = now + self.sync_pause_ms;
            }
        } else if self.tied {
            self.reported_equal = false;
        }
    }

    fn take_over(&mut self, now: Millis, before: Standing, held: Standing, out: &mut Vec<Action>) {
        if before.in_sync.contains(held.active) {
            self.check_acknowledged(held.active);
        }
        // Members look for their coordinator again, and find the other side behind it.
        let queued = self.queue.drain(..).map(|request| request.ticket);
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|waiting| waiting.ticket);
        let mut tickets: Vec<Ticket> = queued.chain(waiting).collect();
        let lost = &mut self.lanes[before.active];
        if held.in_sync.contains(before.active) {
            lost.drop_open();
        } else {
            lost.reset();
        }
        tickets.extend(lost.doubts.iter_mut().filter_map(|doubt| doubt.ticket.take()));
        // They refuse simple commits, for up to their session time-out.
        lost.members = Members::Present;
        for (ticket, request) in std::mem::take(&mut self.forwarded) {
            tickets.push(ticket);
            // It may yet arrive at the side that was active.
            let numbered = |(place, position)| (place, Change { position, version: 0 });
            let changes = request.changes.into_iter().map(numbered).collect();
            lost.doubts.push(Doubt { is_clients: true, ticket: None, changes, answered: None });
        }
        let won = &mut self.lanes[held.active];
        won.members = Members::Gone;
        won.retry_at = now;
        out.extend(
            tickets.into_iter().map(|ticket| Action::Answer { ticket, result: Err(ErrorCode::NOT_COORDINATOR) }),
        );
        self.tied = false;
        self.reported_equal = false;
        self.sync = Sync::Idle;
        (self.sync_at, self.sync_pause_ms) = (now, self.config.retry_ms);
    }

    /// Every acknowledged offset, or a newer one, is known to be on this side, or is on its way there again after the
    /// side has lost it: before that is done nobody asks it.
    fn check_acknowledged(&self, side: Side) {
        for (place, version) in self.acknowledged.iter().filter(|(place, _)| !self.lanes[side].is_open(place)) {
            let known = self.lanes[side].known.get(place).map_or(0, |change| change.version);
            invariant!(RELAY_4, known >= *version, "{place} at {side}: holds {known}, acknowledged {version}");
        }
    }

    /// Tells the service group that a follower holds everything, once.
    pub(super) fn report_equal(&mut self, standing: Standing, out: &mut Vec<Action>) {
        let side = standing.standby();
        let equal = self.tied
            && self.sync.is_done()
            && self.lanes[side].is_idle()
            && self.waiting.is_empty()
            && self.marking.rests();
        if equal && !self.reported_equal {
            self.reported_equal = true;
            out.push(Action::Suspect { side, suspicion: Suspicion::Behind { records: 0 } });
        }
    }

    pub(super) fn say_quiesced(&mut self, standing: Standing, out: &mut Vec<Action>) {
        let alone = standing.in_sync == SideSet::only(standing.active) && !self.tied;
        let rests = self.forwarded.is_empty()
            && self.waiting.is_empty()
            && self.lanes[standing.active].is_idle()
            && self.marking.rests()
            && (alone || (self.lanes[standing.standby()].is_idle() && self.sync.is_done()));
        if self.quiescing == Quiescing::Asked && rests {
            self.quiescing = Quiescing::Said;
            out.push(Action::Quiesced);
        }
    }
}
