//! Reads the log at the end, by a code path of its own: raw fetches and the wire codec, not the library that the services
//! and the consumers use. What one of the two misreads, the other does not.

use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::reader::ReadOptions;
use naru_kafka::client::{Client, ClientConfig, ClientError, TopicPartition};

use crate::history::{History, Place, RECORDS_PER_OPERATION_MAX};
use crate::record_value;

/// Records that are read at least, whatever the number of operations.
const RECORDS_MIN: usize = 10_000;
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
    /// The client could not be made.
    #[error("cannot make a client")]
    Setup(#[source] ClientError),
}

/// More records than the history has room for.
#[derive(Debug, thiserror::Error)]
#[error("the log holds more than {0} records, several times as many as were sent")]
struct TooMany(usize);

/// Adds to `history` everything that `partitions` partitions of each of `topics` hold.
///
/// # Errors
/// If a partition cannot be read to its end, or holds far more than was sent.
pub async fn read(
    bootstrap: &str,
    topics: &[String],
    partitions: i32,
    seed: u64,
    history: &mut History,
) -> Result<(), ReadBackError> {
    let client = Client::new(ClientConfig::new([bootstrap])).map_err(ReadBackError::Setup)?;
    let outcome = read_all(&client, topics, partitions, seed, history).await;
    if !client.shutdown(CLOSE_WITHIN).await {
        tracing::debug!("connections of the final reading were cut");
    }
    outcome
}

async fn read_all(
    client: &Client,
    topics: &[String],
    partitions: i32,
    seed: u64,
    history: &mut History,
) -> Result<(), ReadBackError> {
    let operations = history.operations.len();
    let room = (operations * RECORDS_PER_OPERATION_MAX).max(RECORDS_MIN);
    for (index, topic) in topics.iter().enumerate() {
        for partition in 0..partitions {
            let error = |source| ReadBackError::Client { topic: topic.clone(), partition, source };
            let at = TopicPartition::new(topic.as_str(), partition);
            let first = Place { topic: index as u16, partition, offset: 0 };
            let start = client.list_offset(&at, OffsetAt::Earliest).await.map_err(error)?.offset.unwrap_or(0);
            let end = client.list_offset(&at, OffsetAt::Latest).await.map_err(error)?.offset.unwrap_or(start);
            history.log_starts.push((first, start));
            let log = &mut history.log;
            let keep = |record: naru_kafka::wire::record::Record| {
                if log.len() >= room {
                    return Err(TooMany(room).into());
                }
                let place = Place { offset: record.offset, ..first };
                let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
                log.push(record_value::read(seed, operations, place, &key, &value));
                Ok(())
            };
            client.read_records(&at, start, end, &ReadOptions::default(), keep).await.map_err(error)?;
        }
    }
    history.log.sort_by_key(|record| record.place);
    Ok(())
}
