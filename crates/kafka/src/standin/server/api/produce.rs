//! Produce: each partition's batch goes to its log; the answer waits for the flush policy when `acks` is all.

use std::sync::Arc;

use crate::standin::log;
use crate::standin::server::broker::Broker;
use crate::standin::server::connection::Caller;
use crate::standin::server::partition::Partition;
use crate::standin::server::topics::Topic;
use crate::standin::storage::{AppendError, Appended};
use crate::wire::produce::{ProducePartition, ProduceRequest, ProduceResponse, ProducedPartition};
use crate::wire::{ErrorCode, RecordData, StrBytes, Topic as WireTopic, TopicId};

/// What became of a Produce.
pub(crate) struct Produced {
    pub(crate) response: ProduceResponse,
    /// Nobody is told (`acks=0`): a failure can only be shown by closing the connection.
    pub(crate) silent: bool,
    pub(crate) failed: bool,
}

struct Outcome {
    code: ErrorCode,
    message: Option<StrBytes>,
    base_offset: i64,
    log_append_time: i64,
    log_start: i64,
}

impl Outcome {
    fn refused(code: ErrorCode, message: Option<String>) -> Self {
        let message = message.map(StrBytes::from_string);
        Self { code, message, base_offset: -1, log_append_time: -1, log_start: -1 }
    }
}

pub(crate) async fn answer(broker: &Arc<Broker>, caller: &Caller, request: ProduceRequest) -> Produced {
    let silent = request.acks == 0;
    // All are appended before any is waited for, so that their fsyncs overlap. As many as the request has partitions.
    let mut started = Vec::new();
    for (topic, partitions) in request.topics.iter() {
        started.extend(partitions.iter().map(|asked| begin(broker, caller, &request, topic, asked)));
    }
    let mut started = started.into_iter();
    let mut response = ProduceResponse::default();
    let mut failed = false;
    for (topic, partitions) in request.topics.iter() {
        response.topics.push_topic(topic.clone());
        for (asked, started) in partitions.iter().zip(started.by_ref()) {
            let outcome = match started {
                Ok(begun) => finish(caller, request.acks, begun).await,
                Err(refused) => refused,
            };
            failed |= !outcome.code.is_ok();
            response.topics.push(ProducedPartition {
                index: asked.index,
                error: outcome.code,
                base_offset: outcome.base_offset,
                log_append_time_ms: outcome.log_append_time,
                log_start_offset: outcome.log_start,
                error_message: outcome.message,
                ..ProducedPartition::default()
            });
        }
    }
    Produced { response, silent, failed }
}

pub(crate) fn refuse(request: &ProduceRequest, code: ErrorCode) -> Produced {
    let mut response = ProduceResponse::default();
    for (topic, partitions) in request.topics.iter() {
        response.topics.push_topic(topic.clone());
        for asked in partitions {
            response.topics.push(ProducedPartition {
                index: asked.index,
                error: code,
                base_offset: -1,
                ..ProducedPartition::default()
            });
        }
    }
    Produced { response, silent: request.acks == 0, failed: true }
}

/// A batch that was appended and may have to be waited for.
struct Begun {
    topic: Arc<Topic>,
    partition: Arc<Partition>,
    appended: Appended,
}

fn begin(
    broker: &Broker,
    caller: &Caller,
    request: &ProduceRequest,
    topic: &WireTopic,
    asked: &ProducePartition,
) -> Result<Begun, Outcome> {
    if !matches!(request.acks, -1..=1) {
        return Err(Outcome::refused(ErrorCode::INVALID_REQUIRED_ACKS, None));
    }
    let by_id = topic.id != TopicId::NIL;
    let live = if by_id { broker.topics.get_by_id(topic.id) } else { broker.topics.get(&topic.name) };
    let Some(live) = live else {
        let code = if by_id { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
        return Err(Outcome::refused(code, None));
    };
    let Some(partition) = live.partition(asked.index).cloned() else {
        return Err(Outcome::refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None));
    };
    let records = match &asked.records {
        RecordData::Null => return Err(Outcome::refused(ErrorCode::INVALID_RECORD, None)),
        records => records.to_bytes(),
    };
    // Up to the system's cache: no slower than what a worker does anyway. The disk is waited for without a thread.
    let appended = log::single_batch(records, caller.version)
        .map_err(AppendError::from)
        .and_then(|batch| partition.store.append(&batch, live.leader_epoch, broker.clock.now_ms()));
    match appended {
        Ok(appended) => Ok(Begun { topic: live, partition, appended }),
        Err(error) => Err(failure(caller, &live, &partition, &error)),
    }
}

async fn finish(caller: &Caller, acks: i16, begun: Begun) -> Outcome {
    let Begun { topic, partition, appended } = begun;
    if acks == -1
        && let Err(error) = appended.durable.wait().await
    {
        return failure(caller, &topic, &partition, &error.into());
    }
    Outcome {
        code: ErrorCode::NONE,
        message: None,
        base_offset: appended.base_offset,
        log_append_time: appended.log_append_time,
        log_start: appended.log_start,
    }
}

fn failure(caller: &Caller, topic: &Topic, partition: &Partition, error: &AppendError) -> Outcome {
    if let AppendError::Storage(error) = error {
        tracing::warn!(topic = %topic.name, partition = partition.index, %error, "an append failed");
    } else {
        tracing::debug!(peer = %caller.peer, topic = %topic.name, partition = partition.index, %error, "refused");
    }
    let mut outcome = Outcome::refused(error.code(), Some(error.to_string()));
    outcome.log_start = partition.store.log_start();
    outcome
}
