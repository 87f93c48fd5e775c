//! What the shell tells a group.

use naru_kafka::{client::TopicPartition, wire::ErrorCode};

use super::{Changes, Offsets};
use crate::sequence::{Millis, OrderId, Ticket};
use crate::side::Side;
use crate::sides::Standing;

/// Why a request to a side did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// The side said no to all of it.
    Refused(ErrorCode),
    /// Nothing was sent: no connection, no coordinator.
    NotSent,
    /// Sent, or perhaps sent, and no answer: it may have been done, or may yet be done.
    Unknown,
}

/// What a side answered, partition by partition.
pub type Codes = Vec<(TopicPartition, ErrorCode)>;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A client commits or deletes offsets. Nothing was sent yet.
    Commit {
        /// Answered by [`super::Action::Answer`].
        ticket: Ticket,
        /// What it changes.
        changes: Changes,
    },
    /// The client's patience is over, or it is gone. A commit that was sent goes on without it.
    Expired {
        /// Whose.
        ticket: Ticket,
    },
    /// The outcome of [`super::Action::Forward`].
    Forwarded {
        /// Whose.
        ticket: Ticket,
        /// The active side's codes.
        outcome: Result<Codes, Failed>,
    },
    /// The outcome of [`super::Action::Write`].
    Written {
        /// The order.
        order: OrderId,
        /// The side.
        side: Side,
        /// The side's codes.
        outcome: Result<Codes, Failed>,
    },
    /// The outcome of [`super::Action::Read`]: all that the side holds of this group.
    OffsetsRead {
        /// The order.
        order: OrderId,
        /// The side.
        side: Side,
        /// The offsets.
        outcome: Result<Offsets, Failed>,
    },
    /// The outcome of [`super::Action::RemoveMembers`].
    MembersRemoved {
        /// The order.
        order: OrderId,
        /// The side.
        side: Side,
        /// Whether none is left.
        outcome: Result<(), Failed>,
    },
    /// The outcome of [`super::Action::Keep`].
    Kept {
        /// The order.
        order: OrderId,
        /// Whether they are durable.
        done: bool,
    },
    /// A topic was made again on a side, which dropped its offsets there.
    Recreated {
        /// The side.
        side: Side,
    },
    /// Read both sides again and repair: brokers forget offsets of idle groups.
    Recheck,
    /// The group's standing, read back from the coordinator. `None` while no change is under way; while one is, the
    /// stricter of the two holds.
    Standing {
        /// What holds.
        held: Standing,
        /// A change that may or may not have been applied.
        sent: Option<Standing>,
    },
    /// Forward nothing more, equalise, and say [`super::Action::Quiesced`].
    Quiesce,
    /// Forward again.
    Resume,
    /// The right to decide ends at this time (RELAY-9).
    Lease {
        /// On the same clock as every `now`.
        until: Millis,
    },
    /// Time passes.
    Tick,
}
