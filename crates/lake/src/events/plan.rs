//! JSON into columns, as declared; pure.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, RecordBatchOptions,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use chrono::{DateTime, NaiveDate};
use iceberg::spec::PrimitiveType;
use serde_json::Value;

use crate::config::{ColumnConfig, ColumnType};
use crate::table::columns::{self, Declared};

/// Where a column's value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    /// In the JSON, field within field.
    Path(Vec<String>),
    /// The record's time.
    Time,
    /// The record's key.
    Key,
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    from: From,
    kind: ColumnType,
    required: bool,
}

/// What is read out of each event of a topic.
#[derive(Debug, Clone)]
pub struct Plan {
    columns: Vec<Column>,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// None.
    Null,
    /// Text.
    Text(String),
    /// Whole number; microseconds of a moment, days of a date.
    Whole(i64),
    /// Number.
    Real(f64),
    /// Truth.
    Truth(bool),
}

/// An event's record, as far as it matters.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Its offset.
    pub offset: i64,
    /// Its time, milliseconds since 1970.
    pub time_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
}

const DAY_ZERO: NaiveDate = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a day");

impl Plan {
    /// As declared.
    pub fn new(columns: &[ColumnConfig]) -> Self {
        let column = |column: &ColumnConfig| Column {
            name: column.name.clone(),
            from: match column.from.as_deref().unwrap_or(&column.name) {
                "$time" => From::Time,
                "$key" => From::Key,
                path => From::Path(path.split('.').map(str::to_owned).collect()),
            },
            kind: column.kind,
            required: column.required,
        };
        Self { columns: columns.iter().map(column).collect() }
    }

    /// The columns as a table declares them. A column is known by its name: one with another name is another column.
    pub fn declared(&self) -> Vec<Declared> {
        let declared = |column: &Column| Declared {
            identity: identity(&column.name),
            name: column.name.clone(),
            kind: match column.kind {
                ColumnType::String => PrimitiveType::String,
                ColumnType::Long => PrimitiveType::Long,
                ColumnType::Double => PrimitiveType::Double,
                ColumnType::Boolean => PrimitiveType::Boolean,
                ColumnType::Timestamp => PrimitiveType::Timestamptz,
                ColumnType::Date => PrimitiveType::Date,
            },
            // Rows of before have no value of a column that is declared today.
            required: false,
            is_key: false,
        };
        self.columns.iter().map(declared).collect()
    }

    /// The values of one event.
    ///
    /// # Errors
    /// What does not fit, never with a value: those may be personal.
    pub fn read(&self, event: Event<'_>) -> Result<Vec<Cell>, String> {
        let bytes = event.value.ok_or("it has no value")?;
        let json: Value = serde_json::from_slice(bytes)
            .map_err(|error| format!("it is no JSON: line {} column {}", error.line(), error.column()))?;
        if !json.is_object() {
            return Err("it is no JSON object".to_owned());
        }
        self.columns.iter().map(|column| column.read(event, &json)).collect()
    }

    /// Rows of events, in a table's columns.
    ///
    /// # Errors
    /// When the table has other columns.
    pub fn rows(
        &self,
        table: &SchemaRef,
        partition: i32,
        offsets: &[i64],
        events: &[Vec<Cell>],
    ) -> Result<RecordBatch, ArrowError> {
        let count = events.len();
        let mut filled: Vec<ArrayRef> = Vec::with_capacity(table.fields().len());
        for field in table.fields() {
            let column: ArrayRef = match field.name().as_str() {
                columns::PARTITION => Arc::new(Int32Array::from(vec![partition; count])),
                columns::OFFSET => Arc::new(Int64Array::from(offsets.to_vec())),
                name => match self.columns.iter().position(|column| column.name == name) {
                    Some(index) => array(self.columns[index].kind, events.iter().map(|event| &event[index])),
                    None => arrow::array::new_null_array(field.data_type(), count),
                },
            };
            filled.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::clone(table), filled, &options)
    }
}

