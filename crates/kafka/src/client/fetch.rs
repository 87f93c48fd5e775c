//! Raw batches from the leaders of their partitions, as they lie in the broker's log.

use std::time::Duration;

use super::{Asked, Broker, CallOptions, Client, ClientError, Connection, Lane, Reply, TopicPartition};
use crate::wire::{
    ApiKey, Batch, ErrorCode, OutFrame, RecordData, StrBytes, Tags, TopicId, WireError,
    fetch::{FetchPartition, FetchRequest, FetchResponse, FetchedPartition},
};

/// The last version that names topics; later ones carry their identity.
const NAMED_MAX: i16 = 12;

/// The isolation level of consumers of committed transactions.
const READ_COMMITTED: i8 = 1;

/// Where to read on in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchFrom {
    /// The partition.
    pub at: TopicPartition,
    /// The first offset wanted.
    pub offset: i64,
    /// Bytes of this partition in the answer; a first batch larger than that comes whole. Default 1 MiB.
    pub bytes_max: i32,
    /// Refuses an answer by a leader of another epoch, with FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH.
    pub leader_epoch: Option<i32>,
}

impl FetchFrom {
    /// From an offset, with the defaults.
    pub fn new(at: TopicPartition, offset: i64) -> Self {
        Self { at, offset, bytes_max: 1 << 20, leader_epoch: None }
    }
}

/// How long and how much to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchOptions {
    /// The broker answers after this at the latest. Default 500 ms.
    pub max_wait: Duration,
    /// The broker waits for this many bytes. Default 1: for anything.
    pub bytes_min: i32,
    /// Bytes in the answer over all partitions; a first batch larger than that comes whole. Default 16 MiB.
    pub bytes_max: i32,
    /// Only what is in front of the first open transaction, and which transactions were aborted. Default false.
    pub committed: bool,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self { max_wait: Duration::from_millis(500), bytes_min: 1, bytes_max: 16 << 20, committed: false }
    }
}

/// What a leader has of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Whole batches, in order, sharing the answer's memory: keeping one keeps the whole answer. The first may begin
    /// before the offset asked for. Checksums are not verified.
    pub batches: Vec<Batch>,
    /// The offset up to which consumers may read.
    pub high_watermark: i64,
    /// The same for consumers of committed transactions.
    pub last_stable_offset: i64,
    /// Transactions within the batches that were aborted: producer and first offset, each up to its marker. Only of
    /// [`FetchOptions::committed`].
    pub aborted: Vec<(i64, i64)>,
    /// The log start, if the broker says.
    pub log_start: Option<i64>,
    /// Who answered.
    pub broker: Broker,
}

impl Client {
    /// Reads partitions, one request per leader, side by side. Answers stand in the order given. No retries: the
    /// reader asks again from where it stands; errors that show a moved leader make the next call look for it.
    pub async fn fetch(&self, wanted: &[FetchFrom], options: &FetchOptions) -> Vec<Result<Fetched, ClientError>> {
        let mut results: Vec<Option<Result<Fetched, ClientError>>> = wanted.iter().map(|_| None).collect();
        let partitions: Vec<_> = wanted.iter().map(|from| from.at.clone()).collect();
        let places: Vec<_> = (0..wanted.len()).collect();
        let (led, leaderless) = self.by_leader(ApiKey::Fetch as i16, &partitions, &places).await;
        for (index, error) in leaderless {
            results[index] = Some(Err(error));
        }
        // All are asked before the first answer is awaited.
        let mut sent = Vec::with_capacity(led.len());
        for (broker, mut indexes) in led.into_values() {
            indexes.sort_by(|a, b| wanted[*a].at.topic.cmp(&wanted[*b].at.topic));
            let request = request(indexes.iter().map(|index| &wanted[*index]), options);
            let reply = match self.connection(&broker, Lane::Fetch).await {
                Ok(connection) => begin(&connection, request, options).await,
                Err(error) => Err(error.not_sent(|| Asked::api(ApiKey::Fetch))),
            };
            sent.push((indexes, reply));
        }
        for (indexes, reply) in sent {
            let mut answer = match reply {
                Ok(reply) => Answer::read(reply).await,
                Err(error) => Err(error),
            };
            for index in indexes {
                let at = &wanted[index].at;
                let result = match &mut answer {
                    Ok(answer) => answer.take(at),
                    Err(error) => Err(error.clone().about(at)),
                };
                results[index] = Some(result.inspect_err(|error| self.heed(&at.topic, error)));
            }
        }
        results.into_iter().map(|result| result.expect("each partition was led or leaderless")).collect()
    }

