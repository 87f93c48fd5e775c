//! Sans-IO codec of the Kafka protocol: frames, headers, record batches, Produce and Fetch by own code, and the
//! other messages by `kafka-protocol` behind a guard.
//!
//! Invariant (WIRE-1): bytes of a peer cost memory in proportion to their own number, never to a number written in
//! them. Every length and count is compared with the bytes that are left, and with a named bound, before anything is
//! reserved; compressed records are expanded up to a bound that the caller gives.
//!
//! Nothing here reads a socket, a clock or a file.

pub mod api;
pub mod batch;
mod checksum;
pub mod cold;
pub mod compression;
mod error;
pub mod error_code;
pub mod fetch;
pub mod frame;
#[cfg(test)]
mod golden;
pub mod produce;
mod read;
pub mod record;
#[cfg(test)]
mod seeds;
mod tags;
mod topics;
mod write;

pub use api::ApiKey;
pub use batch::{Batch, BatchHeader};
pub use compression::Compression;
pub use error::{Side, WireError};
pub use error_code::ErrorCode;
pub use kafka_protocol::protocol::StrBytes;
pub use record::{BatchBuilder, Record};
pub use tags::Tags;
pub use topics::{NodeEndpoint, Topic, TopicId, TopicTable};
pub use write::{OutFrame, RecordData};

/// Topics in one Produce or Fetch message. A broker is advised to carry some thousand partitions; this leaves room
/// and keeps a hostile message's table below 4 MiB.
pub const TOPICS_MAX: usize = 32_768;

/// Partitions in one Produce or Fetch message, over all its topics: the same reason, below 24 MiB.
pub const PARTITIONS_MAX: usize = 65_536;

/// Tagged fields in one structure. Kafka's schemas have at most five; the rest is room for the future.
pub const TAGS_MAX: usize = 64;

// The figures above, held by the compiler.
const _: () = assert!(TOPICS_MAX * (size_of::<Topic>() + size_of::<usize>()) <= 4 << 20);
const _: () = assert!(PARTITIONS_MAX * size_of::<fetch::FetchedPartition>() <= 24 << 20);
const _: () = assert!(PARTITIONS_MAX * size_of::<produce::ProducedPartition>() <= 24 << 20);
