//! What a relay remembers of a producer in one partition: its last five batches (RELAY-11, RELAY-14).

use serde::{Deserialize, Serialize};

/// How many batches per producer are remembered: Kafka's number, and the most an idempotent client keeps in flight.
pub const BATCHES_REMEMBERED: usize = 5;

/// One remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Sequence of its first record.
    pub first_sequence: i32,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Newest time among its records, milliseconds since 1970.
    pub max_timestamp: i64,
}

/// A producer's window as it is kept durably.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSnapshot {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Its last batches, oldest first, at most [`BATCHES_REMEMBERED`].
    pub batches: Vec<Remembered>,
}
