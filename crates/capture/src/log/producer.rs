//! Batches written once and in order: one in flight per partition, each stamped with the producer's id and sequence, so
//! that sending the same bytes again cannot double them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Client, ClientError, TopicPartition};
use naru_kafka::wire::batch::HEADER_BYTES;
use naru_kafka::wire::{BatchBuilder, Compression, ErrorCode, RecordData};

use super::topics::Topic;

/// Bytes of one round of requests: one batch per partition, together far below what a broker takes at once (100 MB).
const ROUND_BYTES_MAX: usize = 8 << 20;
/// What a record costs in a batch beside key and value, at most: lengths, deltas, no headers.
const RECORD_OVERHEAD_BYTES: usize = 40;
/// Between two tries of what was not acknowledged.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// How batches are built and repeated.
#[derive(Debug, Clone, Copy)]
pub struct ProducerOptions {
    /// A batch is closed before a record would take it beyond this.
    pub batch_bytes_max: usize,
    /// How long a batch is repeated.
    pub patience: Duration,
}

/// A record that no batch of its topic can hold. Whoever runs the topic can mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a record of {bytes} bytes is larger than the topic {topic} takes ({limit}, max.message.bytes)")]
pub struct TooLarge {
    /// The topic.
    pub topic: String,
    /// The record's size.
    pub bytes: usize,
    /// The topic's limit.
    pub limit: usize,
}

/// Writes batches to partitions.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    options: ProducerOptions,
    id: i64,
    epoch: i16,
    lanes: BTreeMap<TopicPartition, Lane>,
    pending_bytes: usize,
}

/// One partition's batches, in order.
#[derive(Debug, Default)]
struct Lane {
    next_sequence: i32,
    open: Option<BatchBuilder>,
    closed: VecDeque<Bytes>,
}

impl Lane {
    fn close(&mut self) -> Result<(), ClientError> {
        let Some(batch) = self.open.take() else { return Ok(()) };
        let records = i32::try_from(batch.len()).unwrap_or(i32::MAX);
        let bytes = batch.build().map_err(|error| ClientError::Consumer(std::sync::Arc::new(error)))?;
        // Sequences go from 2,147,483,647 on to 0.
        self.next_sequence = self.next_sequence.wrapping_add(records) & i32::MAX;
        self.closed.push_back(bytes);
        Ok(())
    }
}

impl Producer {
    /// Asks the log for an id of its own.
    ///
    /// # Errors
    /// The log's.
    pub async fn open(client: Client, options: ProducerOptions) -> Result<Self, ClientError> {
        let (id, epoch) = client.init_producer_id().await?;
        Ok(Self { client, options, id, epoch, lanes: BTreeMap::new(), pending_bytes: 0 })
    }

    /// Bytes of records that no flush has written.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// The log.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether a record fits its topic.
    ///
    /// # Errors
    /// When no batch of the topic can hold it.
    pub fn fits(topic: &Topic, key: &[u8], value: &[u8]) -> Result<(), TooLarge> {
        let bytes = HEADER_BYTES + key.len() + value.len() + RECORD_OVERHEAD_BYTES;
        if bytes > topic.batch_bytes_max {
            return Err(TooLarge { topic: topic.name.to_string(), bytes, limit: topic.batch_bytes_max });
        }
        Ok(())
    }

    /// Adds a record behind those of its partition.
    ///
    /// # Errors
    /// When the batch cannot be built; ours.
    pub fn push(
        &mut self,
        topic: &Topic,
        partition: usize,
        timestamp_ms: i64,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), ClientError> {
        let at = TopicPartition::new(topic.name.clone(), i32::try_from(partition).unwrap_or(i32::MAX));
        let lane = self.lanes.entry(at).or_default();
        let bytes = key.len() + value.len() + RECORD_OVERHEAD_BYTES;
        let limit = self.options.batch_bytes_max.min(topic.batch_bytes_max);
        if lane.open.as_ref().is_some_and(|open| open.size_bytes() + bytes > limit) {
            lane.close()?;
        }
        let (id, epoch, sequence) = (self.id, self.epoch, lane.next_sequence);
        let open = lane.open.get_or_insert_with(|| BatchBuilder::new(Compression::None).producer(id, epoch, sequence));
        open.push(timestamp_ms, Some(key), Some(value), &[])
            .map_err(|error| ClientError::Consumer(std::sync::Arc::new(error)))?;
        self.pending_bytes += bytes;
        Ok(())
    }

    /// Writes everything, and returns when the log has acknowledged it. What fails for a while is sent again as it is.
    ///
    /// # Errors
    /// When the log refuses something for good, or for longer than the patience. The producer is of no use then: what
    /// was written is found out from the log.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        for lane in self.lanes.values_mut() {
            lane.close()?;
        }
        let mut since_progress = Instant::now();
        let mut wait = RETRY_FIRST;
        loop {
            let round = self.round();
            if round.is_empty() {
                break;
            }
            let results = self.client.produce_many(&round, &ProduceOptions::default()).await;
            let mut failure = None;
            for ((at, _), result) in round.iter().zip(results) {
                match result {
                    Ok(_) => self.written(at),
                    // It was sent before, and its acknowledgement was lost.
                    Err(error) if error.code() == Some(ErrorCode::DUPLICATE_SEQUENCE_NUMBER) => self.written(at),
                    Err(error) if error.retry_can_help() || error.outcome_unknown() => failure = Some(error),
                    Err(error) => return Err(error),
                }
            }
            match failure {
                None => (since_progress, wait) = (Instant::now(), RETRY_FIRST),
                Some(error) if since_progress.elapsed() > self.options.patience => return Err(error),
                Some(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the log does not acknowledge, sending again"
                    );
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
        self.pending_bytes = 0;
        Ok(())
    }

    /// The first batch of each partition, as many as fit one round.
    fn round(&self) -> Vec<(TopicPartition, RecordData)> {
        let mut bytes = 0;
        let mut round = Vec::new();
        for (at, lane) in &self.lanes {
            let Some(batch) = lane.closed.front() else { continue };
            bytes += batch.len();
            if bytes > ROUND_BYTES_MAX && !round.is_empty() {
                break;
            }
            round.push((at.clone(), batch.clone().into()));
        }
        round
    }

    fn written(&mut self, at: &TopicPartition) {
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.closed.pop_front();
        }
    }
}
