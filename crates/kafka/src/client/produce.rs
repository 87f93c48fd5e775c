//! Raw batches to the leaders of their partitions. What happens to a batch is told, never repaired: the caller alone
//! knows whether a batch may be sent again.

use std::time::Duration;

use super::{Asked, Broker, CallOptions, Client, ClientError, Connection, Lane, Reply, TopicPartition};
use crate::wire::{
    ApiKey, ErrorCode, OutFrame, RecordData, StrBytes, Tags, TopicId, WireError,
    produce::{ProducePartition, ProduceRequest, ProduceResponse},
};

/// The last version that names topics; later ones carry their identity.
const NAMED_MAX: i16 = 12;

/// Who has to hold a batch before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// The leader.
    Leader,
    /// All replicas in sync.
    All,
}

/// How batches are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceOptions {
    /// Default all.
    pub acks: Acks,
    /// How long the leader waits for its replicas. Default 10 s.
    pub replica_wait: Duration,
    /// The topic's identity, for versions that carry it: a topic that was deleted and made again refuses the batch.
    /// Nil (the default) goes by name.
    pub topic_id: TopicId,
}

impl Default for ProduceOptions {
    fn default() -> Self {
        Self { acks: Acks::All, replica_wait: Duration::from_secs(10), topic_id: TopicId::NIL }
    }
}

/// What the leader says about a batch that it acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the batch's first record. For a batch that the broker takes for a repetition it is the offset
    /// of the first one, which may hold other bytes.
    pub base_offset: i64,
    /// The broker's time of appending in milliseconds, for topics that stamp with it.
    pub log_append_time_ms: Option<i64>,
    /// The log start, if the broker says.
    pub log_start: Option<i64>,
    /// Who acknowledged.
    pub broker: Broker,
}

/// A batch on its way. Dropping it does not take it back.
pub struct PendingAppend {
    client: Client,
    at: TopicPartition,
    topic_id: TopicId,
    reply: Reply,
}

impl PendingAppend {
    /// The leader's answer.
    pub async fn appended(self) -> Result<Appended, ClientError> {
        let Self { client, at, topic_id, reply } = self;
        let result = async {
            let answer = Answer::read(reply).await?;
            answer.about(&at, topic_id)
        }
        .await;
        result.inspect_err(|error| client.heed(&at.topic, error))
    }
}

impl Client {
    /// Writes one batch. Waits for a connection if there is none; once handed over, it is never sent again.
    pub async fn produce(
        &self,
        at: &TopicPartition,
        batch: impl Into<RecordData>,
        options: &ProduceOptions,
    ) -> Result<Appended, ClientError> {
        self.begin_produce(at, batch, options).await?.appended().await
    }

    /// Hands one batch over and returns: batches begun one after the other are sent in that order, over one
    /// connection per broker, without waiting for the answers.
    pub async fn begin_produce(
        &self,
        at: &TopicPartition,
        batch: impl Into<RecordData>,
        options: &ProduceOptions,
    ) -> Result<PendingAppend, ClientError> {
        let acks = match options.acks {
            Acks::Leader => 1,
            Acks::All => -1,
        };
        let batch = batch.into();
        let reply = self.hand_over(at, batch, acks, options).await.inspect_err(|error| self.heed(&at.topic, error))?;
        Ok(PendingAppend { client: self.clone(), at: at.clone(), topic_id: options.topic_id, reply })
    }

    /// Writes one batch that nobody acknowledges: returns when it is with the operating system. A broker that refuses
    /// it closes the connection, which a later request sees.
    pub async fn produce_unacknowledged(
        &self,
        at: &TopicPartition,
        batch: impl Into<RecordData>,
        options: &ProduceOptions,
    ) -> Result<(), ClientError> {
        self.hand_over(at, batch.into(), 0, options).await?.body().await.map(drop)
    }

    /// Writes batches of several partitions, one request per leader, at most one batch per partition (brokers refuse
    /// two). Answers stand in the order given.
    pub async fn produce_many(
        &self,
        batches: &[(TopicPartition, RecordData)],
        options: &ProduceOptions,
    ) -> Vec<Result<Appended, ClientError>> {
        let acks = match options.acks {
            Acks::Leader => 1,
            Acks::All => -1,
        };
        let mut results: Vec<Option<Result<Appended, ClientError>>> = batches.iter().map(|_| None).collect();
        let partitions: Vec<_> = batches.iter().map(|(at, _)| at.clone()).collect();
        let places: Vec<_> = (0..batches.len()).collect();
        let (led, leaderless) = self.by_leader(ApiKey::Produce as i16, &partitions, &places).await;
        for (index, error) in leaderless {
            results[index] = Some(Err(error));
        }
        // All are handed over before the first answer is awaited, so that the leaders work side by side.
        let mut sent = Vec::with_capacity(led.len());
        for (broker, mut indexes) in led.into_values() {
            indexes.sort_by(|a, b| batches[*a].0.topic.cmp(&batches[*b].0.topic));
            let parts = indexes.iter().map(|index| (&batches[*index].0, batches[*index].1.clone()));
            let request = request(parts, acks, TopicId::NIL, options);
            let reply = match self.connection(&broker, Lane::Produce).await {
                Ok(connection) => begin(&connection, request, CallOptions::default(), options).await,
                Err(error) => Err(error.not_sent(|| Asked::api(ApiKey::Produce))),
            };
            sent.push((indexes, reply));
        }
        for (indexes, reply) in sent {
            let answer = match reply {
                Ok(reply) => Answer::read(reply).await,
                Err(error) => Err(error),
            };
            for index in indexes {
                let at = &batches[index].0;
                let result = match &answer {
                    Ok(answer) => answer.about(at, TopicId::NIL),
                    Err(error) => Err(error.clone().about(at)),
                };
                results[index] = Some(result.inspect_err(|error| self.heed(&at.topic, error)));
            }
        }
        results.into_iter().map(|result| result.expect("each batch was led or leaderless")).collect()
    }

