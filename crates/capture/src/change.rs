//! One change of a row, and its record on the log.

use std::sync::Arc;

use bytes::Bytes;

use crate::avro::{Unfit, put_long, take_long};
use crate::table::Table;

/// What precedes the body of a value: the mark of single-object encoding and the fingerprint.
const HEADER_BYTES: usize = 10;
const MARK: [u8; 2] = [0xc3, 0x01];
/// What stands in a reason where a row has no key that may be said.
const NO_KEY: &str = "(none that can be written)";

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A copy of the table begins.
    Begin,
    /// A row of the copy.
    Read,
    /// The copy is whole.
    End,
    /// A row came.
    Insert,
    /// A row changed.
    Update,
    /// A row went.
    Delete,
    /// All rows went.
    Truncate,
}

impl Op {
    /// In the order of their numbers in a record.
    pub const NAMES: [&'static str; 7] = ["begin", "read", "end", "insert", "update", "delete", "truncate"];

    /// Whether its record stands in every partition.
    pub fn is_for_all(self) -> bool {
        matches!(self, Self::Begin | Self::End | Self::Truncate)
    }
}

/// Where a record stands in the order of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Log sequence number of the commit.
    pub position: u64,
    /// Order within the transaction.
    pub sequence: u64,
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// SQL's null.
    Null,
    /// A large value that did not change and was not sent.
    Kept,
    /// The server's text form.
    Text(Bytes),
    /// What the vault made of it. A column that leaves as a token takes nothing else.
    Token(Bytes),
}

impl Cell {
    /// Its bytes, if it has any.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Null | Self::Kept => None,
            Self::Text(bytes) | Self::Token(bytes) => Some(bytes),
        }
    }
}

/// A change on its way to the log.
#[derive(Debug, Clone)]
pub struct Change {
    /// The table, as it was then.
    pub table: Arc<Table>,
    /// What happened.
    pub op: Op,
    /// Where it stands.
    pub place: Place,
    /// The source's transaction.
    pub transaction: u32,
    /// When it was committed, microseconds since 1970.
    pub at: i64,
    /// The row in the order of the table's columns; of a delete its key, the rest null. Empty where there is none.
    pub row: Vec<Cell>,
}

/// Why a change cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column:?} of the row with the key {key} {source}")]
pub struct UnfitRow {
    /// The column.
    pub column: String,
    /// The row's key as it stands on the log, or that it has none.
    pub key: String,
    /// What is wrong with the value.
    pub source: Unfit,
}

impl Change {
    /// The record's key: the primary key as a JSON array.
    ///
    /// # Errors
    /// When a key column is not UTF-8, has no value, or is plain where a token must stand.
    pub fn key(&self) -> Result<Vec<u8>, UnfitRow> {
        let mut key = vec![b'['];
        for (index, ordinal) in self.table.key.iter().enumerate() {
            if index > 0 {
                key.push(b',');
            }
            let text = self.row.get(*ordinal).and_then(Cell::bytes);
            let text = text.ok_or_else(|| self.unfit_key(*ordinal, Unfit::Missing))?;
            let text = std::str::from_utf8(text).map_err(|_| self.unfit_key(*ordinal, Unfit::NotUtf8))?;
            self.refuse_plain(*ordinal).map_err(|unfit| self.unfit_key(*ordinal, unfit))?;
            serde_json::to_writer(&mut key, text).expect("text goes into memory as JSON");
        }
        key.push(b']');
        Ok(key)
    }

    /// The record's value.
    ///
    /// # Errors
    /// When a column cannot hold what the source says.
    pub fn value(&self) -> Result<Vec<u8>, UnfitRow> {
        let text: usize = self.row.iter().map(|cell| cell.bytes().map_or(1, |text| text.len() + 6)).sum();
        let mut out = Vec::with_capacity(HEADER_BYTES + 32 + text);
        out.extend_from_slice(&MARK);
        out.extend_from_slice(&self.table.fingerprint.to_le_bytes());
        put_long(&mut out, self.op as i64);
        put_long(&mut out, self.place.position.cast_signed());
        put_long(&mut out, self.place.sequence.cast_signed());
        put_long(&mut out, i64::from(self.transaction));
        put_long(&mut out, self.at);
        self.put_kept(&mut out);
        if self.row.is_empty() {
            put_long(&mut out, 0);
            return Ok(out);
        }
        put_long(&mut out, 1);
        for (ordinal, (column, cell)) in self.table.columns.iter().zip(&self.row).enumerate() {
            let Some(text) = cell.bytes() else {
                put_long(&mut out, 0);
                continue;
            };
            put_long(&mut out, 1);
            let put = column.kind().put(text, &mut out).and_then(|()| self.refuse_plain(ordinal));
            put.map_err(|unfit| self.unfit(ordinal, unfit))?;
        }
        Ok(out)
    }

