//! Change records, from Avro straight to canonical bytes. Written from docs/formats/changes.md, not from capture.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::canonical::{Decimal, Identity, Operation, RecordFault, Value, Writer};

/// What a record begins with.
const MARKER: [u8; 2] = [0xC3, 0x01];

/// Most columns of a table in PostgreSQL.
const COLUMNS_MAX: usize = 1664;

/// How the values of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `boolean`.
    Boolean,
    /// `int` or `long`.
    Integer,
    /// `float`.
    Single,
    /// `double`.
    Double,
    /// `bytes`.
    Bytes,
    /// `bytes`, logical `decimal`.
    Decimal {
        /// Digits behind the point.
        scale: u32,
    },
    /// `string`.
    Text,
    /// `string`, logical `uuid`.
    Uuid,
    /// `long`, logical `timestamp-micros`.
    Moment,
    /// `long`, logical `local-timestamp-micros`.
    Local,
    /// `int`, logical `date`.
    Date,
    /// `long`, logical `time-micros`.
    Time,
}

/// A column as a schema has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its number in the source.
    pub number: u16,
    /// Its name in the source.
    pub name: String,
    /// What it is called in the schema, and in tables.
    pub field: String,
    /// How its values are written.
    pub kind: Kind,
    /// Whether a token stands in its place.
    pub is_token: bool,
}

/// The schema of a table's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The topic whose records have it.
    pub topic: String,
    /// In the order of the row.
    pub columns: Vec<Column>,
    /// Where the key's columns stand in `columns`.
    pub key: Vec<usize>,
    operations: Vec<String>,
}

