//! Small files into large ones, while the table goes on.
//!
//! The rows are read and written beside the table's commits; only the exchange is a commit. Rows that went in between are
//! known by the index: their key's row is no longer where the rewriting found it.

use std::collections::HashSet;
use std::sync::Arc;

use futures::TryStreamExt as _;
use iceberg::spec::DataFile;
use iceberg::table::Table;

use super::commit::RowDelta;
use super::index::{Key, Keyer, Place};
use super::positions::Positions;
use super::read::{self, FileView};
use super::state::State;
use super::write::{self, DataWriter};
use crate::catalogue::Catalogue;
use crate::error::LakeError;

/// Files that are worth rewriting, as they were when this was planned.
#[derive(Debug)]
pub struct Rewrite {
    table: Table,
    schema: arrow::datatypes::SchemaRef,
    keyer: Option<Arc<Keyer>>,
    files: Vec<(u32, FileView)>,
}

/// The same rows in one file.
#[derive(Debug)]
pub struct Rewritten {
    keyer: Option<Arc<Keyer>>,
    replaced: Vec<u32>,
    data: Option<DataFile>,
    /// Of a mirror: key and old place of each row, in the order of the new file.
    origins: Vec<(Key, u32, u32)>,
}

impl State {
    /// What is worth rewriting: files below the size that is aimed at, once there are too many, or too many files of
    /// deletes; at most about twice that size at once.
    pub fn worth_rewriting(&self, small_files_max: usize, file_bytes: u64) -> Option<Rewrite> {
        let numbered = (0u32..).zip(&self.files).filter_map(|(number, file)| Some((number, file.as_ref()?)));
        let is_small = |file: &FileView| file.bytes < file_bytes / 2 || file.gone.len() > file.rows as usize / 3;
        let mut small: Vec<_> =
            numbered.filter(|(_, file)| is_small(file)).map(|(number, file)| (number, file.clone())).collect();
        if small.len() <= small_files_max && self.delete_files <= small_files_max {
            return None;
        }
        small.sort_by_key(|(_, file)| file.bytes);
        let (mut bytes, mut rows) = (0u64, 0u64);
        small.retain(|(_, file)| {
            bytes = bytes.saturating_add(file.bytes);
            rows = rows.saturating_add(u64::from(file.rows));
            bytes <= file_bytes.saturating_mul(2) && rows < u64::from(u32::MAX)
        });
        Some(Rewrite {
            table: self.table.clone(),
            schema: Arc::clone(&self.schema),
            keyer: self.keyer.clone(),
            files: small,
        })
    }

    /// Puts a rewriting in place, in a commit of its own behind what is hot: readers see the same rows before and after.
    ///
    /// # Errors
    /// As [`State::commit`].
    pub async fn replace(&mut self, catalogue: &Catalogue, done: Rewritten, at_ms: i64) -> Result<(), LakeError> {
        let same = match (&self.keyer, &done.keyer) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        };
        if !same {
            // The key's columns have changed since: what was written is named by nothing, and goes.
            return Ok(());
        }
        if self.has_moved() {
            self.commit(catalogue, at_ms).await?;
        }
        let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let mut gone = Positions::default();
        for (row, (key, file, before)) in (0u32..).zip(&done.origins) {
            let from = Place::File { file: *file, row: *before };
            if !self.index.moved(*key, from, Place::File { file: number, row }) {
                gone.insert(row);
            }
        }
        let mut replaced = HashSet::new();
        for number in &done.replaced {
            if let Some(file) = self.files.get_mut(*number as usize).and_then(Option::take) {
                replaced.insert(file.path.to_string());
            }
        }
        match &done.data {
            Some(data) => {
                self.take_in(data, gone);
            }
            None => self.files.push(None),
        }
        let mut deletes: Vec<(Arc<str>, i64)> = self
            .files
            .iter()
            .flatten()
            .flat_map(|file| file.gone.iter().map(|row| (Arc::clone(&file.path), i64::from(row))))
            .collect();
        deletes.sort_unstable();
        let mut delta = RowDelta {
            data: done.data.into_iter().collect(),
            replaced: Some(replaced),
            summary: self.progress.summary(&self.topic),
            expired: self.expired(at_ms),
            at_ms,
            ..RowDelta::default()
        };
        if !deletes.is_empty() {
            delta.deletes.push(write::position_deletes(&self.table, &deletes).await?);
        }
        self.delete_files = delta.deletes.len();
        self.table = delta.commit(catalogue, &self.table).await?;
        self.committed_at_ms = at_ms;
        Ok(())
    }
}

impl Rewrite {
    /// Reads the rows that are there and writes them into one file.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub async fn run(self) -> Result<Rewritten, LakeError> {
        let misfit = |source| LakeError::Columns { table: self.table.identifier().to_string(), source };
        let mut writer = DataWriter::open(&self.table, "rewritten").await?;
        let mut origins = Vec::new();
        for (number, file) in &self.files {
            let mut living = (0..file.rows).filter(|row| !file.gone.contains(*row));
            let mut rows = read::rows(self.table.file_io(), file, &self.schema).await?;
            while let Some(batch) = rows.try_next().await? {
                if let Some(keyer) = &self.keyer {
                    let columns: Vec<_> = keyer.columns().iter().map(|index| batch.column(*index).clone()).collect();
                    let keys = keyer.keys(&columns).map_err(misfit)?;
                    origins.extend(keys.into_iter().zip(living.by_ref()).map(|(key, row)| (key, *number, row)));
                }
                writer.write(batch).await?;
            }
        }
        let data = writer.close().await?;
        Ok(Rewritten {
            keyer: self.keyer,
            replaced: self.files.iter().map(|(number, _)| *number).collect(),
            data,
            origins,
        })
    }
}
