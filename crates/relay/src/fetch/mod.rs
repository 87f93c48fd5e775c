//! Fetch: what is below the gate, from the cache where it is there, else from a side; or waits for it. No sessions: every
//! answer says so with session id 0.

mod upstream;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use naru_kafka::serve::fetch::{failed, refuse, refuse_session};
use naru_kafka::serve::memory::Share;
use naru_kafka::wire::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchedPartition};
use naru_kafka::wire::{ErrorCode, RecordData, WireError};
use tokio::time::Instant;

use crate::accept::api::{check_epoch, ready};
use crate::partition::{PartitionHandle, Shown};
use crate::relay::Relay;
use crate::security::{Caller, Operation, Resource};
use upstream::Older;
use watched::Watched;

/// Most bytes of one answer, whatever is asked for (Kafka's broker setting `fetch.max.bytes`).
const ANSWER_BYTES_MAX: usize = 55 << 20;
/// Longest wait, whatever is asked for: a client's own request time-out is 30 s, this leaves room and an end.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// Memory asked for when nothing is free at once: one usual batch.
const ONE_BATCH_BYTES: usize = 1 << 20;

/// What is sent, and the memory it stands in.
pub(crate) struct Fetched {
    pub(crate) response: FetchResponse,
    pub(crate) share: Option<Share>,
    /// Of records.
    pub(crate) bytes: usize,
}

/// An answer in the making.
struct Reading {
    response: FetchResponse,
    share: Option<Share>,
    bytes: usize,
    left: usize,
    /// An error, or a change that the client must hear of now.
    urgent: bool,
    /// What the cache has not, by the place in the answer.
    older: Vec<Older>,
}

/// Answers one Fetch.
pub(crate) async fn answer(
    relay: &Arc<Relay>,
    caller: &Caller,
    version: i16,
    body: Bytes,
) -> Result<Fetched, WireError> {
    let request = FetchRequest::decode(version, body)?;
    if let Some(code) = refuse_session(&request) {
        return Ok(Fetched { response: refuse(&request, code), share: None, bytes: 0 });
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let deadline = Instant::now() + wait;
    loop {
        // Watched before reading, so that what comes between reading and waiting is not missed.
        let mut watched = Watched::default();
        if !wait.is_zero() {
            for (topic, partitions) in request.topics.iter() {
                if let Some(served) = relay.served.find(&topic.name, topic.id) {
                    let known = partitions.iter().filter_map(|asked| served.partition(asked.partition));
                    known.for_each(|partition| watched.add(partition));
                }
            }
        }
        let reading = read(relay, caller, &request).await;
        let enough = reading.bytes >= usize::try_from(request.min_bytes).unwrap_or(0);
        if enough || reading.urgent || Instant::now() >= deadline || relay.stopping.is_cancelled() {
            return Ok(Fetched { response: reading.response, share: reading.share, bytes: reading.bytes });
        }
        // What was read is dropped: a long poll must not hold memory while it waits.
        drop(reading);
        tokio::select! {
            () = watched.changed() => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = relay.stopping.cancelled() => {}
        }
    }
}

async fn read(relay: &Arc<Relay>, caller: &Caller, request: &FetchRequest) -> Reading {
    let mut reading = Reading {
        response: FetchResponse::default(),
        share: None,
        bytes: 0,
        left: usize::try_from(request.max_bytes).unwrap_or(0).min(ANSWER_BYTES_MAX),
        urgent: false,
        older: Vec::new(),
    };
    for (topic, partitions) in request.topics.iter() {
        let served = relay.served.find(&topic.name, topic.id);
        let unknown =
            if topic.id.is_nil() { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION } else { ErrorCode::UNKNOWN_TOPIC_ID };
        let name = served.as_ref().map_or(&*topic.name, |served| &*served.name);
        let permitted = caller.refuse_unless(Operation::Read, Resource::Topic(name));
        reading.response.topics.push_topic(topic.clone());
        for asked in partitions {
            let one = match permitted.and_then(|()| served.as_ref().ok_or(unknown)) {
                Ok(served) => match served.partition(asked.partition) {
                    Some(partition) => newest(relay, partition, asked, &mut reading).await,
                    None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                },
                Err(code) => Err(code),
            };
            let one = one.unwrap_or_else(|code| {
                reading.urgent = true;
                failed(asked, code)
            });
            reading.response.topics.push(one);
        }
    }
    upstream::read_older(relay, &mut reading).await;
    reading
}

/// What the cache has of a partition; what it has not is noted for reading from a side.
async fn newest(
    relay: &Arc<Relay>,
    partition: &PartitionHandle,
    asked: &FetchPartition,
    reading: &mut Reading,
) -> Result<FetchedPartition, ErrorCode> {
    check_epoch(relay, asked.current_leader_epoch)?;
    let shown = readable(partition, asked.fetch_offset)?;
    let (gate, log_start) = (shown.view.gate, shown.view.log_start);
    if !(log_start..=gate).contains(&asked.fetch_offset) {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    let mut one = FetchedPartition {
        partition: asked.partition,
        high_watermark: gate,
        last_stable_offset: gate,
        log_start_offset: log_start,
        records: RecordData::Chunks(Vec::new()),
        ..FetchedPartition::default()
    };
    let bytes_max = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(reading.left);
    // Kafka sends the first batch whole however small the limits are, so that a consumer always gets on.
    let first = reading.bytes == 0 && reading.older.is_empty();
    if asked.fetch_offset == gate || (bytes_max == 0 && !first) {
        return Ok(one);
    }
    match partition.read_cached(asked.fetch_offset, gate, bytes_max, first) {
        Some(chunks) => {
            let bytes = chunks.iter().map(Bytes::len).sum();
            if reading.take(relay, bytes).await {
                relay.stages.fetched(true, bytes);
                one.records = RecordData::Chunks(chunks);
            }
        }
        None => {
            let place = reading.response.topics.partition_count();
            reading.left = reading.left.saturating_sub(bytes_max);
            reading.older.push(Older { place, at: partition.at().clone(), from: asked.fetch_offset, bytes_max, shown });
        }
    }
    Ok(one)
}

/// What may be seen of a partition by a reader who stands at an offset. What is below the gate of the checkpoint may be
/// read also while the partition starts (RELAY-13).
fn readable(partition: &PartitionHandle, offset: i64) -> Result<Shown, ErrorCode> {
    let mut shown = partition.shown();
    if !shown.view.ready && offset < shown.view.served_below && shown.is_leased() {
        shown.view.gate = shown.view.served_below;
        return Ok(shown);
    }
    ready(partition)
}

impl Reading {
    /// Counts bytes of records in the answer. Waits for memory if there is nothing in the answer yet, else says no.
    async fn take(&mut self, relay: &Relay, bytes: usize) -> bool {
        let share = match relay.answers.try_take(bytes) {
            Some(share) => Some(share),
            None if self.bytes == 0 => relay.answers.take(bytes).await,
            None => None,
        };
        let Some(share) = share else { return false };
        match &mut self.share {
            Some(all) => all.merge(share),
            none => *none = Some(share),
        }
        self.bytes += bytes;
        self.left = self.left.saturating_sub(bytes);
        true
    }
}