/// Bytes that are not what the contract says. Whoever wrote them is at fault; no retry helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AvroFault {
    /// A schema that is none of change records.
    #[error("a schema that is none of change records: {0}")]
    Schema(&'static str),
    /// No single-object encoding.
    #[error("not in Avro's single-object encoding")]
    NoObject,
    /// The body ends early.
    #[error("a record ends within {0}")]
    Short(&'static str),
    /// A number that does not fit where it stands.
    #[error("a record has no sound {0}")]
    Unsound(&'static str),
    /// Bytes behind the record.
    #[error("{0} bytes behind a record")]
    Behind(usize),
    /// It has no canonical bytes.
    #[error("a record without canonical bytes")]
    Record(#[from] RecordFault),
}

/// Fingerprint and body of a record.
///
/// # Errors
/// Bytes that begin otherwise.
pub fn split(value: &[u8]) -> Result<(u64, &[u8]), AvroFault> {
    let rest = value.strip_prefix(&MARKER).ok_or(AvroFault::NoObject)?;
    let (print, body) = rest.split_first_chunk().ok_or(AvroFault::NoObject)?;
    Ok((u64::from_le_bytes(*print), body))
}

/// What a record is, before its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// A copy of the table begins, and voids what stands before it.
    Begin,
    /// The copy came to its end.
    End,
    /// A change.
    Change(Operation),
}

/// A record's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub which: Which,
    /// Which change.
    pub identity: Identity,
}

impl Schema {
    /// From a value of a topic of schemas: `{"topic": ..., "schema": ...}`.
    ///
    /// # Errors
    /// What is no schema of change records.
    pub fn parse(value: &[u8]) -> Result<Self, AvroFault> {
        let json: Json = serde_json::from_slice(value).map_err(|_| AvroFault::Schema("no JSON"))?;
        let topic = json["topic"].as_str().ok_or(AvroFault::Schema("no topic"))?.to_owned();
        let fields = json["schema"]["fields"].as_array().ok_or(AvroFault::Schema("no fields"))?;
        let names: Vec<&str> = fields.iter().filter_map(|field| field["name"].as_str()).collect();
        if names != ["op", "position", "sequence", "transaction", "at", "kept", "row"] {
            return Err(AvroFault::Schema("other fields"));
        }
        let symbols = fields[0]["type"]["symbols"].as_array().ok_or(AvroFault::Schema("no operations"))?;
        let operations = symbols.iter().filter_map(|symbol| symbol.as_str().map(str::to_owned)).collect();
        let row = &fields[6]["type"][1];
        let columns = row["fields"].as_array().ok_or(AvroFault::Schema("no row"))?;
        if columns.len() > COLUMNS_MAX {
            return Err(AvroFault::Schema("more columns than a table has"));
        }
        let columns = columns.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let key = row["naru.key"].as_array().ok_or(AvroFault::Schema("no key"))?;
        let key: Option<Vec<usize>> = key.iter().map(|ordinal| Some(ordinal.as_u64()? as usize)).collect();
        let key = key.filter(|key| key.iter().all(|ordinal| *ordinal < columns.len()));
        Ok(Self { topic, columns, key: key.ok_or(AvroFault::Schema("a key of other columns"))?, operations })
    }

    /// Names of the columns for which tokens stand.
    pub fn tokens(&self) -> BTreeSet<&str> {
        self.columns.iter().filter(|column| column.is_token).map(|column| column.name.as_str()).collect()
    }

    /// Reads a record's body and writes its canonical bytes, without the columns that `left_out` names; amounts, in
    /// the order of `amounts`, go to `sums`. Nothing is written of a begin or an end.
    ///
    /// # Errors
    /// A body that is not as the schema says.
    pub fn read(
        &self,
        body: &[u8],
        left_out: &BTreeSet<String>,
        amounts: &[String],
        writer: &mut Writer,
        sums: &mut Vec<i128>,
    ) -> Result<Head, AvroFault> {
        let mut body = Body(body);
        let operation = usize::try_from(body.long("the operation")?).ok().and_then(|index| self.operations.get(index));
        let operation = operation.ok_or(AvroFault::Unsound("operation"))?;
        let position = body.long("the position")?.cast_unsigned();
        let sequence = u64::try_from(body.long("the sequence")?).map_err(|_| AvroFault::Unsound("sequence"))?;
        body.long("the transaction")?;
        let at = body.long("the time")?;
        loop {
            let mut count = body.long("the kept columns")?;
            if count == 0 {
                break;
            }
            if count < 0 {
                // A block that says how long it is.
                body.long("the kept columns")?;
                count = -count;
            }
            if count as u64 > COLUMNS_MAX as u64 {
                return Err(AvroFault::Unsound("count of kept columns"));
            }
            for _ in 0..count {
                // Their values are null, as those of others.
                body.long("the kept columns")?;
            }
        }
        let identity = Identity { position, sequence };
        let which = match operation.as_str() {
            "begin" => Which::Begin,
            "end" => Which::End,
            name => Which::Change(Operation::of_name(name).ok_or(AvroFault::Unsound("operation"))?),
        };
        let written = match which {
            Which::Change(operation) => operation,
            _ => Operation::Event,
        };
        writer.begin(&self.topic, identity, written, at);
        sums.clear();
        sums.resize(amounts.len(), 0);
        let has_row = body.branch()?;
        for column in self.columns.iter().filter(|_| has_row) {
            if !body.branch()? {
                continue;
            }
            let value = body.value(column.kind)?;
            if let Some(sum) = amounts.iter().position(|name| *name == column.name) {
                sums[sum] = amount(&value);
            }
            if !left_out.contains(&column.name) {
                writer.column(column.number, &value);
            }
        }
        if !body.0.is_empty() {
            return Err(AvroFault::Behind(body.0.len()));
        }
        Ok(Head { which, identity })
    }
}

/// An amount in units of 10^-9; nothing that is no number has one.
pub(crate) fn amount(value: &Value<'_>) -> i128 {
    match value {
        Value::Integer(value) => i128::from(*value) * 10_i128.pow(crate::canonical::AMOUNT_PLACES),
        Value::Decimal(value) => value.nanos(),
        _ => 0,
    }
}

fn column(field: &Json) -> Result<Column, AvroFault> {
    let of = &field["type"][1];
    let primitive = of.as_str().or_else(|| of["type"].as_str()).ok_or(AvroFault::Schema("a column without a type"))?;
    let kind = match (primitive, of["logicalType"].as_str()) {
        ("boolean", _) => Kind::Boolean,
        ("int", Some("date")) => Kind::Date,
        ("long", Some("timestamp-micros")) => Kind::Moment,
        ("long", Some("local-timestamp-micros")) => Kind::Local,
        ("long", Some("time-micros")) => Kind::Time,
        ("int" | "long", _) => Kind::Integer,
        ("float", _) => Kind::Single,
        ("double", _) => Kind::Double,
        ("bytes", Some("decimal")) => {
            let scale = of["scale"].as_u64().unwrap_or(0);
            Kind::Decimal { scale: u32::try_from(scale).map_err(|_| AvroFault::Schema("an absurd scale"))? }
        }
        ("bytes", _) => Kind::Bytes,
        ("string", Some("uuid")) => Kind::Uuid,
        ("string", _) => Kind::Text,
        _ => return Err(AvroFault::Schema("a column of another type")),
    };
    if matches!(kind, Kind::Decimal { scale } if scale > 38) {
        return Err(AvroFault::Schema("an absurd scale"));
    }
    let number = field["naru.column"].as_u64().and_then(|number| u16::try_from(number).ok());
    let called = field["name"].as_str().ok_or(AvroFault::Schema("a column without a name"))?;
    Ok(Column {
        number: number.ok_or(AvroFault::Schema("a column without a number"))?,
        name: field["naru.name"].as_str().unwrap_or(called).to_owned(),
        field: called.to_owned(),
        kind,
        is_token: !field["naru.token"].is_null(),
    })
}

/// What is left of a body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn long(&mut self, of: &'static str) -> Result<i64, AvroFault> {
        let mut value = 0_u64;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(AvroFault::Short(of))
    }

    /// Whether the union holds the second of its two branches: the first is null.
    fn branch(&mut self) -> Result<bool, AvroFault> {
        match self.long("a union")? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(AvroFault::Unsound("union")),
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], AvroFault> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(AvroFault::Short("a value"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn bytes(&mut self) -> Result<&'a [u8], AvroFault> {
        let length = usize::try_from(self.long("a length")?).map_err(|_| AvroFault::Unsound("length"))?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(AvroFault::Short("a value"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn text(&mut self) -> Result<&'a str, AvroFault> {
        std::str::from_utf8(self.bytes()?).map_err(|_| AvroFault::Unsound("text"))
    }

    fn value(&mut self, kind: Kind) -> Result<Value<'a>, AvroFault> {
        Ok(match kind {
            Kind::Boolean => Value::Boolean(self.fixed::<1>()? != [0]),
            Kind::Integer => Value::Integer(self.long("a value")?),
            Kind::Single => Value::Float(f64::from(f32::from_le_bytes(self.fixed()?))),
            Kind::Double => Value::Float(f64::from_le_bytes(self.fixed()?)),
            Kind::Bytes => Value::Bytes(self.bytes()?),
            Kind::Decimal { scale } => {
                let decimal = Decimal::from_be_bytes(self.bytes()?, scale);
                Value::Decimal(decimal.ok_or(AvroFault::Unsound("decimal"))?)
            }
            Kind::Text => Value::Text(self.text()?),
            Kind::Uuid => Value::Uuid(crate::canonical::text::uuid(self.text()?).ok_or(AvroFault::Unsound("uuid"))?),
            Kind::Moment => Value::Moment(self.long("a value")?),
            Kind::Local => Value::Local(self.long("a value")?),
            Kind::Date => Value::Date(self.long("a value")?),
            Kind::Time => Value::Time(self.long("a value")?),
        })
    }
}

#[cfg(test)]
mod tests;
