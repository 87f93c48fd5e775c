//! Reading the lake: its catalogue's database, metadata, manifests and Parquet files, by code of the audit's own.
//!
//! Only committed snapshots are read, each pinned when the reading begins. The lake is not asked anything.

pub mod metadata;
pub mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use self::metadata::{DataFile, Snapshot, TableMetadata};
use self::rows::{Known, batches, columns, gone, named, value};
use crate::canonical::{Identity, Operation, RecordFault, Writer};
use crate::certificate::{Part, Window};
use crate::gather::{Gathered, Rules, Want};
use crate::log::avro::{Schema, amount};

/// Partition of the log that a row came through.
pub const PARTITION: &str = "naru_partition";
/// Log sequence number of its commit.
pub const POSITION: &str = "naru_position";
/// Place in that transaction.
pub const SEQUENCE: &str = "naru_sequence";
/// What happened.
pub const OP: &str = "naru_op";
/// When it was committed.
pub const AT: &str = "naru_at";

/// Behind the name of a table of changes.
const CHANGES: &str = "_changes";

/// Why the lake could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The catalogue's database; a retry may help.
    #[error("the catalogue could not be read")]
    Catalogue(#[from] sqlx::Error),
    /// A file could not be read; when it was removed in the meantime, a retry helps.
    #[error("{path}: could not be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Metadata that is none.
    #[error("{path}: is no metadata of a table")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest that is none.
    #[error("{path}: is no manifest")]
    Avro {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<apache_avro::Error>,
    },
    /// A file of rows that is none.
    #[error("{path}: is no Parquet file")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// Rows that cannot be decoded.
    #[error("{path}: has rows that cannot be read")]
    Arrow {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// Something that the format allows and no lake of ours writes, or that it does not allow.
    #[error("{path}: {what}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A table that is elsewhere than on this machine's disks.
    #[error("{0} is no local file")]
    Location(String),
    /// The metadata names a snapshot that it does not have.
    #[error("the snapshot {0} is not in the metadata that names it")]
    NoSnapshot(i64),
    /// There is no table of changes for the topic.
    #[error("there is no table of changes for {0}: the lake keeps its rows as they stand now")]
    NoChanges(String),
    /// It has not come as far; a retry helps.
    #[error("the table of {topic} has not come as far as {to}")]
    Behind {
        /// The topic.
        topic: String,
        /// The window's end.
        to: u64,
    },
    /// A row without canonical bytes.
    #[error("a row without canonical bytes")]
    Record(#[from] RecordFault),
}

impl LakeError {
    fn format(path: &Path, what: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), what: what.into() }
    }

    fn arrow(file: &DataFile, source: arrow::error::ArrowError) -> Self {
        Self::Arrow { path: file.path.clone(), source }
    }
}

/// The lake, for one source.
#[derive(Debug, Clone)]
pub struct LakeReader {
    catalogue: PathBuf,
    source: String,
    namespace: String,
}

impl LakeReader {
    /// Reads nothing yet. `catalogue` is the SQLite database of the catalogue.
    pub fn new(catalogue: &Path, source: &str, namespace: &str) -> Self {
        Self { catalogue: catalogue.to_owned(), source: source.to_owned(), namespace: namespace.to_owned() }
    }

    /// The valid metadata of a table; none if there is none.
    ///
    /// # Errors
    /// A catalogue or metadata that cannot be read.
    pub async fn table(&self, name: &str) -> Result<Option<TableMetadata>, LakeError> {
        let options = SqliteConnectOptions::new().filename(&self.catalogue).read_only(true);
        let mut connection = options.connect().await?;
        let found: Option<(Option<String>,)> =
            sqlx::query_as("select metadata_location from iceberg_tables where table_namespace = ? and table_name = ?")
                .bind(&self.namespace)
                .bind(name)
                .fetch_optional(&mut connection)
                .await?;
        connection.close().await?;
        found.and_then(|(location,)| location).map(|location| TableMetadata::read(&location)).transpose()
    }

    /// Reads a window of one topic's changes from its table of changes.
    ///
    /// # Errors
    /// A lake that cannot be read, has no such table, or has not come as far.
    pub async fn read(
        &self,
        topic: &str,
        window: &Window,
        schemas: &[Arc<Schema>],
        rules: &Rules,
        want: &Want,
        gathered: &mut Gathered,
    ) -> Result<(), LakeError> {
        let table = topic.strip_prefix(&self.source).and_then(|rest| rest.strip_prefix('.')).unwrap_or(topic);
        let Some(metadata) = self.table(&format!("{table}{CHANGES}")).await? else {
            return Err(LakeError::NoChanges(topic.to_owned()));
        };
        let Some(snapshot) = metadata.current()? else {
            return Err(LakeError::Behind { topic: topic.to_owned(), to: window.to });
        };
        if !has_come_to(&snapshot, window.to) {
            return Err(LakeError::Behind { topic: topic.to_owned(), to: window.to });
        }
        let known = known(&metadata, schemas, topic);
        let files = snapshot.files()?;
        let gone = gone(&files)?;
        let position_id = metadata.names().into_iter().find(|(_, names)| names.contains(&POSITION)).map(|(id, _)| id);
        for file in files.data.iter().filter(|file| may_hold(file, position_id, window)) {
            let gone = gone.get(&file.name);
            // Decoding is work for a processor; other tasks wait for it no longer than one file takes.
            tokio::task::block_in_place(|| read_file(file, gone, topic, window, &known, rules, want, gathered))?;
        }
        Ok(())
    }
}

