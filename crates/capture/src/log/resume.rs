//! What the log says about how far a source is written: after a crash nothing else is believed.

use std::collections::BTreeMap;

use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::reader::ReadOptions;
use naru_kafka::client::{Client, ClientError, TopicPartition};
use serde::{Deserialize, Serialize};

use super::topics::Topic;
use crate::change::{Place, read_fingerprint, read_place};

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
    /// What each topic's copy was made of and into.
    #[serde(default)]
    pub tables: BTreeMap<String, Copied>,
}

impl Mark {
    /// Whether it says nothing beside another one that stands in front of it. Sessions that began before either had
    /// written a mark have one number; then the higher position is right.
    fn is_before(&self, other: &Self) -> bool {
        (self.session, self.position) < (other.session, other.position)
    }

    /// Forgets that a topic has a whole copy.
    pub fn forget_copy(&mut self, topic: &str) {
        self.copies.remove(topic);
        self.tables.remove(topic);
    }
}

/// A copy's two ends: where one of them changes, the copy is none any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// The table's number in the database.
    pub number: u32,
    /// The topic's partitions.
    pub partitions: usize,
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

/// Gives the values of a partition's last records, one at a time; the offset behind the last, 0 if there never was one.
async fn last_values(client: &Client, at: &TopicPartition, mut take: impl FnMut(&[u8])) -> Result<i64, ResumeError> {
    let end = client.list_offset(at, OffsetAt::Latest).await?.offset.unwrap_or(0);
    let start = client.list_offset(at, OffsetAt::Earliest).await?.offset.unwrap_or(0);
    let from = start.max(end - LOOKED_BACK_MAX);
    if from < end {
        let consume = |record: naru_kafka::wire::Record| {
            record.value.as_deref().into_iter().for_each(&mut take);
            Ok(())
        };
        client.read_records(at, from, end, &ReadOptions::default(), consume).await?;
    }
    Ok(end)
}

/// How a topic ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    /// The place of the last record of each partition.
    pub places: Vec<Option<Place>>,
    /// The fingerprint of the topic's last record: that of the highest place.
    pub fingerprint: Option<u64>,
    /// Whether no record was ever written: the topic is new.
    pub is_new: bool,
}

/// Looks at the end of each partition.
///
/// # Errors
/// The log's, or that the topic is not ours.
pub async fn ends(client: &Client, topic: &Topic) -> Result<Ends, ResumeError> {
    let mut ends = Ends { is_new: true, ..Ends::default() };
    let mut highest = None;
    for partition in 0..topic.partitions {
        let at = TopicPartition::new(topic.name.clone(), i32::try_from(partition).unwrap_or(i32::MAX));
        let (mut last, mut is_foreign) = (None, false);
        let take = |value: &[u8]| match read_place(value).zip(read_fingerprint(value)) {
            Some(((_, place), print)) => {
                last = last.max(Some(place));
                // Of equal places, which stand in every partition, the definition is one.
                highest = highest.max(Some((place, print)));
            }
            None => is_foreign = true,
        };
        ends.is_new &= last_values(client, &at, take).await? == 0;
        if is_foreign {
            return Err(foreign(&at, "change record"));
        }
        ends.places.push(last);
    }
    ends.fingerprint = highest.map(|(_, print)| print);
    Ok(ends)
}

/// The last mark.
///
/// # Errors
/// The log's, or that the topic is not ours.
pub async fn last_mark(client: &Client, topic: &str) -> Result<Option<Mark>, ResumeError> {
    let at = TopicPartition::new(topic, 0);
    let (mut last, mut is_foreign): (Option<Mark>, bool) = (None, false);
    let take = |value: &[u8]| match serde_json::from_slice::<Mark>(value) {
        Ok(mark) if last.as_ref().is_none_or(|last| !mark.is_before(last)) => last = Some(mark),
        Ok(_) => {}
        Err(_) => is_foreign = true,
    };
    last_values(client, &at, take).await?;
    if is_foreign { Err(foreign(&at, "mark")) } else { Ok(last) }
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
