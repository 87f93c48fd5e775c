//! A consumer group: its committers, what the two sides hold of its offsets, and the model shell of its machine
//! (RELAY-4).
//!
//! A commit's metadata is its number, so that the oracle can tell a newer commit from an older one whatever the offset.

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_kafka::wire::ErrorCode;
use naru_relay::offsets::{Action, Changes, Event, Failed, Group, GroupConfig, Marks, Offsets, Position};
use naru_relay::sequence::{Millis, OrderId, Suspicion, Ticket};
use naru_relay::sides::{Event as GroupEvent, Standing};
use naru_relay::{Side, SideMap};
use rand::RngExt;

use crate::world::{Due, World};

/// A request whose connection was lost arrives within this time or never: what the machine is promised.
const SETTLE_MS: Millis = 2_500;
const REQUEST_MS: Millis = 1_000;
/// How often the relay looks whether brokers have forgotten something.
pub const RECHECK_MS: Millis = 3_000;
/// A client's patience with its commit.
const COMMIT_MS: Millis = 2_000;

/// What one side's coordinator holds of the group.
#[derive(Debug, Default)]
pub struct Store {
    pub held: BTreeMap<usize, (i64, u64)>,
    /// What each place has held, oldest first.
    pub past: BTreeMap<usize, Vec<(i64, u64)>>,
    /// The group has members there.
    members: bool,
}

impl Store {
    fn put(&mut self, partition: usize, position: (i64, u64)) {
        self.held.insert(partition, position);
        self.past.entry(partition).or_default().push(position);
    }
}

/// What is asked of a side's group coordinator.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A client's own commit.
    Forward {
        ticket: Ticket,
        partition: usize,
        offset: i64,
        number: u64,
    },
    Write {
        order: OrderId,
        changes: Changes,
    },
    Read(OrderId),
    RemoveMembers(OrderId),
}

/// One request on its way.
#[derive(Debug, Clone)]
pub struct Request {
    pub id: u64,
    side: Side,
    sent_at: Millis,
    ask: Ask,
}

/// The committer of one partition: one commit at a time, each of a higher number.
#[derive(Debug, Default)]
pub struct Committer {
    number: u64,
    pub asked: Option<(u64, u64, Millis)>,
    /// The highest number that was acknowledged.
    pub acknowledged: u64,
}

/// The group in the world: what survives the relay.
#[derive(Debug)]
pub struct Commits {
    pub stores: SideMap<Store>,
    pub committers: Vec<Committer>,
    /// Places that a fault took from a side, and when.
    pub excused: SideMap<BTreeMap<usize, Millis>>,
    pub has_members: bool,
    /// What the relay's disk holds of places that were set back.
    pub marks: Marks,
    requests: u64,
    tickets: u64,
    /// A fault seeded into the machine.
    #[cfg(feature = "mutation")]
    pub mutant: Option<naru_relay::offsets::Mutant>,
}

impl Commits {
    pub fn new(partitions: usize, has_members: bool) -> Self {
        Self {
            stores: SideMap::default(),
            committers: std::iter::repeat_with(Committer::default).take(partitions).collect(),
            excused: SideMap::default(),
            has_members,
            marks: Marks::new(),
            requests: 0,
            tickets: 0,
            #[cfg(feature = "mutation")]
            mutant: None,
        }
    }

    /// Whether a side has a position at least as new as what was acknowledged.
    pub fn holds(&self, side: Side, partition: usize) -> bool {
        let number = self.stores[side].held.get(&partition).map_or(0, |(_, number)| *number);
        number >= self.committers[partition].acknowledged
    }

    /// Whether a side may forget a place: the other one is in sync and has it, and nothing of it is so new that it is
    /// not acknowledged yet (what expires is days old).
    pub fn may_forget(&self, side: Side, partition: usize, held: Standing) -> bool {
        let other = side.other();
        held.in_sync.contains(other)
            && self.is_settled(side, partition)
            && self.holds(other, partition)
            && !self.excused[other].contains_key(&partition)
    }

    /// Whether a side holds nothing of a place that is not acknowledged yet.
    pub fn is_settled(&self, side: Side, partition: usize) -> bool {
        let newest = self.stores[side].held.get(&partition).map_or(0, |(_, number)| *number);
        newest <= self.committers[partition].acknowledged
    }

    pub fn is_excused(&self, side: Side, partition: usize) -> bool {
        self.excused[side].contains_key(&partition)
    }