/// Whether a snapshot says that everything up to a position is in.
fn has_come_to(snapshot: &Snapshot, to: u64) -> bool {
    #[derive(serde::Deserialize)]
    struct Complete {
        position: i64,
    }
    // Taken for granted only as far as waiting goes: what is missing then is found missing.
    let complete = snapshot.summary.get("naru.complete").and_then(|said| serde_json::from_str::<Complete>(said).ok());
    complete.is_some_and(|complete| complete.position.cast_unsigned() >= to)
}

/// Which column of the source a field of the table is, by the field's id.
fn known(metadata: &TableMetadata, schemas: &[Arc<Schema>], topic: &str) -> BTreeMap<i32, Known> {
    let mut known = BTreeMap::new();
    let own: BTreeSet<&str> = [PARTITION, POSITION, SEQUENCE, OP, AT].into();
    for (id, names) in metadata.names() {
        if names.iter().any(|name| own.contains(name)) {
            continue;
        }
        let columns = schemas.iter().rev().filter(|schema| schema.topic == topic).flat_map(|schema| &schema.columns);
        // A name that the lake's own columns have gets an underscore behind it.
        let is = |field: &str| names.iter().any(|name| *name == field || name.strip_suffix('_') == Some(field));
        if let Some(column) = columns.into_iter().find(|column| is(&column.field)) {
            known.insert(id, Known { number: column.number, name: column.name.clone(), kind: column.kind });
        }
    }
    known
}

fn may_hold(file: &DataFile, position_id: Option<i32>, window: &Window) -> bool {
    let bounds = position_id.and_then(|id| file.bounds.get(&id));
    let long = |bytes: &Vec<u8>| <[u8; 8]>::try_from(bytes.as_slice()).map(u64::from_le_bytes).ok();
    match bounds.map(|(low, high)| (long(low), long(high))) {
        Some((Some(low), Some(high))) => low <= window.to && high > window.after,
        _ => true,
    }
}

#[expect(clippy::too_many_arguments, reason = "the inner half of `read`")]
fn read_file(
    file: &DataFile,
    gone: Option<&std::collections::HashSet<u64>>,
    topic: &str,
    window: &Window,
    known: &BTreeMap<i32, Known>,
    rules: &Rules,
    want: &Want,
    gathered: &mut Gathered,
) -> Result<(), LakeError> {
    let (left_out, amounts) = (rules.left_out_of(topic), rules.amounts_of(topic));
    let (mut writer, mut sums) = (Writer::new(), vec![0; amounts.len()]);
    let mut first = 0_u64;
    for batch in batches(file)? {
        let batch = batch?;
        let own = Own::of(&batch).ok_or_else(|| LakeError::format(&file.path, "lacks the lake's own columns"))?;
        let columns = columns(&batch, known);
        for row in 0..batch.num_rows() {
            let number = first + row as u64;
            let position = own.positions.value(row).cast_unsigned();
            let in_window = position > window.after && position <= window.to;
            if !in_window || gone.is_some_and(|gone| gone.contains(&number)) {
                continue;
            }
            let operation = match (Operation::of_name(own.operations.value(row)), own.operations.value(row)) {
                (Some(operation), _) => operation,
                // Where a copy begins, and ends; of no row.
                (None, "begin" | "end") => continue,
                (None, _) => return Err(LakeError::format(&file.path, "has a row of an operation that there is not")),
            };
            // It stands in every partition, and is one change.
            if operation == Operation::Truncate && own.partitions.value(row) != 0 {
                continue;
            }
            let identity = Identity { position, sequence: own.sequences.value(row).cast_unsigned() };
            writer.begin(topic, identity, operation, own.at.value(row));
            sums.fill(0);
            for (column, values) in &columns {
                let value = value(values, row, column.kind);
                let wrong = |what| LakeError::format(&file.path, format!("column {:?} holds {what}", column.name));
                let Some(value) = value.map_err(wrong)? else { continue };
                if let Some(sum) = amounts.iter().position(|name| *name == column.name) {
                    sums[sum] = amount(&value);
                }
                if !left_out.contains(&column.name) {
                    writer.column(column.number, &value);
                }
            }
            let part = if operation == Operation::Read { Part::Copies } else { Part::Changes };
            let hash = rules.key.hash(writer.finish()?);
            let place = || format!("{}#{number}", file.path.file_name().unwrap_or_default().to_string_lossy());
            gathered.take(want, rules, (topic, part), identity, hash, &sums, place);
        }
        first += batch.num_rows() as u64;
    }
    Ok(())
}

/// The lake's own columns of a batch.
struct Own<'a> {
    positions: &'a arrow::array::Int64Array,
    sequences: &'a arrow::array::Int64Array,
    partitions: &'a arrow::array::Int32Array,
    at: &'a arrow::array::TimestampMicrosecondArray,
    operations: arrow::array::StringArray,
}

impl<'a> Own<'a> {
    fn of(batch: &'a arrow::array::RecordBatch) -> Option<Self> {
        let operations = arrow::compute::cast(named(batch, OP)?, &arrow::datatypes::DataType::Utf8).ok()?;
        let sound = |column: &'a ArrayRef| (column.null_count() == 0).then_some(column);
        Some(Self {
            positions: sound(named(batch, POSITION)?)?.as_primitive_opt::<Int64Type>()?,
            sequences: sound(named(batch, SEQUENCE)?)?.as_primitive_opt::<Int64Type>()?,
            partitions: sound(named(batch, PARTITION)?)?.as_primitive_opt::<Int32Type>()?,
            at: sound(named(batch, AT)?)?.as_primitive_opt::<TimestampMicrosecondType>()?,
            operations: operations.as_string_opt::<i32>()?.clone(),
        })
    }
}
