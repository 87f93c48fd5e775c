//! Between the relay and the clusters: a connection keeps its order, and nothing else is promised. What was sent over
//! a connection that broke may arrive all the same, later.

use std::collections::{BTreeMap, VecDeque};

use naru_kafka::wire::Batch;
use naru_relay::Side;
use naru_relay::sequence::{Millis, OrderId};

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
