//! What can differ, in words that name the place.

use std::fmt;

use naru_kafka::wire::Batch;
use naru_model::invariant::{self, Invariant};
use serde::Serialize;

use crate::side::{Side, SideMap};

/// What one side holds where the other holds something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The batch's checksum as stored.
    pub crc: u32,
    /// The batch's first and last offset.
    pub first_offset: i64,
    /// As above.
    pub last_offset: i64,
    /// Its size, bytes.
    pub bytes: usize,
}

impl Seen {
    pub(super) fn of(batch: &Batch) -> Self {
        let header = batch.header();
        Self {
            crc: header.crc,
            first_offset: header.base_offset,
            last_offset: header.last_offset(),
            bytes: batch.bytes().len(),
        }
    }
}

/// Which part of two batches at the same offset differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// They end at different offsets.
    Bounds,
    /// Attributes, times or the number of records.
    Header,
    /// Producer id, epoch or sequence.
    Producer,
    /// The record at this offset is the first that differs.
    Record {
        /// Its offset.
        offset: i64,
    },
    /// The records are equal and encoded differently.
    Encoding,
    /// The records differ and cannot be taken apart: damaged, or larger than allowed when decompressed.
    Unreadable,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bounds => f.write_str("where they end"),
            Self::Header => f.write_str("the header"),
            Self::Producer => f.write_str("the producer"),
            Self::Record { offset } => write!(f, "the record at offset {offset}"),
            Self::Encoding => f.write_str("the encoding of equal records"),
            Self::Unreadable => f.write_str("records that cannot be taken apart"),
        }
    }
}

/// A committed offset as one side has it. The committer's own words are compared and not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
}

/// One difference between the sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Difference {
    /// Two batches at the same offset are not the same.
    Batch {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset of both batches' first record.
        offset: i64,
        /// What differs.
        part: Part,
        /// Each side's batch.
        sides: SideMap<Seen>,
    },
    /// A batch of one side is not on the other.
    MissingBatch {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset of its first record.
        offset: i64,
        /// The side that lacks it.
        missing_on: Side,
        /// The batch on the side that has it.
        held: Seen,
        /// What stands at that offset on the side that lacks it; none: nothing does.
        instead: Option<Seen>,
        /// Whether what follows stands at other offsets than on the other side: the partition was not compared
        /// further.
        shifts: bool,
    },
    /// One side's log ends before the other's.
    MissingTail {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The first offset that is missing.
        offset: i64,
        /// The side that lacks it.
        missing_on: Side,
        /// How many offsets the other side has from there on.
        records: i64,
        /// The first batch that is missing, if it could be read.
        held: Option<Seen>,
    },
    /// A side's batch does not have its own checksum.
    Damaged {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset of its first record.
        offset: i64,
        /// The side.
        side: Side,
        /// The checksum that it carries.
        stored: u32,
        /// The checksum of its bytes.
        computed: u32,
    },
    /// The logs begin at different offsets.
    LogStart {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Each side's log start.
        sides: SideMap<i64>,
    },
    /// A topic is not on one side.
    MissingTopic {
        /// The topic.
        topic: String,
        /// The side that lacks it.
        missing_on: Side,
    },
    /// A topic has more partitions on one side.
    PartitionCount {
        /// The topic.
        topic: String,
        /// Each side's number of partitions.
        sides: SideMap<i32>,
    },
    /// A consumer group stands at different places.
    Committed {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What each side has; none: no committed offset.
        sides: SideMap<Option<Committed>>,
    },
}

impl Difference {
    /// The rule that does not hold where both sides should be in sync.
    pub fn rule(&self) -> &'static Invariant {
        match self {
            Self::Batch { .. } | Self::Damaged { .. } => &invariant::RELAY_3,
            Self::MissingBatch { .. } | Self::MissingTail { .. } | Self::PartitionCount { .. } => &invariant::RELAY_1,
            Self::LogStart { .. } => &invariant::RELAY_2,
            Self::MissingTopic { .. } => &invariant::RELAY_12,
            Self::Committed { .. } => &invariant::RELAY_4,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch { topic, partition, offset, part, sides } => {
                let (a, b) = (sides.a.crc, sides.b.crc);
                write!(
                    f,
                    "{topic}-{partition} offset {offset}: batches differ in {part}; checksum {a:08x} on a, {b:08x} on b"
                )
            }
            Self::MissingBatch { topic, partition, offset, missing_on, held, instead, shifts } => {
                let (has, crc) = (missing_on.other(), held.crc);
                write!(f, "{topic}-{partition} offset {offset}: batch {crc:08x} of {has} is missing on {missing_on}")?;
                match instead {
                    Some(seen) => write!(f, ", where {:08x} stands", seen.crc)?,
                    None => f.write_str(", where nothing stands")?,
                }
                if *shifts { f.write_str("; everything behind it is shifted") } else { Ok(()) }
            }
            Self::MissingTail { topic, partition, offset, missing_on, records, held } => {
                let has = missing_on.other();
                write!(f, "{topic}-{partition} offset {offset}: {missing_on} ends here, {has} has {records} more")?;
                match held {
                    Some(seen) => write!(f, ", the first batch with checksum {:08x}", seen.crc),
                    None => Ok(()),
                }
            }
            Self::Damaged { topic, partition, offset, side, stored, computed } => write!(
                f,
                "{topic}-{partition} offset {offset}: the batch on {side} is damaged; it carries checksum {stored:08x}, \
                 its bytes have {computed:08x}"
            ),
            Self::LogStart { topic, partition, sides } => {
                write!(f, "{topic}-{partition}: the log begins at {} on a, at {} on b", sides.a, sides.b)
            }
            Self::MissingTopic { topic, missing_on } => write!(f, "{topic}: the topic is missing on {missing_on}"),
            Self::PartitionCount { topic, sides } => {
                write!(f, "{topic}: {} partitions on a, {} on b", sides.a, sides.b)
            }
            Self::Committed { group, topic, partition, sides } => {
                let said = |side: Option<Committed>| side.map_or("nothing".to_owned(), |at| at.offset.to_string());
                let (a, b) = (said(sides.a), said(sides.b));
                write!(f, "group {group}, {topic}-{partition}: committed {a} on a, {b} on b")?;
                if sides.a == sides.b { f.write_str("; their metadata differ") } else { Ok(()) }
            }
        }
    }
}
