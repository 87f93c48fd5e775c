//! The state machine of one consumer group.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use naru_kafka::{client::TopicPartition, wire::ErrorCode};
use naru_model::invariant;

use super::{
    Action, Changes, Event, Failed, Position,
    answer::Waiting,
    event::Codes,
    lane::{Change, Doubt, Flight, Lane, Members, Versioned, plain},
    mark::{Kept, Marking},
    sync::Sync,
};
use crate::sequence::{Millis, OrderId, Suspicion, Ticket};
use crate::side::{Side, SideMap};
use crate::sides::Standing;

/// What stays the same in the life of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupConfig {
    /// A request whose connection was lost is processed by its broker within this time or never, milliseconds.
    pub settle_ms: Millis,
    /// Time between attempts at a side that fails, milliseconds.
    pub retry_ms: Millis,
    /// How long a write may be without outcome before the side is suspected, milliseconds.
    pub suspect_after_ms: Millis,
    /// Client requests that wait, at most; beyond it they are answered retriably.
    pub waiting_max: usize,
    /// A seeded fault.
    #[cfg(feature = "mutation")]
    pub mutant: Option<super::Mutant>,
}

/// What the shell may do for a group now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct View {
    /// Whether the active side holds all that was acknowledged, so that members may join and offsets may be fetched.
    pub ready: bool,
    /// Partitions whose newest offset the other side is not known to hold.
    pub behind: usize,
    /// Client requests without answer.
    pub waiting: usize,
    /// Whether the other side was compared and holds the same; while it is not in sync: and takes part in every
    /// acknowledgement; after [`Event::Quiesce`]: and nothing is in flight.
    pub equal: bool,
}

/// A client's request that waits to be forwarded, or was.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) ticket: Ticket,
    pub(super) changes: Changes,
    /// When it was forwarded.
    pub(super) since: Millis,
}

/// One consumer group.
#[derive(Debug)]
pub struct Group {
    pub(super) config: GroupConfig,
    pub(super) standing: Option<Standing>,
    pub(super) sent: Option<Standing>,
    pub(super) lease_until: Millis,
    pub(super) queue: VecDeque<Request>,
    pub(super) forwarded: BTreeMap<Ticket, Request>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) lanes: SideMap<Lane>,
    pub(super) sync: Sync,
    pub(super) sync_at: Millis,
    /// Before a side that follows is tried again.
    pub(super) sync_pause_ms: Millis,
    /// Alone by one side, but the other one takes part in every acknowledgement again.
    pub(super) tied: bool,
    /// The number of the newest acknowledged change by place.
    pub(super) acknowledged: BTreeMap<TopicPartition, u64>,
    pub(super) marking: Marking,
    /// What the active side holds counts where nothing is known.
    pub(super) adopts: bool,
    /// Both sides were compared since they are in sync: only then it is known that the active side has lost nothing.
    pub(super) compared: bool,
    /// Places where the active side holds something older than counts.
    pub(super) gone_back: BTreeSet<TopicPartition>,
    pub(super) quiescing: Quiescing,
    pub(super) reported_equal: bool,
    last_order: u64,
    last_version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quiescing {
    No,
    Asked,
    Said,
}

impl Group {
    /// A group of which nothing is known. [`Event::Standing`] and [`Event::Lease`] set it going. To an unsettled side a
    /// relay before this one may have sent something: it counts as arrived or lost some time after the side has answered
    /// this one, and before that nothing is written there and nothing read there counts.
    pub fn new(config: GroupConfig, unsettled: SideMap<bool>, kept: Kept) -> Self {
        Self {
            config,
            standing: None,
            sent: None,
            lease_until: 0,
            queue: VecDeque::new(),
            forwarded: BTreeMap::new(),
            waiting: Vec::new(),
            lanes: SideMap::from_fn(|side| Lane::after_another(unsettled[side])),
            sync: Sync::Idle,
            sync_at: 0,
            sync_pause_ms: config.retry_ms,
            tied: false,
            acknowledged: BTreeMap::new(),
            marking: Marking::new(kept.marks),
            adopts: kept.adopts,
            compared: false,
            gone_back: BTreeSet::new(),
            quiescing: Quiescing::No,
            reported_equal: false,
            last_order: 0,
            last_version: 0,
        }
    }

    /// What may be seen.
    pub fn view(&self) -> View {
        let behind = self.standing.map_or(0, |standing| self.lanes[standing.standby()].open());
        let waiting = self.queue.len() + self.forwarded.len() + self.waiting.len();
        View { ready: self.is_ready(), behind, waiting, equal: self.is_equal() }
    }

