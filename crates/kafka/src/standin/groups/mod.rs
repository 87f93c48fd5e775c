//! Consumer groups: the classic protocol as a pure state machine, and committed offsets.
//!
//! Nothing here reads a clock, a socket or a disk: time comes in as milliseconds, parked requests are [`Ticket`]s, and
//! what must be remembered across a restart goes out as [`record::Change`]s. [`crate::standin::server`] executes them.

pub mod group;
pub mod join;
pub mod member;
pub mod offsets;
pub mod record;

#[cfg(test)]
mod group_tests;

/// Names one parked JoinGroup or SyncGroup request; the shell keeps the way back to its client under this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Longest group id taken, in bytes: Kafka's own limit is a string's (32 KiB); group ids are held in memory for days.
pub const GROUP_ID_BYTES_MAX: usize = 4096;
/// Members a group may have (Kafka's `group.max.size` is unlimited by default; memory here is not).
pub const MEMBERS_MAX: usize = 2_000;
/// What the members of a group may hold together without their assignments, bytes: a group is written down as one
/// record. Kafka's bound is that of a record of its offsets topic, 1 MiB compressed; this is room for [`MEMBERS_MAX`]
/// members of 4 KiB each.
pub const MEMBERS_BYTES_MAX: usize = 8 << 20;
/// What a leader may assign to all members together, bytes, for the same reason.
pub const ASSIGNMENTS_BYTES_MAX: usize = 8 << 20;
/// Shortest session time-out a member may ask for (Kafka's `group.min.session.timeout.ms`).
pub const SESSION_TIMEOUT_MS_MIN: i32 = 6_000;
/// Longest session time-out a member may ask for (Kafka's `group.max.session.timeout.ms`).
pub const SESSION_TIMEOUT_MS_MAX: i32 = 1_800_000;
/// How long a member that is new may wait for its first rebalance to end before it is dropped (Kafka's
/// `NewMemberJoinTimeoutMs`: its client gives up before that).
pub const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;
