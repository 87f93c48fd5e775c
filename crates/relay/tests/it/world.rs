//! One seed, one history: clients, a relay, two clusters, a coordinator and what goes wrong between them, on a virtual
//! clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use naru_kafka::wire::{Batch, ErrorCode, TopicId};
use naru_relay::offsets::{Failed, Marks, Offsets};
use naru_relay::sequence::{Acked, Checkpoint, Event, Millis, OrderId, Refusal, WriteRefused};
use naru_relay::sides::Absence;
use naru_relay::{Side, SideMap};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::broker::{Broker, Log};
use crate::clients::{Client, Identity, Verdict};
use crate::commits::{self, Commits};
use crate::durable::Durable;
use crate::faults::{Fault, Faults};
use crate::govern::Governing;
use crate::network::{Ask, Network, Request};
use crate::oracle::{Oracle, Origin};
use crate::relay::Relay;
use crate::trace::Trace;

/// Faults happen until then.
const FAULTS_END_MS: Millis = 20_000;
/// Clients make new batches until then: the last of them meet a world without faults.
const LOAD_END_MS: Millis = 24_000;
/// By then everything is answered, both sides are equal and in sync. Enough for every time-out and back-off that the
/// faults can leave behind.
const QUIET_BY_MS: Millis = 180_000;

/// Something that will happen.
#[derive(Debug, Clone)]
pub enum Due {
    /// A request reaches a broker.
    Arrive(Request),
    /// A connection goes on that was held up at a broker.
    Release(Side, u64),
    /// An answer, or its absence, reaches the relay. `lane` names the connection of a write.
    Hear {
        start: u64,
        partition: usize,
        lane: Option<(Side, u64)>,
        event: Event,
    },
    /// The relay tries to reach a side.
    Connect {
        start: u64,
        side: Side,
    },
    /// A client's batch reaches the relay.
    Produce {
        client: usize,
        connection: u64,
        index: u64,
        batch: Batch,
    },
    /// An answer reaches a client.
    ClientHears {
        client: usize,
        connection: u64,
        index: u64,
        result: Result<Acked, Refusal>,
    },
    /// A client's connection broke.
    ClientLost {
        client: usize,
        connection: u64,
    },
    /// A client does what clients do.
    ClientWake(usize),
    /// A consumer reads.
    Consume(usize),
    RelayStart,
    RelayResume,
    RelayTick(u64),
    RelaySaves(u64),
    RelayLooks(u64),
    /// A checkpoint that something waits for reaches the disk.
    Keeps {
        start: u64,
        partition: usize,
        order: OrderId,
        made: u64,
        checkpoint: Box<Checkpoint>,
    },
    /// Marks of committed offsets reach the disk.
    KeepsMarks {
        start: u64,
        order: OrderId,
        marks: Marks,
    },
    LeaseAsk(u64),
    LeaseGranted {
        start: u64,
        until: Millis,
    },
    /// A consumer commits.
    Commit(usize),
    CommitArrives(commits::Request),
    CommitAnswered {
        request: commits::Request,
        outcome: Result<(ErrorCode, Option<Offsets>), Failed>,
    },
    Govern {
        start: u64,
        what: Governing,
    },
    /// An operator looks.
    Operate,
    Strike,
    Heal(Fault, Side),
}

#[derive(Debug)]
struct Scheduled {
    at: Millis,
    number: u64,
    due: Due,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Everything.
pub struct World {
    pub now: Millis,
    pub random: ChaCha8Rng,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    pub brokers: SideMap<Broker>,
    pub network: Network,
    pub relay: Option<Relay>,
    pub durable: Durable,
    pub clients: Vec<Client>,
    /// Names for producers, which are never used twice.
    identities: u64,
    /// How far each partition's consumer has read.
    pub positions: Vec<i64>,
    pub commits: Commits,
    pub oracle: Oracle,
    pub faults: Faults,
    pub trace: Trace,
    pub steps: u64,
    /// Checkpoints made so far.
    pub made: u64,
    /// What a group wanted before its relay was there.
    pub early: Vec<naru_relay::sides::Action>,
    /// A fault seeded into the machines.
    #[cfg(feature = "mutation")]
    pub mutant: Option<naru_relay::sequence::Mutant>,
}

/// What a seed came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub steps: u64,
    pub acknowledged: u64,
    pub faults: u64,
    pub ended_at: Millis,
    pub starts: u64,
}