    /// One step.
    pub fn on(&mut self, now: Millis, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Commit { ticket, changes } => self.commit(now, ticket, changes, out),
            Event::Expired { ticket } => self.expire(ticket, out),
            Event::Forwarded { ticket, outcome } => self.forwarded(now, ticket, outcome, out),
            Event::Written { order, side, outcome } => self.written(now, order, side, outcome, out),
            Event::OffsetsRead { order, side, outcome } => self.offsets_read(now, order, side, outcome, out),
            Event::MembersRemoved { order, side, outcome } => self.members_removed(now, order, side, outcome, out),
            Event::Kept { order, done } => self.kept(now, order, done),
            Event::Recreated { side } => self.recreated(now, side),
            Event::Recheck => {
                self.sync.restart_if_done();
                (self.sync_at, self.sync_pause_ms) = (self.sync_at.min(now), self.config.retry_ms);
                Side::BOTH.into_iter().for_each(|side| self.lanes[side].look_at = now);
            }
            Event::Standing { held, sent } => self.stand(now, held, sent, out),
            Event::Quiesce => {
                self.quiescing = Quiescing::Asked;
                self.sync.restart_if_done();
            }
            Event::Resume => self.quiescing = Quiescing::No,
            Event::Lease { until } => self.lease_until = until,
            Event::Tick => self.suspect_slow(now, out),
        }
        self.advance(now, out);
    }

    /// Does whatever can be done now.
    fn advance(&mut self, now: Millis, out: &mut Vec<Action>) {
        let Some(standing) = self.standing else { return };
        if self.is_leased(now) {
            self.forward_next(now, standing.active, out);
            for side in Side::BOTH {
                self.write_next(now, side, out);
            }
        }
        for side in Side::BOTH {
            self.read_doubts(now, side, out);
        }
        if self.is_leased(now) {
            self.advance_sync(now, standing, out);
        }
        self.keep_marks(now, out);
        self.answer_waiting(now, out);
        self.say_quiesced(standing, out);
    }

    pub(super) fn is_leased(&self, now: Millis) -> bool {
        now < self.lease_until
    }

    /// Whether an acknowledgement needs both sides: the stricter of what holds and what may hold by now.
    pub(super) fn needs_both(&self) -> bool {
        let duplex = |standing: Option<Standing>| standing.is_some_and(Standing::is_duplex);
        duplex(self.standing) || duplex(self.sent) || self.tied
    }

    fn is_ready(&self) -> bool {
        let is_whole = |standing: Standing| self.compared || !standing.is_duplex();
        let rests = |standing: Standing| self.lanes[standing.active].is_idle() && is_whole(standing);
        self.standing.is_some_and(rests)
    }

    fn is_equal(&self) -> bool {
        let Some(standing) = self.standing else { return false };
        let at_rest = self.lanes[standing.standby()].is_idle() && self.waiting.is_empty();
        let takes_part = standing.is_duplex() || (self.tied && at_rest);
        self.sync.is_done() && takes_part && self.marking.rests() && self.quiescing != Quiescing::Asked
    }

    pub(super) fn order(&mut self) -> OrderId {
        self.last_order += 1;
        OrderId(self.last_order)
    }

    pub(super) fn version(&mut self) -> u64 {
        self.last_version += 1;
        self.last_version
    }

    fn commit(&mut self, now: Millis, ticket: Ticket, changes: Changes, out: &mut Vec<Action>) {
        if self.view().waiting >= self.config.waiting_max {
            let result = Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
            out.push(Action::Answer { ticket, result });
            return;
        }
        self.queue.push_back(Request { ticket, changes, since: now });
    }

    /// Sends on what does not touch a partition that a request before it touches: over connections of their own, the
    /// active side would take them in any order.
    fn forward_next(&mut self, now: Millis, active: Side, out: &mut Vec<Action>) {
        if self.quiescing != Quiescing::No || !self.is_ready() {
            return;
        }
        let mut held_back = VecDeque::new();
        while let Some(mut request) = self.queue.pop_front() {
            let clashes = |other: &Request| other.changes.keys().any(|place| request.changes.contains_key(place));
            if self.forwarded.values().any(clashes) || held_back.iter().any(clashes) {
                held_back.push_back(request);
            } else {
                out.push(Action::Forward { ticket: request.ticket, side: active });
                request.since = now;
                self.forwarded.insert(request.ticket, request);
            }
        }
        self.queue = held_back;
    }

    /// Whether a request that is being forwarded would set a place back behind what is known of it. From a member that
    /// the side knows that is the member's wish; from one that it does not know, it may be one that was thrown out.
    pub fn sets_back(&self, ticket: Ticket) -> bool {
        let Some(request) = self.forwarded.get(&ticket) else { return false };
        let is_behind = |place: &TopicPartition, wanted: &Option<Position>| {
            let known = self.lanes.iter().filter_map(|(_, lane)| lane.known.get(place)?.position.as_ref());
            wanted.as_ref().is_some_and(|wanted| known.into_iter().any(|known| wanted.offset < known.offset))
        };
        request.changes.iter().any(|(place, wanted)| is_behind(place, wanted))
    }

    fn forwarded(&mut self, now: Millis, ticket: Ticket, outcome: Result<Codes, Failed>, out: &mut Vec<Action>) {
        let Some(request) = self.forwarded.remove(&ticket) else { return };
        let Some(active) = self.standing.map(|standing| standing.active) else { return };
        match outcome {
            Ok(codes) => {
                self.lanes[active].failing_since = None;
                self.accept(Some(ticket), request.changes, codes);
            }
            Err(Failed::Refused(code)) => out.push(Action::Answer { ticket, result: Err(code) }),
            Err(Failed::NotSent) => {
                self.failing(now, active, out);
                out.push(Action::Answer { ticket, result: Err(ErrorCode::NOT_COORDINATOR) });
            }
            Err(Failed::Unknown) => {
                self.failing(now, active, out);
                let version = self.version();
                let numbered = |(place, position)| (place, Change { position, version });
                let changes = request.changes.into_iter().map(numbered).collect();
                self.lanes[active].doubts.push(Doubt {
                    is_clients: true,
                    ticket: Some(ticket),
                    changes,
                    answered: None,
                });
            }
        }
    }

    /// The active side took some of a request, in its order: the order of these calls.
    pub(super) fn accept(&mut self, ticket: Option<Ticket>, mut changes: Changes, codes: Codes) {
        let Some(standing) = self.standing else { return };
        let version = self.version();
        changes.retain(|place, _| codes.iter().any(|(taken, code)| taken == place && *code == ErrorCode::NONE));
        let mirrors = self.needs_both() || self.sync.is_under_way();
        let mut marked = 0;
        for (place, position) in &changes {
            let change = Change { position: position.clone(), version };
            if let Some(position) = position {
                marked = marked.max(self.marking.counts(place, position));
            }
            self.lanes[standing.active].known.insert(place.clone(), change.clone());
            self.sync.touch(place);
            if mirrors {
                self.lanes[standing.standby()].put(place.clone(), change);
            }
        }
        let Some(ticket) = ticket else { return };
        self.waiting.push(Waiting { ticket, codes, version, marked, open: changes.into_keys().collect() });
    }

    fn write_next(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        let lane = &mut self.lanes[side];
        let blocked = lane.flight.is_some() || !lane.doubts.is_empty() || now < lane.retry_at;
        if blocked || lane.pending.is_empty() {
            return;
        }
        match lane.members {
            Members::Gone => {}
            Members::Present => return self.remove_members(side, out),
            Members::Removing(_) => return,
        }
        let changes = lane.take_write();
        let order = self.order();
        out.push(Action::Write { order, side, changes: plain(&changes) });
        self.lanes[side].flight = Some(Flight { order, since: now, changes });
    }

    pub(super) fn remove_members(&mut self, side: Side, out: &mut Vec<Action>) {
        let order = self.order();
        self.lanes[side].members = Members::Removing(order);
        out.push(Action::RemoveMembers { order, side });
    }

    fn written(
        &mut self,
        now: Millis,
        order: OrderId,
        side: Side,
        outcome: Result<Codes, Failed>,
        out: &mut Vec<Action>,
    ) {
        let Some(flight) = self.lanes[side].flight.take_if(|flight| flight.order == order) else { return };
        match outcome {
            Ok(codes) => {
                let code = |place: &TopicPartition| {
                    let found = codes.iter().find(|(at, _)| at == place);
                    found.map_or(ErrorCode::NONE, |(_, code)| *code)
                };
                let (mut lost, done): (Versioned, Versioned) =
                    flight.changes.into_iter().partition(|(place, _)| code(place) != ErrorCode::NONE);
                self.confirm(side, done);
                // A topic that the side does not have, or no longer: whether the place is still wanted, reading tells.
                let gone: Versioned =
                    lost.extract_if(.., |place, _| code(place) == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).collect();
                if !gone.is_empty() {
                    self.sync = Sync::Idle;
                    self.sync_at = now + self.config.retry_ms;
                }
                if self.standing.is_some_and(|standing| standing.active == side) {
                    // What was to be given back there belongs to a topic that is deleted.
                    let nothing = |(place, change)| (place, Change { position: None, ..change });
                    self.confirm(side, gone.into_iter().map(nothing).collect());
                }
                match lost.keys().map(code).next() {
                    Some(code) => self.refused(now, side, lost, code, out),
                    None => self.serving(side, out),
                }
            }
            Err(Failed::Refused(code)) => self.refused(now, side, flight.changes, code, out),
            Err(Failed::NotSent) => {
                self.put_back(side, flight.changes);
                self.failing(now, side, out);
            }
            Err(Failed::Unknown) => {
                self.lanes[side].doubts.push(Doubt {
                    is_clients: false,
                    ticket: None,
                    changes: flight.changes,
                    answered: None,
                });
                self.failing(now, side, out);
            }
        }
    }

    /// A side is known to hold these changes.
    pub(super) fn confirm(&mut self, side: Side, changes: Versioned) {
        for (place, change) in changes {
            let known = self.lanes[side].known.get(&place).map_or(0, |known| known.version);
            invariant!(
                RELAY_4,
                known <= change.version,
                "{side}: {place} went from change {known} to {}",
                change.version
            );
            for waiting in self.waiting.iter_mut().filter(|waiting| waiting.version <= change.version) {
                waiting.open.remove(&place);
            }
            self.lanes[side].known.insert(place, change);
        }
    }

    pub(super) fn put_back(&mut self, side: Side, changes: Versioned) {
        // What came meanwhile does not go to a follower that takes part in nothing: this may be older by now.
        let follows = self.standing.is_some_and(|standing| standing.active != side);
        if follows && !self.needs_both() && !self.sync.is_under_way() {
            return;
        }
        for (place, change) in changes {
            self.lanes[side].put(place, change);
        }
    }

    fn refused(&mut self, now: Millis, side: Side, changes: Versioned, code: ErrorCode, out: &mut Vec<Action>) {
        let has_members = matches!(
            code,
            ErrorCode::UNKNOWN_MEMBER_ID
                | ErrorCode::FENCED_INSTANCE_ID
                | ErrorCode::ILLEGAL_GENERATION
                | ErrorCode::REBALANCE_IN_PROGRESS
                | ErrorCode::NON_EMPTY_GROUP
        );
        if self.standing.is_some_and(|standing| standing.active == side) {
            if has_members && changes.keys().any(|place| self.gone_back.contains(place)) {
                // They would go on from what is older. They join again, and find what counts.
                self.put_back(side, changes);
                (self.lanes[side].members, self.lanes[side].retry_at) = (Members::Present, now + self.config.retry_ms);
                return;
            }
            // What was to be restored there: members have it in their own hands now, and a definite refusal stays one.
            if code.is_retriable() && !has_members {
                self.put_back(side, changes);
                self.failing(now, side, out);
            } else {
                self.sync.excuse(changes.into_keys());
            }
            return;
        }
        self.put_back(side, changes);
        self.lanes[side].retry_at = now + self.config.retry_ms;
        if has_members {
            self.lanes[side].members = Members::Present;
        } else if code.is_retriable() {
            self.failing(now, side, out);
        } else {
            self.untie(now, side);
            out.push(Action::Suspect { side, suspicion: Suspicion::Refuses(code) });
        }
    }

    fn members_removed(
        &mut self,
        now: Millis,
        order: OrderId,
        side: Side,
        outcome: Result<(), Failed>,
        out: &mut Vec<Action>,
    ) {
        if self.lanes[side].members != Members::Removing(order) {
            return;
        }
        self.lanes[side].members = if outcome.is_ok() { Members::Gone } else { Members::Present };
        match outcome {
            Ok(()) => self.serving(side, out),
            // Removing is harmless twice: it is simply done again.
            Err(_) => self.failing(now, side, out),
        }
    }

    fn recreated(&mut self, now: Millis, side: Side) {
        if self.standing.is_some_and(|standing| standing.active != side) {
            let known: Vec<_> = self.lanes[side].known.keys().cloned().collect();
            known.iter().for_each(|place| self.wait_again(place));
            self.lanes[side].reset();
            self.untie(now, side);
            self.sync = Sync::Idle;
        }
    }
}
