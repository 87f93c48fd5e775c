//! The relay's shell as a model: carries out what the machines want over the network of the world, and keeps nothing
//! but what is durable when it dies.

use std::collections::{BTreeMap, VecDeque};

use naru_kafka::wire::Batch;
use naru_relay::sequence::{
    Acked, Action, Event, Millis, Partition, PartitionConfig, Refusal, Ticket, View, WriteRefused,
};
use naru_relay::sides::{Event as GroupEvent, Seen};
use naru_relay::{Side, SideMap};
use rand::RngExt;

use crate::commits::Mirror;
use crate::coordinator::Mood;
use crate::govern::{Governing, Governor};
use crate::network::{Ask, Broken, Lane};
use crate::orders::whole;
use crate::trace::told;
use crate::world::{Due, World, brief};

/// How long a lease lasts from the sending of its renewal.
const LEASE_MS: Millis = 3_000;
const RENEW_MS: Millis = 800;
const TICK_MS: Millis = 20;
/// A client's request is answered by then, if need be retriably.
const PRODUCE_MS: Millis = 2_000;
/// A partition that is stopped answers within this.
const STOPPED_MS: Millis = 500;
/// A write without an answer for so long costs its connection.
pub const REQUEST_MS: Millis = 1_500;

/// A client's request that has no answer yet.
#[derive(Debug)]
struct Waiting {
    client: usize,
    connection: u64,
    batch: Batch,
    since: Millis,
    expired: bool,
}

/// One partition's machine and who waits for it.
#[derive(Debug)]
pub struct Actor {
    pub machine: Partition,
    waiting: BTreeMap<u64, Waiting>,
    deletes: BTreeMap<u64, i64>,
    gate: Option<i64>,
    /// Since when nothing is admitted.
    stopped_since: Option<Millis>,
    /// Whether each side's end was read since the start.
    read: SideMap<bool>,
}

/// The answers of one client's connection, in the order of its requests.
type Answers = VecDeque<(u64, u64, Option<Result<Acked, Refusal>>)>;

/// One start of the relay.
#[derive(Debug)]
pub struct Relay {
    pub start: u64,
    pub governor: Governor,
    pub mirror: Mirror,
    pub actors: Vec<Actor>,
    pub lanes: SideMap<Lane>,
    /// Leader epochs as they were seen last.
    pub leaders: SideMap<Vec<Option<i32>>>,
    answers: BTreeMap<(usize, u64), Answers>,
    pub inbox: VecDeque<(usize, Event)>,
    pub lease_until: Millis,
    paused: bool,
    backlog: Vec<Due>,
}

impl Relay {
    /// What concerns a process that is stopped waits for it.
    pub fn puts_off(&mut self, due: &Due) -> bool {
        let concerns = matches!(
            due,
            Due::Hear { .. }
                | Due::Connect { .. }
                | Due::Produce { .. }
                | Due::RelayTick(_)
                | Due::RelaySaves(_)
                | Due::RelayLooks(_)
                | Due::Keeps { .. }
                | Due::KeepsMarks { .. }
                | Due::LeaseAsk(_)
                | Due::LeaseGranted { .. }
                | Due::CommitAnswered { .. }
        ) || matches!(
            due,
            Due::Govern { what: Governing::Hears(_) | Governing::Probes(_) | Governing::Records { .. }, .. }
        );
        if self.paused && concerns {
            self.backlog.push(due.clone());
        }
        self.paused && concerns
    }

    /// What a consumer sees, and the side it is served from.
    pub fn shown(&self, partition: usize) -> Option<(View, Side)> {
        let machine = &self.actors[partition].machine;
        (!self.paused).then(|| (machine.view(), machine.config().1.active))
    }

