//! What can go wrong between the log and a committed row.

use arrow::error::ArrowError;
use naru_kafka::client::ClientError;
use naru_kafka::wire::WireError;

/// Why a table does not get on.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The log refused or was away.
    #[error("the log")]
    Log(#[from] ClientError),
    /// A batch of the log is damaged.
    #[error("a batch of {at} is damaged")]
    Batch {
        /// The partition.
        at: String,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// The log no longer holds what the table has not got.
    #[error("{at} begins at {begins} and the table needs {needed}: those records are gone from the log")]
    Gone {
        /// The partition.
        at: String,
        /// The first offset that is there.
        begins: i64,
        /// The first offset that the table has not got.
        needed: i64,
    },
    /// The topic is another one than the table was made of.
    #[error(
        "the topic {topic} was made anew (its id is {now}, it was {before}): its offsets are others. Take the table away, or \
         set log.other_topic_ids = true if it is the same topic behind another address"
    )]
    OtherTopic {
        /// The topic.
        topic: String,
        /// Its id as the table's snapshot has it.
        before: String,
        /// Its id now.
        now: String,
    },
    /// Rows of a mirror are missing in the log.
    #[error("{at}: {what}; let capture copy the table anew (--copy-anew)")]
    Incomplete {
        /// The partition.
        at: String,
        /// What is missing.
        what: &'static str,
    },
    /// Files of a table cannot be read or written.
    #[error("the files of a table")]
    Files(#[from] iceberg::Error),
    /// Parquet cannot be read or written.
    #[error("a parquet file")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The catalogue's database refused or was away.
    #[error("the catalogue")]
    Catalogue(#[from] sqlx::Error),
    /// The swap in the catalogue was lost: somebody else has committed to the table.
    #[error("another committer has moved {table} on")]
    Fenced {
        /// The table.
        table: String,
    },
    /// Rows do not fit their columns.
    #[error("rows of {table} do not fit its columns")]
    Columns {
        /// The table.
        table: String,
        /// What does not fit.
        #[source]
        source: ArrowError,
    },
    /// A change record cannot be read.
    #[error("a change record of {topic}/{partition} at offset {offset}: {what}")]
    Change {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// What is wrong with it.
        what: String,
    },
    /// The source's schemas do not tell how to read a record.
    #[error("{topic}: {what}")]
    Schema {
        /// The topic of the schemas.
        topic: String,
        /// What is wrong.
        what: String,
    },
    /// What a snapshot says about itself cannot be read.
    #[error("the snapshot of {table}: {what}")]
    Snapshot {
        /// The table.
        table: String,
        /// What is wrong.
        what: String,
    },
    /// The system refused.
    #[error("{what}")]
    System {
        /// What was asked of it.
        what: String,
        /// What it says.
        #[source]
        source: std::io::Error,
    },
}

impl LakeError {
    /// Whether the same step can succeed later without anybody changing anything.
    pub fn retry_can_help(&self) -> bool {
        match self {
            Self::Log(error) => error.retry_can_help(),
            // Whoever was faster has committed a whole snapshot, from which the table goes on.
            Self::Fenced { .. } => true,
            // Disks get room again, and services of storage come back.
            Self::Files(_) | Self::Parquet(_) | Self::Catalogue(_) | Self::System { .. } => true,
            Self::Batch { .. }
            | Self::Gone { .. }
            | Self::OtherTopic { .. }
            | Self::Incomplete { .. }
            | Self::Columns { .. }
            | Self::Change { .. }
            | Self::Schema { .. }
            | Self::Snapshot { .. } => false,
        }
    }
}