    /// Reads one partition.
    pub async fn fetch_one(&self, from: &FetchFrom, options: &FetchOptions) -> Result<Fetched, ClientError> {
        self.fetch(std::slice::from_ref(from), options).await.pop().expect("one asked for, one answered")
    }
}

/// Parts of one topic must stand together.
fn request<'a>(wanted: impl IntoIterator<Item = &'a FetchFrom>, options: &FetchOptions) -> FetchRequest {
    let mut request = FetchRequest {
        max_wait_ms: i32::try_from(options.max_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: options.bytes_min,
        max_bytes: options.bytes_max,
        // No session: every request stands for itself.
        session_id: 0,
        session_epoch: -1,
        ..FetchRequest::default()
    };
    if options.committed {
        request.isolation_level = READ_COMMITTED;
    }
    let mut topic = None;
    for from in wanted {
        if topic != Some(&from.at.topic) {
            request.topics.push_named(StrBytes::from_string(from.at.topic.to_string()), TopicId::NIL);
            topic = Some(&from.at.topic);
        }
        request.topics.push(FetchPartition {
            partition: from.at.partition,
            current_leader_epoch: from.leader_epoch.unwrap_or(-1),
            fetch_offset: from.offset,
            partition_max_bytes: from.bytes_max,
            tags: Tags::default(),
            ..FetchPartition::default()
        });
    }
    request
}

async fn begin(connection: &Connection, request: FetchRequest, options: &FetchOptions) -> Result<Reply, ClientError> {
    let api = ApiKey::Fetch;
    let call = CallOptions::default().broker_wait(options.max_wait);
    let version = connection.pick(api, *api.versions().start(), NAMED_MAX, &call)?;
    let encode = |frame: &mut OutFrame| -> Result<(), WireError> { request.encode(version, frame) };
    connection.begin(api, version, true, encode, &call).await
}

struct Answer {
    connection: Connection,
    response: FetchResponse,
}

impl Answer {
    async fn read(reply: Reply) -> Result<Self, ClientError> {
        let (connection, version) = (reply.connection().clone(), reply.version());
        let asked = reply.asked().clone();
        let body = reply.body().await?;
        let response =
            FetchResponse::decode(version, body).map_err(|source| connection.decode_error(asked.clone(), source))?;
        if response.error != ErrorCode::NONE {
            return Err(connection.answered_error(asked, response.error, None));
        }
        Ok(Self { connection, response })
    }

    fn take(&mut self, at: &TopicPartition) -> Result<Fetched, ClientError> {
        let asked = || Asked::about(ApiKey::Fetch, at);
        let found = self
            .response
            .topics
            .iter_mut()
            .filter(|(topic, _)| *topic.name == *at.topic)
            .flat_map(|(_, partitions)| partitions)
            .find(|partition| partition.partition == at.partition);
        let Some(partition) = found else {
            return Err(self.connection.incomplete(asked(), "this partition"));
        };
        if partition.error != ErrorCode::NONE {
            return Err(self.connection.answered_error(asked(), partition.error, None));
        }
        let batches = whole_batches(partition).map_err(|source| self.connection.decode_error(asked(), source))?;
        let aborted = partition.aborted_transactions.iter().flatten();
        Ok(Fetched {
            aborted: aborted.map(|one| (one.producer_id, one.first_offset)).collect(),
            batches,
            high_watermark: partition.high_watermark,
            last_stable_offset: partition.last_stable_offset,
            log_start: (partition.log_start_offset >= 0).then_some(partition.log_start_offset),
            broker: self.connection.broker().clone(),
        })
    }
}

/// Brokers cut an answer at its limit, which may be in the middle of the last batch: that one is left out.
fn whole_batches(partition: &mut FetchedPartition) -> Result<Vec<Batch>, WireError> {
    let mut data = std::mem::replace(&mut partition.records, RecordData::Null).to_bytes();
    let mut batches = Vec::new();
    while !data.is_empty() {
        match Batch::split_first(&mut data) {
            Ok(batch) => batches.push(batch),
            // The broker always sends the first one whole.
            Err(WireError::Truncated { .. }) if !batches.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(batches)
}
