//! Produce: every batch is checked and handed to its partition in the order read; the answer waits for all of them.

use std::sync::Arc;
use std::time::Instant;

use naru_kafka::serve::Arrived;
use naru_kafka::wire::frame::ResponseHeader;
use naru_kafka::wire::produce::{ProducePartition, ProduceRequest, ProduceResponse, ProducedPartition};
use naru_kafka::wire::{ApiKey, ErrorCode, OutFrame, StrBytes, Topic};

use super::connection::{ANSWER_BYTES_MAX, Ended};
use crate::clock;
use crate::decode::{self, Limits};
use crate::partition::Produced;
use crate::relay::Relay;
use crate::security::{Caller, Operation, Resource, Traffic};
use crate::sequence::{Acked, Millis, Refusal};

/// The least time that a batch gets, whatever the client says: two round trips and a flush on a slow disk.
const PATIENCE_MS_MIN: Millis = 1_000;

/// A Produce whose batches are with their partitions.
pub(super) struct Pending {
    version: i16,
    correlation_id: i32,
    acks: i16,
    throttle_ms: u64,
    topics: Vec<(Topic, Vec<(i32, Outcome)>)>,
}

impl Pending {
    /// How long the client is to be left unread once it is answered, milliseconds.
    pub(super) fn throttle_ms(&self) -> u64 {
        self.throttle_ms
    }
}

enum Outcome {
    Refused(Refusal),
    Coming(Produced),
}

const NOT_SERVED: Refusal =
    Refusal { code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why: "this relay serves no such topic or partition" };
const UNKNOWN_ID: Refusal =
    Refusal { code: ErrorCode::UNKNOWN_TOPIC_ID, why: "this relay serves no topic of this identity" };
const NOT_PERMITTED: Refusal =
    Refusal { code: ErrorCode::TOPIC_AUTHORIZATION_FAILED, why: "no rule lets this principal write to the topic" };
const GONE: Refusal = Refusal { code: ErrorCode::NOT_LEADER_OR_FOLLOWER, why: "the partition is not served any more" };
const BAD_ACKS: Refusal = Refusal { code: ErrorCode::INVALID_REQUIRED_ACKS, why: "acks is none of -1, 0, 1" };
const TRANSACTIONAL: Refusal = Refusal {
    code: ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    why: "transactions are not served by this relay",
};

/// Checks each batch and hands it over.
pub(super) async fn submit(relay: &Arc<Relay>, caller: &Caller, arrived: Arrived) -> Result<Pending, Ended> {
    let began = Instant::now();
    let version = arrived.header.api_version;
    let throttle_ms = caller.charge(Traffic::Produce, arrived.frame_bytes as u64, clock::now());
    let share = Arc::new(arrived.share);
    let request = ProduceRequest::decode(version, arrived.body)?;
    let whole = if !matches!(request.acks, -1..=1) {
        Some(BAD_ACKS)
    } else {
        request.transactional_id.is_some().then_some(TRANSACTIONAL)
    };
    let patience_max = u64::try_from(relay.config.produce_wait_max.as_millis()).unwrap_or(u64::MAX);
    let patience = u64::try_from(request.timeout_ms).unwrap_or(0);
    let deadline = clock::now() + patience.clamp(PATIENCE_MS_MIN.min(patience_max), patience_max);
    let ahead = i64::try_from(relay.config.timestamp_ahead_max.as_millis()).unwrap_or(i64::MAX);
    let mut limits = Limits {
        version,
        batch_bytes_max: 0,
        frame_bytes: arrived.frame_bytes,
        timestamp_max: clock::unix_ms().saturating_add(ahead),
    };
    let mut topics = Vec::with_capacity(request.topics.topic_count());
    for (topic, partitions) in request.topics.iter() {
        let served = relay.served.find(&topic.name, topic.id);
        if served.is_none() {
            relay.discover.notify_one();
        }
        let name = served.as_ref().map_or(&*topic.name, |served| &*served.name);
        let permitted = caller.may(Operation::Write, Resource::Topic(name));
        let mut outcomes = Vec::with_capacity(partitions.len());
        for ProducePartition { index, records, .. } in partitions {
            let outcome = async {
                if let Some(refusal) = whole {
                    return Err(refusal);
                }
                if !permitted {
                    return Err(NOT_PERMITTED);
                }
                let not_served = if topic.id.is_nil() { NOT_SERVED } else { UNKNOWN_ID };
                let served = served.as_ref().ok_or(not_served)?;
                let partition = served.partition(*index).ok_or(NOT_SERVED)?;
                limits.batch_bytes_max = served.batch_bytes_max;
                let batch = decode::batch(records, &limits)?;
                relay.stages.accepted(batch.bytes().len(), began.elapsed());
                partition.produce(batch, deadline, Arc::clone(&share)).await.map_err(|_| GONE)
            };
            let outcome = match outcome.await {
                Ok(produced) => Outcome::Coming(produced),
                Err(refusal) => {
                    relay.stages.refused(refusal.why);
                    Outcome::Refused(refusal)
                }
            };
            outcomes.push((*index, outcome));
        }
        topics.push((topic.clone(), outcomes));
    }
    let correlation_id = arrived.header.correlation_id;
    Ok(Pending { version, correlation_id, acks: request.acks, throttle_ms, topics })
}

/// Waits for every batch and writes the answer; false if there is none (`acks=0`).
pub(super) async fn answer(pending: Pending, out: &mut OutFrame) -> Result<bool, Ended> {
    let Pending { version, correlation_id, acks, throttle_ms, topics } = pending;
    let throttle_time_ms = i32::try_from(throttle_ms).unwrap_or(i32::MAX);
    let mut response = ProduceResponse { throttle_time_ms, ..ProduceResponse::default() };
    let mut failed = false;
    for (topic, outcomes) in topics {
        response.topics.push_topic(topic);
        for (index, outcome) in outcomes {
            let result = match outcome {
                Outcome::Refused(refusal) => Err(refusal),
                Outcome::Coming(produced) => produced.await.unwrap_or(Err(GONE)),
            };
            failed |= result.is_err();
            response.topics.push(shown(index, result));
        }
    }
    if acks == 0 {
        return if failed { Err(Ended::Unacknowledged) } else { Ok(false) };
    }
    out.begin();
    ResponseHeader::new(correlation_id).encode(ApiKey::Produce, version, out);
    response.encode(version, out)?;
    out.finish(ANSWER_BYTES_MAX)?;
    Ok(true)
}

fn shown(index: i32, result: Result<Acked, Refusal>) -> ProducedPartition {
    match result {
        Ok(acked) => ProducedPartition {
            index,
            base_offset: acked.base_offset,
            log_append_time_ms: -1,
            log_start_offset: acked.log_start,
            ..ProducedPartition::default()
        },
        Err(refusal) => ProducedPartition {
            index,
            error: refusal.code,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            error_message: Some(StrBytes::from_static_str(refusal.why)),
            ..ProducedPartition::default()
        },
    }
}
