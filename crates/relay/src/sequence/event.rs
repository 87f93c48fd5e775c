//! What the shell tells a partition.

use naru_kafka::wire::{Batch, ErrorCode, TopicId};

use super::OrderId;
use crate::side::Side;
use crate::sides::Standing;

/// Names a client's waiting Produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What became of an order at a side.
pub type Outcome<T, E> = Result<T, E>;

/// Why a write did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteRefused {
    /// The side said no: nothing was written (but see codes 7 and 20, which the shell reports as unknown).
    Refused(ErrorCode),
    /// Nothing was sent: no connection, no leader.
    NotSent,
    /// Sent, or perhaps sent, and no answer: the batch may be there, or may yet come to be there.
    Unknown,
}

/// Why a read did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFailed {
    /// The side said no, such as for an offset out of range.
    Refused(ErrorCode),
    /// The side cannot be reached.
    Unreachable,
    /// The topic has another id than the one that was recorded: it was deleted and made again (RELAY-12).
    OtherTopic(TopicId),
}

/// Where a side's log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// First offset that can be read.
    pub log_start: i64,
    /// Offset of the next record, from ListOffsets.
    pub log_end: i64,
    /// The broker's leader epoch.
    pub leader_epoch: i32,
    /// Where what came under the leader epoch asked about, or an older one, ends there now (OffsetForLeaderEpoch): what
    /// lies above came under a newer one. None if none was asked about, or it is not known there.
    pub epoch_end: Option<i64>,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A client's batch, checked: size, CRC, one batch, no control or transactional bit, offsets from 0.
    Produce {
        /// Answered by [`super::Action::Answer`].
        ticket: Ticket,
        /// As it came.
        batch: Batch,
    },
    /// The client's patience is over: the ticket is answered retriably now, the batch goes on.
    Expired {
        /// Whose.
        ticket: Ticket,
    },
    /// The outcome of [`super::Action::Write`]: the offset the side answered with.
    Written {
        /// The order.
        order: OrderId,
        /// The side.
        side: Side,
        /// The base offset that it answered.
        outcome: Outcome<i64, WriteRefused>,
    },
    /// The outcome of [`super::Action::ReadEnd`].
    EndRead {
        /// The order.
        order: OrderId,
        /// The side.
        side: Side,
        /// Where its log begins and ends.
        outcome: Outcome<Located, ReadFailed>,
    },
    /// The outcome of [`super::Action::Read`]: whole batches in offset order, the first one holding the offset asked
    /// for. Empty at the end of the log.
    BatchesRead {
        /// The order.
        order: OrderId,
        /// The side.
        side: Side,
        /// The batches.
        outcome: Outcome<Vec<Batch>, ReadFailed>,
    },
    /// The outcome of [`super::Action::DeleteRecords`]: the log start that the side answered.
    RecordsDeleted {
        /// The order.
        order: OrderId,
        /// The side.
        side: Side,
        /// Its log start.
        outcome: Outcome<i64, ReadFailed>,
    },
    /// A side's connection was made anew, or its leader epoch rose: end and epoch are checked before the next write.
    Reconnected {
        /// The side.
        side: Side,
    },
    /// The topic was made again on a side (by the return of that side): its log is empty.
    Recreated {
        /// The side.
        side: Side,
    },
    /// The group's standing, read back from the coordinator. `None` while a change was sent and is not read back: the
    /// stricter of the old and the new holds.
    Standing {
        /// What holds.
        held: Standing,
        /// A change that may or may not have been applied.
        sent: Option<Standing>,
    },
    /// A side's log begins there now: its own retention moved it, and what it no longer has is not shown.
    BeginsAt {
        /// The side.
        side: Side,
        /// First offset that can be read.
        log_start: i64,
    },
    /// A side that is not in sync is not copied to before this time: copying has a rate. Says nothing of a side that is
    /// required by then.
    CopyPause {
        /// The side.
        side: Side,
        /// On the same clock as every `now`.
        until: super::Millis,
    },
    /// The outcome of [`super::Action::Keep`].
    Kept {
        /// The order.
        order: OrderId,
        /// Whether it is durable. If not it is ordered again.
        done: bool,
    },
    /// Records before this offset are to be deleted on both sides; -1 means the gate.
    DeleteBefore {
        /// Answered by [`super::Action::AnswerDelete`].
        ticket: Ticket,
        /// The new log start.
        offset: i64,
    },
    /// Admit nothing more, equalise, and say [`super::Action::Quiesced`].
    Quiesce,
    /// Admit again.
    Resume,
    /// The right to decide ends at this time (RELAY-9).
    Lease {
        /// On the same clock as every `now`.
        until: super::Millis,
    },
    /// Time passes.
    Tick,
}
