//! The relay: two Kafka clusters act as one for unmodified clients.
//!
//! Owns every decision about the log: which side orders records, when a record is acknowledged, what consumers may
//! see, what happens when a side goes away and comes back. Its invariants are RELAY-1 to RELAY-14 of
//! `naru_model::invariant`. It never depends on the gateway, the lake, or a database.
//!
//! `sequence` (one partition), `sides` (one service group) and `offsets` (one consumer group) are pure state machines:
//! events in, actions out, no I/O, no clock, no randomness. Everything else only carries out their actions. The
//! folders follow a record: `accept`, `decode`, `sequence`, `write`, `fetch`, `acknowledge`.

pub mod accept;
pub mod checkpoints;
pub mod clock;
pub mod config;
pub mod coordination;
mod decode;
mod discover;
mod fetch;
pub mod govern;
pub mod groups;
pub mod identity;
mod log_starts;
mod measure;
pub mod offsets;
pub mod partition;
pub mod preflight;
pub mod relay;
pub mod security;
pub mod sequence;
pub mod served;
pub mod side;
pub mod sides;
pub mod status;
pub mod topics;
mod unserved;
pub mod upstream;
pub mod verify;

pub use identity::IdentityError;
pub use measure::Stages;
pub use side::{Side, SideMap, SideSet};
