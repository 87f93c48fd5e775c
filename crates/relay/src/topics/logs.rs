//! Where the logs of a topic begin and end on its sides, and whether they can be one log.

use std::time::Duration;

use naru_kafka::client::fetch::{FetchFrom, FetchOptions};
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::{Client, ClientError, TopicPartition};
use naru_kafka::wire::Batch;

use crate::sequence::is_same_batch;
use crate::side::{Side, SideMap};

/// About how much is read to look at one batch.
const LOOK_BYTES: i32 = 256 << 10;

/// Where a log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Extent {
    pub(crate) fn records(self) -> i64 {
        self.end - self.start
    }
}

/// A side that could not be read.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) side: Side,
    pub(crate) source: ClientError,
}

pub(crate) async fn extent(client: &Client, at: &TopicPartition) -> Result<Extent, ClientError> {
    let (start, end) =
        tokio::join!(client.list_offset(at, OffsetAt::Earliest), client.list_offset(at, OffsetAt::Latest));
    Ok(Extent { start: start?.offset.unwrap_or(0), end: end?.offset.unwrap_or(0) })
}

/// Of both sides.
pub(crate) async fn extents(clients: &SideMap<&Client>, at: &TopicPartition) -> Result<SideMap<Extent>, Unread> {
    let (a, b) = tokio::join!(extent(clients.a, at), extent(clients.b, at));
    let of = |side: Side, found: Result<Extent, ClientError>| found.map_err(|source| Unread { side, source });
    Ok(SideMap { a: of(Side::A, a)?, b: of(Side::B, b)? })
}

/// The batch that holds this offset, and what follows it.
pub(crate) async fn batches(client: &Client, at: &TopicPartition, offset: i64) -> Result<Vec<Batch>, ClientError> {
    let mut from = FetchFrom::new(at.clone(), offset);
    from.bytes_max = LOOK_BYTES;
    let options = FetchOptions { max_wait: Duration::ZERO, ..FetchOptions::default() };
    Ok(client.fetch_one(&from, &options).await?.batches)
}

/// The last offset that both logs have, if other batches stand there: two logs, not one. What came before it cannot
/// differ where it is the same, but by a forger's hand: times, lengths and checksums are in it.
pub(crate) async fn differs_at(
    clients: &SideMap<&Client>,
    at: &TopicPartition,
    on: &SideMap<Extent>,
    is_copier: impl Fn(i64) -> bool,
) -> Result<Option<i64>, Unread> {
    let shared = on.a.end.min(on.b.end) - 1;
    if Side::BOTH.into_iter().any(|side| on[side].records() == 0 || shared < on[side].start) {
        return Ok(None);
    }
    let held = async |side: Side| {
        let found = batches(clients[side], at, shared).await.map_err(|source| Unread { side, source })?;
        Ok(found.into_iter().find(|batch| batch.header().last_offset() >= shared))
    };
    let (a, b) = tokio::join!(held(Side::A), held(Side::B));
    let is_same = match (a?, b?) {
        (Some(a), Some(b)) => a.header().base_offset == b.header().base_offset && is_same_batch(&a, &b, is_copier),
        (a, b) => a.is_none() && b.is_none(),
    };
    Ok((!is_same).then_some(shared))
}
