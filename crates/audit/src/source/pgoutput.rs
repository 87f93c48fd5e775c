//! The messages of pgoutput that concern rows, with values in text form. Written from PostgreSQL's documentation of the
//! protocol, not from capture's reader: what that misunderstands must not be misunderstood here, too.

use crate::canonical::{Identity, Operation, Value, Writer, text};
use crate::log::avro::{Kind, amount};

/// Most columns of a table in PostgreSQL.
const COLUMNS_MAX: usize = 1664;

/// A message that is not as the protocol says, or a value that its type does not have. No retry helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceFault {
    /// It ends early.
    #[error("a message ends within {0}")]
    Short(&'static str),
    /// It has what the protocol does not.
    #[error("a message with {0:#04x} in place of {1}")]
    Unknown(u8, &'static str),
    /// A value that is none of its column's type. The value is not told: it may be personal.
    #[error("column {column:?} of {table} has a value that is none of its type")]
    Value {
        /// The table's topic.
        table: String,
        /// The column.
        column: String,
    },
    /// The catalogue does not know a column any more.
    #[error("column {column:?} of {table} is not in the catalogue any more")]
    Column {
        /// The table's topic.
        table: String,
        /// The column.
        column: String,
    },
    /// A row of a table that was not described.
    #[error("a row of the table {0}, which was not described")]
    Table(u32),
}

/// A column as a message describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// The number of its type.
    pub type_oid: u32,
    /// The modifier of its type, -1 for none.
    pub modifier: i32,
}

/// A table as a message describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its number.
    pub id: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Described>,
}

/// A cell of a row, as it lies in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// A large value that did not change.
    Kept,
    /// The text of the value.
    Text(&'a str),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// How a table is made up from here on.
    Relation(Relation),
    /// A row came.
    Insert(u32, Vec<Cell<'a>>),
    /// A row changed: what it was, where that was sent, and what it is.
    Update(u32, Option<Vec<Cell<'a>>>, Vec<Cell<'a>>),
    /// A row went: at least its key.
    Delete(u32, Vec<Cell<'a>>),
    /// All rows of these went.
    Truncate(Vec<u32>),
    /// Something that concerns no rows.
    Other,
}

impl<'a> Message<'a> {
    /// The row that a change is of: of an update the one that was, or the one that is. Where a large value was not sent again
    /// and the whole row that was is there, the value is what it was.
    pub fn row(self, is_old: bool) -> Vec<Cell<'a>> {
        match self {
            Self::Insert(_, row) | Self::Delete(_, row) => row,
            Self::Update(_, Some(old), _) if is_old => old,
            Self::Update(_, old, mut new) => {
                for (cell, was) in new.iter_mut().zip(old.iter().flatten()) {
                    // Of a key alone, the other columns are null, and a kept value never was.
                    if *cell == Cell::Kept && *was != Cell::Null {
                        *cell = *was;
                    }
                }
                new
            }
            _ => Vec::new(),
        }
    }
}

/// Reads a message.
///
/// # Errors
/// One that is not as the protocol says.
pub fn read(message: &[u8]) -> Result<Message<'_>, SourceFault> {
    let mut rest = Rest(message);
    Ok(match rest.byte("the kind of a message")? {
        b'R' => {
            let id = rest.u32()?;
            let (schema, name) = (rest.string()?.to_owned(), rest.string()?.to_owned());
            rest.byte("a table's identity")?;
            let count = rest.count()?;
            let column = |rest: &mut Rest<'_>| {
                rest.byte("a column's flags")?;
                let name = rest.string()?.to_owned();
                Ok(Described { name, type_oid: rest.u32()?, modifier: rest.u32()?.cast_signed() })
            };
            let columns = (0..count).map(|_| column(&mut rest)).collect::<Result<_, SourceFault>>()?;
            Message::Relation(Relation {
                id,
                // The catalogue's schema is told as nothing.
                schema: if schema.is_empty() { "pg_catalog".to_owned() } else { schema },
                name,
                columns,
            })
        }
        b'I' => {
            let id = rest.u32()?;
            rest.expect(b'N')?;
            Message::Insert(id, rest.row()?)
        }
        b'U' => {
            let id = rest.u32()?;
            let old = match rest.byte("the kind of a row")? {
                b'N' => None,
                b'K' | b'O' => {
                    let old = rest.row()?;
                    rest.expect(b'N')?;
                    Some(old)
                }
                other => return Err(SourceFault::Unknown(other, "the kind of a row")),
            };
            Message::Update(id, old, rest.row()?)
        }
        b'D' => {
            let id = rest.u32()?;
            match rest.byte("the kind of a row")? {
                b'K' | b'O' => Message::Delete(id, rest.row()?),
                other => return Err(SourceFault::Unknown(other, "the kind of a row")),
            }
        }
        b'T' => {
            let count = rest.u32()?;
            rest.byte("the options of a truncate")?;
            Message::Truncate((0..count).map(|_| rest.u32()).collect::<Result<_, _>>()?)
        }
        _ => Message::Other,
    })
}

