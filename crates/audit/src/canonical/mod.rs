//! The bytes of a change record that every reader must arrive at, whatever it read them from.
//!
//! Nothing of Avro, Parquet or PostgreSQL is left in them; docs/formats/certificates.md says them for others to write.
//! All numbers are big-endian:
//!
//! ```text
//! 01                               version of this form
//! u16, bytes                       topic, UTF-8
//! i64                              position
//! u48                              sequence
//! u8                               operation: 1 insert, 2 update, 3 delete, 4 truncate, 5 read, 6 event
//! i64                              when it was committed, microseconds since 1970
//! then per column that is not null, by rising number:
//! u16, u8, value                   number of the column, kind, value as its kind says
//! ```
//!
//! A column that is null is left out, so that a column that is added, or dropped, changes nothing of older records; and so
//! is a large value that did not change and was not sent: tables of changes do not tell it from null.

mod decimal;
pub mod text;

use std::fmt;

pub use decimal::{AMOUNT_PLACES, Decimal};

/// The version of the form, and the first byte of each record.
pub const VERSION: u8 = 1;

/// Most bytes of a topic's name; Kafka allows 249.
const TOPIC_BYTES_MAX: usize = u16::MAX as usize;

/// Which change a record is: of the record's source and topic, the number of its transaction's commit and its place in
/// it. For an event of a topic without a source: its offset and its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Log sequence number of the commit, or offset.
    pub position: u64,
    /// Place in the transaction, or partition; below 2^48.
    pub sequence: u64,
}

impl Identity {
    /// Bits of a sequence that count.
    pub const SEQUENCE_BITS: u32 = 48;

    /// Position and sequence as one number below 2^112.
    pub(crate) const fn packed(self) -> u128 {
        ((self.position as u128) << Self::SEQUENCE_BITS) | (self.sequence as u128 & ((1 << Self::SEQUENCE_BITS) - 1))
    }

    pub(crate) const fn unpacked(packed: u128) -> Self {
        let sequence = packed & ((1 << Self::SEQUENCE_BITS) - 1);
        Self { position: (packed >> Self::SEQUENCE_BITS) as u64, sequence: sequence as u64 }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.position, self.sequence)
    }
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// It came.
    Insert,
    /// It changed, its key did not.
    Update,
    /// It went.
    Delete,
    /// All rows went.
    Truncate,
    /// It was there when the table was copied first.
    Read,
    /// No change of a row: an event that a program wrote.
    Event,
}

impl Operation {
    const fn code(self) -> u8 {
        match self {
            Self::Insert => 1,
            Self::Update => 2,
            Self::Delete => 3,
            Self::Truncate => 4,
            Self::Read => 5,
            Self::Event => 6,
        }
    }

    /// The operation that a change record names; `begin` and `end` of a copy are no changes.
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "insert" => Self::Insert,
            "update" => Self::Update,
            "delete" => Self::Delete,
            "truncate" => Self::Truncate,
            "read" => Self::Read,
            _ => return None,
        })
    }
}

/// A value of a column, by kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Kind 1: one byte, 0 or 1.
    Boolean(bool),
    /// Kind 2, an integer of any width: `i64`.
    Integer(i64),
    /// Kind 3, a binary fraction of any width: its IEEE 754 double, every NaN as `7FF8000000000000`.
    Float(f64),
    /// Kind 4: `u32` length, the plain decimal notation without exponent, plus sign, needless zeros: `-12.5`, `0`.
    Decimal(Decimal),
    /// Kind 5, a moment: `i64`, microseconds since 1970 UTC.
    Moment(i64),
    /// Kind 6, a local date and time: `i64`, microseconds since 1970 as if it were UTC.
    Local(i64),
    /// Kind 7, a date: `i64`, days since 1970.
    Date(i64),
    /// Kind 8, a time of day: `i64`, microseconds since midnight.
    Time(i64),
    /// Kind 9: 16 bytes.
    Uuid([u8; 16]),
    /// Kind 10: `u32` length, the bytes.
    Bytes(&'a [u8]),
    /// Kind 11: `u32` length, UTF-8.
    Text(&'a str),
}

/// Why a record has no canonical bytes. What was read is at fault; no retry helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Two values for one column.
    #[error("column {0} stands twice")]
    Twice(u16),
    /// More bytes than a length can say.
    #[error("a value or name of {0} bytes is too long")]
    TooLong(usize),
    /// A sequence of 2^48 or more.
    #[error("sequence {0} is too large")]
    Sequence(u64),
}