impl Column {
    fn read(&self, event: Event<'_>, json: &Value) -> Result<Cell, String> {
        let path;
        let value = match &self.from {
            From::Time => return Ok(Cell::Whole(event.time_ms.saturating_mul(1000))),
            From::Key => match event.key.map(std::str::from_utf8) {
                Some(Ok(key)) => {
                    path = Value::String(key.to_owned());
                    &path
                }
                Some(Err(_)) => return Err(format!("{}: the key is no UTF-8", self.name)),
                None => &Value::Null,
            },
            From::Path(path) => path.iter().fold(json, |value, name| &value[name.as_str()]),
        };
        if value.is_null() {
            return match self.required {
                true => Err(format!("{} is missing", self.name)),
                false => Ok(Cell::Null),
            };
        }
        let cell = match self.kind {
            ColumnType::String => value.as_str().map(|text| Cell::Text(text.to_owned())),
            ColumnType::Long => value.as_i64().map(Cell::Whole),
            ColumnType::Double => value.as_f64().map(Cell::Real),
            ColumnType::Boolean => value.as_bool().map(Cell::Truth),
            ColumnType::Timestamp => moment(value).map(Cell::Whole),
            ColumnType::Date => day(value).map(Cell::Whole),
        };
        cell.ok_or_else(|| format!("{} is no {}", self.name, self.kind_name()))
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            ColumnType::String => "string",
            ColumnType::Long => "whole number of 64 bits",
            ColumnType::Double => "number",
            ColumnType::Boolean => "true or false",
            ColumnType::Timestamp => "moment",
            ColumnType::Date => "day",
        }
    }
}

fn moment(value: &Value) -> Option<i64> {
    match value {
        Value::Number(ms) => ms.as_i64()?.checked_mul(1000),
        Value::String(text) => DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros()),
        _ => None,
    }
}

fn day(value: &Value) -> Option<i64> {
    let day = value.as_str()?.parse::<NaiveDate>().ok()?;
    Some(day.signed_duration_since(DAY_ZERO).num_days())
}

fn array<'a>(kind: ColumnType, cells: impl Iterator<Item = &'a Cell>) -> ArrayRef {
    let whole = |cell: &Cell| match cell {
        Cell::Whole(number) => Some(*number),
        _ => None,
    };
    match kind {
        ColumnType::String => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect::<StringArray>(),
        ),
        ColumnType::Long => Arc::new(cells.map(whole).collect::<Int64Array>()),
        ColumnType::Double => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Real(number) => Some(*number),
                    _ => None,
                })
                .collect::<Float64Array>(),
        ),
        ColumnType::Boolean => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Truth(truth) => Some(*truth),
                    _ => None,
                })
                .collect::<BooleanArray>(),
        ),
        ColumnType::Timestamp => {
            Arc::new(cells.map(whole).collect::<TimestampMicrosecondArray>().with_timezone("+00:00"))
        }
        ColumnType::Date => {
            let days = |cell: &Cell| whole(cell).and_then(|days| i32::try_from(days).ok());
            Arc::new(cells.map(days).collect::<Date32Array>())
        }
    }
}

/// FNV-1a of a name, cut to what identities have: never negative.
fn identity(name: &str) -> i32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i32::try_from(hash & 0x7fff_ffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let column = |name: &str, from: Option<&str>, kind, required| ColumnConfig {
            name: name.to_owned(),
            from: from.map(str::to_owned),
            kind,
            required,
        };
        Plan::new(&[
            column("id", None, ColumnType::String, true),
            column("minor", Some("amount.minor"), ColumnType::Long, true),
            column("at", Some("$time"), ColumnType::Timestamp, true),
            column("due", None, ColumnType::Date, false),
            column("seen", None, ColumnType::Timestamp, false),
        ])
    }

    fn check(value: &str, expect: Result<&[Cell], &str>) {
        let event = Event { offset: 0, time_ms: 7, key: None, value: Some(value.as_bytes()) };
        assert_eq!(plan().read(event).as_deref(), expect.map_err(str::to_owned).as_ref().copied(), "{value}");
    }

    #[test]
    fn an_event_is_read_as_declared() {
        let text = |text: &str| Cell::Text(text.to_owned());
        let at = Cell::Whole(7000);
        check(
            r#"{"id":"a","amount":{"minor":5}}"#,
            Ok(&[text("a"), Cell::Whole(5), at.clone(), Cell::Null, Cell::Null]),
        );
        check(
            r#"{"id":"a","amount":{"minor":-5},"due":"1970-01-03","seen":"1970-01-01T00:00:01Z","more":[]}"#,
            Ok(&[text("a"), Cell::Whole(-5), at, Cell::Whole(2), Cell::Whole(1_000_000)]),
        );
    }

    #[test]
    fn a_bad_event_is_told_without_its_values() {
        check("{", Err("it is no JSON: line 1 column 1"));
        check("[]", Err("it is no JSON object"));
        check(r#"{"amount":{"minor":5}}"#, Err("id is missing"));
        check(r#"{"id":"kim","amount":{"minor":"5"}}"#, Err("minor is no whole number of 64 bits"));
        check(r#"{"id":"kim","amount":{"minor":1e30}}"#, Err("minor is no whole number of 64 bits"));
        check(r#"{"id":"kim","amount":{"minor":1},"due":"never"}"#, Err("due is no day"));
        let event = Event { offset: 0, time_ms: 0, key: None, value: Some(&[0xff, 0xfe]) };
        assert!(plan().read(event).is_err());
    }
}
