//! What a group wants done.

use naru_kafka::wire::ErrorCode;

use super::{Changes, Marks, event::Codes};
use crate::sequence::{OrderId, Suspicion, Ticket};
use crate::side::Side;

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send the client's own request to the active side.
    Forward {
        /// Comes back in [`super::Event::Forwarded`].
        ticket: Ticket,
        /// The active side.
        side: Side,
    },
    /// Write offsets without being a member: all of them commits, or all of them deletions. Never sent twice.
    Write {
        /// Comes back in [`super::Event::Written`].
        order: OrderId,
        /// Where to.
        side: Side,
        /// What.
        changes: Changes,
    },
    /// Read all that a side holds of this group, over a connection that is not older than this order.
    Read {
        /// Comes back in [`super::Event::OffsetsRead`].
        order: OrderId,
        /// From which side.
        side: Side,
    },
    /// Remove all members that a side still knows: they refuse simple commits.
    RemoveMembers {
        /// Comes back in [`super::Event::MembersRemoved`].
        order: OrderId,
        /// Where.
        side: Side,
    },
    /// Make these marks durable, in place of those before.
    Keep {
        /// Comes back in [`super::Event::Kept`].
        order: OrderId,
        /// All of the group.
        marks: Marks,
    },
    /// Answer a client.
    Answer {
        /// Whose.
        ticket: Ticket,
        /// The codes by partition, or one for all.
        result: Result<Codes, ErrorCode>,
    },
    /// Tell the service group. [`Suspicion::Behind`] with 0 says that the side holds every acknowledged offset and
    /// takes part in every acknowledgement of now.
    Suspect {
        /// Of whom.
        side: Side,
        /// What.
        suspicion: Suspicion,
    },
    /// Nothing is in flight, both sides hold the same, and nothing is forwarded until [`super::Event::Resume`].
    Quiesced,
}
