//! Reading a cluster: the topics of a source, window by window. The same for both clusters, each by itself.
//!
//! A window ends in each partition in front of the first change whose position is behind it. What does not rise above
//! all before it (a repeat, which a request brought that outlived its sender; the begin or end of a copy; a record that is
//! no change record) belongs to the window of the next change that does, so that both clusters have it in the same one
//! whenever they are read.

pub mod avro;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::reader::ReadOptions;
use naru_kafka::client::{Client, ClientError, TopicPartition};
use naru_kafka::wire::Record;
use serde::{Deserialize, Serialize};

use self::avro::{AvroFault, Schema, Which};
use crate::canonical::{Identity, Operation, RecordFault, Value, Writer};
use crate::certificate::{Part, Window};
use crate::gather::{Gathered, Rules, Want};

/// Marks that are kept: at one a second, the audit may be a day behind.
const MARKS_MAX: usize = 100_000;

/// Schemas that are kept: one per table and change of it.
const SCHEMAS_MAX: usize = 100_000;

/// Records in a row that do not rise: a copy that was begun again writes none, so more is a topic that is not ours.
const HELD_MAX: usize = 100_000;

/// Set in the sequence of a record that is no change record; the rest of it is the partition, its position the offset.
const FOREIGN: u64 = 1 << 47;

/// How far a source is written, as a topic of marks says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Mark {
    /// Everything that was committed up to here is in front of the mark.
    pub position: u64,
}

/// How far a partition was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The next offset.
    pub next: i64,
    /// Position and sequence of the highest record before it.
    pub highest: Option<(u64, u64)>,
}

/// How far the partitions of a source's topics were read, by `topic-partition`.
pub type Progresses = BTreeMap<String, Progress>;

