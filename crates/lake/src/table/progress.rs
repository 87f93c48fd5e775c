//! How far the log is read into a table, as its snapshot says.

use std::collections::BTreeMap;

use iceberg::table::Table;
use serde::{Deserialize, Serialize};

use crate::error::LakeError;

/// Keys of the snapshot's summary.
const OFFSETS: &str = "naru.offsets";
const MARKS: &str = "naru.marks";
const COMPLETE: &str = "naru.complete";
const TOPIC: &str = "naru.topic";
const TOPIC_ID: &str = "naru.topic-id";

/// The last change of a partition that counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// Log sequence number of its commit in the source.
    pub position: i64,
    /// Its order within the transaction; -1 behind the `begin` of a copy.
    pub sequence: i64,
    /// Position of the last `begin`.
    pub begin: i64,
}

/// Up to where a source's changes are all in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complete {
    /// Everything committed in the source at or before this log sequence number is in.
    pub position: i64,
    /// When that was, microseconds since 1970.
    pub at: i64,
}

/// How far a table is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The next offset to read, by partition.
    pub offsets: BTreeMap<i32, i64>,
    /// The last change that counted, by partition.
    pub marks: BTreeMap<i32, Mark>,
    /// Up to where the source is complete.
    pub complete: Option<Complete>,
    /// The topic's id, where the brokers know ids: offsets are of no other topic of its name.
    pub topic_id: Option<String>,
}

impl Progress {
    /// Whether less of the log is in than in `other`, in any partition.
    pub fn is_behind(&self, other: &Self) -> bool {
        let next = |partition: &i32| self.offsets.get(partition).copied().unwrap_or(i64::MIN);
        self.topic_id == other.topic_id && other.offsets.iter().any(|(partition, shown)| next(partition) < *shown)
    }

    /// As the summary of a snapshot holds it.
    pub fn summary(&self, topic: &str) -> BTreeMap<String, String> {
        let json = |value: serde_json::Result<String>| value.unwrap_or_else(|_| "{}".to_owned());
        let mut summary = BTreeMap::from([
            (TOPIC.to_owned(), topic.to_owned()),
            (OFFSETS.to_owned(), json(serde_json::to_string(&self.offsets))),
        ]);
        if let Some(id) = &self.topic_id {
            summary.insert(TOPIC_ID.to_owned(), id.clone());
        }
        if !self.marks.is_empty() {
            summary.insert(MARKS.to_owned(), json(serde_json::to_string(&self.marks)));
        }
        if let Some(complete) = self.complete {
            summary.insert(COMPLETE.to_owned(), json(serde_json::to_string(&complete)));
        }
        summary
    }

    /// As the newest snapshot of a table says; nothing is read yet if there is none.
    ///
    /// # Errors
    /// When the snapshot was not written by a lake, is of another topic, or cannot be understood.
    pub fn of(table: &Table, topic: &str) -> Result<Self, LakeError> {
        let Some(snapshot) = table.metadata().current_snapshot() else { return Ok(Self::default()) };
        let wrong = |what: String| LakeError::Snapshot { table: table.identifier().to_string(), what };
        let said = &snapshot.summary().additional_properties;
        match said.get(TOPIC) {
            Some(found) if found == topic => {}
            Some(found) => return Err(wrong(format!("is of the topic {found}, not of {topic}"))),
            None => return Err(wrong("says no topic: somebody else has written to the table".to_owned())),
        }
        if !said.contains_key(OFFSETS) {
            // Read again from its beginning, the log would double every row.
            return Err(wrong(format!("says no {OFFSETS}")));
        }
        let read = |key: &str, default: &str| said.get(key).map_or_else(|| default.to_owned(), Clone::clone);
        let bad = |key: &'static str| move |error: serde_json::Error| wrong(format!("{key}: {error}"));
        Ok(Self {
            offsets: serde_json::from_str(&read(OFFSETS, "{}")).map_err(bad(OFFSETS))?,
            marks: serde_json::from_str(&read(MARKS, "{}")).map_err(bad(MARKS))?,
            complete: serde_json::from_str(&read(COMPLETE, "null")).map_err(bad(COMPLETE))?,
            topic_id: said.get(TOPIC_ID).cloned(),
        })
    }
}
