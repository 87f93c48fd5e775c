//! What a partition wants done.

use naru_kafka::wire::{Batch, BatchHeader, ErrorCode, RecordData};
use serde::{Deserialize, Serialize};

use super::{OrderId, Ticket};
use crate::side::{Side, SideMap};

/// A batch on its way to a side: base offset 0 as Kafka demands, perhaps with another producer, the payload shared.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// Answers as it should.
    Serving,
    /// Cannot be reached, or has not answered since this time.
    Absent {
        /// Since when.
        since: super::Millis,
    },
    /// Lost records that it had: its end lies below what it acknowledged.
    Damaged,
    /// Refuses what the other side took.
    Refuses(ErrorCode),
    /// Holds other records than the other side, above the gate. It has to be made again.
    Diverged {
        /// The first offset that differs.
        offset: i64,
    },
    /// Another topic of the same name (RELAY-12).
    OtherTopic,
    /// After a start: its leader epoch is not the one of the checkpoint, so that it may have lost a tail. It is not
    /// to be trusted alone before both sides have been read (RELAY-13); `Serving` follows when they have been.
    Changed,
    /// Follows with this many records to go; 0 means equal ends and every batch of now written to both.
    Behind {
        /// Records.
        records: i64,
    },
}

/// What must survive the relay's process (RELAY-11, RELAY-13).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Everything below is equal on both sides.
    pub gate: i64,
    /// CRC of the last batch below the gate; 0 if there is none.
    pub last_batch_crc: u32,
    /// The brokers' leader epochs when this was true.
    pub leader_epochs: SideMap<i32>,
    /// The producers' windows below the gate.
    pub windows: Vec<super::WindowSnapshot>,
    /// Highest epoch used for stamping, and the id.
    pub stamp: (i64, i16),
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
    /// Read where a side's log begins and ends (ListOffsets, topic id, leader epoch), over a connection that is not
    /// older than this order.
    ReadEnd {
        /// Comes back in [`super::Event::EndRead`].
        order: OrderId,
        /// Of which side.
        side: Side,
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
    /// their offsets in the header, for the cache of the newest; fewer than all after a catch-up.
    Gate {
        /// The gate.
        gate: i64,
        /// What went below it.
        batches: Vec<Batch>,
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
