//! The columns of a table: what the log declares, and the lake's own behind them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use arrow::error::ArrowError;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Schema, Type};

/// Partition of the log that the row came through.
pub const PARTITION: &str = "naru_partition";
/// Its offset there.
pub const OFFSET: &str = "naru_offset";
/// Log sequence number of the commit in the source.
pub const POSITION: &str = "naru_position";
/// Order within that transaction.
pub const SEQUENCE: &str = "naru_sequence";
/// What happened to the row; only in tables of changes.
pub const OP: &str = "naru_op";
/// When it was committed in the source; only in tables of changes.
pub const AT: &str = "naru_at";

/// Which columns of the lake's own stand behind the declared ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Events, each a row for ever.
    Facts,
    /// One row a key, as it stands now.
    Mirror,
    /// Every change, one row each.
    Changelog,
}

impl Kind {
    /// Name and type of the lake's own columns.
    pub fn own(self) -> Vec<(&'static str, PrimitiveType)> {
        match self {
            Self::Facts => vec![(PARTITION, PrimitiveType::Int), (OFFSET, PrimitiveType::Long)],
            Self::Mirror => {
                vec![(PARTITION, PrimitiveType::Int), (POSITION, PrimitiveType::Long), (SEQUENCE, PrimitiveType::Long)]
            }
            Self::Changelog => vec![
                (OP, PrimitiveType::String),
                (AT, PrimitiveType::Timestamptz),
                (PARTITION, PrimitiveType::Int),
                (POSITION, PrimitiveType::Long),
                (SEQUENCE, PrimitiveType::Long),
            ],
        }
    }

    /// As the table's properties say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Facts => "facts",
            Self::Mirror => "mirror",
            Self::Changelog => "changelog",
        }
    }
}

/// A column that the log declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Number that stays when the name changes.
    pub identity: i32,
    /// Name.
    pub name: String,
    /// Type.
    pub kind: PrimitiveType,
    /// Whether every row has it.
    pub required: bool,
    /// Whether it is part of the key.
    pub is_key: bool,
}

/// Which field of the table each declared column is, by the column's identity; the lake's own have negative ones.
pub type FieldIds = BTreeMap<i32, i32>;

/// The schema of a table with these declared columns, and the ids of its fields: those in `before` stay, others are new
/// from `last_id` on. A name that the table's own columns have gets an underscore behind it.
///
/// # Errors
/// When two columns have one name, or the key cannot be one.
pub fn schema(
    kind: Kind,
    declared: &[Declared],
    before: &FieldIds,
    last_id: i32,
) -> Result<(Schema, FieldIds), iceberg::Error> {
    let (mut ids, mut next) = (FieldIds::new(), last_id);
    let mut id_of = |identity: i32| {
        let id = before.get(&identity).copied().unwrap_or_else(|| {
            next += 1;
            next
        });
        ids.insert(identity, id);
        id
    };
    let own = kind.own();
    let mut fields: Vec<NestedFieldRef> = Vec::new();
    let mut key = Vec::new();
    for column in declared {
        let id = id_of(column.identity);
        let taken = own.iter().any(|(name, _)| *name == column.name);
        let name = if taken { format!("{}_", column.name) } else { column.name.clone() };
        // A mirror finds rows by the key; a change that deletes has nothing but the key.
        let required = match kind {
            Kind::Facts => column.required,
            Kind::Mirror => column.is_key,
            Kind::Changelog => false,
        };
        if kind == Kind::Mirror && column.is_key {
            key.push(id);
        }
        fields.push(NestedField::new(id, name, Type::Primitive(column.kind.clone()), required).into());
    }
    for (index, (name, kind)) in own.into_iter().enumerate() {
        let id = id_of(-1 - i32::try_from(index).unwrap_or(0));
        fields.push(NestedField::new(id, name, Type::Primitive(kind), true).into());
    }
    let schema = Schema::builder().with_fields(fields).with_identifier_field_ids(key).build()?;
    Ok((schema, ids))
}

/// The same columns as Arrow has them, each with its id.
///
/// # Errors
/// When a type has no counterpart.
pub fn arrow(schema: &Schema) -> Result<SchemaRef, iceberg::Error> {
    Ok(Arc::new(schema_to_arrow_schema(schema)?))
}

/// Without ids and other notes: as SQL sees them.
pub fn plain(schema: &ArrowSchema) -> SchemaRef {
    let field = |field: &Arc<Field>| Field::new(field.name(), field.data_type().clone(), field.is_nullable());
    Arc::new(ArrowSchema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Values in another type; an error where one has no place in it, never a null in its stead.
///
/// # Errors
/// When a value does not fit.
pub fn cast_exactly(column: &dyn Array, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(column, to, &CastOptions { safe: false, ..CastOptions::default() })
}

/// Whether a table's column can take a type's values without losing any; what `naru capture` calls a widening.
pub fn widens(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (from, to) if from == to => true,
        (DataType::Int32, DataType::Int64) | (DataType::Float32, DataType::Float64) => true,
        (DataType::Decimal128(p, s), DataType::Decimal128(wider, same)) => s == same && wider >= p,
        _ => false,
    }
}