    /// Whether a side was read in every partition since the start.
    pub fn has_read(&self, side: Side) -> bool {
        self.actors.iter().all(|actor| actor.read[side] || !actor.machine.view().compared)
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// What keeps the relay from being quiet.
    pub fn unrest(&self) -> Vec<String> {
        let mut why = self.mirror.unrest();
        for (partition, actor) in self.actors.iter().enumerate() {
            let view = actor.machine.view();
            if !view.ready || !view.writable || view.pending != 0 {
                why.push(format!("partition {partition}: {view:?}"));
            }
            if !actor.waiting.is_empty() {
                why.push(format!("partition {partition}: {} unanswered", actor.waiting.len()));
            }
        }
        why
    }
}

impl World {
    pub fn relay_starts(&mut self) {
        if self.relay.is_some() {
            return;
        }
        if self.durable.coordinator.mood_at(self.now) == Mood::Unavailable {
            return self.after(50, 200, Due::RelayStart);
        }
        self.durable.starts += 1;
        let start = self.durable.starts;
        let governor = self.governor();
        let (held, sent) = governor.group.announcement();
        let partitions = self.durable.topics.len();
        let actors = (0..partitions)
            .map(|partition| {
                let (stamp_id, copier_id) = self.durable.draw(partition);
                let config = PartitionConfig {
                    absence: self.durable.absence,
                    duplex: self.durable.duplex,
                    taken_in: self.durable.taken_in[partition],
                    pending_max: 64,
                    suspect_after_ms: 500,
                    copy_bytes_max: 2_000,
                    #[cfg(feature = "mutation")]
                    mutant: self.mutant,
                    ..PartitionConfig::new(stamp_id, copier_id)
                };
                let checkpoint = self.durable.checkpoints[partition].1.clone();
                Actor {
                    machine: Partition::new(config, held, checkpoint),
                    waiting: BTreeMap::new(),
                    deletes: BTreeMap::new(),
                    gate: None,
                    stopped_since: None,
                    read: SideMap::default(),
                }
            })
            .collect();
        self.trace.note(self.now, || format!("relay start {start}: {held}"));
        self.relay = Some(Relay {
            start,
            governor,
            mirror: Mirror::new(self.now, &self.commits, start),
            actors,
            lanes: SideMap::from_fn(|_| Lane::new()),
            leaders: SideMap::from_fn(|_| vec![None; partitions]),
            answers: BTreeMap::new(),
            inbox: (0..partitions).map(|partition| (partition, Event::Standing { held, sent })).collect(),
            lease_until: 0,
            paused: false,
            backlog: Vec::new(),
        });
        for side in Side::BOTH {
            self.after(1, 30, Due::Connect { start, side });
        }
        self.at(self.now, Due::LeaseAsk(start));
        self.mirror_hears(naru_relay::offsets::Event::Standing { held, sent });
        self.governor_starts(start);
        self.after(0, TICK_MS, Due::RelayTick(start));
        self.begins_keeping(start);
    }

    /// SIGKILL, and another start some time later.
    pub fn relay_dies(&mut self, back_after: Millis) {
        let Some(mut relay) = self.relay.take() else { return };
        self.trace.note(self.now, || format!("relay start {} dies, back in {back_after} ms", relay.start));
        for side in Side::BOTH {
            self.break_lane(&mut relay.lanes[side]);
        }
        let connections: Vec<(usize, u64)> =
            self.clients.iter().enumerate().map(|(slot, client)| (slot, client.connection)).collect();
        for (client, connection) in connections {
            self.clients[client].gone_below = connection + 1;
            self.after(1, 40, Due::ClientLost { client, connection });
        }
        self.at(self.now + back_after, Due::RelayStart);
    }

    /// SIGSTOP.
    pub fn relay_pauses(&mut self, for_ms: Millis) {
        if let Some(relay) = &mut self.relay
            && !relay.paused
        {
            relay.paused = true;
            self.trace.note(self.now, || format!("relay stopped for {for_ms} ms"));
            self.at(self.now + for_ms, Due::RelayResume);
        }
    }

    pub fn relay_resumes(&mut self) {
        if let Some(relay) = &mut self.relay
            && relay.paused
        {
            relay.paused = false;
            self.trace.note(self.now, || "relay goes on".to_owned());
            // What comes at this very moment comes after what has waited.
            let backlog = std::mem::take(&mut relay.backlog);
            let later = self.take_due_now();
            for due in backlog.into_iter().chain(later) {
                self.at(self.now, due);
            }
        }
    }