    pub fn excuse(&mut self, side: Side, partition: usize, at: Millis) {
        self.excused[side].insert(partition, at);
    }

    /// A place is gone from a side; by a fault if that has a time.
    pub fn forget(&mut self, side: Side, partition: usize, at: Option<Millis>) {
        self.stores[side].held.remove(&partition);
        self.stores[side].past.remove(&partition);
        match at {
            Some(at) => self.excuse(side, partition, at),
            None => drop(self.excused[side].remove(&partition)),
        }
    }
}

/// A commit that waits for its answer at the relay.
#[derive(Debug)]
struct Waiting {
    partition: usize,
    offset: i64,
    number: u64,
    since: Millis,
    expired: bool,
}

/// The machine in its shell: one start of the relay.
#[derive(Debug)]
pub struct Mirror {
    machine: Group,
    waiting: BTreeMap<u64, Waiting>,
    /// Sent and not answered.
    outstanding: BTreeMap<u64, Request>,
    /// The machine has said that the follower holds everything.
    equal: bool,
    quiescing: bool,
    quiesced: bool,
    /// The service group waits for equal offsets on this side, since.
    copying: Option<(Side, u64, Millis)>,
    recheck_at: Millis,
}

impl Mirror {
    pub fn new(now: Millis, commits: &Commits, starts: u64) -> Self {
        let config = GroupConfig {
            settle_ms: SETTLE_MS,
            retry_ms: 50,
            suspect_after_ms: 500,
            waiting_max: 32,
            #[cfg(feature = "mutation")]
            mutant: commits.mutant,
        };
        Self {
            machine: Group::new(config, SideMap { a: true, b: true }, commits.kept(starts)),
            waiting: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            equal: false,
            quiescing: false,
            quiesced: false,
            copying: None,
            recheck_at: now,
        }
    }

    pub fn unrest(&self) -> Vec<String> {
        let view = self.machine.view();
        if view.ready && view.waiting == 0 && view.behind == 0 { Vec::new() } else { vec![format!("commits {view:?}")] }
    }

    pub fn copies(&mut self, side: Side, attempt: u64, now: Millis) {
        self.copying = Some((side, attempt, now));
    }
}

impl World {
    /// A committer's turn.
    pub fn commit(&mut self, partition: usize) {
        self.after(30, 200, Due::Commit(partition));
        let now = self.now;
        // Now and then a consumer goes back.
        let most = self.positions[partition];
        let goes_back = most > 0 && self.random.random_bool(0.1);
        let offset = if goes_back { self.random.random_range(0..most) } else { most };
        let stopped = now >= self.load_end();
        let commits = &mut self.commits;
        let committer = &mut commits.committers[partition];
        if let Some((_, _, since)) = committer.asked
            && since + 2 * COMMIT_MS < now
        {
            committer.asked = None;
        }
        if committer.asked.is_some() || stopped {
            return;
        }
        let Some(relay) = &mut self.relay else { return };
        if relay.is_paused() {
            return;
        }
        commits.tickets += 1;
        committer.number += 1;
        let (ticket, number) = (commits.tickets, committer.number);
        committer.asked = Some((ticket, number, now));
        let waiting = Waiting { partition, offset, number, since: now, expired: false };
        relay.mirror.waiting.insert(ticket, waiting);
        let position = Position { offset, metadata: Arc::from(number.to_string()) };
        let changes = [(self.named(partition), Some(position))].into();
        self.mirror_hears(Event::Commit { ticket: Ticket(ticket), changes });
    }

    pub fn mirror_hears(&mut self, event: Event) {
        let now = self.now;
        if !matches!(event, Event::Tick | Event::Lease { .. }) {
            self.trace.note(now, || format!("  commits <- {event:?}"));
        }
        let Some(relay) = &mut self.relay else { return };
        if matches!(event, Event::Standing { .. }) {
            relay.mirror.equal = false;
        }
        let mut actions = Vec::new();
        relay.mirror.machine.on(now, event, &mut actions);
        for action in actions {
            self.mirror_does(action);
        }
    }

