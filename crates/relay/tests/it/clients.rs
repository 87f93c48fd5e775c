//! Producers as they are: idempotent ones that keep the order of their sequences through retries, and plain ones that
//! send again and may double their own records.

use std::collections::VecDeque;

use naru_kafka::wire::{Batch, BatchBuilder, Compression, ErrorCode};
use naru_relay::sequence::{Acked, Millis, Refusal};

/// What an unacknowledged batch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is sent when this time is reached.
    Waiting(Millis),
    /// It was sent then.
    Sent(Millis),
}

/// A batch that was not acknowledged yet.
#[derive(Debug, Clone)]
pub struct Unacked {
    /// Counts this client's batches.
    pub index: u64,
    pub batch: Batch,
    pub progress: Progress,
}

/// Id, epoch and next sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

/// What a client makes of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Acknowledged,
    Again,
    /// An answer that a correct client must never get.
    Broken,
    /// For a batch it does not wait for any more.
    Stale,
}

/// One producer, on one partition.
#[derive(Debug)]
pub struct Client {
    pub number: usize,
    pub partition: usize,
    /// None for a plain producer.
    pub identity: Option<Identity>,
    pub in_flight_max: usize,
    /// Rises with every connection made anew.
    pub connection: u64,
    /// Connections below this are gone at the relay's end, with what is under way on them.
    pub gone_below: u64,
    pub unacked: VecDeque<Unacked>,
    /// Batches made so far.
    pub made: u64,
    /// When the last request of the connection arrives: requests keep their order.
    pub last_arrival: Millis,
    /// And so do the answers.
    pub last_answer: Millis,
    pub stopped: bool,
    /// Makes a new epoch when nothing is unacknowledged any more.
    pub renew: bool,
}

/// After this long without an answer a client closes its connection and sends again.
pub const PATIENCE_MS: Millis = 4_000;
/// Wait before a retry.
const BACKOFF_MS: Millis = 40;
/// Batches a client collects while it cannot send.
const UNACKED_MAX: usize = 12;
/// A wall clock for the records' times.
pub const EPOCH_MS: i64 = 1_790_000_000_000;

impl Client {
    pub fn new(number: usize, partition: usize, identity: Option<Identity>, in_flight_max: usize) -> Self {
        Self {
            number,
            partition,
            identity,
            in_flight_max,
            connection: 0,
            gone_below: 0,
            unacked: VecDeque::new(),
            made: 0,
            last_arrival: 0,
            last_answer: 0,
            stopped: false,
            renew: false,
        }
    }

    /// Makes a batch of so many records, unless too much waits already.
    pub fn make(&mut self, now: Millis, records: i32) -> Option<&Batch> {
        if self.stopped || self.renew || self.unacked.len() >= UNACKED_MAX {
            return None;
        }
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some(identity) = &mut self.identity {
            builder = builder.producer(identity.id, identity.epoch, identity.sequence);
            identity.sequence = identity.sequence.wrapping_add(records) & i32::MAX;
        }
        for record in 0..records {
            let value = [self.number as u64, self.made, record as u64].map(u64::to_be_bytes).concat();
            builder.push(EPOCH_MS + now as i64, None, Some(&value), &[]).expect("a small record");
        }
        let batch = Batch::split_first(&mut builder.build().expect("a small batch")).expect("a batch just built");
        self.unacked.push_back(Unacked { index: self.made, batch, progress: Progress::Waiting(now) });
        self.made += 1;
        self.unacked.back().map(|unacked| &unacked.batch)
    }

    /// What is to be sent now, in order.
    pub fn due(&mut self, now: Millis) -> Vec<(u64, Batch)> {
        let mut sent = self.unacked.iter().filter(|unacked| matches!(unacked.progress, Progress::Sent(_))).count();
        let mut due = Vec::new();
        for unacked in &mut self.unacked {
            match unacked.progress {
                Progress::Waiting(at) if at <= now && sent < self.in_flight_max => {
                    unacked.progress = Progress::Sent(now);
                    sent += 1;
                    due.push((unacked.index, unacked.batch.clone()));
                }
                Progress::Waiting(_) => break,
                Progress::Sent(_) => {}
            }
        }
        due
    }

    /// Whether an answer is overdue.
    pub fn is_out_of_patience(&self, now: Millis) -> bool {
        self.unacked.iter().any(|unacked| matches!(unacked.progress, Progress::Sent(at) if at + PATIENCE_MS < now))
    }

    /// The connection is gone: everything unanswered is sent again over a new one.
    pub fn lose_connection(&mut self, now: Millis) {
        self.connection += 1;
        (self.last_arrival, self.last_answer) = (0, 0);
        for unacked in &mut self.unacked {
            unacked.progress = Progress::Waiting(now + BACKOFF_MS);
        }
    }

    /// An answer of the connection in use.
    pub fn answered(&mut self, now: Millis, index: u64, result: Result<Acked, Refusal>) -> Verdict {
        let Some(position) = self.unacked.iter().position(|unacked| unacked.index == index) else {
            return Verdict::Stale;
        };
        let Err(refusal) = result else {
            self.unacked.remove(position);
            return Verdict::Acknowledged;
        };
        // As the Java client has it: a gap is no news while an earlier batch is unacknowledged.
        let gap = refusal.code == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER && position > 0 && self.identity.is_some();
        if !refusal.code.is_retriable() && !gap {
            return Verdict::Broken;
        }
        self.unacked[position].progress = Progress::Waiting(now + BACKOFF_MS);
        Verdict::Again
    }

    /// Starts a new epoch once nothing is in doubt, as clients do that want to be sure.
    pub fn renew_if_idle(&mut self) {
        if let Some(identity) = &mut self.identity
            && self.renew
            && self.unacked.is_empty()
        {
            (identity.epoch, identity.sequence, self.renew) = (identity.epoch + 1, 0, false);
        }
    }

    /// Gives up what is unacknowledged and goes on as another producer.
    pub fn give_up(&mut self, number: usize, id: i64) {
        (self.number, self.made) = (number, 0);
        self.connection += 1;
        (self.last_arrival, self.last_answer) = (0, 0);
        self.unacked.clear();
        if let Some(identity) = &mut self.identity {
            *identity = Identity { id, epoch: 0, sequence: 0 };
        }
    }
}
