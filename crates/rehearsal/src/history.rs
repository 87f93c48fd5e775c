//! What happened, as the clients saw it, as the consumers saw it, and as the log holds it at the end.
//!
//! Bounded: operations by [`crate::scenario::OPERATIONS_MAX`], records and observations by the two bounds here.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::pulse::{Pulse, PulseRecord};

/// Records read from the log at the end. A healthy log holds one for each operation; more than this many times the
/// operations is a verdict already, and reading on would not change it.
pub const RECORDS_PER_OPERATION_MAX: usize = 4;
/// Observations for each record: the group re-reads after a rebalance, and one further observer reads everything.
pub const OBSERVATIONS_PER_OPERATION_MAX: usize = 12;

/// The currency of every request: Korean won, ISO 4217.
pub const CURRENCY: &str = "KRW";

/// Everything that the checkers may look at.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Names of the topics that [`Place::topic`] counts.
    pub topics: Vec<String>,
    /// Every operation that was planned; the index is the operation's number.
    pub operations: Vec<Operation>,
    /// The log at the end, by topic, partition and offset.
    pub log: Vec<LogRecord>,
    /// Where each partition began when the log was read: below it nothing can be said.
    pub log_starts: Vec<(Place, i64)>,
    /// Who observed.
    pub observers: Vec<Observer>,
    /// What they saw; each observer's own in the order of delivery.
    pub observations: Vec<Observation>,
    /// When members were given partitions.
    pub sessions: Vec<Session>,
    /// Offsets whose commit was acknowledged to a member, in the order of the answers.
    pub commits: Vec<Commit>,
    /// The group's committed offsets at the end, as shown to clients.
    pub committed: Vec<Place>,
    /// Each side of a relay that is in sync at the end, read by itself.
    pub sides: Vec<SideCopy>,
    /// The pulses, by their number.
    pub pulses: Vec<Pulse>,
    /// When the group was given a pulse, in microseconds on the run's clock, by partition.
    pub pulses_delivered: Vec<(i32, u64)>,
    /// The pulses as each log holds them at the end, in the order of partitions and offsets.
    pub pulse_logs: Vec<(String, Vec<PulseRecord>)>,
}

/// One side of a relay, read at the end without the relay.
#[derive(Debug, Clone, Default)]
pub struct SideCopy {
    /// As the report names it: "cluster a".
    pub name: String,
    /// As [`History::log`].
    pub log: Vec<LogRecord>,
    /// As [`History::log_starts`].
    pub log_starts: Vec<(Place, i64)>,
    /// As [`History::committed`].
    pub committed: Vec<Place>,
}

/// A member was given partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Index into [`History::observers`].
    pub observer: u16,
    /// As [`Observation::session`].
    pub session: u32,
    /// When, in microseconds on the run's clock.
    pub at_us: u64,
}

/// A commit that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The partition, with the offset from which a successor goes on.
    pub place: Place,
    /// When the member was told, in microseconds on the run's clock.
    pub at_us: u64,
}

/// One request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Index into [`History::topics`] of the topic that its record goes to.
    pub topic: u16,
    /// The user: the record's key.
    pub user: u32,
    /// The other side as it was sent: the merchant, or who gets a transfer.
    pub peer: Box<str>,
    /// The amount that was sent, in minor units of [`CURRENCY`].
    pub amount_minor: i64,
    /// When it was due, in microseconds on the run's clock.
    pub planned_us: u64,
    /// When it was really sent, for the first time; `None` if it never was.
    pub sent_us: Option<u64>,
    /// How often it was sent, each time under the same idempotency key.
    pub attempts: u32,
    /// When the answer, or the end of waiting for it, came.
    pub ended_us: Option<u64>,
    /// What the client knows about it.
    pub outcome: Outcome,
}

/// What a client knows about its operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Due, but the answer is not there yet. None is left at the end.
    Invoked,
    /// The service answered 201: it must be in the log, once.
    Acknowledged {
        /// The identifier that the service gave.
        id: Box<str>,
        /// The per-user number that the service gave.
        sequence: u64,
    },
    /// The service refused it, or it was never sent: it must not be in the log.
    Failed {
        /// Why.
        why: Failure,
    },
    /// No answer, or one that leaves it open: it may be in the log, once.
    Unknown {
        /// Why.
        why: Doubt,
    },
}

/// Why an operation failed for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// More requests than allowed were waiting for answers: the load generator could not keep up.
    NotSent,
    /// The connection was refused, so no byte of it was sent.
    NotConnected,
    /// The service answered with this client-error status.
    Refused(u16),
}

/// Why an operation's outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// No answer in time.
    TimedOut,
    /// The connection broke after the request was sent.
    Broken,
    /// The service answered with this server-error status, which says nothing about a commit.
    Status(u16),
    /// The answer was not what the contract says.
    BadAnswer,
    /// The run ended first.
    Unanswered,
}

