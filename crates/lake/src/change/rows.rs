//! Change records as rows of a table.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, Int32Array, RecordBatch, RecordBatchOptions, StringArray, UInt32Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;

use super::decode::{Changes, row_column};
use super::fold::Op;
use super::schema::ChangeSchema;
use crate::table::columns::{self, FieldIds};
use crate::table::read::field_id;

/// Some of the changes, in the columns of a table. A column that their schema has not got is null.
///
/// # Errors
/// When a value does not fit its column.
pub fn rows(
    table: &SchemaRef,
    ids: &FieldIds,
    schema: &ChangeSchema,
    changes: &Changes,
    records: &[u32],
    partition: i32,
) -> Result<RecordBatch, ArrowError> {
    let records = UInt32Array::from(records.to_vec());
    let count = records.len();
    let mut filled = Vec::with_capacity(table.fields().len());
    for field in table.fields() {
        let column: ArrayRef = match field.name().as_str() {
            columns::PARTITION => Arc::new(Int32Array::from(vec![partition; count])),
            columns::POSITION => take(&changes.positions, &records, None)?,
            columns::SEQUENCE => take(&changes.sequences, &records, None)?,
            columns::AT => take(&changes.at, &records, None)?,
            columns::OP => {
                let name = |record: &u32| changes.ops.get(*record as usize).map(|op| name_of(*op));
                Arc::new(records.values().iter().map(name).collect::<StringArray>())
            }
            _ => match ordinal(field_id(field), ids, schema) {
                Some(ordinal) => take(&row_column(&changes.rows, ordinal)?, &records, None)?,
                None => new_null_array(field.data_type(), count),
            },
        };
        filled.push(match column.data_type() == field.data_type() {
            true => column,
            false => fitted(&column, field)?,
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(Arc::clone(table), filled, &options)
}

/// Values in the type of a column that can hold all of them; never a null or a rounded value in place of one.
fn fitted(column: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    let (from, to) = (column.data_type(), field.data_type());
    if !(columns::widens(from, to) || is_the_same(from, to)) {
        let what = format!("the column {} is {to}, and a record of another schema has {from}", field.name());
        return Err(ArrowError::SchemaError(what));
    }
    columns::cast_exactly(column, to)
}

/// Whether two types are one of the log's in other clothes, such as texts with other widths of offsets.
fn is_the_same(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Dictionary, FixedSizeBinary, LargeBinary, LargeUtf8, Null, Time64, Timestamp, Utf8,
        Utf8View,
    };
    match (from, to) {
        (Null, _) => true,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (Dictionary(_, value), to) => is_the_same(value, to),
        (Binary | LargeBinary | BinaryView | FixedSizeBinary(_), Binary | LargeBinary | BinaryView) => true,
        (Timestamp(from, from_zone), Timestamp(to, to_zone)) => from == to && from_zone.is_some() == to_zone.is_some(),
        (Time64(from), Time64(to)) => from == to,
        _ => false,
    }
}

/// A row with the values of another one in the columns that `kept` names by their ordinals in the change's schema.
///
/// # Errors
/// When the two rows have other columns.
pub fn with_kept(
    row: &RecordBatch,
    before: &RecordBatch,
    kept: &[usize],
    ids: &FieldIds,
    schema: &ChangeSchema,
) -> Result<RecordBatch, ArrowError> {
    let is_kept = |index: usize| {
        let id = field_id(row.schema_ref().field(index));
        kept.iter().any(|kept| ordinal(id, ids, schema) == Some(*kept))
    };
    let column = |index| if is_kept(index) { before.column(index).clone() } else { row.column(index).clone() };
    RecordBatch::try_new(row.schema(), (0..row.num_columns()).map(column).collect())
}

/// Where a field of a table stands in a change's row.
fn ordinal(field: Option<i32>, ids: &FieldIds, schema: &ChangeSchema) -> Option<usize> {
    let (identity, _) = ids.iter().find(|(_, id)| Some(**id) == field)?;
    schema.columns.iter().position(|column| column.identity == *identity)
}

fn name_of(op: Op) -> &'static str {
    match op {
        Op::Begin => "begin",
        Op::Read => "read",
        Op::End => "end",
        Op::Insert => "insert",
        Op::Update => "update",
        Op::Delete => "delete",
        Op::Truncate => "truncate",
    }
}
