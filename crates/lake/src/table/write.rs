//! Files of a table, written.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Struct};
use iceberg::table::Table;
use iceberg::writer::base_writer::data_file_writer::DataFileWriterBuilder;
use iceberg::writer::file_writer::ParquetWriterBuilder;
use iceberg::writer::file_writer::location_generator::{DefaultFileNameGenerator, DefaultLocationGenerator};
use iceberg::writer::file_writer::rolling_writer::RollingFileWriterBuilder;
use iceberg::writer::{IcebergWriter, IcebergWriterBuilder};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use uuid::Uuid;

use crate::error::LakeError;

/// Ids that the format gives to the two columns of position deletes.
const FILE_PATH_ID: &str = "2147483546";
const POSITION_ID: &str = "2147483545";

/// How files are written: the fastest level of zstd halves payments.
fn properties() -> WriterProperties {
    WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build()
}

/// One data file that grows batch by batch.
pub struct DataWriter {
    inner: Box<dyn IcebergWriter>,
}

impl DataWriter {
    /// A new file of a table.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub async fn open(table: &Table, prefix: &str) -> Result<Self, LakeError> {
        let metadata = table.metadata();
        let parquet = ParquetWriterBuilder::new(properties(), metadata.current_schema().clone());
        let names =
            DefaultFileNameGenerator::new(prefix.to_owned(), Some(Uuid::now_v7().to_string()), DataFileFormat::Parquet);
        // The caller decides when a file ends: rows are found again by their number in it.
        let rolling = RollingFileWriterBuilder::new(
            parquet,
            usize::MAX,
            table.file_io().clone(),
            DefaultLocationGenerator::new(metadata)?,
            names,
        );
        Ok(Self { inner: Box::new(DataFileWriterBuilder::new(rolling).build(None).await?) })
    }

    /// Adds rows, which must have the table's own columns.
    ///
    /// # Errors
    /// When they do not fit, or cannot be written.
    pub async fn write(&mut self, rows: RecordBatch) -> Result<(), LakeError> {
        Ok(self.inner.write(rows).await?)
    }

    /// Ends the file; it is on the disk then. None if no row was written.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn close(mut self) -> Result<Option<DataFile>, LakeError> {
        Ok(self.inner.close().await?.pop())
    }
}

/// Writes which rows of which files are gone. `gone` is sorted by path and row, as the format demands.
///
/// # Errors
/// When the file cannot be written.
pub async fn position_deletes(table: &Table, gone: &[(Arc<str>, i64)]) -> Result<DataFile, LakeError> {
    let field = |name: &str, kind, id: &str| {
        let id = HashMap::from([("PARQUET:field_id".to_owned(), id.to_owned())]);
        Field::new(name, kind, false).with_metadata(id)
    };
    let schema = Arc::new(ArrowSchema::new(vec![
        field("file_path", DataType::Utf8, FILE_PATH_ID),
        field("pos", DataType::Int64, POSITION_ID),
    ]));
    let paths: ArrayRef = Arc::new(StringArray::from_iter_values(gone.iter().map(|(path, _)| path)));
    let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(gone.iter().map(|(_, row)| *row)));
    let columns = |source| LakeError::Columns { table: table.identifier().to_string(), source };
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![paths, rows]).map_err(columns)?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties()))?;
    writer.write(&batch)?;
    writer.close()?;
    let size = bytes.len() as u64;
    let path = format!("{}/data/deletes-{}.parquet", table.metadata().location(), Uuid::now_v7());
    let mut output = table.file_io().new_output(&path)?.writer().await?;
    output.write(bytes.into()).await?;
    output.close().await?;
    let file = DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .partition_spec_id(table.metadata().default_partition_spec_id())
        .record_count(gone.len() as u64)
        .file_size_in_bytes(size)
        .build();
    file.map_err(|error| LakeError::Snapshot { table: table.identifier().to_string(), what: error.to_string() })
}
