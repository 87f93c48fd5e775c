//! A table as a reader sees it: the newest snapshot and the rows in memory, at one position of the log.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use iceberg::table::Table;

use super::positions::Positions;
use super::progress::Progress;
use super::read::FileView;

/// Rows in memory.
#[derive(Debug, Clone)]
pub struct HotView {
    /// The rows.
    pub rows: RecordBatch,
    /// Those of them that are gone.
    pub gone: Arc<Positions>,
}

impl HotView {
    /// The rows that are not gone, of some columns.
    ///
    /// # Errors
    /// When there are no such columns.
    pub fn living(&self, columns: &[usize]) -> Result<RecordBatch, ArrowError> {
        let rows = self.rows.project(columns)?;
        match self.gone.is_empty() {
            true => Ok(rows),
            false => filter_record_batch(&rows, &self.gone.living(0, rows.num_rows())),
        }
    }
}

/// A table at one moment. Nothing that it names goes away while queries may run.
#[derive(Debug, Clone)]
pub struct View {
    /// The table at its newest snapshot.
    pub table: Table,
    /// Its columns, with their ids.
    pub schema: SchemaRef,
    /// The same without.
    pub plain: SchemaRef,
    /// Its files.
    pub files: Vec<FileView>,
    /// What is not committed.
    pub hot: Vec<HotView>,
    /// How far the log is read.
    pub progress: Progress,
    /// How far of that is committed.
    pub committed: Progress,
    /// When the newest snapshot was made, milliseconds since 1970.
    pub committed_at_ms: i64,
}

impl View {
    /// Rows that are not committed.
    pub fn hot_rows(&self) -> usize {
        self.hot.iter().map(|batch| batch.rows.num_rows() - batch.gone.len()).sum()
    }

    /// All rows.
    pub fn rows(&self) -> usize {
        let living = |file: &FileView| file.rows as usize - file.gone.len();
        self.files.iter().map(living).sum::<usize>() + self.hot_rows()
    }
}
