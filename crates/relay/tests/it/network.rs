//! Between the relay and the clusters: a connection keeps its order, and nothing else is promised. What was sent over
//! a connection that broke may arrive all the same, later.

use std::collections::{BTreeMap, VecDeque};

use naru_kafka::wire::Batch;
use naru_relay::Side;
use naru_relay::sequence::{Event, Millis, OrderId};

use crate::relay::{REQUEST_MS, Relay};
use crate::world::{Due, World, brief};

/// What a request asks of a broker.
#[derive(Debug, Clone)]
pub enum Ask {
    Write(Batch),
    ReadEnd { epoch: i32 },
    Read { from: i64, before: i64, bytes_max: usize },
    DeleteRecords { before: i64 },
}

/// One request on its way.
#[derive(Debug, Clone)]
pub struct Request {
    pub side: Side,
    /// Who asked: a start of the relay.
    pub start: u64,
    /// The connection and the place in it; None for requests that need no order.
    pub connection: Option<(u64, u64)>,
    pub partition: usize,
    pub order: OrderId,
    pub ask: Ask,
}

/// A connection that broke.
#[derive(Debug)]
pub struct Broken {
    /// Requests before this place in it still arrive.
    pub arrives_below: u64,
    /// Not before this.
    pub arrives_at: Millis,
}

/// The connection that carries one side's writes, in order.
#[derive(Debug)]
pub struct Lane {
    /// The number of the connection; None while there is none.
    pub connection: Option<u64>,
    /// Sent and not answered, oldest first.
    pub outstanding: VecDeque<Outstanding>,
    pub last_arrival: Millis,
    pub last_answer: Millis,
    pub sent: u64,
}

/// A write without an answer.
#[derive(Debug, Clone, Copy)]
pub struct Outstanding {
    pub partition: usize,
    pub order: OrderId,
    pub place: u64,
    pub sent_at: Millis,
    pub arrived: bool,
    /// Stamped by the relay.
    pub stamped: bool,
}

impl Lane {
    pub fn new() -> Self {
        Self { connection: None, outstanding: VecDeque::new(), last_arrival: 0, last_answer: 0, sent: 0 }
    }
}

/// The cables.
#[derive(Debug, Default)]
pub struct Network {
    pub connections: u64,
    /// The newest connection when a fault last made a side's topic again.
    pub connections_at: naru_relay::SideMap<u64>,
    pub broken: BTreeMap<u64, Broken>,
    /// What has come over a connection and waits at its broker.
    pub held: BTreeMap<u64, VecDeque<Request>>,
    /// No way to the side until then.
    pub cut_until: naru_relay::SideMap<Millis>,
}

impl World {
    /// A broker gets a request.
    pub fn arrive(&mut self, request: Request) {
        let Request { side, start, connection, .. } = request;
        let live = self.relay.as_ref().is_some_and(|relay| {
            relay.start == start && connection.is_none_or(|(number, _)| relay.lanes[side].connection == Some(number))
        });
        if let Some((number, place)) = connection {
            let broken = self.network.broken.get(&number);
            if broken.is_some_and(|broken| place >= broken.arrives_below) {
                return;
            }
            let release_at = self.release_at(side, number);
            let held = self.network.held.entry(number).or_default();
            if !held.is_empty() {
                return held.push_back(request);
            }
            if release_at > self.now {
                held.push_back(request);
                return self.at(release_at, Due::Release(side, number));
            }
        }
        self.reach(request, live);
    }

    /// When what comes over a connection is handled: a stopped broker does that later, and so is what was still under
    /// way when the connection broke. Connections wait each for itself: which of them goes first is open.
    pub fn release_at(&self, side: Side, connection: u64) -> Millis {
        let late = self.network.broken.get(&connection).map_or(0, |broken| broken.arrives_at);
        let frozen_until = self.brokers[side].frozen_until;
        let thawed = if frozen_until > 0 { frozen_until + connection % 10 } else { 0 };
        late.max(thawed)
    }

    /// What a connection has held back is handled, in order.
    pub fn release(&mut self, side: Side, connection: u64) {
        let release_at = self.release_at(side, connection);
        if release_at > self.now {
            return self.at(release_at, Due::Release(side, connection));
        }
        for request in self.network.held.remove(&connection).unwrap_or_default() {
            let lives =
                |relay: &Relay| relay.start == request.start && relay.lanes[side].connection == Some(connection);
            let live = self.relay.as_ref().is_some_and(lives);
            self.reach(request, live);
        }
    }

    /// A request is at its broker.
    pub fn reach(&mut self, request: Request, live: bool) {
        let Request { side, start, connection, partition, order, .. } = request;
        let broker = &mut self.brokers[side];
        let cut = self.network.cut_until[side] > self.now && connection.is_none();
        if broker.down || cut {
            let delay = self.latency();
            return self.unreachable(&request, live, delay);
        }
        if broker.frozen_until > self.now && connection.is_none() {
            self.unreachable(&request, live, REQUEST_MS);
            if !matches!(request.ask, Ask::DeleteRecords { .. }) {
                return;
            }
            // It is carried out later, and nobody waits for it any more.
            let at = self.brokers[side].frozen_until;
            return self.at(at, Due::Arrive(Request { start: 0, ..request }));
        }
        if let Some((_, place)) = connection
            && live
            && let Some(relay) = &mut self.relay
            && let Some(outstanding) = relay.lanes[side].outstanding.iter_mut().find(|o| o.place == place)
        {
            outstanding.arrived = true;
        }
        let event = self.serve(&request);
        if !live {
            return;
        }
        if let Some(event) = event {
            let delay = self.delay_of(side);
            let mut at = self.now + delay;
            if connection.is_some()
                && let Some(relay) = &mut self.relay
            {
                at = at.max(relay.lanes[side].last_answer);
                relay.lanes[side].last_answer = at;
            }
            let lane = connection.map(|(number, _)| (side, number));
            self.trace.note(self.now, || format!("{side}/{partition} answers {order:?}: {}", brief(&event)));
            self.at(at, Due::Hear { start, partition, lane, event });
        }
    }

    pub fn delay_of(&mut self, side: Side) -> Millis {
        let (until, times) = self.brokers[side].slow;
        let times = if until > self.now { times } else { 1 };
        self.latency() * times
    }

    /// Tells the relay that a side was not reached.
    pub fn unreachable(&mut self, request: &Request, live: bool, delay: Millis) {
        use naru_relay::sequence::ReadFailed::Unreachable;
        let Request { side, start, partition, order, .. } = *request;
        let event = match request.ask {
            // The connection is gone with the broker, and its end is told for all it carried.
            Ask::Write(_) => return,
            Ask::ReadEnd { .. } => Event::EndRead { order, side, outcome: Err(Unreachable) },
            Ask::Read { .. } => Event::BatchesRead { order, side, outcome: Err(Unreachable) },
            Ask::DeleteRecords { .. } => Event::RecordsDeleted { order, side, outcome: Err(Unreachable) },
        };
        if live {
            self.at(self.now + delay, Due::Hear { start, partition, lane: None, event });
        }
    }
}