    fn mirror_does(&mut self, action: Action) {
        let now = self.now;
        self.trace.note(now, || format!("  commits -> {action:?}"));
        let Some(relay) = &mut self.relay else { return };
        match action {
            Action::Forward { ticket, side } => {
                let Some(waiting) = relay.mirror.waiting.get(&ticket.0) else { return };
                let Waiting { partition, offset, number, .. } = *waiting;
                self.ask_group(side, Ask::Forward { ticket, partition, offset, number });
            }
            Action::Write { order, side, changes } => {
                self.oracle.leased(now, relay.lease_until, "commits written");
                self.ask_group(side, Ask::Write { order, changes });
            }
            Action::Read { order, side } => self.ask_group(side, Ask::Read(order)),
            Action::RemoveMembers { order, side } => self.ask_group(side, Ask::RemoveMembers(order)),
            Action::Answer { ticket, result } => {
                let Some(waiting) = relay.mirror.waiting.remove(&ticket.0) else {
                    panic!("commit {} answered that does not wait", ticket.0);
                };
                let (partition, number) = (waiting.partition, waiting.number);
                let lease_until = relay.lease_until;
                let code = result.map_or_else(|code| code, |codes| codes.first().map_or(ErrorCode::NONE, |c| c.1));
                let committer = &mut self.commits.committers[partition];
                let is_asked = committer.asked.is_some_and(|(asked, ..)| asked == ticket.0);
                if is_asked {
                    committer.asked = None;
                }
                if code == ErrorCode::NONE {
                    // Also when its client has gone: it was told.
                    committer.acknowledged = committer.acknowledged.max(number);
                    self.oracle.leased(now, lease_until, "commit acknowledged");
                    self.commits.judge(self.durable.coordinator.standing(), None);
                } else if code == ErrorCode::UNKNOWN_MEMBER_ID {
                    self.join();
                }
            }
            Action::Suspect { side, suspicion } => {
                let held = relay.governor.group.announcement().0;
                if !held.in_sync.contains(side) {
                    relay.mirror.equal = suspicion == Suspicion::Behind { records: 0 };
                }
            }
            Action::Keep { order, marks } => self.keeps_marks_soon(order, marks),
            Action::Quiesced => relay.mirror.quiesced = true,
        }
    }

    /// The members look for their coordinator, and join again.
    fn join(&mut self) {
        if let Some((_, active)) = self.relay.as_ref().and_then(|relay| relay.shown(0))
            && self.is_reachable(active)
        {
            self.commits.stores[active].members = true;
        }
    }

    fn ask_group(&mut self, side: Side, ask: Ask) {
        let now = self.now;
        self.commits.requests += 1;
        let Some(relay) = &mut self.relay else { return };
        let request = Request { id: self.commits.requests, side, sent_at: now, ask };
        relay.mirror.outstanding.insert(request.id, request.clone());
        if self.is_reachable(side) {
            let delay = self.delay_of(side);
            self.at(now + delay, Due::CommitArrives(request));
        } else {
            self.after(1, 10, Due::CommitAnswered { request, outcome: Err(Failed::NotSent) });
        }
    }

    pub fn commit_arrives(&mut self, request: Request) {
        let side = request.side;
        let now = self.now;
        let live = self.relay.as_ref().is_some_and(|relay| relay.mirror.outstanding.contains_key(&request.id));
        let broker = &self.brokers[side];
        // Late beyond what was promised: such a request is not delivered.
        let too_late = now >= request.sent_at + SETTLE_MS;
        if broker.down || too_late || (!live && self.random.random_bool(0.5)) {
            return;
        }
        if broker.frozen_until > now {
            let at = self.brokers[side].frozen_until + request.id % 10;
            return self.at(at, Due::CommitArrives(request));
        }
        let found = self.serve_group(&request);
        if live {
            let delay = self.delay_of(side);
            self.at(now + delay, Due::CommitAnswered { request, outcome: Ok(found) });
        }
    }

