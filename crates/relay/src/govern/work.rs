//! What a service group wants done that takes time: each ends in one event.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::state::group_key;
use crate::coordination::{Coordination as _, SwapFailed};
use crate::relay::Relay;
use crate::side::Side;
use crate::sides::{Assessment, Event, GroupRecord, SwapOutcome};

/// A swap without an answer for this long has an unknown outcome: the group is strict until it knows.
const SWAP_MAX: Duration = Duration::from_secs(1);
/// The same for reading.
const READ_MAX: Duration = Duration::from_secs(1);
/// Committed offsets that take longer to become equal are compared again later.
const COPY_OFFSETS_MAX: Duration = Duration::from_secs(30);

pub(super) async fn swap(relay: Arc<Relay>, group: String, expected: u64, record: GroupRecord) -> Event {
    let value = Bytes::from(serde_json::to_vec(&record).expect("a record is numbers and names"));
    let swapped = timeout(SWAP_MAX, relay.state.coordination.swap(&group_key(&group), expected, value)).await;
    let outcome = match swapped {
        Ok(Ok(_)) => SwapOutcome::Done,
        Ok(Err(SwapFailed::Conflict { .. })) => SwapOutcome::Conflict,
        Ok(Err(SwapFailed::Unknown { .. })) | Err(_) => SwapOutcome::Unknown,
        Ok(Err(error @ SwapFailed::Unavailable { .. })) => {
            tracing::warn!(group, error = &error as &dyn std::error::Error, "the coordinator cannot be used");
            SwapOutcome::Unavailable
        }
    };
    Event::Swapped(outcome)
}

pub(super) async fn read(relay: Arc<Relay>, group: String) -> Event {
    let found = match timeout(READ_MAX, relay.state.coordination.read(&group_key(&group))).await {
        Ok(Ok(None)) => Some(None),
        Ok(Ok(Some(held))) => match serde_json::from_slice(&held.value) {
            Ok(record) => Some(Some((held.version, record))),
            Err(error) => {
                tracing::error!(group, %error, "the coordinator's record cannot be understood");
                None
            }
        },
        Ok(Err(error)) => {
            tracing::warn!(group, error = &error as &dyn std::error::Error, "the coordinator cannot be read");
            None
        }
        Err(_) => None,
    };
    Event::Read(found)
}

pub(super) async fn assess(relay: Arc<Relay>, group: String, side: Side) -> Event {
    let belongs = |topic: &str| relay.config.group_of_topic(topic) == group;
    let outcome = match relay.topics.assess(side, belongs).await {
        Ok(rebuild) => Assessment::Ready { rebuild },
        Err(error) => {
            tracing::warn!(group, %side, error = &error as &dyn std::error::Error, "a returning side cannot be assessed");
            Assessment::Failed
        }
    };
    Event::Assessed { side, outcome }
}

pub(super) async fn recreate(relay: Arc<Relay>, side: Side, topic: Arc<str>) -> Event {
    // Whoever consumes it, consumer groups are of a service group by their own names.
    let forget_offsets = || relay.groups.values().for_each(|served| served.mirror.recreated(side));
    tracing::warn!(%side, %topic, "a topic is made again on a side that returns");
    let done = match relay.topics.remake(side, &topic).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%side, %topic, error = &error as &dyn std::error::Error, "a topic cannot be made again");
            false
        }
    };
    forget_offsets();
    if done && let Some(served) = relay.served.get(&topic) {
        let id = relay.topics.get(&topic).and_then(|record| record.sides[side]);
        for partition in &served.partitions {
            if partition.recreated(side, id).await.is_err() {
                tracing::debug!(at = ?partition.at(), "a partition ended while its topic was made again");
            }
        }
    }
    Event::Recreated { side, topic, done }
}

/// Compares the committed offsets of every consumer group and makes the side equal.
pub(super) async fn copy_offsets(relay: Arc<Relay>, group: String, side: Side, attempt: u64) -> Event {
    let equal = match relay.groups.get(&group) {
        Some(served) => {
            let belongs = |consumers: &str| relay.config.group_of_consumers(consumers) == group;
            served.mirror.copy_offsets(belongs, COPY_OFFSETS_MAX).await
        }
        None => true,
    };
    Event::OffsetsCopied { side, attempt, equal }
}
