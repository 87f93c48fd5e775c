//! What a partition wants done.
//!
//! Every `Write`, `ReadEnd`, `Read`, `DeleteRecords` and `Keep` gets exactly one outcome event, also when the shell gives up
//! on it: until all writes to a side have one, that side is not examined and nothing is sent again.

use naru_kafka::wire::{BatchHeader, ErrorCode, RecordData};
use serde::{Deserialize, Serialize};

use super::{OrderId, Ticket};
use crate::side::{Side, SideMap};

/// A batch on its way out of the partition, the payload shared with where it came from. On its way to a side: base
/// offset 0 as Kafka demands, perhaps with another producer. On its way to consumers: its offset, leader epoch 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// As it is sent.
    pub header: BatchHeader,
    /// Header and payload.
    pub data: RecordData,
}

/// What a client is told of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// Offset of its first record, the same on every side in sync.
    pub base_offset: i64,
    /// The log start shown to clients.
    pub log_start: i64,
}

/// Why a client's batch is not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The code of the answer.
    pub code: ErrorCode,
    /// The rule or circumstance, for message, log and counter. Static: it never holds data.
    pub why: &'static str,
}

/// What a partition thinks of a side, for its service group.
///
/// Told when it changes, and once more after every [`super::Event::Standing`], so that whoever decides has the present
/// picture. The last one told holds. How long an absence is borne is the group's decision, not the partition's.
/// `Damaged`, `Diverged` and `OtherTopic` hold until the standing leaves the side out (it is then examined anew as a
/// follower); meanwhile nothing is written to it and it moves no gate. A follower that is `Diverged` or `OtherTopic`
/// waits for [`super::Event::Recreated`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// Answered the last order, and is in sync as far as this partition can tell.
    Serving,
    /// An order failed for want of the side, or has been without outcome for `suspect_after_ms`, or it has taken no
    /// batch for so long although it answers. Told at the first failure.
    Absent {
        /// When the first of the orders that failed was given, or when the overdue one was.
        since: super::Millis,
    },
    /// Lost records that it had: its end lies below what it acknowledged or below the checkpoint, or other records
    /// stand where it acknowledged ours.
    Damaged,
    /// Refuses a batch that the other side took, for good and not for want of anything: the code. It is tried again
    /// now and then; `Serving` or `Behind` follows if that helps.
    Refuses(ErrorCode),
    /// Holds other records than the other side, above the gate. It has to be made again.
    Diverged {
        /// The first offset that differs.
        offset: i64,
    },
    /// Another topic of the same name (RELAY-12).
    OtherTopic,
    /// After a start: its leader epoch is not the one of the checkpoint, so that it may have lost a tail. It is not
    /// to be trusted alone before both sides have been read (RELAY-13); `Serving` follows when they have been. So is
    /// either side of a partition of which nothing is known, until both were compared and hold the same.
    Changed,
    /// A side that is not in sync by the standing held follows with this many records to go. 0 is told only while a
    /// standing that was sent has the side in sync, so that both are required; it means: ends equal, and every batch
    /// since written to both before it is acknowledged; the pair may be set. Without such a standing a side that has
    /// everything is 1 behind. Told at most once a tick, 0 at once.
    Behind {
        /// Records.
        records: i64,
    },
}

/// What must survive the relay's process (RELAY-11, RELAY-13).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Everything below is on every side that was in sync, and is what consumers may see.
    pub gate: i64,
    /// The log start shown, or about to be.
    #[serde(default)]
    pub log_start: i64,
    /// Per side: everything below is on that side, equal to the other's. The gate for a side in sync, less for one
    /// that follows.
    pub agreed: SideMap<i64>,
    /// Offset and CRC of the last batch below the gate; (-1, 0) if it is not known.
    pub last_batch: (i64, u32),
    /// The brokers' leader epochs when this was true; -1 if not known.
    pub leader_epochs: SideMap<i32>,
    /// The producers' windows below the gate.
    pub windows: Vec<super::WindowSnapshot>,
    /// The id for stamping and the highest epoch used with it.
    pub stamp: (i64, i16),
    /// Producers whose batches carry the copier's id on a side instead of their own.
    pub restamped: SideMap<super::Restamped>,
    /// Batches above the gate that stand in a log, or may, under another's name.
    #[serde(default)]
    pub lent: Vec<super::Lent>,
}

/// Something to be done.
#[derive(Debug, Clone)]
pub enum Action {
    /// Write a batch with acks=all. Writes to one side are sent in the order given.
    Write {
        /// Comes back in [`super::Event::Written`].
        order: OrderId,
        /// Where to.
        side: Side,
        /// What.
        batch: Outgoing,
    },
    /// Read where a side's log begins and ends (ListOffsets, topic id, leader epoch, OffsetForLeaderEpoch), over a
    /// connection that is not older than this order.
    ReadEnd {
        /// Comes back in [`super::Event::EndRead`].
        order: OrderId,
        /// Of which side.
        side: Side,
        /// The leader epoch under which the side was found whole last, to be asked about; -1 if there is none.
        epoch: i32,
    },
    /// Read whole batches from an offset, below `before`, about this many bytes but at least one batch.
    Read {
        /// Comes back in [`super::Event::BatchesRead`].
        order: OrderId,
        /// From which side.
        side: Side,
        /// First offset.
        from: i64,
        /// End, not included.
        before: i64,
        /// About how much.
        bytes_max: usize,
    },
    /// Move a side's log start.
    DeleteRecords {
        /// Comes back in [`super::Event::RecordsDeleted`].
        order: OrderId,
        /// Of which side.
        side: Side,
        /// The new log start.
        before: i64,
    },
    /// Make this checkpoint durable, over every one that was given before. Something waits for it.
    Keep {
        /// Comes back in [`super::Event::Kept`].
        order: OrderId,
        /// What.
        checkpoint: Box<Checkpoint>,
    },
    /// Answer a client's Produce.
    Answer {
        /// Whose.
        ticket: Ticket,
        /// How it went.
        result: Result<Acked, Refusal>,
    },
    /// Answer a client's DeleteRecords with the log start.
    AnswerDelete {
        /// Whose.
        ticket: Ticket,
        /// The log start, or why not.
        result: Result<i64, Refusal>,
    },
    /// Consumers may read below this offset now. The batches that went below it since the last time, in order, with
    /// their offsets and leader epoch 0 in the header, for the cache of the newest; fewer than all after a catch-up
    /// (then the first one's offset is not the gate of before: what was cached below it stays right). The gate falls
    /// only when an `async` topic was taken over: forget everything cached at or above it.
    Gate {
        /// The gate.
        gate: i64,
        /// What went below it.
        batches: Vec<Outgoing>,
    },
    /// The log start shown to clients.
    LogStart {
        /// The offset.
        offset: i64,
    },
    /// Tell the service group.
    Suspect {
        /// Of whom.
        side: Side,
        /// What.
        suspicion: Suspicion,
    },
    /// Nothing is in flight, both ends are this, and nothing is admitted until [`super::Event::Resume`].
    Quiesced {
        /// The end of both logs.
        end: i64,
    },
}
