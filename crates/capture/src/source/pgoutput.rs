//! The messages of pgoutput, protocol version 1, in text form. Begin, Commit and logical messages are taken apart by the
//! client; what is left stands here. Pure: bytes in, values out.

use bytes::{Buf, Bytes};

use crate::change::Cell;

/// Most columns of a table in PostgreSQL (MaxTupleAttributeNumber).
const COLUMNS_MAX: usize = 1664;

/// A message that concerns rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// How a table is made up, before the first row of it and after each change of it.
    Relation(Relation),
    /// A row came.
    Insert {
        /// The table's number.
        relation: u32,
        /// The row.
        new: Vec<Cell>,
    },
    /// A row changed.
    Update {
        /// The table's number.
        relation: u32,
        /// What it was, if its key changed or all of it identifies it.
        old: Option<Old>,
        /// What it is.
        new: Vec<Cell>,
    },
    /// A row went.
    Delete {
        /// The table's number.
        relation: u32,
        /// What it was.
        old: Old,
    },
    /// All rows of some tables went.
    Truncate {
        /// The tables' numbers.
        relations: Vec<u32>,
    },
    /// The name of a type, or where a transaction came from: of no interest here.
    Other,
}

/// A row as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Old {
    /// Its key; the other columns are null.
    Key(Vec<Cell>),
    /// All of it.
    Full(Vec<Cell>),
}

impl Old {
    /// Its cells.
    pub fn cells(&self) -> &[Cell] {
        let (Self::Key(cells) | Self::Full(cells)) = self;
        cells
    }
}

/// How a table is made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its number in messages and in the catalogue.
    pub id: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns, without generated and dropped ones.
    pub columns: Vec<RelationColumn>,
}

/// A column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Its name.
    pub name: String,
    /// Its type's number.
    pub type_oid: u32,
    /// Its type's modifier.
    pub modifier: i32,
}

/// A message that is not as the protocol says. The server is at fault, or it speaks a later version; no retry helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends early.
    #[error("a message of pgoutput ends within {0}")]
    Short(&'static str),
    /// A value that the protocol does not have.
    #[error("a message of pgoutput has {1:#04x} as {0}")]
    Unknown(&'static str, u8),
    /// More columns than a table can have.
    #[error("a message of pgoutput names {0} columns")]
    Columns(u16),
    /// A name that is no UTF-8.
    #[error("a message of pgoutput has a name that is not UTF-8")]
    Name,
}

impl Message {
    /// Reads one.
    ///
    /// # Errors
    /// When it is not as the protocol says.
    pub fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        let bytes = &mut bytes;
        match byte(bytes, "its kind")? {
            b'R' => relation(bytes).map(Self::Relation),
            b'I' => {
                let relation = word(bytes)?;
                expect(bytes, b'N')?;
                Ok(Self::Insert { relation, new: tuple(bytes)? })
            }
            b'U' => {
                let relation = word(bytes)?;
                let old = match byte(bytes, "a row's kind")? {
                    b'N' => None,
                    kind => {
                        let old = old(kind, bytes)?;
                        expect(bytes, b'N')?;
                        Some(old)
                    }
                };
                Ok(Self::Update { relation, old, new: tuple(bytes)? })
            }
            b'D' => {
                let relation = word(bytes)?;
                let kind = byte(bytes, "a row's kind")?;
                Ok(Self::Delete { relation, old: old(kind, bytes)? })
            }
            b'T' => {
                let count = word(bytes)?;
                byte(bytes, "a truncate's options")?;
                let relations: Result<Vec<u32>, _> = (0..count).map(|_| word(bytes)).collect();
                Ok(Self::Truncate { relations: relations? })
            }
            b'Y' | b'O' => Ok(Self::Other),
            kind => Err(Malformed::Unknown("its kind", kind)),
        }
    }
}

fn old(kind: u8, bytes: &mut Bytes) -> Result<Old, Malformed> {
    match kind {
        b'K' => tuple(bytes).map(Old::Key),
        b'O' => tuple(bytes).map(Old::Full),
        kind => Err(Malformed::Unknown("a row's kind", kind)),
    }
}

fn expect(bytes: &mut Bytes, kind: u8) -> Result<(), Malformed> {
    match byte(bytes, "a row's kind")? {
        found if found == kind => Ok(()),
        found => Err(Malformed::Unknown("a row's kind", found)),
    }
}