    fn put_kept(&self, out: &mut Vec<u8>) {
        let kept: Vec<i64> =
            { 0i64.. }.zip(&self.row).filter(|(_, cell)| **cell == Cell::Kept).map(|(n, _)| n).collect();
        if !kept.is_empty() {
            put_long(out, i64::try_from(kept.len()).expect("a table has at most 1,600 columns"));
            kept.iter().for_each(|ordinal| put_long(out, *ordinal));
        }
        put_long(out, 0);
    }

    /// A plain value in a token's column goes nowhere, whatever path it came.
    fn refuse_plain(&self, ordinal: usize) -> Result<(), Unfit> {
        match (self.table.columns[ordinal].token.is_some(), &self.row[ordinal]) {
            (true, Cell::Text(_)) => Err(Unfit::Plain),
            _ => Ok(()),
        }
    }

    fn unfit(&self, ordinal: usize, source: Unfit) -> UnfitRow {
        let key = self.key().ok().and_then(|key| String::from_utf8(key).ok());
        UnfitRow { key: key.unwrap_or_else(|| NO_KEY.to_owned()), ..self.unfit_key(ordinal, source) }
    }

    fn unfit_key(&self, ordinal: usize, source: Unfit) -> UnfitRow {
        UnfitRow { column: self.table.columns[ordinal].name.clone(), key: NO_KEY.to_owned(), source }
    }

    /// About what it holds in memory, bytes.
    pub fn size_bytes(&self) -> usize {
        let cells = self.row.iter().map(|cell| cell.bytes().map_or(0, Bytes::len));
        size_of::<Self>() + self.row.len() * size_of::<Cell>() + cells.sum::<usize>()
    }
}

/// What a record says before its row: its operation's number and its place. None if it is no record of ours.
pub fn read_place(value: &[u8]) -> Option<(i64, Place)> {
    let body = value.strip_prefix(&MARK)?.get(8..)?;
    let (op, body) = take_long(body)?;
    let (position, body) = take_long(body)?;
    let (sequence, _) = take_long(body)?;
    Some((op, Place { position: position.cast_unsigned(), sequence: sequence.cast_unsigned() }))
}

/// The fingerprint of a record's schema. None if it is no record of ours.
pub fn read_fingerprint(value: &[u8]) -> Option<u64> {
    value.strip_prefix(&MARK)?.first_chunk().map(|print| u64::from_le_bytes(*print))
}

