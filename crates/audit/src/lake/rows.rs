//! Rows of Parquet files, without those that files of deletes name, as canonical bytes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimeUnit, TimestampMicrosecondType,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::LakeError;
use super::metadata::{DataFile, Files};
use crate::canonical::{Decimal, Value, text};
use crate::log::avro::Kind;

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 4096;

/// Positions of rows that are gone, by the file's name. Held whole: eight bytes per row that was deleted since the last
/// compaction.
pub type Gone = HashMap<String, HashSet<u64>>;

/// Reads the files of deletes.
///
/// # Errors
/// A file that cannot be read.
pub fn gone(files: &Files) -> Result<Gone, LakeError> {
    let mut gone = Gone::new();
    for file in &files.deletes {
        for batch in batches(file)? {
            let batch = batch?;
            // Reserved by the format.
            let (paths, positions) = (named(&batch, "file_path"), named(&batch, "pos"));
            let (Some(paths), Some(positions)) = (paths, positions) else {
                return Err(LakeError::format(&file.path, "is no file of position deletes"));
            };
            let paths =
                arrow::compute::cast(paths, &DataType::Utf8).map_err(|source| LakeError::arrow(file, source))?;
            let Some(positions) = positions.as_primitive_opt::<Int64Type>() else {
                return Err(LakeError::format(&file.path, "has positions that are no longs"));
            };
            for (path, position) in paths.as_string::<i32>().iter().zip(positions.iter()) {
                if let (Some(path), Some(position)) = (path, position) {
                    gone.entry(path.to_owned()).or_default().insert(position.cast_unsigned());
                }
            }
        }
    }
    Ok(gone)
}

/// The batches of a file, in its order.
pub fn batches(file: &DataFile) -> Result<impl Iterator<Item = Result<RecordBatch, LakeError>> + use<>, LakeError> {
    let path = file.path.clone();
    let opened = File::open(&path).map_err(|source| LakeError::Io { path: path.clone(), source })?;
    let parquet = |source| LakeError::Parquet { path: path.clone(), source };
    let reader = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(parquet)?;
    let reader = reader.with_batch_size(BATCH_ROWS).build().map_err(parquet)?;
    Ok(reader.map(move |batch| batch.map_err(|source| LakeError::Arrow { path: path.clone(), source })))
}

/// A column by its name.
pub fn named<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a ArrayRef> {
    batch.column_by_name(name)
}

/// What a column of the source is in a file: which one, and how its values are written in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its number in the source.
    pub number: u16,
    /// Its name in the source.
    pub name: String,
    /// How its values are written in the log.
    pub kind: Kind,
}

/// The columns of a batch that are columns of the source.
pub fn columns<'a>(batch: &'a RecordBatch, known: &BTreeMap<i32, Known>) -> Vec<(Known, &'a ArrayRef)> {
    let of = |(index, field): (usize, &Arc<arrow::datatypes::Field>)| {
        let id: i32 = field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()?;
        Some((known.get(&id)?.clone(), batch.column(index)))
    };
    batch.schema_ref().fields().iter().enumerate().filter_map(of).collect()
}

/// The value of a cell as the log would have it; nothing for null. Of another type than the log's: refused.
///
/// # Errors
/// In a word, what the column holds.
pub fn value(column: &dyn Array, row: usize, kind: Kind) -> Result<Option<Value<'_>>, String> {
    if column.is_null(row) {
        return Ok(None);
    }
    let value = match (column.data_type(), kind) {
        (DataType::Boolean, _) => Value::Boolean(column.as_boolean().value(row)),
        (DataType::Int32, _) => Value::Integer(i64::from(column.as_primitive::<Int32Type>().value(row))),
        (DataType::Int64, _) => Value::Integer(column.as_primitive::<Int64Type>().value(row)),
        (DataType::Float32, _) => Value::Float(f64::from(column.as_primitive::<Float32Type>().value(row))),
        (DataType::Float64, _) => Value::Float(column.as_primitive::<Float64Type>().value(row)),
        (DataType::Decimal128(_, scale), _) => {
            let unscaled = column.as_primitive::<Decimal128Type>().value(row);
            Value::Decimal(Decimal::from_unscaled(unscaled, u32::try_from(*scale).unwrap_or(0)))
        }
        (DataType::Date32, _) => Value::Date(i64::from(column.as_primitive::<Date32Type>().value(row))),
        (DataType::Time64(TimeUnit::Microsecond), _) => {
            Value::Time(column.as_primitive::<Time64MicrosecondType>().value(row))
        }
        (DataType::Timestamp(TimeUnit::Microsecond, zone), _) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            if zone.is_some() { Value::Moment(micros) } else { Value::Local(micros) }
        }
        (DataType::Utf8, kind) => of_text(column.as_string::<i32>().value(row), kind)?,
        (DataType::LargeUtf8, kind) => of_text(column.as_string::<i64>().value(row), kind)?,
        (DataType::Binary, _) => Value::Bytes(column.as_binary::<i32>().value(row)),
        (DataType::LargeBinary, _) => Value::Bytes(column.as_binary::<i64>().value(row)),
        (DataType::FixedSizeBinary(16), Kind::Uuid) => {
            let bytes = column.as_fixed_size_binary().value(row);
            Value::Uuid(bytes.try_into().map_err(|_| "no uuid".to_owned())?)
        }
        (other, _) => return Err(format!("values of {other}")),
    };
    Ok(Some(value))
}

fn of_text(value: &str, kind: Kind) -> Result<Value<'_>, String> {
    match kind {
        Kind::Uuid => text::uuid(value).map(Value::Uuid).ok_or_else(|| "text that is no uuid".to_owned()),
        _ => Ok(Value::Text(value)),
    }
}
