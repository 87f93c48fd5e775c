//! Change records out of their Avro, many at once.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, SchemaStore};

use super::fold::Op;
use super::schema::ChangeSchema;

/// Avro's mark of a single object, and the fingerprint behind it.
const MARK: [u8; 2] = [0xC3, 0x01];
const PREFIX_BYTES: usize = MARK.len() + 8;

/// The fingerprint of the schema that a record was written with; none if it is no change record.
pub fn fingerprint(record: &[u8]) -> Option<u64> {
    let bytes: [u8; 8] = record.strip_prefix(&MARK)?.get(..8)?.try_into().ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// Records of one schema, in columns.
#[derive(Debug, Clone)]
pub struct Changes {
    /// What happened, each.
    pub ops: Vec<Op>,
    /// Log sequence numbers.
    pub positions: Int64Array,
    /// Orders within the transactions.
    pub sequences: Int64Array,
    /// When each was committed.
    pub at: TimestampMicrosecondArray,
    kept: ListArray,
    /// The columns of the rows, in the schema's order.
    pub rows: StructArray,
}

impl Changes {
    /// Ordinals of the columns whose value is the old one, of one record.
    pub fn kept(&self, record: usize) -> Vec<usize> {
        if self.kept.value_length(record) == 0 {
            return Vec::new();
        }
        let values = self.kept.value(record);
        let ordinals = values.as_any().downcast_ref::<Int32Array>();
        ordinals.into_iter().flatten().flatten().filter_map(|ordinal| usize::try_from(ordinal).ok()).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// Reads records of one schema.
#[derive(Debug)]
pub struct ChangeDecoder {
    decoder: Decoder,
}

impl ChangeDecoder {
    /// For records of a schema; at most `records_max` at once.
    ///
    /// # Errors
    /// When Avro's rules do not allow the schema.
    pub fn new(schema: &ChangeSchema, records_max: usize) -> Result<Self, String> {
        let mut store = SchemaStore::new();
        let print = Fingerprint::Rabin(schema.fingerprint);
        store.set(print, AvroSchema::new(schema.avro.clone())).map_err(|error| error.to_string())?;
        let decoder = ReaderBuilder::new()
            .with_writer_schema_store(store)
            .with_active_fingerprint(print)
            .with_batch_size(records_max.max(1))
            .build_decoder()
            .map_err(|error| error.to_string())?;
        Ok(Self { decoder })
    }

    /// Reads records, all of the decoder's schema.
    ///
    /// # Errors
    /// Which record cannot be read, and why. The decoder must not be used again then.
    pub fn decode<'a>(&mut self, records: impl IntoIterator<Item = &'a [u8]>) -> Result<Changes, (usize, String)> {
        let mut count = 0;
        for (index, record) in records.into_iter().enumerate() {
            let read = self.decoder.decode(record).map_err(|error| (index, error.to_string()))?;
            if read != record.len() || record.len() < PREFIX_BYTES {
                return Err((index, format!("{read} of its {} bytes are a change", record.len())));
            }
            count = index + 1;
        }
        let batch = self.decoder.flush().map_err(|error| (count.saturating_sub(1), error.to_string()))?;
        let batch = batch.ok_or_else(|| (0, "there is none".to_owned()))?;
        columns(&batch).map_err(|what| (0, what))
    }
}

fn columns(batch: &RecordBatch) -> Result<Changes, String> {
    let column = |name: &str| -> Result<&ArrayRef, String> {
        batch.column_by_name(name).ok_or_else(|| format!("the schema has no field `{name}`"))
    };
    let wrong = |name: &str| format!("the field `{name}` is of another type");
    let names = cast(column("op")?, &DataType::Utf8).map_err(|error| error.to_string())?;
    let names = names.as_any().downcast_ref::<StringArray>().ok_or_else(|| wrong("op"))?;
    let op = |name: Option<&str>| name.and_then(Op::named).ok_or_else(|| "its op is none that is known".to_owned());
    let ops = names.iter().map(op).collect::<Result<Vec<_>, _>>()?;
    let long = |name: &str| -> Result<Int64Array, String> {
        Ok(column(name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong(name))?.clone())
    };
    let at = column("at")?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| wrong("at"))?.clone();
    let kept = column("kept")?.as_list_opt::<i32>().ok_or_else(|| wrong("kept"))?.clone();
    let rows = column("row")?.as_struct_opt().ok_or_else(|| wrong("row"))?.clone();
    Ok(Changes { ops, positions: long("position")?, sequences: long("sequence")?, at, kept, rows })
}

/// The values of a column of the rows; null where there is no row.
pub fn row_column(rows: &StructArray, ordinal: usize) -> Result<ArrayRef, arrow::error::ArrowError> {
    let column = Arc::clone(rows.column(ordinal));
    match rows.nulls() {
        None => Ok(column),
        Some(nulls) => {
            let absent = arrow::array::BooleanArray::new(!nulls.inner(), None);
            arrow::compute::nullif(&column, &absent)
        }
    }
}