impl World {
    pub fn new(seed: u64, trace: bool) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let partitions = random.random_range(1..=3);
        let topics: Vec<usize> = (0..partitions).map(|partition| partition / 2).collect();
        let topic_ids = SideMap::from_fn(|_| {
            (0..partitions).map(|_| TopicId(random.random::<u128>().to_be_bytes())).collect::<Vec<_>>()
        });
        let brokers = SideMap::from_fn(|side| {
            Broker::new(topics.iter().map(|topic| Log::new(topic_ids[side][*topic])).collect())
        });
        let faults = Faults::new(&mut random, FAULTS_END_MS);
        let durable = Durable::new(topics, topic_ids, &mut random);
        let mut world = Self {
            now: 0,
            queue: BinaryHeap::new(),
            scheduled: 0,
            brokers,
            network: Network::default(),
            relay: None,
            oracle: Oracle::new(partitions, durable.duplex, durable.absence == Absence::Block),
            durable,
            clients: Vec::new(),
            identities: 0,
            positions: vec![0; partitions],
            commits: Commits::new(partitions, random.random_bool(0.5)),
            faults,
            trace: Trace::new(trace),
            steps: 0,
            made: 0,
            early: Vec::new(),
            #[cfg(feature = "mutation")]
            mutant: None,
            random,
        };
        world.find_history();
        for partition in 0..partitions {
            for _ in 0..world.random.random_range(1..=3) {
                world.add_client(partition);
            }
            world.after(0, 50, Due::Consume(partition));
            world.after(0, 50, Due::Commit(partition));
        }
        world.after(0, 0, Due::RelayStart);
        world.after(0, 3_000, Due::Operate);
        let first = world.faults.next_in(&mut world.random);
        world.at(first, Due::Strike);
        world
    }

    fn add_client(&mut self, partition: usize) {
        let idempotent = self.random.random_bool(0.75);
        let in_flight_max = *pick(&mut self.random, &[1, 2, 5]);
        let identity = idempotent.then(|| Identity { id: self.random_id(), epoch: 0, sequence: 0 });
        let number = self.new_identity();
        let slot = self.clients.len();
        self.clients.push(Client::new(number, partition, identity, in_flight_max));
        self.after(0, 100, Due::ClientWake(slot));
    }

    /// 62 random bits, as the relay gives them.
    pub fn random_id(&mut self) -> i64 {
        self.random.random_range(0..1 << 62)
    }

    pub fn new_identity(&mut self) -> usize {
        self.identities += 1;
        self.identities as usize - 1
    }

    pub fn at(&mut self, at: Millis, due: Due) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled { at: at.max(self.now), number: self.scheduled, due }));
    }

    /// What would happen at this moment yet, in its order.
    pub fn take_due_now(&mut self) -> Vec<Due> {
        let mut due = Vec::new();
        while let Some(Reverse(next)) = self.queue.peek()
            && next.at <= self.now
            && let Some(Reverse(next)) = self.queue.pop()
        {
            due.push(next.due);
        }
        due
    }

    /// Some time from now, drawn between two bounds.
    pub fn after(&mut self, least: Millis, most: Millis, due: Due) {
        let delay = self.random.random_range(least..=most);
        self.at(self.now + delay, due);
    }

    /// A way through a network: short, now and then long.
    pub fn latency(&mut self) -> Millis {
        if self.random.random_bool(0.03) { self.random.random_range(20..=150) } else { self.random.random_range(1..=5) }
    }

    /// Whether a write may yet arrive at a side.
    pub fn has_writes_under_way(&self, side: Side) -> bool {
        let held = self.network.held.values().flatten().any(|request| request.side == side);
        held || self.queue.iter().any(|Reverse(scheduled)| {
            matches!(&scheduled.due, Due::Arrive(request) if request.side == side && matches!(request.ask, Ask::Write(_)))
        })
    }

    pub fn load_end(&self) -> Millis {
        LOAD_END_MS
    }

    /// Whether faults may still happen.
    pub fn is_calm(&self) -> bool {
        self.now >= FAULTS_END_MS
    }

    /// Plays the whole history. Panics when a rule does not hold.
    pub fn run(&mut self) -> Summary {
        loop {
            let Some(Reverse(next)) = self.queue.pop() else {
                panic!("nothing happens any more, at {}", self.now);
            };
            self.now = next.at;
            self.steps += 1;
            self.happen(next.due);
            if self.steps.is_multiple_of(64) && self.is_quiet() {
                break;
            }
            assert!(self.now < QUIET_BY_MS, "not quiet by {QUIET_BY_MS}: {}", self.unrest());
        }
        let held = self.durable.coordinator.standing();
        self.oracle.ended(&self.brokers, held);
        self.commits.judge(held, None);
        Summary {
            steps: self.steps,
            acknowledged: self.oracle.acknowledged,
            faults: self.faults.struck,
            ended_at: self.now,
            starts: self.durable.starts,
        }
    }

    fn is_quiet(&self) -> bool {
        self.now > LOAD_END_MS && self.unrest().is_empty()
    }

    /// Why the world is not quiet; empty if it is.
    fn unrest(&self) -> String {
        let mut why = Vec::new();
        for client in self.clients.iter().filter(|client| !client.unacked.is_empty()) {
            why.push(format!("client {} waits for {:?}", client.number, client.unacked.front().map(|u| u.index)));
        }
        let held = self.durable.coordinator.standing();
        if !held.in_sync.is_pair() {
            why.push(held.to_string());
        }
        match &self.relay {
            Some(relay) => why.extend(relay.unrest()),
            None => why.push("no relay".to_owned()),
        }
        why.extend(self.commits.unrest());
        for partition in 0..self.positions.len() {
            let [a, b] = Side::BOTH.map(|side| self.brokers[side].logs[partition].end);
            let gate = self.oracle.gate(partition);
            if a != b || a != gate {
                why.push(format!("partition {partition} ends at {a} and {b}, gate {gate}"));
            }
        }
        why.join("; ")
    }

    fn happen(&mut self, due: Due) {
        if self.relay.as_mut().is_some_and(|relay| relay.puts_off(&due)) {
            return;
        }
        match due {
            Due::Arrive(request) => self.arrive(request),
            Due::Release(side, connection) => self.release(side, connection),
            Due::Hear { start, partition, lane, event } => self.hear(start, partition, lane, event),
            Due::Connect { start, side } => self.connect(start, side),
            Due::Produce { client, connection, index, batch } => self.produce(client, connection, index, batch),
            Due::ClientHears { client, connection, index, result } => {
                self.client_hears(client, connection, index, result);
            }
            Due::ClientLost { client, connection } => {
                let now = self.now;
                let client = &mut self.clients[client];
                if client.connection == connection {
                    client.lose_connection(now);
                }
            }
            Due::ClientWake(client) => self.client_wakes(client),
            Due::Consume(partition) => self.consume(partition),
            Due::RelayStart => self.relay_starts(),
            Due::RelayResume => self.relay_resumes(),
            Due::RelayTick(start) => self.relay_ticks(start),
            Due::RelaySaves(start) => self.relay_saves(start),
            Due::RelayLooks(start) => self.relay_looks(start),
            Due::KeepsMarks { start, order, marks } => self.keep_marks(start, order, marks),
            Due::Keeps { start, partition, order, made, checkpoint } => {
                self.keeps(start, partition, order, made, *checkpoint);
            }
            Due::LeaseAsk(start) => self.lease_asked(start),
            Due::LeaseGranted { start, until } => self.lease_granted(start, until),
            Due::Commit(partition) => self.commit(partition),
            Due::CommitArrives(request) => self.commit_arrives(request),
            Due::CommitAnswered { request, outcome } => self.commit_answered(request, outcome),
            Due::Govern { start, what } => self.governs(start, what),
            Due::Operate => self.operate(),
            Due::Strike => self.strike(),
            Due::Heal(fault, side) => self.heal(fault, side),
        }
    }

    fn client_wakes(&mut self, slot: usize) {
        let now = self.now;
        let stopped = now >= LOAD_END_MS;
        let records = self.random.random_range(1..=3);
        let client = &mut self.clients[slot];
        client.stopped = stopped;
        client.renew_if_idle();
        let (number, once, ordered) =
            (client.number, client.identity.is_some(), client.identity.is_some() || client.in_flight_max == 1);
        let index = client.made;
        if let Some(batch) = client.make(now, records) {
            self.oracle.made(batch, Origin { client: number, index, once, ordered });
        }
        if client.is_out_of_patience(now) {
            client.lose_connection(now);
        }
        for (index, batch) in client.due(now) {
            let connection = self.clients[slot].connection;
            let arrival = (self.now + self.latency()).max(self.clients[slot].last_arrival);
            self.clients[slot].last_arrival = arrival;
            self.at(arrival, Due::Produce { client: slot, connection, index, batch });
        }
        self.after(5, 40, Due::ClientWake(slot));
    }

    fn client_hears(&mut self, slot: usize, connection: u64, index: u64, result: Result<Acked, Refusal>) {
        let now = self.now;
        let client = &mut self.clients[slot];
        if client.connection != connection {
            return;
        }
        let number = client.number;
        if client.answered(now, index, result) == Verdict::Broken {
            let sequence = client.unacked.front().map(|unacked| unacked.batch.header().base_sequence);
            panic!(
                "client {number}, batch {index} (oldest sequence {sequence:?}): a correct client was told {result:?}"
            );
        }
    }

    /// A consumer reads the next batch from the active side, as far as the relay shows it.
    fn consume(&mut self, partition: usize) {
        if let Some((mut view, active)) = self.relay.as_ref().and_then(|relay| relay.shown(partition)) {
            if !view.ready {
                // What was below the gate at the last checkpoint is served also now; above it, nothing is said.
                view.gate = view.served_below.max(self.positions[partition]);
                view.log_start = 0;
            }
            let position = self.positions[partition].max(view.log_start);
            // A consumer that stands beyond the gate was shown more before.
            naru_model::invariant!(
                RELAY_2,
                position <= view.gate,
                "partition {partition}: a consumer at {position}, gate {}",
                view.gate
            );
            let log = &self.brokers[active].logs[partition];
            let found = log.read(position, view.gate, 200).unwrap_or_default();
            let trusted = self.oracle.trusts(partition, active);
            for batch in found {
                if trusted && batch.header().next_offset() <= view.gate {
                    self.oracle.consumed(partition, &batch);
                    self.positions[partition] = batch.header().next_offset();
                }
            }
        }
        self.after(10, 60, Due::Consume(partition));
    }
}

/// One of several.
pub fn pick<'a, T>(random: &mut ChaCha8Rng, of: &'a [T]) -> &'a T {
    &of[random.random_range(0..of.len())]
}

/// An event without its bytes.
pub fn brief(event: &Event) -> String {
    match event {
        Event::Produce { ticket, batch } => {
            let header = batch.header();
            let (id, epoch, sequence) = (header.producer_id, header.producer_epoch, header.base_sequence);
            format!("Produce {} {id}:{epoch}:{sequence} x{}", ticket.0, header.record_count)
        }
        Event::BatchesRead { order, side, outcome: Ok(batches) } => {
            let range = batches.first().map(|batch| batch.header().base_offset);
            let end = batches.last().map(|batch| batch.header().next_offset());
            format!("BatchesRead {order:?} {side} {range:?}..{end:?}")
        }
        other => format!("{other:?}"),
    }
}

/// How a broker's refusal comes to the relay: two codes leave open whether the batch was written.
pub fn refused(code: naru_kafka::wire::ErrorCode) -> WriteRefused {
    use naru_kafka::wire::ErrorCode;
    match code {
        ErrorCode::REQUEST_TIMED_OUT | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND => WriteRefused::Unknown,
        code => WriteRefused::Refused(code),
    }
}
