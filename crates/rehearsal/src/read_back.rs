//! Reads the log at the end, by a code path of its own: raw fetches and the wire codec, not the library that the services
//! and the consumers use. What one of the two misreads, the other does not.

use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::reader::ReadOptions;
use naru_kafka::client::{Client, ClientConfig, ClientError, TopicPartition};
use naru_kafka::wire::record::Record;

use crate::history::{LogRecord, Place, RECORDS_PER_OPERATION_MAX};
use crate::pulse::{self, PulseRecord};
use crate::record_value;

/// Records that are read at least, whatever the number of operations.
const RECORDS_MIN: usize = 10_000;
/// Pulses that are read: more than a recorder keeps.
const PULSES_MAX: usize = 400_000;
/// How long the client's connections may take to close.
const CLOSE_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// Why the log could not be read. The subject's side, unless there is too much in it.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackError {
    /// The broker did not answer, or not as it should.
    #[error("cannot read {topic} partition {partition}")]
    Client {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What happened.
        #[source]
        source: ClientError,
    },
    /// The group's committed offsets could not be read.
    #[error("cannot read the committed offsets")]
    Committed(#[source] ClientError),
    /// The client could not be made.
    #[error("cannot make a client")]
    Setup(#[source] ClientError),
}

/// More records than the history has room for.
#[derive(Debug, thiserror::Error)]
#[error("the log holds more than {0} records, several times as many as were sent")]
struct TooMany(usize);

/// What one log holds.
#[derive(Debug, Default)]
pub struct Held {
    /// Every record, by topic, partition and offset.
    pub log: Vec<LogRecord>,
    /// Where each partition begins.
    pub log_starts: Vec<(Place, i64)>,
    /// The group's committed offsets.
    pub committed: Vec<Place>,
    /// The pulses, if they were asked for.
    pub pulses: Vec<PulseRecord>,
}

/// What to read.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The topics, as [`Place::topic`] counts them.
    pub topics: &'a [String],
    /// Partitions of each.
    pub partitions: i32,
    /// The consumer group.
    pub group: &'a str,
    /// Whether there are pulses.
    pub pulses: bool,
    /// The run's seed.
    pub seed: u64,
    /// How many operations were planned.
    pub operations: usize,
}

/// Reads everything that a log holds.
///
/// # Errors
/// If a partition cannot be read to its end, or holds far more than was sent.
pub async fn read(bootstrap: &str, wanted: Wanted<'_>) -> Result<Held, ReadBackError> {
    let client = Client::new(ClientConfig::new([bootstrap])).map_err(ReadBackError::Setup)?;
    let outcome = read_all(&client, wanted).await;
    if !client.shutdown(CLOSE_WITHIN).await {
        tracing::debug!("connections of the final reading were cut");
    }
    outcome
}

async fn read_all(client: &Client, wanted: Wanted<'_>) -> Result<Held, ReadBackError> {
    let Wanted { seed, operations, .. } = wanted;
    let mut held = Held::default();
    let room = (operations * RECORDS_PER_OPERATION_MAX).max(RECORDS_MIN);
    for (index, topic) in wanted.topics.iter().enumerate() {
        for partition in 0..wanted.partitions {
            let first = Place { topic: index as u16, partition, offset: 0 };
            let log = &mut held.log;
            let start = read_partition(client, topic, partition, room, |record| {
                let place = Place { offset: record.offset, ..first };
                let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
                log.push(record_value::read(seed, operations, place, &key, &value));
                log.len()
            });
            held.log_starts.push((first, start.await?));
        }
    }
    held.log.sort_by_key(|record| record.place);
    for partition in 0..if wanted.pulses { wanted.partitions } else { 0 } {
        let pulses = &mut held.pulses;
        read_partition(client, pulse::TOPIC, partition, PULSES_MAX, |record| {
            let number = pulse::number(seed, &record.value.unwrap_or_default());
            pulses.push(PulseRecord { partition, offset: record.offset, number });
            pulses.len()
        })
        .await?;
    }
    let committed = client.committed_offsets(wanted.group, None).await.map_err(ReadBackError::Committed)?;
    held.committed = committed
        .into_iter()
        .filter_map(|committed| {
            let topic = wanted.topics.iter().position(|topic| **topic == *committed.at.topic)?;
            Some(Place { topic: topic as u16, partition: committed.at.partition, offset: committed.offset })
        })
        .collect();
    Ok(held)
}

/// Hands over each record of a partition, and gives where the partition begins. `keep` says how many are kept by now.
async fn read_partition(
    client: &Client,
    topic: &str,
    partition: i32,
    room: usize,
    mut keep: impl FnMut(Record) -> usize,
) -> Result<i64, ReadBackError> {
    let error = |source| ReadBackError::Client { topic: topic.to_owned(), partition, source };
    let at = TopicPartition::new(topic, partition);
    let start = client.list_offset(&at, OffsetAt::Earliest).await.map_err(error)?.offset.unwrap_or(0);
    let end = client.list_offset(&at, OffsetAt::Latest).await.map_err(error)?.offset.unwrap_or(start);
    let within = |record| if keep(record) > room { Err(TooMany(room).into()) } else { Ok(()) };
    client.read_records(&at, start, end, &ReadOptions::default(), within).await.map_err(error)?;
    Ok(start)
}