/// Why a cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The cluster, or the way to it.
    #[error("the cluster could not be read")]
    Client(#[from] ClientError),
    /// What a topic of the source's own holds is not what the contract says.
    #[error("{topic} at offset {offset} is not what the contract says")]
    Contract {
        /// `<source>.schemas` or `<source>.marks`.
        topic: String,
        /// Where.
        offset: i64,
        /// What is wrong.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Records were deleted before they were read.
    #[error("{at}: the log begins at {start}, behind {next}, which was not read yet")]
    Gone {
        /// The partition.
        at: String,
        /// Where the log begins.
        start: i64,
        /// What was to be read.
        next: i64,
    },
    /// A topic of the source's own ends before what was read of it: it was made anew, or is being.
    #[error("{topic} ends at {end}, and was read up to {next}")]
    Shrunk {
        /// `<source>.schemas` or `<source>.marks`.
        topic: String,
        /// Where it ends.
        end: i64,
        /// How far it was read.
        next: i64,
    },
    /// Too many of something.
    #[error("more than {1} {0}")]
    TooMany(&'static str, usize),
}

/// A record beyond the window ends the reading of its partition.
#[derive(Debug, thiserror::Error)]
#[error("the window ends here")]
struct Beyond;

/// One cluster, for one source.
#[derive(Debug)]
pub struct LogReader {
    client: Client,
    source: String,
    options: ReadOptions,
    schemas: BTreeMap<u64, Arc<Schema>>,
    schemas_next: i64,
    marks: VecDeque<Mark>,
    marks_next: i64,
}

impl LogReader {
    /// Reads nothing yet.
    pub fn new(client: Client, source: &str, options: ReadOptions) -> Self {
        let source = source.to_owned();
        Self {
            client,
            source,
            options,
            schemas: BTreeMap::new(),
            schemas_next: 0,
            marks: VecDeque::new(),
            marks_next: 0,
        }
    }

    /// The marks behind a position, in their order, as far as the topic goes now.
    ///
    /// # Errors
    /// A cluster that cannot be read; a mark that is none.
    pub async fn marks(&mut self, after: u64) -> Result<Vec<Mark>, LogError> {
        let topic = format!("{}.marks", self.source);
        let at = TopicPartition::new(topic.as_str(), 0);
        let end = self.end(&at).await?;
        not_shrunk(&topic, end, self.marks_next)?;
        let mut found = Vec::new();
        let start = self.start(&at).await?.max(self.marks_next);
        let consume = |record: Record| {
            let value = record.value.as_deref().unwrap_or_default();
            let mark: Mark = serde_json::from_slice(value).map_err(|source| LogError::Contract {
                topic: topic.clone(),
                offset: record.offset,
                source: Arc::new(source),
            })?;
            found.push((record.offset, mark));
            Ok(())
        };
        self.client.read_records(&at, start, end, &self.options, consume).await?;
        self.marks_next = end.max(self.marks_next);
        // Positions rise; a repeat of an older mark says nothing new.
        for (_, mark) in found {
            if self.marks.back().is_none_or(|last: &Mark| last.position < mark.position) {
                self.marks.push_back(mark);
            }
        }
        while self.marks.front().is_some_and(|mark| mark.position <= after) || self.marks.len() > MARKS_MAX {
            self.marks.pop_front();
        }
        Ok(self.marks.iter().copied().collect())
    }

    /// The schemas by fingerprint, as far as the topic goes now.
    ///
    /// # Errors
    /// A cluster that cannot be read; a schema that is none.
    pub async fn schemas(&mut self) -> Result<&BTreeMap<u64, Arc<Schema>>, LogError> {
        let topic = format!("{}.schemas", self.source);
        let at = TopicPartition::new(topic.as_str(), 0);
        let end = self.end(&at).await?;
        not_shrunk(&topic, end, self.schemas_next)?;
        let schemas = &mut self.schemas;
        let consume = |record: Record| {
            let wrong = |source: Arc<dyn std::error::Error + Send + Sync>| LogError::Contract {
                topic: topic.clone(),
                offset: record.offset,
                source,
            };
            let key = std::str::from_utf8(record.key.as_deref().unwrap_or_default()).unwrap_or_default();
            let print = u64::from_str_radix(key, 16).map_err(|source| wrong(Arc::new(source)))?;
            let schema = Schema::parse(record.value.as_deref().unwrap_or_default());
            let schema = schema.map_err(|source| wrong(Arc::new(source)))?;
            if schemas.len() >= SCHEMAS_MAX {
                return Err(LogError::TooMany("schemas", SCHEMAS_MAX).into());
            }
            schemas.insert(print, Arc::new(schema));
            Ok(())
        };
        self.client.read_records(&at, self.schemas_next, end, &self.options, consume).await?;
        self.schemas_next = end.max(self.schemas_next);
        Ok(&self.schemas)
    }

    /// Reads a window of these topics, from where `from` says; says how far it came. With `until`, the answer of an
    /// earlier reading of the same window, exactly that is read again.
    ///
    /// # Errors
    /// A cluster that cannot be read, or has deleted what was to be read.
    #[expect(clippy::too_many_arguments, reason = "what is read, from where to where, by which rules, into what")]
    pub async fn read(
        &mut self,
        topics: &[String],
        window: &Window,
        from: &Progresses,
        until: Option<&Progresses>,
        rules: &Rules,
        want: &Want,
        gathered: &mut Gathered,
    ) -> Result<Progresses, LogError> {
        let mut came = from.clone();
        let mut ends = Vec::new();
        for topic in topics {
            let partitions = match self.client.topic(topic).await {
                Ok(metadata) => metadata.partitions.len() as i32,
                // Absent here, and perhaps not elsewhere: it then has no records, and the comparison says so.
                Err(error) if is_unknown(&error) => 0,
                Err(error) => return Err(error.into()),
            };
            for partition in 0..partitions {
                let at = TopicPartition::new(topic.as_str(), partition);
                let end = match until {
                    Some(until) => until.get(&at.to_string()).map_or(0, |progress| progress.next),
                    None => self.end(&at).await?,
                };
                ends.push((at, end));
            }
        }
        // Behind the ends: each schema stands before the first record that uses it.
        self.schemas().await?;
        for (at, end) in ends {
            let name = at.to_string();
            let is_known = from.contains_key(&name);
            let mut progress = from.get(&name).copied().unwrap_or_default();
            let start = self.start(&at).await?;
            if start > progress.next {
                if is_known {
                    return Err(LogError::Gone { at: name, start, next: progress.next });
                }
                progress.next = start;
            }
            self.partition(&at, end, window, rules, want, is_known, &mut progress, gathered).await?;
            came.insert(name, progress);
        }
        Ok(came)
    }

    #[expect(clippy::too_many_arguments, reason = "the inner half of `read`")]
    async fn partition(
        &self,
        at: &TopicPartition,
        end: i64,
        window: &Window,
        rules: &Rules,
        want: &Want,
        is_known: bool,
        progress: &mut Progress,
        gathered: &mut Gathered,
    ) -> Result<(), LogError> {
        let mut reading = Reading {
            at,
            window,
            rules,
            want,
            schemas: &self.schemas,
            is_known,
            changes: Writer::new(),
            raw: Writer::new(),
            sums: Vec::new(),
            held: Vec::new(),
            any: false,
        };
        let mut ended = None;
        let start = progress.next;
        let consume = |record: Record| match reading.take(&record, progress, gathered) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Beyond.into()),
            Err(error) => {
                ended = Some(error);
                Err(Beyond.into())
            }
        };
        match self.client.read_records(at, start, end, &self.options, consume).await {
            Ok(_) => Ok(()),
            Err(ClientError::Consumer(error)) if error.is::<Beyond>() => ended.map_or(Ok(()), Err),
            Err(error) => Err(error.into()),
        }
    }

    async fn end(&self, at: &TopicPartition) -> Result<i64, ClientError> {
        match self.client.list_offset(at, OffsetAt::Latest).await {
            Ok(listed) => Ok(listed.offset.unwrap_or(0)),
            Err(error) if is_unknown(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    async fn start(&self, at: &TopicPartition) -> Result<i64, ClientError> {
        match self.client.list_offset(at, OffsetAt::Earliest).await {
            Ok(listed) => Ok(listed.offset.unwrap_or(0)),
            Err(error) if is_unknown(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

fn not_shrunk(topic: &str, end: i64, next: i64) -> Result<(), LogError> {
    if end < next { Err(LogError::Shrunk { topic: topic.to_owned(), end, next }) } else { Ok(()) }
}

fn is_unknown(error: &ClientError) -> bool {
    error.code() == Some(naru_kafka::wire::ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

fn no_bytes(at: &TopicPartition, record: &Record, fault: RecordFault) -> LogError {
    LogError::Contract { topic: at.to_string(), offset: record.offset, source: Arc::new(fault) }
}

/// The reading of one partition.
struct Reading<'a> {
    at: &'a TopicPartition,
    window: &'a Window,
    rules: &'a Rules,
    want: &'a Want,
    schemas: &'a BTreeMap<u64, Arc<Schema>>,
    /// Whether a window before this one was read of the partition.
    is_known: bool,
    changes: Writer,
    raw: Writer,
    sums: Vec<i128>,
    /// Records since the last one that rose: they belong to the window of the next that does.
    held: Vec<(Identity, u128, i64)>,
    /// Whether a change was taken.
    any: bool,
}

impl Reading<'_> {
    /// Takes one record; false if it stands behind the window.
    fn take(&mut self, record: &Record, progress: &mut Progress, gathered: &mut Gathered) -> Result<bool, LogError> {
        let topic = &*self.at.topic;
        let head = self.decoded(record).ok();
        let foreign = Identity {
            position: record.offset.cast_unsigned(),
            sequence: FOREIGN | u64::from(self.at.partition.unsigned_abs()),
        };
        let identity = head.as_ref().map_or(foreign, |head| head.identity);
        self.raw.begin(topic, identity, Operation::Event, 0);
        for (number, bytes) in [(1, &record.key), (2, &record.value)] {
            if let Some(bytes) = bytes {
                self.raw.column(number, &Value::Bytes(bytes));
            }
        }
        let hash = self.rules.key.hash(self.raw.finish().map_err(|fault| no_bytes(self.at, record, fault))?);
        let order = (identity.position, identity.sequence);
        let operation = match head {
            Some(avro::Head { which: Which::Change(operation), .. })
                if progress.highest.is_none_or(|at| order > at) =>
            {
                operation
            }
            other => {
                if self.any && matches!(other, Some(avro::Head { which: Which::Begin, .. })) {
                    gathered.voided.insert(topic.to_owned());
                }
                if self.held.len() >= HELD_MAX {
                    return Err(LogError::TooMany("records in a row that do not rise", HELD_MAX));
                }
                self.held.push((identity, hash, record.offset));
                return Ok(true);
            }
        };
        if identity.position > self.window.to {
            return Ok(false);
        }
        progress.next = record.offset + 1;
        progress.highest = Some(order);
        self.held.push((identity, hash, record.offset));
        let held = std::mem::take(&mut self.held);
        if !self.is_known && identity.position <= self.window.after {
            // The audit began behind it.
            return Ok(true);
        }
        let place = |offset: i64| format!("{}@{offset}", self.at);
        for (identity, hash, offset) in held {
            let of = (topic, Part::Log);
            gathered.take(self.want, self.rules, of, identity, hash, &[], || place(offset));
        }
        // A truncate stands in every partition, and is one change.
        if operation == Operation::Truncate && self.at.partition != 0 {
            return Ok(true);
        }
        let part = if operation == Operation::Read { Part::Copies } else { Part::Changes };
        self.any = true;
        let hash = self.changes.finish().map(|bytes| self.rules.key.hash(bytes));
        let hash = hash.map_err(|fault| no_bytes(self.at, record, fault))?;
        let place = || place(record.offset);
        gathered.take(self.want, self.rules, (topic, part), identity, hash, &self.sums, place);
        Ok(true)
    }

    fn decoded(&mut self, record: &Record) -> Result<avro::Head, AvroFault> {
        let topic = &*self.at.topic;
        let (print, body) = avro::split(record.value.as_deref().unwrap_or_default())?;
        let schema = self.schemas.get(&print).filter(|schema| schema.topic == topic);
        let schema = schema.ok_or(AvroFault::Schema("a fingerprint that no schema has"))?;
        let (left_out, amounts) = (self.rules.left_out_of(topic), self.rules.amounts_of(topic));
        schema.read(body, left_out, amounts, &mut self.changes, &mut self.sums)
    }
}
