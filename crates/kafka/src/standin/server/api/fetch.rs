//! Fetch: reads what is there, or waits for it. No sessions: every answer says so with session id 0.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::list_offsets::check_epoch;
use crate::serve;
use crate::serve::fetch::{failed, refuse_session};
use crate::serve::memory::Share;
use crate::standin::server::blocking::blocking;
use crate::standin::server::broker::Broker;
use crate::standin::server::partition::{Partition, Watched};
use crate::standin::server::topics::Topic;
use crate::standin::storage::{ReadError, ReadOut};
use crate::wire::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchedPartition};
use crate::wire::{ErrorCode, RecordData, TopicId};

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
}

struct Reading {
    fetched: Fetched,
    bytes: usize,
    /// An error, or a change that the client must hear of now.
    urgent: bool,
}

pub(crate) async fn answer(broker: &Arc<Broker>, request: FetchRequest) -> Fetched {
    if let Some(code) = refuse_session(&request) {
        return refuse(&request, code);
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let deadline = Instant::now() + wait;
    loop {
        // Watched before reading, so that what comes between reading and waiting is not missed.
        let mut watched = Watched::default();
        if !wait.is_zero() {
            for_each_partition(broker, &request, |partition| watched.add(partition));
        }
        let reading = read(broker, &request).await;
        let enough = reading.bytes >= usize::try_from(request.min_bytes).unwrap_or(0);
        if enough || reading.urgent || Instant::now() >= deadline {
            return reading.fetched;
        }
        // What was read is dropped: a long poll must not hold memory while it waits.
        drop(reading);
        tokio::select! {
            () = watched.changed() => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = broker.stopping.cancelled() => return read(broker, &request).await.fetched,
        }
    }
}

pub(crate) fn refuse(request: &FetchRequest, code: ErrorCode) -> Fetched {
    Fetched { response: serve::fetch::refuse(request, code), share: None }
}

fn find(broker: &Broker, name: &str, id: TopicId) -> Result<Arc<Topic>, ErrorCode> {
    if id == TopicId::NIL {
        broker.topics.get(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    } else {
        broker.topics.get_by_id(id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
    }
}

fn for_each_partition(broker: &Broker, request: &FetchRequest, mut visit: impl FnMut(&Arc<Partition>)) {
    for (topic, partitions) in request.topics.iter() {
        if let Ok(live) = find(broker, &topic.name, topic.id) {
            partitions.iter().filter_map(|asked| live.partition(asked.partition)).for_each(&mut visit);
        }
    }
}

async fn read(broker: &Arc<Broker>, request: &FetchRequest) -> Reading {
    let fetched = Fetched { response: FetchResponse::default(), share: None };
    let mut reading = Reading { fetched, bytes: 0, urgent: false };
    let mut left = usize::try_from(request.max_bytes).unwrap_or(0).min(ANSWER_BYTES_MAX);
    for (topic, partitions) in request.topics.iter() {
        let live = find(broker, &topic.name, topic.id);
        reading.fetched.response.topics.push_topic(topic.clone());
        for asked in partitions {
            let one = match &live {
                Ok(live) => read_partition(broker, live, asked, &mut left, &mut reading).await,
                Err(code) => Err(*code),
            };
            let one = one.unwrap_or_else(|code| {
                reading.urgent = true;
                failed(asked, code)
            });
            reading.fetched.response.topics.push(one);
        }
    }
    reading
}

async fn read_partition(
    broker: &Arc<Broker>,
    topic: &Topic,
    asked: &FetchPartition,
    left: &mut usize,
    reading: &mut Reading,
) -> Result<FetchedPartition, ErrorCode> {
    let partition = topic.partition(asked.partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    check_epoch(topic, asked.current_leader_epoch)?;
    let store = &partition.store;
    let mut one = FetchedPartition {
        partition: asked.partition,
        records: RecordData::Chunks(Vec::new()),
        ..FetchedPartition::default()
    };
    if asked.last_fetched_epoch >= 0 {
        // A consumer that read what was since cut off is told where its history and ours part.
        let end = store.offset_for_leader_epoch(asked.last_fetched_epoch);
        if end.end_offset < asked.fetch_offset || end.leader_epoch < asked.last_fetched_epoch {
            one.diverging_epoch.epoch = end.leader_epoch;
            one.diverging_epoch.end_offset = end.end_offset;
            reading.urgent = true;
        }
    }
    let max = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(*left);
    // Kafka sends the first batch whole however small the limits are, so that a consumer always gets on.
    let first = reading.bytes == 0;
    let idle = asked.fetch_offset == store.high_watermark() || one.diverging_epoch.epoch >= 0;
    if idle || (max == 0 && !first) {
        (one.high_watermark, one.log_start_offset) = (store.high_watermark(), store.log_start());
        one.last_stable_offset = one.high_watermark;
        let inside = (one.log_start_offset..=store.log_end()).contains(&asked.fetch_offset);
        return if inside || one.diverging_epoch.epoch >= 0 { Ok(one) } else { Err(ErrorCode::OFFSET_OUT_OF_RANGE) };
    }
    let Some(mut share) = share(broker, max, first).await else {
        (one.high_watermark, one.log_start_offset) = (store.high_watermark(), store.log_start());
        one.last_stable_offset = one.high_watermark;
        return Ok(one);
    };
    let read = |max, first| read_store(topic, partition, asked.fetch_offset, max, first);
    let mut out = read(max, first).await?;
    let taken = max.max(ONE_BATCH_BYTES);
    if first && out.bytes() > taken {
        // One batch that is larger than all limits: now that its size is known, it is let go, and read again when there
        // is room for it. Nothing is held meanwhile, so that two who wait cannot wait for each other.
        let needed = out.bytes();
        drop((out, share));
        share = broker.answers.take(needed).await.ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        out = read(needed, true).await?;
    }
    let bytes = out.bytes();
    share.shrink(bytes);
    match &mut reading.fetched.share {
        Some(all) => all.merge(share),
        none => *none = Some(share),
    }
    reading.bytes += bytes;
    *left = left.saturating_sub(bytes);
    one.high_watermark = out.high_watermark;
    one.last_stable_offset = out.high_watermark;
    one.log_start_offset = out.log_start;
    one.records = RecordData::Chunks(out.chunks);
    Ok(one)
}

async fn read_store(
    topic: &Topic,
    partition: &Partition,
    offset: i64,
    max: usize,
    min_one: bool,
) -> Result<ReadOut, ErrorCode> {
    let store = partition.store.clone();
    let read = blocking(move || store.read(offset, max, min_one)).await.map_err(|e| e.code())?;
    read.map_err(|error| {
        match &error {
            ReadError::OutOfRange { .. } => {}
            error => tracing::warn!(topic = %topic.name, partition = partition.index, %error, "a read failed"),
        }
        error.code()
    })
}

/// Memory for `max` bytes if it is free, for one batch if we must wait; none if something is in the answer already.
async fn share(broker: &Broker, max: usize, first: bool) -> Option<Share> {
    let wanted = max.max(if first { ONE_BATCH_BYTES } else { 1 });
    match broker.answers.try_take(wanted) {
        Some(share) => Some(share),
        None if first => broker.answers.take(wanted).await,
        None => None,
    }
}