/// A cell of a test.
#[cfg(test)]
pub(crate) fn text(text: &str) -> Cell {
    Cell::Text(Bytes::copy_from_slice(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use apache_avro::types::Value;
    use proptest::prelude::*;

    use super::*;
    use crate::table::tests::{column, every_kind, table};

    fn decoded(change: &Change) -> Value {
        let schema = apache_avro::Schema::parse(&change.table.avro).unwrap();
        let value = change.value().unwrap();
        let (print, mut body) = value[2..].split_at(8);
        assert_eq!((&value[..2], print), (&MARK[..], &change.table.fingerprint.to_le_bytes()[..]));
        let read = apache_avro::from_avro_datum(&schema, &mut body, None).unwrap();
        assert!(body.is_empty(), "nothing is left");
        read
    }

    fn field<'v>(value: &'v Value, name: &str) -> &'v Value {
        let Value::Record(fields) = value else { panic!("{value:?} is no record") };
        &fields.iter().find(|(field, _)| field == name).unwrap().1
    }

    fn row(value: &Value) -> &Value {
        let Value::Union(1, row) = field(value, "row") else { panic!("{value:?} has no row") };
        row
    }

    fn change(op: Op, row: Vec<Cell>) -> Change {
        let place = Place { position: 0x1_0000_0007, sequence: 3 };
        let at = 1_700_000_000_000_000;
        Change { table: table(every_kind(), vec![0, 13]).into(), op, place, transaction: 77, at, row }
    }

    #[test]
    fn an_outside_decoder_reads_every_kind() {
        let texts = [
            "17",
            "t",
            "-5",
            "1.5",
            "-0.25",
            "\\x00ff",
            "plain",
            "2026-11-23 17:00:00+00",
            "2026-11-23 17:00:00",
            "1970-01-02",
            "00:00:01",
            "123e4567-e89b-12d3-a456-426614174000",
            "-1.05",
            "홍길동",
        ];
        let mut cells = texts.map(text).to_vec();
        cells.push(Cell::Token("tok_en".into()));
        let update = change(Op::Update, cells);
        let value = decoded(&update);
        assert_eq!(field(&value, "op"), &Value::Enum(4, "update".to_owned()));
        assert_eq!(field(&value, "position"), &Value::Long(0x1_0000_0007));
        assert_eq!(field(&value, "transaction"), &Value::Long(77));
        let check = |name: &str, expect: Value| {
            assert_eq!(field(row(&value), name), &Value::Union(1, Box::new(expect)), "{name}");
        };
        check("column_1", Value::Long(17));
        check("column_2", Value::Boolean(true));
        check("column_3", Value::Int(-5));
        check("column_4", Value::Float(1.5));
        check("column_6", Value::Bytes(vec![0, 255]));
        check("column_8", Value::TimestampMicros(1_795_453_200_000_000));
        check("column_9", Value::LocalTimestampMicros(1_795_453_200_000_000));
        check("column_10", Value::Date(1));
        check("column_11", Value::TimeMicros(1_000_000));
        check("column_13", Value::Decimal(apache_avro::Decimal::from([0x97u8])));
        check("_c20", Value::String("홍길동".to_owned()));
        assert_eq!(String::from_utf8(update.key().unwrap()).unwrap(), r#"["17","홍길동"]"#);
        assert_eq!(read_place(&update.value().unwrap()), Some((4, update.place)));
    }

    #[test]
    fn columns_that_were_not_sent_are_named() {
        let mut cells = vec![Cell::Null; 15];
        (cells[0], cells[6], cells[14]) = (text("1"), Cell::Kept, Cell::Kept);
        let value = decoded(&change(Op::Update, cells));
        assert_eq!(field(&value, "kept"), &Value::Array(vec![Value::Int(6), Value::Int(14)]));
        assert_eq!(field(row(&value), "column_7"), &Value::Union(0, Box::new(Value::Null)));
    }

    #[test]
    fn a_record_without_a_row_has_none() {
        for op in [Op::Begin, Op::End, Op::Truncate] {
            let value = decoded(&change(op, Vec::new()));
            assert_eq!(field(&value, "row"), &Value::Union(0, Box::new(Value::Null)));
        }
    }

    #[test]
    fn a_value_that_does_not_fit_names_its_column_and_key() {
        let mut cells = vec![Cell::Null; 15];
        (cells[0], cells[13], cells[7]) = (text("1"), text("x"), text("infinity"));
        let error = change(Op::Insert, cells).value().unwrap_err();
        assert_eq!((error.column.as_str(), error.key.as_str()), ("column_8", r#"["1","x"]"#));
    }

    #[test]
    fn a_token_s_column_takes_nothing_plain_and_a_key_needs_its_values() {
        fn check(ordinal: usize, cell: Cell, expect: Unfit) {
            let mut cells = vec![Cell::Null; 15];
            (cells[0], cells[13]) = (text("1"), text("x"));
            cells[ordinal] = cell;
            let change = change(Op::Insert, cells);
            let said = change.key().and_then(|_| change.value()).map_err(|error| error.source);
            assert_eq!(said, Err(expect), "{ordinal}");
        }
        check(14, text("010-1234-5678"), Unfit::Plain);
        check(14, Cell::Text(Bytes::from_static(b"\xff")), Unfit::NotUtf8);
        check(13, Cell::Kept, Unfit::Missing);
        check(0, Cell::Null, Unfit::Missing);
        let mut columns = every_kind();
        columns.swap(0, 14);
        let place = Place { position: 1, sequence: 0 };
        let row = vec![text("010-1234-5678")];
        let table = table(columns, vec![0]).into();
        let change = Change { table, op: Op::Insert, place, transaction: 1, at: 0, row };
        let error = change.key().unwrap_err();
        assert_eq!(error.source, Unfit::Plain);
        assert!(!error.to_string().contains("1234"), "{error}");
    }

    proptest! {
        #[test]
        fn rows_of_text_come_back(texts in proptest::collection::vec(proptest::option::of(any::<String>()), 1..40), position: i64) {
            let columns = (1..).zip(&texts).map(|(number, _)| column(number, &format!("c{number}"), 25, -1)).collect();
            let cells = texts.iter().map(|cell| cell.as_deref().map_or(Cell::Null, text)).collect();
            let place = Place { position: position.cast_unsigned(), sequence: 0 };
            let table = table(columns, vec![0]).into();
            let change = Change { table, op: Op::Insert, place, transaction: u32::MAX, at: -1, row: cells };
            let value = decoded(&change);
            prop_assert_eq!(field(&value, "position"), &Value::Long(position));
            let Value::Record(fields) = row(&value) else { panic!("a record") };
            for ((_, field), text) in fields.iter().zip(&texts) {
                let expect = text.as_ref().map_or(Value::Union(0, Box::new(Value::Null)), |text| {
                    Value::Union(1, Box::new(Value::String(text.clone())))
                });
                prop_assert_eq!(field, &expect);
            }
        }
    }
}