/// A position in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Index into [`History::topics`].
    pub topic: u16,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl Place {
    /// The same partition at offset 0: the partition's name.
    pub fn partition_key(self) -> Self {
        Self { offset: 0, ..self }
    }
}

/// A record as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Where it stands.
    pub place: Place,
    /// The operation that it says it belongs to.
    pub claim: Claim,
    /// The record's key.
    pub key: Box<str>,
    /// The identifier in its value.
    pub id: Box<str>,
    /// The per-user number in its value.
    pub sequence: u64,
    /// The user in its value.
    pub user: Box<str>,
    /// The merchant, or who gets the transfer, in its value.
    pub peer: Box<str>,
    /// The currency in its value.
    pub currency: Box<str>,
    /// The amount in its value.
    pub amount_minor: i64,
    /// Of key and value, for comparing with what consumers saw.
    pub fingerprint: u64,
}

/// Which operation a record says it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Claim {
    /// The planned operation of this number.
    Operation(u32),
    /// None of this run's: the idempotency key that it carries, or what else could be read of it.
    Stranger(Box<str>),
}

/// Somebody who reads the log while it grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observer {
    /// As the report names it.
    pub name: String,
    /// Observers with the same number share the partitions among them (a consumer group).
    pub group: u16,
}

/// One record delivered to one observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Index into [`History::observers`].
    pub observer: u16,
    /// Counts up each time the observer is given partitions: within one session, delivery has no gaps.
    pub session: u32,
    /// Where the record stood.
    pub place: Place,
    /// Of key and value.
    pub fingerprint: u64,
    /// The operation that it belongs to; `None` for a stranger.
    pub operation: Option<u32>,
    /// When, in microseconds on the run's clock.
    pub at_us: u64,
}

/// Fingerprint of a record's key and value. Only compared within one process.
pub fn fingerprint(key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    key.hash(&mut hasher);
    value.hash(&mut hasher);
    hasher.finish()
}

/// The key of a user's records and requests.
pub fn user_key(user: u32) -> String {
    format!("u{user}")
}

/// The idempotency key of an operation: names the run's seed and the operation's number.
pub fn idempotency_key(seed: u64, operation: usize) -> String {
    format!("{seed:016x}-{operation:07}")
}

/// Whom an idempotency key in a record belongs to, given the run's seed and number of operations.
pub fn claim(seed: u64, operations: usize, key: &str) -> Claim {
    let number = key
        .split_once('-')
        .filter(|(prefix, _)| u64::from_str_radix(prefix, 16) == Ok(seed))
        .and_then(|(_, number)| number.parse::<u32>().ok())
        .filter(|number| (*number as usize) < operations && idempotency_key(seed, *number as usize) == key);
    match number {
        Some(number) => Claim::Operation(number),
        None => Claim::Stranger(shortened(key)),
    }
}

/// A stranger's text, cut so that a hostile record cannot fill the report.
pub fn shortened(text: &str) -> Box<str> {
    const SHOWN_CHARS_MAX: usize = 64;
    text.chars().take(SHOWN_CHARS_MAX).collect::<String>().into()
}

impl History {
    /// `payments/0@17`.
    pub fn show_place(&self, place: Place) -> String {
        let topic = self.topics.get(usize::from(place.topic)).map_or("?", String::as_str);
        format!("{topic}/{}@{}", place.partition, place.offset)
    }

    /// How the report names an operation.
    pub fn show_operation(&self, number: usize) -> String {
        match self.operations.get(number) {
            None => format!("operation {number}"),
            Some(operation) => match &operation.outcome {
                Outcome::Acknowledged { id, sequence } => {
                    format!("operation {number} ({}, sequence {sequence}, id {id})", user_key(operation.user))
                }
                _ => format!("operation {number} ({})", user_key(operation.user)),
            },
        }
    }

    /// How the report names a record.
    pub fn show_record(&self, record: &LogRecord) -> String {
        let whose = match &record.claim {
            Claim::Operation(number) => format!("operation {number}"),
            Claim::Stranger(text) => format!("stranger {text:?}"),
        };
        let place = self.show_place(record.place);
        format!("{place} ({whose}, {}, sequence {}, id {})", record.key, record.sequence, record.id)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent => out.write_str("not sent: too many requests outstanding"),
            Self::NotConnected => out.write_str("connection refused"),
            Self::Refused(status) => write!(out, "status {status}"),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => out.write_str("no answer in time"),
            Self::Broken => out.write_str("connection broke"),
            Self::Status(status) => write!(out, "status {status}"),
            Self::BadAnswer => out.write_str("answer outside the contract"),
            Self::Unanswered => out.write_str("the run ended first"),
        }
    }
}
