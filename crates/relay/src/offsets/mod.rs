//! The committed offsets of one consumer group on both sides (RELAY-4), as a pure state machine: events in, actions
//! out, no I/O, no clock.
//!
//! A client's commit goes to the active side as the client sent it, since only there it has members and a generation.
//! What the active side took is then written to the standby as a simple commit (generation -1, with a retention of its
//! own), one at a time and in the active side's order; what waits meanwhile is merged, the newest per partition. The
//! client is answered when both sides have its offsets or newer ones; alone by one side only under a grant that was
//! read back.
//!
//! Where the sides differ, the larger offset counts, and a mark where a place was set back: see [`Mark`]. What was
//! acknowledged is so kept also where one side loses the end of its log of offsets while nobody looks.
//!
//! A write whose outcome is unknown may still arrive and would then overwrite a newer one: nothing more is written to
//! that side until a reading shows it, or until it can no longer arrive ([`GroupConfig::settle_ms`]).

mod action;
mod answer;
mod event;
mod failing;
mod group;
mod lane;
mod mark;
mod mutant;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use action::Action;
pub use event::{Event, Failed};
pub use group::{Group, GroupConfig, View};
pub use mark::{Kept, Mark, Marks};
#[cfg(feature = "mutation")]
pub use mutant::Mutant;
use naru_kafka::client::TopicPartition;

/// A committed position of a group in a partition. The leader epoch that a client may send with it is a relay's, not a
/// broker's, and is left out (RELAY-8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The next offset to read.
    pub offset: i64,
    /// The committer's own words.
    pub metadata: Arc<str>,
}

/// What a request changes, by partition; `None` forgets the offset.
pub type Changes = BTreeMap<TopicPartition, Option<Position>>;

/// Everything that a side holds of a group.
pub type Offsets = BTreeMap<TopicPartition, Position>;

/// Partitions in one write to a side: an OffsetCommit of so many stays below a megabyte, a broker's limit for one
/// record batch of its offsets topic. A group with more is written in several.
pub const WRITE_PLACES_MAX: usize = 5_000;
