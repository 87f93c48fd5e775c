//! The schema of a change record: what it declares of the source's columns.

use iceberg::spec::PrimitiveType;
use serde_json::Value;

use crate::table::columns::Declared;

/// Iceberg's decimals, as ours, have at most 38 digits.
const PRECISION_MAX: u64 = 38;

/// A schema that a source has declared.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeSchema {
    /// CRC-64-AVRO of its canonical form, as the records carry it.
    pub fingerprint: u64,
    /// Where it stands in the topic of schemas: a later one is newer.
    pub order: i64,
    /// The topic whose records it is of.
    pub topic: String,
    /// The columns of a row, in their order.
    pub columns: Vec<Declared>,
    /// The schema for the decoder of Avro: what only tells how text looks is left out.
    pub avro: String,
}

impl ChangeSchema {
    /// Reads a record of the topic of schemas.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(order: i64, key: &[u8], value: &[u8]) -> Result<Self, String> {
        let hex = std::str::from_utf8(key).map_err(|_| "the key is no text".to_owned())?;
        let fingerprint = u64::from_str_radix(hex, 16).map_err(|error| format!("the key {hex:?}: {error}"))?;
        let value: Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let topic = value["topic"].as_str().ok_or("it names no topic")?.to_owned();
        let mut schema = value["schema"].clone();
        let row = row_of(&mut schema).ok_or("its field `row` is no union of null and a record")?;
        let key: Vec<u64> = match &row["naru.key"] {
            Value::Array(key) => key.iter().filter_map(Value::as_u64).collect(),
            _ => return Err("its row says no naru.key".to_owned()),
        };
        let fields = row["fields"].as_array_mut().ok_or("its row has no fields")?;
        let mut columns = Vec::with_capacity(fields.len());
        for (ordinal, field) in fields.iter_mut().enumerate() {
            // What is no name of Avro's goes by a number, and says its own.
            let name = field["naru.name"].as_str().or(field["name"].as_str()).ok_or("a column has no name")?.to_owned();
            let identity = field["naru.column"].as_i64().and_then(|number| i32::try_from(number).ok());
            let identity = identity.ok_or_else(|| format!("the column {name} has no naru.column"))?;
            let kind = kind_of(&mut field["type"]).map_err(|what| format!("the column {name}: {what}"))?;
            let is_key = key.contains(&(ordinal as u64));
            columns.push(Declared { identity, name, kind, required: false, is_key });
        }
        if !columns.iter().any(|column| column.is_key) {
            return Err("its row has no key".to_owned());
        }
        Ok(Self { fingerprint, order, topic, columns, avro: schema.to_string() })
    }
}

fn row_of(schema: &mut Value) -> Option<&mut Value> {
    let field = schema["fields"].as_array_mut()?.iter_mut().find(|field| field["name"] == "row")?;
    let union = field["type"].as_array_mut()?;
    union.iter_mut().find(|branch| branch["type"] == "record")
}

/// The type of a column, which is a union of null and that type.
fn kind_of(union: &mut Value) -> Result<PrimitiveType, String> {
    let branches = union.as_array_mut().ok_or("its type is no union")?;
    let branch = branches.iter_mut().find(|branch| **branch != "null").ok_or("its type is only null")?;
    let number = |branch: &Value, key: &str| branch[key].as_u64();
    let (kind, logical) = match &*branch {
        Value::String(kind) => (kind.clone(), None),
        Value::Object(_) => {
            let kind = branch["type"].as_str().ok_or("its type has no name")?.to_owned();
            (kind, branch["logicalType"].as_str().map(str::to_owned))
        }
        _ => return Err("its type is neither a name nor an object".to_owned()),
    };
    let found = match (kind.as_str(), logical.as_deref()) {
        ("boolean", _) => PrimitiveType::Boolean,
        ("int", Some("date")) => PrimitiveType::Date,
        ("int", _) => PrimitiveType::Int,
        ("long", Some("timestamp-micros")) => PrimitiveType::Timestamptz,
        ("long", Some("local-timestamp-micros")) => PrimitiveType::Timestamp,
        ("long", Some("time-micros")) => PrimitiveType::Time,
        ("long", _) => PrimitiveType::Long,
        ("float", _) => PrimitiveType::Float,
        ("double", _) => PrimitiveType::Double,
        ("bytes", Some("decimal")) => {
            let precision = number(branch, "precision").filter(|precision| (1..=PRECISION_MAX).contains(precision));
            let precision = precision.ok_or("its precision is not between 1 and 38")?;
            let scale = number(branch, "scale").unwrap_or(0);
            if scale > precision {
                return Err("its scale is above its precision".to_owned());
            }
            let narrow = |number: u64| u32::try_from(number).map_err(|error| error.to_string());
            PrimitiveType::Decimal { precision: narrow(precision)?, scale: narrow(scale)? }
        }
        ("bytes", _) => PrimitiveType::Binary,
        ("string", logical) => {
            // The table holds the text; a decoder that knows the logical type would give bytes.
            if logical.is_some() {
                *branch = Value::String("string".to_owned());
            }
            PrimitiveType::String
        }
        (kind, _) => return Err(format!("the type {kind} is none that change records have")),
    };
    Ok(found)
}