    async fn hand_over(
        &self,
        at: &TopicPartition,
        batch: RecordData,
        acks: i16,
        options: &ProduceOptions,
    ) -> Result<Reply, ClientError> {
        let not_sent = |error: ClientError| error.not_sent(|| Asked::about(ApiKey::Produce, at));
        let (broker, _) = self.leader(at).await.map_err(not_sent)?;
        let connection = self.connection(&broker, Lane::Produce).await.map_err(not_sent)?;
        let request = request([(at, batch)], acks, options.topic_id, options);
        begin(&connection, request, CallOptions::about(at), options).await
    }
}

/// Parts of one topic must stand together.
fn request<'a>(
    parts: impl IntoIterator<Item = (&'a TopicPartition, RecordData)>,
    acks: i16,
    topic_id: TopicId,
    options: &ProduceOptions,
) -> ProduceRequest {
    let mut request = ProduceRequest {
        acks,
        timeout_ms: i32::try_from(options.replica_wait.as_millis()).unwrap_or(i32::MAX),
        ..ProduceRequest::default()
    };
    let mut topic = None;
    for (at, records) in parts {
        if topic != Some(&at.topic) {
            request.topics.push_named(StrBytes::from_string(at.topic.to_string()), topic_id);
            topic = Some(&at.topic);
        }
        request.topics.push(ProducePartition { index: at.partition, records, tags: Tags::default() });
    }
    request
}

async fn begin(
    connection: &Connection,
    request: ProduceRequest,
    call: CallOptions,
    options: &ProduceOptions,
) -> Result<Reply, ClientError> {
    let api = ApiKey::Produce;
    let identified = request.topics.iter().any(|(topic, _)| !topic.id.is_nil());
    let (min, max) = if identified { (NAMED_MAX + 1, *api.versions().end()) } else { (3, NAMED_MAX) };
    let call = call.broker_wait(options.replica_wait);
    let version = connection.pick(api, min, max, &call)?;
    let encode = |frame: &mut OutFrame| -> Result<(), WireError> { request.encode(version, frame) };
    connection.begin(api, version, request.acks != 0, encode, &call).await
}

/// A decoded answer and where it came from.
struct Answer {
    connection: Connection,
    response: ProduceResponse,
}

impl Answer {
    async fn read(reply: Reply) -> Result<Self, ClientError> {
        let (connection, version) = (reply.connection().clone(), reply.version());
        let asked = reply.asked().clone();
        let body = reply.body().await?;
        let response =
            ProduceResponse::decode(version, body).map_err(|source| connection.decode_error(asked, source))?;
        Ok(Self { connection, response })
    }

    fn about(&self, at: &TopicPartition, topic_id: TopicId) -> Result<Appended, ClientError> {
        let asked = || Asked::about(ApiKey::Produce, at);
        let found = self.response.topics.flat().find(|(topic, partition)| {
            let named = if topic_id.is_nil() { *topic.name == *at.topic } else { topic.id == topic_id };
            named && partition.index == at.partition
        });
        let Some((_, partition)) = found else {
            return Err(self.connection.incomplete(asked(), "this partition"));
        };
        if partition.error != ErrorCode::NONE {
            let about_record = partition.record_errors.first().and_then(|error| error.message.as_ref());
            let message = partition.error_message.as_ref().or(about_record);
            return Err(self.connection.answered_error(asked(), partition.error, message));
        }
        Ok(Appended {
            base_offset: partition.base_offset,
            log_append_time_ms: (partition.log_append_time_ms >= 0).then_some(partition.log_append_time_ms),
            log_start: (partition.log_start_offset >= 0).then_some(partition.log_start_offset),
            broker: self.connection.broker().clone(),
        })
    }
}

/// Batches that are whole pieces of memory need no wrapping by the caller.
impl From<crate::wire::Batch> for RecordData {
    fn from(batch: crate::wire::Batch) -> Self {
        Self::Whole(batch.into_bytes())
    }
}