fn relation(bytes: &mut Bytes) -> Result<Relation, Malformed> {
    let id = word(bytes)?;
    let (schema, name) = (text(bytes)?, text(bytes)?);
    byte(bytes, "a table's identity")?;
    let mut columns = Vec::new();
    for _ in 0..count(bytes)? {
        byte(bytes, "a column's flags")?;
        let name = text(bytes)?;
        columns.push(RelationColumn { name, type_oid: word(bytes)?, modifier: word(bytes)?.cast_signed() });
    }
    // The catalogue is meant by an empty schema.
    let schema = if schema.is_empty() { "pg_catalog".to_owned() } else { schema };
    Ok(Relation { id, schema, name, columns })
}

fn tuple(bytes: &mut Bytes) -> Result<Vec<Cell>, Malformed> {
    let count = count(bytes)?;
    let mut cells = Vec::with_capacity(count);
    for _ in 0..count {
        cells.push(match byte(bytes, "a value's kind")? {
            b'n' => Cell::Null,
            b'u' => Cell::Kept,
            b't' => {
                let size = word(bytes)? as usize;
                if size > bytes.len() {
                    return Err(Malformed::Short("a value"));
                }
                Cell::Text(bytes.split_to(size))
            }
            kind => return Err(Malformed::Unknown("a value's kind", kind)),
        });
    }
    Ok(cells)
}

fn count(bytes: &mut Bytes) -> Result<usize, Malformed> {
    if bytes.len() < 2 {
        return Err(Malformed::Short("a number of columns"));
    }
    let count = bytes.get_u16();
    if usize::from(count) > COLUMNS_MAX { Err(Malformed::Columns(count)) } else { Ok(usize::from(count)) }
}

fn byte(bytes: &mut Bytes, what: &'static str) -> Result<u8, Malformed> {
    if bytes.is_empty() { Err(Malformed::Short(what)) } else { Ok(bytes.get_u8()) }
}

fn word(bytes: &mut Bytes) -> Result<u32, Malformed> {
    if bytes.len() < 4 { Err(Malformed::Short("a number")) } else { Ok(bytes.get_u32()) }
}

fn text(bytes: &mut Bytes) -> Result<String, Malformed> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(Malformed::Short("a name"))?;
    let name = bytes.split_to(end);
    bytes.advance(1);
    String::from_utf8(name.into()).map_err(|_| Malformed::Name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use proptest::prelude::*;

    use super::*;
    use crate::change::text as cell;

    fn check(bytes: &[u8], expect: Result<Message, Malformed>) {
        assert_eq!(Message::decode(Bytes::copy_from_slice(bytes)), expect);
    }

    #[test]
    fn messages_are_what_the_protocol_says() {
        let column = RelationColumn { name: "id".to_owned(), type_oid: 20, modifier: -1 };
        let relation = Relation { id: 7, schema: "public".to_owned(), name: "t".to_owned(), columns: vec![column] };
        check(b"R\0\0\0\x07public\0t\0d\0\x01\x01id\0\0\0\0\x14\xff\xff\xff\xff", Ok(Message::Relation(relation)));
        let new = vec![cell("1"), Cell::Null, Cell::Kept];
        check(b"I\0\0\0\x07N\0\x03t\0\0\0\x011nu", Ok(Message::Insert { relation: 7, new: new.clone() }));
        check(
            b"U\0\0\0\x07K\0\x01t\0\0\0\x012N\0\x03t\0\0\0\x011nu",
            Ok(Message::Update { relation: 7, old: Some(Old::Key(vec![cell("2")])), new }),
        );
        check(b"D\0\0\0\x07O\0\x01n", Ok(Message::Delete { relation: 7, old: Old::Full(vec![Cell::Null]) }));
        check(b"T\0\0\0\x02\0\0\0\0\x07\0\0\0\x08", Ok(Message::Truncate { relations: vec![7, 8] }));
        check(b"Y\0\0", Ok(Message::Other));
        check(b"I\0\0\0\x07N\0\x01t\0\0\0\x091", Err(Malformed::Short("a value")));
        check(b"I\0\0\0\x07N\0\x01b\0\0\0\x011", Err(Malformed::Unknown("a value's kind", b'b')));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            // No panic and no memory beyond the bytes; what comes out is the protocol's affair.
            let size = bytes.len();
            if let Ok(Message::Truncate { relations }) = Message::decode(bytes.into()) {
                prop_assert!(relations.len() * 4 <= size);
            }
        }
    }
}