    pub fn is_start(&self, start: u64) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.start == start)
    }

    pub fn lease_asked(&mut self, start: u64) {
        if self.is_start(start) {
            let until = self.now + LEASE_MS;
            let delay = self.latency();
            if self.durable.coordinator.mood_at(self.now) != Mood::Unavailable {
                self.at(self.now + delay, Due::LeaseGranted { start, until });
            }
            self.at(self.now + RENEW_MS, Due::LeaseAsk(start));
        }
    }

    pub fn lease_granted(&mut self, start: u64, until: Millis) {
        if !self.is_start(start) {
            return;
        }
        let Some(relay) = &mut self.relay else { return };
        relay.lease_until = relay.lease_until.max(until);
        for partition in 0..relay.actors.len() {
            relay.inbox.push_back((partition, Event::Lease { until }));
        }
        self.group_hears(GroupEvent::Lease { until });
        self.mirror_hears(naru_relay::offsets::Event::Lease { until });
        self.relay_works();
    }

    pub fn relay_ticks(&mut self, start: u64) {
        if !self.is_start(start) {
            return;
        }
        let now = self.now;
        let Some(relay) = &mut self.relay else { return };
        let mut overdue = Vec::new();
        for side in Side::BOTH {
            if relay.lanes[side].outstanding.front().is_some_and(|oldest| oldest.sent_at + REQUEST_MS < now) {
                overdue.push(side);
            }
        }
        for (partition, actor) in relay.actors.iter_mut().enumerate() {
            relay.inbox.push_back((partition, Event::Tick));
            for (ticket, waiting) in &mut actor.waiting {
                if !waiting.expired && waiting.since + PRODUCE_MS < now {
                    waiting.expired = true;
                    relay.inbox.push_back((partition, Event::Expired { ticket: Ticket(*ticket) }));
                }
            }
        }
        for side in overdue {
            self.lose_connection(side);
        }
        self.at(now + TICK_MS, Due::RelayTick(start));
        self.give_voices();
        self.group_hears(GroupEvent::Tick);
        self.mirror_ticks();
        self.relay_works();
        if let Some(relay) = &mut self.relay {
            for (partition, actor) in relay.actors.iter_mut().enumerate() {
                let view = actor.machine.view();
                let stopped_since = (!view.writable).then(|| actor.stopped_since.unwrap_or(now));
                actor.stopped_since = stopped_since;
                // A stopped partition does not hold its clients' connections.
                let holds = |waiting: &&Waiting| {
                    stopped_since.is_some_and(|since| since.max(waiting.since) + STOPPED_MS + 2 * TICK_MS < now)
                };
                let held = actor.waiting.values().find(holds);
                naru_model::invariant!(
                    RELAY_14,
                    held.is_none(),
                    "partition {partition} is stopped since {stopped_since:?}, and does not answer {held:?}"
                );
                let late = actor.waiting.iter().find(|(_, waiting)| waiting.expired);
                assert!(late.is_none(), "partition {partition}: {late:?} not answered when its time was over");
            }
        }
    }

    pub fn connect(&mut self, start: u64, side: Side) {
        if !self.is_start(start) {
            return;
        }
        let reachable = self.is_reachable(side);
        let Some(relay) = &mut self.relay else { return };
        if relay.lanes[side].connection.is_some() {
            return;
        }
        if !reachable {
            return self.after(30, 150, Due::Connect { start, side });
        }
        self.network.connections += 1;
        let number = self.network.connections;
        relay.lanes[side] = Lane { connection: Some(number), ..Lane::new() };
        for partition in 0..relay.actors.len() {
            relay.inbox.push_back((partition, Event::Reconnected { side }));
        }
        self.trace.note(self.now, || format!("connected to {side}"));
        self.relay_works();
    }

    pub fn is_reachable(&self, side: Side) -> bool {
        let broker = &self.brokers[side];
        !broker.down && broker.frozen_until <= self.now && self.network.cut_until[side] <= self.now
    }

    /// The connection for writes breaks: what was sent may arrive or not, and the relay hears of it.
    pub fn lose_connection(&mut self, side: Side) {
        self.lose_commits(side);
        let Some(mut relay) = self.relay.take() else { return };
        let start = relay.start;
        if let Some(number) = relay.lanes[side].connection {
            self.trace.note(self.now, || format!("connection to {side} lost"));
            self.break_lane(&mut relay.lanes[side]);
            for lost in std::mem::take(&mut relay.lanes[side].outstanding) {
                let event = Event::Written { order: lost.order, side, outcome: Err(WriteRefused::Unknown) };
                let partition = lost.partition;
                self.at(self.now, Due::Hear { start, partition, lane: None, event });
            }
            debug_assert!(self.network.broken.contains_key(&number));
            self.after(20, 120, Due::Connect { start, side });
            for partition in 0..relay.actors.len() {
                let event = Event::Reconnected { side };
                self.at(self.now, Due::Hear { start, partition, lane: None, event });
            }
        }
        self.relay = Some(relay);
    }

    fn break_lane(&mut self, lane: &mut Lane) {
        let Some(number) = lane.connection.take() else { return };
        let under_way: Vec<u64> =
            lane.outstanding.iter().filter(|outstanding| !outstanding.arrived).map(|o| o.place).collect();
        let arriving = self.random.random_range(0..=under_way.len());
        let arrives_below = under_way.get(arriving).copied().unwrap_or(u64::MAX);
        let late_by = match self.random.random_range(0..10) {
            0..=3 => 0,
            4..=7 => self.random.random_range(0..=100),
            _ => self.random.random_range(0..=self.faults.late_ms_max),
        };
        self.network.broken.insert(number, Broken { arrives_below, arrives_at: self.now + late_by });
    }

    pub fn produce(&mut self, client: usize, connection: u64, index: u64, batch: Batch) {
        let now = self.now;
        let partition = self.clients[client].partition;
        if connection < self.clients[client].gone_below {
            return;
        }
        let Some(relay) = &mut self.relay else {
            self.clients[client].gone_below = connection + 1;
            return self.after(1, 20, Due::ClientLost { client, connection });
        };
        self.durable.tickets += 1;
        let ticket = self.durable.tickets;
        relay.answers.entry((client, connection)).or_default().push_back((ticket, index, None));
        let waiting = Waiting { client, connection, batch: batch.clone(), since: now, expired: false };
        relay.actors[partition].waiting.insert(ticket, waiting);
        relay.inbox.push_back((partition, Event::Produce { ticket: Ticket(ticket), batch }));
        self.relay_works();
    }

    /// A client wants records deleted.
    pub fn delete_before(&mut self, partition: usize, offset: i64) {
        let Some(relay) = &mut self.relay else { return };
        self.durable.tickets += 1;
        let ticket = self.durable.tickets;
        relay.actors[partition].deletes.insert(ticket, offset);
        self.oracle.deletion_wanted(partition, offset);
        let event = Event::DeleteBefore { ticket: Ticket(ticket), offset };
        if !relay.paused {
            relay.inbox.push_back((partition, event));
            self.relay_works();
        }
    }

    pub fn hear(&mut self, start: u64, partition: usize, lane: Option<(Side, u64)>, event: Event) {
        if !self.is_start(start) {
            return;
        }
        let Some(relay) = &mut self.relay else { return };
        if let Some((side, number)) = lane {
            // An answer over a connection that broke meanwhile was lost with it.
            if relay.lanes[side].connection != Some(number) {
                return;
            }
            if let Event::Written { order, .. } = event {
                let front = relay.lanes[side].outstanding.pop_front();
                assert_eq!(front.map(|front| (front.partition, front.order)), Some((partition, order)), "the model");
            }
        }
        relay.inbox.push_back((partition, event));
        self.relay_works();
    }

    /// Hands every event to its machine and carries out what follows.
    pub fn relay_works(&mut self) {
        let now = self.now;
        while let Some(relay) = &mut self.relay
            && let Some((partition, event)) = relay.inbox.pop_front()
        {
            if !matches!(event, Event::Tick) {
                self.trace.note(now, || format!("  {partition} <- {}", brief(&event)));
            }
            if let Event::EndRead { side, outcome: Ok(_), .. } = event {
                relay.actors[partition].read[side] = true;
            }
            if let Event::Standing { held, sent } = event {
                relay.governor.seen[partition] = Seen::of(held, sent);
            }
            let mut actions = Vec::new();
            relay.actors[partition].machine.on(now, event, &mut actions);
            let died_after = self.faults.relay_dies_within(now, &mut self.random, actions.len());
            for (done, action) in actions.into_iter().enumerate() {
                if died_after == Some(done) {
                    break;
                }
                self.carry_out(partition, action);
            }
            if died_after.is_some() {
                let back_after = self.random.random_range(20..=1_500);
                return self.relay_dies(back_after);
            }
            if let Some(relay) = &self.relay {
                let view = relay.actors[partition].machine.view();
                let held = self.durable.coordinator.standing();
                self.oracle.viewed(partition, view, &self.brokers, held);
            }
        }
    }

    fn carry_out(&mut self, partition: usize, action: Action) {
        let now = self.now;
        let Some(relay) = &mut self.relay else { return };
        self.trace.note(now, || format!("  {partition} -> {}", told(&action)));
        match action {
            Action::Write { order, side, batch } => self.write(partition, order, side, &batch),
            Action::ReadEnd { order, side, epoch } => self.ask(partition, order, side, Ask::ReadEnd { epoch }),
            Action::Read { order, side, from, before, bytes_max } => {
                self.ask(partition, order, side, Ask::Read { from, before, bytes_max });
            }
            Action::DeleteRecords { order, side, before } => {
                self.ask(partition, order, side, Ask::DeleteRecords { before });
            }
            Action::Answer { ticket, result } => {
                let lease_until = relay.lease_until;
                let waiting = relay.actors[partition].waiting.remove(&ticket.0);
                let Some(waiting) = waiting else {
                    panic!("partition {partition}: ticket {} answered that does not wait", ticket.0);
                };
                let Waiting { client, connection, batch, .. } = waiting;
                if let Some(answers) = relay.answers.get_mut(&(client, connection))
                    && let Some(slot) = answers.iter_mut().find(|(number, ..)| *number == ticket.0)
                {
                    slot.2 = Some(result);
                }
                if let Ok(acked) = result {
                    self.oracle.leased(now, lease_until, "acknowledged");
                    let held = self.durable.coordinator.standing();
                    self.oracle.answered(partition, &batch, acked.base_offset, &self.brokers, held);
                }
                self.answer_in_order(client, connection);
            }
            Action::AnswerDelete { ticket, .. } => {
                let waited = relay.actors[partition].deletes.remove(&ticket.0);
                assert!(waited.is_some(), "partition {partition}: deletion {} answered twice", ticket.0);
            }
            Action::Gate { gate, batches } => {
                let before = relay.actors[partition].gate.replace(gate);
                naru_model::invariant!(
                    RELAY_2,
                    before.is_none_or(|before| before <= gate),
                    "partition {partition}: gate {gate} after {before:?}"
                );
                let held = self.durable.coordinator.standing();
                self.oracle.gate_moved(partition, gate, &self.brokers, held);
                for batch in batches {
                    self.oracle.consumed(partition, &whole(&batch));
                }
            }
            Action::LogStart { .. } => {}
            Action::Keep { order, checkpoint } => {
                let start = relay.start;
                self.made += 1;
                let made = self.made;
                self.after(1, 30, Due::Keeps { start, partition, order, made, checkpoint });
            }
            Action::Suspect { side, suspicion } => self.suspected(partition, side, suspicion),
            Action::Quiesced { end } => self.quiesced(partition, end),
        }
    }

    /// Answers leave in the order of the requests.
    fn answer_in_order(&mut self, client: usize, connection: u64) {
        let mut at = self.now + self.latency();
        let Some(relay) = &mut self.relay else { return };
        let Some(answers) = relay.answers.get_mut(&(client, connection)) else { return };
        let mut heard = Vec::new();
        while let Some((_, index, Some(result))) = answers.front().copied() {
            answers.pop_front();
            heard.push((index, result));
        }
        for (index, result) in heard {
            at = at.max(self.clients[client].last_answer);
            self.clients[client].last_answer = at;
            self.at(at, Due::ClientHears { client, connection, index, result });
        }
    }
}