/// What is left of a message.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn bytes(&mut self, count: usize, of: &'static str) -> Result<&'a [u8], SourceFault> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SourceFault::Short(of))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self, of: &'static str) -> Result<u8, SourceFault> {
        self.bytes(1, of).map(|bytes| bytes[0])
    }

    fn expect(&mut self, wanted: u8) -> Result<(), SourceFault> {
        match self.byte("the kind of a row")? {
            found if found == wanted => Ok(()),
            found => Err(SourceFault::Unknown(found, "the kind of a row")),
        }
    }

    fn u32(&mut self) -> Result<u32, SourceFault> {
        self.bytes(4, "a number").map(|bytes| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn count(&mut self) -> Result<usize, SourceFault> {
        let bytes = self.bytes(2, "a count")?;
        let count = usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
        if count > COLUMNS_MAX { Err(SourceFault::Short("a count of columns")) } else { Ok(count) }
    }

    fn string(&mut self) -> Result<&'a str, SourceFault> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(SourceFault::Short("a name"))?;
        let text = self.bytes(end + 1, "a name")?;
        std::str::from_utf8(&text[..end]).map_err(|_| SourceFault::Short("a name that is UTF-8"))
    }

    fn row(&mut self) -> Result<Vec<Cell<'a>>, SourceFault> {
        let count = self.count()?;
        (0..count).map(|_| self.cell()).collect()
    }

    fn cell(&mut self) -> Result<Cell<'a>, SourceFault> {
        match self.byte("the kind of a value")? {
            b'n' => Ok(Cell::Null),
            b'u' => Ok(Cell::Kept),
            b't' => {
                let length = self.u32()? as usize;
                let bytes = self.bytes(length, "a value")?;
                std::str::from_utf8(bytes).map(Cell::Text).map_err(|_| SourceFault::Short("a value that is UTF-8"))
            }
            other => Err(SourceFault::Unknown(other, "the kind of a value")),
        }
    }
}

/// How values of this type and modifier are written in the log, and so what they are here.
pub fn kind_of(type_oid: u32, modifier: i32) -> Kind {
    match type_oid {
        16 => Kind::Boolean,
        20 | 21 | 23 => Kind::Integer,
        700 => Kind::Single,
        701 => Kind::Double,
        17 => Kind::Bytes,
        1082 => Kind::Date,
        1083 => Kind::Time,
        1114 => Kind::Local,
        1184 => Kind::Moment,
        2950 => Kind::Uuid,
        1700 => {
            // The precision stands above the scale, which is signed since PostgreSQL 15, both behind four.
            let packed = modifier - 4;
            let (precision, scale) = (packed >> 16, ((packed & 0x7FF) ^ 0x400) - 0x400);
            match u32::try_from(scale) {
                Ok(scale) if modifier >= 4 && precision <= 38 && scale <= precision as u32 => Kind::Decimal { scale },
                _ => Kind::Text,
            }
        }
        _ => Kind::Text,
    }
}

/// A column as the audit knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its number in the catalogue.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// How its values are written in the log.
    pub kind: Kind,
}

/// A table as the audit knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Where its changes go.
    pub topic: String,
    /// In the order of rows.
    pub columns: Vec<Column>,
    /// Where the primary key's columns stand in them.
    pub key: Vec<usize>,
}

impl Table {
    /// Whether an update, with what the row was, is one of its key.
    pub fn key_changes(&self, old: &[Cell<'_>], new: &[Cell<'_>]) -> bool {
        // A key that was not sent with the new row did not change.
        self.key.iter().any(|at| old.get(*at) != new.get(*at) && new.get(*at) != Some(&Cell::Kept))
    }

    /// Names of the columns that the log's schemas have not.
    pub fn not_in_log(&self, numbers: Option<&std::collections::BTreeSet<u16>>) -> std::collections::BTreeSet<String> {
        let is_in = |column: &&Column| numbers.is_some_and(|numbers| numbers.contains(&column.number));
        self.columns.iter().filter(|column| !is_in(column)).map(|column| column.name.clone()).collect()
    }

    /// Writes the canonical bytes of a change.
    ///
    /// # Errors
    /// A value that is none of its type.
    pub fn write(
        &self,
        (identity, operation, at_micros): (Identity, Operation, i64),
        row: &[Cell<'_>],
        left_out: &std::collections::BTreeSet<String>,
        amounts: &[String],
        writer: &mut Writer,
        sums: &mut Vec<i128>,
    ) -> Result<(), SourceFault> {
        writer.begin(&self.topic, identity, operation, at_micros);
        sums.clear();
        sums.resize(amounts.len(), 0);
        for (index, (column, cell)) in self.columns.iter().zip(row).enumerate() {
            if operation == Operation::Delete && !self.key.contains(&index) {
                continue;
            }
            let is_left_out = left_out.contains(&column.name);
            let text = match cell {
                // What is kept is told by no table of changes.
                Cell::Null | Cell::Kept => continue,
                Cell::Text(text) => *text,
            };
            let wanted = amounts.iter().position(|name| *name == column.name);
            if is_left_out && wanted.is_none() {
                continue;
            }
            let bytes;
            let value = match column.kind {
                Kind::Boolean => text::boolean(text).map(Value::Boolean),
                Kind::Integer => text::integer(text).map(Value::Integer),
                Kind::Single => text::single(text).map(Value::Float),
                Kind::Double => text::double(text).map(Value::Float),
                Kind::Decimal { .. } => text::decimal(text).map(Value::Decimal),
                Kind::Text => Some(Value::Text(text)),
                Kind::Uuid => text::uuid(text).map(Value::Uuid),
                Kind::Moment => text::moment(text).map(Value::Moment),
                Kind::Local => text::local(text).map(Value::Local),
                Kind::Date => text::date(text).map(Value::Date),
                Kind::Time => text::time(text).map(Value::Time),
                Kind::Bytes => {
                    bytes = text::bytes(text);
                    bytes.as_deref().map(Value::Bytes)
                }
            };
            let wrong = || SourceFault::Value { table: self.topic.clone(), column: column.name.clone() };
            let value = value.ok_or_else(wrong)?;
            if let Some(wanted) = wanted {
                sums[wanted] = amount(&value);
            }
            if !is_left_out {
                writer.column(column.number, &value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