    fn serve_group(&mut self, request: &Request) -> (ErrorCode, Option<Offsets>) {
        let side = request.side;
        let names: Vec<_> = (0..self.commits.committers.len()).map(|partition| self.named(partition)).collect();
        let members_wanted = self.commits.has_members;
        let store = &mut self.commits.stores[side];
        match &request.ask {
            Ask::Forward { partition, offset, number, .. } => {
                if members_wanted && !store.members {
                    return (ErrorCode::UNKNOWN_MEMBER_ID, None);
                }
                store.put(*partition, (*offset, *number));
                (ErrorCode::NONE, None)
            }
            Ask::Write { changes, .. } => {
                if store.members {
                    return (ErrorCode::UNKNOWN_MEMBER_ID, None);
                }
                for (place, position) in changes {
                    let partition = place.partition as usize;
                    match position {
                        Some(position) => {
                            let number = position.metadata.parse().expect("our own metadata");
                            store.put(partition, (position.offset, number));
                        }
                        None => drop(store.held.remove(&partition)),
                    }
                }
                (ErrorCode::NONE, None)
            }
            Ask::Read(_) => {
                let position = |(partition, (offset, number)): (&usize, &(i64, u64))| {
                    let metadata = Arc::from(number.to_string());
                    (names[*partition].clone(), Position { offset: *offset, metadata })
                };
                (ErrorCode::NONE, Some(store.held.iter().map(position).collect()))
            }
            Ask::RemoveMembers(_) => {
                store.members = false;
                (ErrorCode::NONE, None)
            }
        }
    }

    pub fn commit_answered(&mut self, request: Request, outcome: Result<(ErrorCode, Option<Offsets>), Failed>) {
        let side = request.side;
        let Some(relay) = &mut self.relay else { return };
        if relay.mirror.outstanding.remove(&request.id).is_none() {
            return;
        }
        let event = match request.ask {
            Ask::Forward { ticket, partition, .. } => {
                let codes = outcome.map(|(code, _)| vec![(self.named(partition), code)]);
                Event::Forwarded { ticket, outcome: codes }
            }
            Ask::Write { order, changes } => {
                let codes = outcome.map(|(code, _)| changes.into_keys().map(|place| (place, code)).collect());
                Event::Written { order, side, outcome: codes }
            }
            Ask::Read(order) => {
                Event::OffsetsRead { order, side, outcome: outcome.map(|(_, found)| found.unwrap_or_default()) }
            }
            Ask::RemoveMembers(order) => Event::MembersRemoved { order, side, outcome: outcome.map(|_| ()) },
        };
        self.mirror_hears(event);
    }

    /// Every connection to a side's coordinator ends.
    pub fn lose_commits(&mut self, side: Side) {
        let Some(relay) = &self.relay else { return };
        let lost: Vec<Request> =
            relay.mirror.outstanding.values().filter(|request| request.side == side).cloned().collect();
        for request in lost {
            self.at(self.now, Due::CommitAnswered { request, outcome: Err(Failed::Unknown) });
        }
    }

    /// Time passes for the mirror.
    pub fn mirror_ticks(&mut self) {
        let now = self.now;
        let Some(relay) = &mut self.relay else { return };
        let mirror = &mut relay.mirror;
        let mut overdue = Vec::new();
        for request in mirror.outstanding.values() {
            if request.sent_at + REQUEST_MS < now {
                overdue.push(request.clone());
            }
        }
        let mut expired = Vec::new();
        for (ticket, waiting) in &mut mirror.waiting {
            if !waiting.expired && waiting.since + COMMIT_MS < now {
                waiting.expired = true;
                expired.push(Ticket(*ticket));
            }
        }
        let recheck = now >= mirror.recheck_at;
        if recheck {
            mirror.recheck_at = now + RECHECK_MS;
        }
        for request in overdue {
            self.commit_answered(request, Err(Failed::Unknown));
        }
        for ticket in expired {
            self.mirror_hears(Event::Expired { ticket });
        }
        if recheck {
            self.mirror_hears(Event::Recheck);
        }
        self.mirror_hears(Event::Tick);
        self.report_copied();
    }

    fn report_copied(&mut self) {
        let now = self.now;
        let Some(relay) = &mut self.relay else { return };
        let Some((side, attempt, since)) = relay.mirror.copying else { return };
        let held = relay.governor.group.announcement().0;
        let view = relay.mirror.machine.view();
        let mirror = &mut relay.mirror;
        let equal = match (held.is_duplex(), mirror.quiescing) {
            (true, true) => mirror.quiesced,
            (true, false) => view.ready && view.behind == 0,
            (false, _) => mirror.equal,
        };
        if equal || now > since + 5_000 {
            mirror.copying = None;
            self.tell_group(GroupEvent::OffsetsCopied { side, attempt, equal });
        }
    }

    pub fn mirror_quiesces(&mut self, quiesces: bool) {
        let Some(relay) = &mut self.relay else { return };
        (relay.mirror.quiescing, relay.mirror.quiesced) = (quiesces, false);
        self.mirror_hears(if quiesces { Event::Quiesce } else { Event::Resume });
    }
}