/// Writes records into one buffer, one after another.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    /// Number and begin of each column in `bytes`.
    columns: Vec<(u16, usize)>,
    head: usize,
    sorted: Vec<u8>,
    fault: Option<RecordFault>,
}

impl Writer {
    /// Without a record yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a record and forgets the one before.
    pub fn begin(&mut self, topic: &str, identity: Identity, operation: Operation, at_micros: i64) {
        self.bytes.clear();
        self.columns.clear();
        self.fault = None;
        if topic.len() > TOPIC_BYTES_MAX {
            self.fault = Some(RecordFault::TooLong(topic.len()));
            return;
        }
        if identity.sequence >> Identity::SEQUENCE_BITS != 0 {
            self.fault = Some(RecordFault::Sequence(identity.sequence));
        }
        self.bytes.push(VERSION);
        self.bytes.extend_from_slice(&(topic.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(topic.as_bytes());
        self.bytes.extend_from_slice(&identity.position.to_be_bytes());
        self.bytes.extend_from_slice(&identity.sequence.to_be_bytes()[2..]);
        self.bytes.push(operation.code());
        self.bytes.extend_from_slice(&at_micros.to_be_bytes());
        self.head = self.bytes.len();
    }

    /// Adds a column that is not null. Columns may come in any order.
    pub fn column(&mut self, number: u16, value: &Value<'_>) {
        self.columns.push((number, self.bytes.len()));
        self.bytes.extend_from_slice(&number.to_be_bytes());
        match value {
            Value::Boolean(value) => self.bytes.extend_from_slice(&[1, u8::from(*value)]),
            Value::Integer(value) => self.eight(2, value.to_be_bytes()),
            Value::Float(value) => {
                let bits = if value.is_nan() { 0x7FF8_0000_0000_0000 } else { value.to_bits() };
                self.eight(3, bits.to_be_bytes());
            }
            Value::Decimal(value) => self.long(4, value.as_str().as_bytes()),
            Value::Moment(value) => self.eight(5, value.to_be_bytes()),
            Value::Local(value) => self.eight(6, value.to_be_bytes()),
            Value::Date(value) => self.eight(7, value.to_be_bytes()),
            Value::Time(value) => self.eight(8, value.to_be_bytes()),
            Value::Uuid(value) => {
                self.bytes.push(9);
                self.bytes.extend_from_slice(value);
            }
            Value::Bytes(value) => self.long(10, value),
            Value::Text(value) => self.long(11, value.as_bytes()),
        }
    }

    fn eight(&mut self, kind: u8, value: [u8; 8]) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&value);
    }

    fn long(&mut self, kind: u8, value: &[u8]) {
        let Ok(length) = u32::try_from(value.len()) else {
            self.fault = Some(RecordFault::TooLong(value.len()));
            return;
        };
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// The bytes of the record.
    ///
    /// # Errors
    /// A record that has none.
    pub fn finish(&mut self) -> Result<&[u8], RecordFault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.columns.is_sorted_by(|a, b| a.0 < b.0) {
            return Ok(&self.bytes);
        }
        let end = self.bytes.len();
        let ends: Vec<usize> = self.columns.iter().skip(1).map(|(_, begin)| *begin).chain([end]).collect();
        let mut order: Vec<(u16, usize, usize)> =
            self.columns.iter().zip(ends).map(|((number, begin), end)| (*number, *begin, end)).collect();
        order.sort_unstable();
        if let Some(pair) = order.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(RecordFault::Twice(pair[0].0));
        }
        self.sorted.clear();
        self.sorted.extend_from_slice(&self.bytes[..self.head]);
        for (_, begin, end) in order {
            self.sorted.extend_from_slice(&self.bytes[begin..end]);
        }
        Ok(&self.sorted)
    }
}

#[cfg(test)]
mod tests;
