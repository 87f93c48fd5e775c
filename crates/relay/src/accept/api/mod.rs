//! One file per message.

pub(crate) mod api_versions;
pub(crate) mod delete_records;
pub(crate) mod describe_cluster;
pub(crate) mod find_coordinator;
pub(crate) mod init_producer_id;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod sasl_authenticate;
pub(crate) mod sasl_handshake;

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use naru_kafka::wire::{ErrorCode, StrBytes, TopicId};

use crate::partition::{PartitionHandle, Shown};
use crate::relay::Relay;

/// Who a request's sender may act for: Kafka's value for "not asked".
pub(crate) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// What clients are told of a transactional producer.
pub(crate) const NO_TRANSACTIONS: &str = "transactions are not served by this relay";

/// The first of each: what is asked for twice is answered once, so that repeating a short name cannot multiply a long
/// answer.
pub(crate) fn once<T, K: Eq + Hash>(asked: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::with_capacity(asked.len());
    asked.into_iter().filter(|one| seen.insert(key(one))).collect()
}

/// A string of the wire.
pub(crate) fn text(string: impl Into<String>) -> StrBytes {
    StrBytes::from_string(string.into())
}

/// A topic's identity as the cold messages carry it.
pub(crate) fn uuid<U: TryFrom<Vec<u8>> + Default>(id: TopicId) -> U {
    // Sixteen bytes are an identity; the conversion cannot fail.
    U::try_from(id.0.to_vec()).unwrap_or_default()
}

/// A partition by the name of its topic.
pub(crate) fn partition(relay: &Arc<Relay>, topic: &str, index: i32) -> Result<PartitionHandle, ErrorCode> {
    let topic = relay.served.get(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    topic.partition(index).cloned().ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

/// What may be seen of a partition whose gate is known. Until then nobody is told a number (RELAY-2); nor when one side
/// acknowledges alone and the lease has ended: another relay may have moved the gate (RELAY-9).
pub(crate) fn ready(partition: &PartitionHandle) -> Result<Shown, ErrorCode> {
    let shown = partition.shown();
    if shown.view.ready && shown.is_leased() { Ok(shown) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }
}

/// The client's idea of the leader epoch: an older one must refresh its metadata, a newer one knows more than we do.
pub(crate) fn check_epoch(relay: &Relay, claimed: i32) -> Result<(), ErrorCode> {
    if claimed < 0 || claimed == relay.epoch {
        Ok(())
    } else if claimed < relay.epoch {
        Err(ErrorCode::FENCED_LEADER_EPOCH)
    } else {
        Err(ErrorCode::UNKNOWN_LEADER_EPOCH)
    }
}
