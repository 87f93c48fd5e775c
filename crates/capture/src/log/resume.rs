//! What the log says about how far a source is written: after a crash nothing else is believed.

use std::collections::BTreeMap;

use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::reader::ReadOptions;
use naru_kafka::client::{Client, ClientError, TopicPartition};
use serde::{Deserialize, Serialize};

use super::topics::Topic;
use crate::change::{Place, read_place};

/// Records looked at from the end of a partition. One is enough but for marks of a process that was killed, which may
/// reach the log behind the first ones of the next process; those in flight then were a few.
const LOOKED_BACK_MAX: i64 = 64;

/// How far a source is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Counts the sessions of the source: of two marks that of the later session holds.
    #[serde(default)]
    pub session: u64,
    /// Everything that was committed at or before this is written.
    pub position: u64,
    /// When that was, microseconds since 1970.
    pub at: i64,
    /// Transactions since the mark before.
    pub transactions: u64,
    /// Records since the mark before, per topic.
    pub records: BTreeMap<String, u64>,
    /// The position of each topic's last copy that came to its end.
    #[serde(default)]
    pub copies: BTreeMap<String, u64>,
    /// Why nothing more is written to a topic.
    #[serde(default)]
    pub stopped: BTreeMap<String, String>,
}

/// Why the log cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ClientError),
    /// A topic holds what capture has not written. Somebody must look; no retry helps.
    #[error("the end of {at} is no {what}: the topic belongs to somebody else, or was damaged")]
    Foreign {
        /// The partition.
        at: TopicPartition,
        /// What was looked for.
        what: &'static str,
    },
}

impl ResumeError {
    /// Whether a retry can help.
    pub fn retry_can_help(&self) -> bool {
        matches!(self, Self::Log(error) if error.retry_can_help())
    }
}

/// The values of a partition's last records.
async fn last_values(client: &Client, at: &TopicPartition) -> Result<Vec<bytes::Bytes>, ResumeError> {
    let end = client.list_offset(at, OffsetAt::Latest).await?.offset.unwrap_or(0);
    let start = client.list_offset(at, OffsetAt::Earliest).await?.offset.unwrap_or(0);
    let mut last = Vec::new();
    let from = start.max(end - LOOKED_BACK_MAX);
    if from < end {
        let consume = |record: naru_kafka::wire::Record| {
            last.extend(record.value);
            Ok(())
        };
        client.read_records(at, from, end, &ReadOptions::default(), consume).await?;
    }
    Ok(last)
}

/// The place of the last record of each partition.
///
/// # Errors
/// The log's, or that the topic is not ours.
pub async fn last_places(client: &Client, topic: &Topic) -> Result<Vec<Option<Place>>, ResumeError> {
    let mut places = Vec::with_capacity(topic.partitions);
    for partition in 0..topic.partitions {
        let at = TopicPartition::new(topic.name.clone(), i32::try_from(partition).unwrap_or(i32::MAX));
        let mut last = None;
        for value in last_values(client, &at).await? {
            let (_, place) = read_place(&value).ok_or_else(|| foreign(&at, "change record"))?;
            last = last.max(Some(place));
        }
        places.push(last);
    }
    Ok(places)
}

/// The last mark.
///
/// # Errors
/// The log's, or that the topic is not ours.
pub async fn last_mark(client: &Client, topic: &str) -> Result<Option<Mark>, ResumeError> {
    let at = TopicPartition::new(topic, 0);
    let mut last: Option<Mark> = None;
    for value in last_values(client, &at).await? {
        let mark: Mark = serde_json::from_slice(&value).map_err(|_| foreign(&at, "mark"))?;
        if last.as_ref().is_none_or(|last| last.session <= mark.session) {
            last = Some(mark);
        }
    }
    Ok(last)
}

fn foreign(at: &TopicPartition, what: &'static str) -> ResumeError {
    ResumeError::Foreign { at: at.clone(), what }
}

/// A schema that readers were given.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenSchema {
    /// What its records begin with.
    pub fingerprint: u64,
    /// The topic that it is for.
    pub topic: String,
    /// The schema.
    pub schema: serde_json::Value,
}

/// Every schema, in the order written.
///
/// # Errors
/// The log's, or that the topic is not ours.
pub async fn schemas(client: &Client, topic: &str) -> Result<Vec<WrittenSchema>, ResumeError> {
    #[derive(Deserialize)]
    struct Value {
        topic: String,
        schema: serde_json::Value,
    }
    let at = TopicPartition::new(topic, 0);
    let end = client.list_offset(&at, OffsetAt::Latest).await?.offset.unwrap_or(0);
    let start = client.list_offset(&at, OffsetAt::Earliest).await?.offset.unwrap_or(0);
    let (mut schemas, mut is_foreign) = (Vec::new(), false);
    let consume = |record: naru_kafka::wire::Record| {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let fingerprint = key.and_then(|key| u64::from_str_radix(key, 16).ok());
        let value = record.value.as_deref().and_then(|value| serde_json::from_slice::<Value>(value).ok());
        match (fingerprint, value) {
            (Some(fingerprint), Some(Value { topic, schema })) => {
                schemas.push(WrittenSchema { fingerprint, topic, schema });
            }
            _ => is_foreign = true,
        }
        Ok(())
    };
    client.read_records(&at, start, end, &ReadOptions::default(), consume).await?;
    if is_foreign { Err(foreign(&at, "schema")) } else { Ok(schemas) }
}
