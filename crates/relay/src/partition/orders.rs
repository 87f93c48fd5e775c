//! What a partition asks of a side besides writing: where its log ends, what stands there, to delete its beginning.

use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::fetch::{FetchFrom, FetchOptions};
use naru_kafka::client::offsets::{ListedOffset, OffsetAt};
use naru_kafka::client::{ClientError, Connection, Lane as Way, TopicPartition};
use naru_kafka::wire::{Batch, ErrorCode, TopicId};

use crate::govern::{Made, State};
use crate::sequence::{Checkpoint, Event, Located, OrderId, ReadFailed};
use crate::upstream::Upstream;

/// An outcome, and the connection that batches may go over from now on.
pub(super) struct Done {
    pub(super) event: Event,
    pub(super) connection: Option<Connection>,
}

impl From<Event> for Done {
    fn from(event: Event) -> Self {
        Self { event, connection: None }
    }
}

fn failed(error: &ClientError) -> ReadFailed {
    match error.code() {
        Some(code) if !error.retry_can_help() => ReadFailed::Refused(code),
        _ => ReadFailed::Unreachable,
    }
}

/// What is known of a side's log before it is asked.
pub(super) struct Asked {
    /// The topic's id.
    pub(super) recorded: Option<TopicId>,
    /// The leader epoch under which it was found whole; -1 if none.
    pub(super) epoch: i32,
}

/// Finds the leader anew, gets a connection for batches that is open now, and asks where the log begins and ends.
pub(super) async fn read_end(upstream: Arc<Upstream>, at: TopicPartition, asked: Asked, order: OrderId) -> Done {
    let side = upstream.side;
    let located = locate(&upstream, &at, asked).await;
    let (outcome, connection) = match located {
        Ok((located, connection)) => (Ok(located), Some(connection)),
        Err(error) => (Err(error), None),
    };
    Done { event: Event::EndRead { order, side, outcome }, connection }
}

async fn locate(
    upstream: &Upstream,
    at: &TopicPartition,
    Asked { recorded, epoch }: Asked,
) -> Result<(Located, Connection), ReadFailed> {
    let client = upstream.produce(at);
    let said = |error: ClientError| {
        tracing::debug!(side = %upstream.side, %at, %error, "the end of a log cannot be read");
        failed(&error)
    };
    client.forget_leaders(&at.topic);
    let topic = client.topic(&at.topic).await.map_err(said)?;
    if let Some(recorded) = recorded
        && recorded != topic.id
        && !topic.id.is_nil()
    {
        return Err(ReadFailed::OtherTopic(topic.id));
    }
    let (broker, leader_epoch) = client.leader(at).await.map_err(said)?;
    let connection = client.connection(&broker, Way::Produce).await.map_err(said)?;
    // One request each: an answer names a partition once.
    let epoch_end = async {
        if epoch < 0 {
            return Ok(None);
        }
        client.offset_for_leader_epoch(at, epoch).await.map(|found| found.end_offset)
    };
    let (start, end, epoch_end) =
        tokio::join!(client.list_offset(at, OffsetAt::Earliest), client.list_offset(at, OffsetAt::Latest), epoch_end);
    let offset = |listed: Result<ListedOffset, ClientError>| {
        listed.map_err(said)?.offset.ok_or(ReadFailed::Refused(ErrorCode::OFFSET_NOT_AVAILABLE))
    };
    let (log_start, log_end, epoch_end) = (offset(start)?, offset(end)?, epoch_end.map_err(said)?);
    Ok((Located { log_start, log_end, leader_epoch, epoch_end }, connection))
}

/// What to read.
pub(super) struct Wanted {
    pub(super) from: i64,
    pub(super) before: i64,
    pub(super) bytes_max: usize,
}

pub(super) async fn read(upstream: Arc<Upstream>, at: TopicPartition, wanted: Wanted, order: OrderId) -> Done {
    let side = upstream.side;
    let bytes_max = i32::try_from(wanted.bytes_max).unwrap_or(i32::MAX);
    let mut from = FetchFrom::new(at, wanted.from);
    from.bytes_max = bytes_max;
    let options = FetchOptions { max_wait: Duration::ZERO, bytes_min: 0, bytes_max, committed: false };
    let outcome = match upstream.copy.fetch_one(&from, &options).await {
        Ok(fetched) => whole(fetched.batches, &wanted, &from.at),
        Err(error) => {
            tracing::debug!(%side, at = %from.at, offset = wanted.from, %error, "a log cannot be read");
            Err(failed(&error))
        }
    };
    Event::BatchesRead { order, side, outcome }.into()
}

/// Those asked for, each with its checksum true.
fn whole(batches: Vec<Batch>, wanted: &Wanted, at: &TopicPartition) -> Result<Vec<Batch>, ReadFailed> {
    let inside = |batch: &Batch| {
        let header = batch.header();
        header.last_offset() >= wanted.from && header.base_offset < wanted.before
    };
    let kept: Vec<_> = batches.into_iter().filter(inside).collect();
    if let Some(error) = kept.iter().find_map(|batch| batch.verify_crc().err()) {
        tracing::error!(%at, offset = wanted.from, %error, "a side sends a batch whose checksum fails");
        return Err(ReadFailed::Refused(ErrorCode::CORRUPT_MESSAGE));
    }
    Ok(kept)
}

/// Makes a checkpoint durable.
pub(super) async fn keep(
    state: Arc<State>,
    at: TopicPartition,
    made: Made,
    checkpoint: Box<Checkpoint>,
    order: OrderId,
) -> Done {
    let partition = at.clone();
    let kept = tokio::task::spawn_blocking(move || state.keep(&partition, made, &checkpoint)).await;
    let done = match kept {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(%at, error, "a checkpoint that something waits for cannot be kept");
            false
        }
        // Only when the runtime ends.
        Err(error) => {
            tracing::warn!(%at, %error, "a checkpoint was not kept");
            false
        }
    };
    Event::Kept { order, done }.into()
}

pub(super) async fn delete_records(upstream: Arc<Upstream>, at: TopicPartition, before: i64, order: OrderId) -> Done {
    let side = upstream.side;
    let deleted = upstream.control.delete_records(&at, Some(before)).await;
    let outcome = deleted.map_err(|error| {
        tracing::debug!(%side, %at, before, %error, "records cannot be deleted");
        failed(&error)
    });
    Event::RecordsDeleted { order, side, outcome }.into()
}
