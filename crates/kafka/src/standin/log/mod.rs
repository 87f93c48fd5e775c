//! The rules of one partition log, as a pure state machine.
//!
//! Owns every decision about a partition: which batch may be appended and at which offset, which one is a duplicate,
//! what a consumer may see, what retention and compaction may remove. Invariants: offsets rise without reuse
//! (BROKER-4) and a producer's sequence is appended once (BROKER-3). Knows neither files nor clocks: time is passed
//! in, and bytes are written by `storage`, which has the batch checked ([`validate`]), asks [`Log::admit`], and
//! tells [`Log::appended`] afterwards, so that a write that failed has changed nothing here.

mod compaction;
mod config;
mod epochs;
mod producers;
mod retention;
mod state;
mod validate;

#[cfg(test)]
mod tests;

pub use compaction::{LatestByKey, Tombstones};
pub use config::{LogConfig, TimestampType};
pub use epochs::{EpochEnd, LeaderEpochs};
pub use producers::{
    DuplicateOf, PRODUCER_EXPIRY_CHECK_MS, PRODUCERS_MAX, ProducerError, ProducerState, ProducerTable,
    RETAINED_BATCHES, RetainedBatch, SequenceVerdict,
};
pub use retention::{Expired, SegmentSummary, expired};
pub use state::{Admission, Entry, Log, Stamp};
pub use validate::{Refusal, Validated, single_batch, validate};
