//! Records that the cache has not any more, from the active side; from the other one, which holds the same below the
//! gate, when the active side does not answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use naru_kafka::client::fetch::{FetchFrom, FetchOptions, Fetched};
use naru_kafka::client::{ClientError, TopicPartition};
use naru_kafka::wire::{Batch, ErrorCode, RecordData};
use tokio::time::timeout;

use super::{ONE_BATCH_BYTES, Reading};
use crate::partition::{Shown, shown_to_consumers};
use crate::relay::Relay;
use crate::side::Side;

/// A partition that is to be read from a side.
#[derive(Debug)]
pub(super) struct Older {
    /// Where in the answer it stands.
    pub(super) place: usize,
    pub(super) at: TopicPartition,
    pub(super) from: i64,
    pub(super) bytes_max: usize,
    pub(super) shown: Shown,
}

pub(super) async fn read_older(relay: &Arc<Relay>, reading: &mut Reading) {
    let older = std::mem::take(&mut reading.older);
    for side in Side::BOTH {
        let wanted: Vec<_> = older.iter().filter(|one| one.shown.active == side).collect();
        if !wanted.is_empty() {
            read_from(relay, side, &wanted, reading).await;
        }
    }
}

async fn read_from(relay: &Arc<Relay>, side: Side, wanted: &[&Older], reading: &mut Reading) {
    // Counted before it is read; what was not needed is given back.
    let whole: usize = wanted.iter().map(|one| one.bytes_max).sum();
    let whole = whole.clamp(ONE_BATCH_BYTES, super::ANSWER_BYTES_MAX);
    let (mut share, granted) = match relay.answers.try_take(whole) {
        Some(share) => (share, whole),
        None if reading.bytes > 0 => return,
        None => match relay.answers.take(ONE_BATCH_BYTES).await {
            Some(share) => (share, ONE_BATCH_BYTES),
            None => return,
        },
    };
    let results = fetch(relay, side, wanted, granted).await;
    let mut bytes = 0;
    // A side that is not asked has no results.
    let results = results.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
    for (one, result) in wanted.iter().zip(results) {
        let Some(partition) = reading.response.topics.iter_mut().flat_map(|(_, all)| all).nth(one.place) else {
            continue;
        };
        match result {
            Some(Ok(fetched)) => {
                let chunks = below_gate(&fetched.batches, one);
                let size: usize = chunks.iter().map(Bytes::len).sum();
                bytes += size;
                partition.records = RecordData::Chunks(chunks);
            }
            failed => {
                let error = failed.and_then(Result::err);
                let error = error.as_ref().map(|error| error as &dyn std::error::Error);
                tracing::debug!(%side, at = %one.at, offset = one.from, error, "records cannot be read");
                // Retriable, and it does not make a consumer look for another leader.
                partition.error = ErrorCode::KAFKA_STORAGE_ERROR;
                reading.urgent = true;
            }
        }
    }
    relay.stages.fetched(false, bytes);
    reading.bytes += bytes;
    // One batch may be larger than all limits: it was read whole, and is the only one.
    share.shrink(bytes.min(granted));
    match &mut reading.share {
        Some(all) => all.merge(share),
        none => *none = Some(share),
    }
}

/// From the side, or from the other one where that holds the same. Nothing where only another cluster answers: its
/// records are not to be shown to anybody.
async fn fetch(relay: &Relay, side: Side, wanted: &[&Older], bytes_max: usize) -> Vec<Result<Fetched, ClientError>> {
    let from: Vec<_> = wanted
        .iter()
        .map(|one| {
            let mut from = FetchFrom::new(one.at.clone(), one.from);
            from.bytes_max = i32::try_from(one.bytes_max).unwrap_or(i32::MAX);
            from
        })
        .collect();
    let bytes_max = i32::try_from(bytes_max).unwrap_or(i32::MAX);
    let options = FetchOptions { max_wait: Duration::ZERO, bytes_min: 0, bytes_max, committed: false };
    let patience = relay.config.suspect_after;
    let other_holds_it = wanted.iter().all(|one| one.shown.other_in_sync().is_some());
    let [this, other] = [side, side.other()].map(|side| &relay.upstreams[side]);
    match (this.recognised.get(), other_holds_it && other.recognised.get()) {
        (true, _) => {}
        (false, true) => return other.fetch.fetch(&from, &options).await,
        (false, false) => return Vec::new(),
    }
    let first = timeout(patience, this.fetch.fetch(&from, &options)).await;
    match first {
        Ok(results) if !other_holds_it || results.iter().all(Result::is_ok) => results,
        _ if other_holds_it && other.recognised.get() => other.fetch.fetch(&from, &options).await,
        Ok(results) => results,
        Err(_) => this.fetch.fetch(&from, &options).await,
    }
}

/// Whole batches below the gate, with the relay's epoch in place of the broker's.
fn below_gate(batches: &[Batch], one: &Older) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    for batch in batches {
        let header = batch.header();
        if header.last_offset() < one.from {
            continue;
        }
        if header.next_offset() > one.shown.view.gate {
            break;
        }
        if let RecordData::Stamped { header, payload } = shown_to_consumers(batch) {
            chunks.extend([Bytes::copy_from_slice(&header), payload]);
        }
    }
    chunks
}
