//! Files of a table, read: the rows that are not gone, in the table's present columns.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::datatypes::{Field, Schema as ArrowSchema, SchemaRef};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use iceberg::arrow::ArrowFileReader;
use iceberg::io::FileIO;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::arrow::{PARQUET_FIELD_ID_META_KEY, ParquetRecordBatchStreamBuilder, ProjectionMask};

use super::columns;
use super::positions::Positions;
use crate::error::LakeError;

/// Rows that are read at once: enough to pay for a batch, little enough to be cut off soon.
pub const BATCH_ROWS: usize = 8192;

/// A data file as readers see it at one moment.
#[derive(Debug, Clone)]
pub struct FileView {
    /// Where it is.
    pub path: Arc<str>,
    /// How many rows it has, with those that are gone.
    pub rows: u32,
    /// Its size.
    pub bytes: u64,
    /// The rows that are gone.
    pub gone: Arc<Positions>,
}

/// Opens a file at the columns of `schema`, each found by its field id; a column that the file has not got is null.
///
/// # Errors
/// When the file cannot be opened or is no Parquet. The stream's errors are those of reading on.
pub async fn rows(
    files: &FileIO,
    file: &FileView,
    schema: &SchemaRef,
) -> Result<BoxStream<'static, Result<RecordBatch, LakeError>>, LakeError> {
    let input = files.new_input(&*file.path)?;
    let reader = ArrowFileReader::new(iceberg::io::FileMetadata { size: file.bytes }, input.reader().await?);
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await?;
    let held: Vec<Option<usize>> =
        schema.fields().iter().map(|wanted| find(builder.schema(), field_id(wanted)?)).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), held.iter().flatten().copied());
    let mut builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS);
    if !file.gone.is_empty() {
        builder = builder.with_row_selection(RowSelection::from_filters(&[file.gone.living(0, file.rows as usize)]));
    }
    // Roots come in the order of the file, whatever order they were asked for in.
    let mut order: Vec<usize> = held.iter().flatten().copied().collect();
    order.sort_unstable();
    order.dedup();
    let places: Vec<Option<usize>> =
        held.iter().map(|root| root.and_then(|root| order.binary_search(&root).ok())).collect();
    let (schema, path) = (Arc::clone(schema), Arc::clone(&file.path));
    let stream = builder.build()?.map_err(LakeError::from).map(move |batch| {
        let fitted = fitted(&batch?, &schema, &places);
        fitted.map_err(|source| LakeError::Columns { table: path.to_string(), source })
    });
    Ok(stream.boxed())
}

/// A batch in other columns: each from its place, widened where the table was.
fn fitted(
    batch: &RecordBatch,
    schema: &SchemaRef,
    places: &[Option<usize>],
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let column = |(place, field): (&Option<usize>, &Arc<Field>)| -> Result<ArrayRef, arrow::error::ArrowError> {
        match place {
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            Some(place) if batch.column(*place).data_type() == field.data_type() => Ok(batch.column(*place).clone()),
            Some(place) => columns::cast_exactly(batch.column(*place), field.data_type()),
        }
    };
    let columns = places.iter().zip(schema.fields()).map(column).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// The id of a field, as Parquet and the table carry it.
pub fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

fn find(schema: &ArrowSchema, id: i32) -> Option<usize> {
    schema.fields().iter().position(|field| field_id(field) == Some(id))
}

/// Reads a file of position deletes: path and row of each row that is gone.
///
/// # Errors
/// When it cannot be read, or has other columns.
pub async fn position_deletes(files: &FileIO, path: &str, bytes: u64) -> Result<Vec<(String, u32)>, LakeError> {
    let input = files.new_input(path)?;
    let reader = ArrowFileReader::new(iceberg::io::FileMetadata { size: bytes }, input.reader().await?);
    let mut stream = ParquetRecordBatchStreamBuilder::new(reader).await?.with_batch_size(BATCH_ROWS).build()?;
    let mut gone = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        let column = |name: &str| batch.column_by_name(name);
        let paths = column("file_path").and_then(|column| column.as_any().downcast_ref::<StringArray>());
        let rows = column("pos").and_then(|column| column.as_any().downcast_ref::<Int64Array>());
        let (Some(paths), Some(rows)) = (paths, rows) else {
            let what = "its columns are not file_path and pos".to_owned();
            return Err(LakeError::Snapshot { table: path.to_owned(), what });
        };
        for (path, row) in paths.iter().zip(rows.iter()) {
            if let (Some(path), Some(Ok(row))) = (path, row.map(u32::try_from)) {
                gone.push((path.to_owned(), row));
            }
        }
    }
    Ok(gone)
}
