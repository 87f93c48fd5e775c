//! One file per message: what the broker answers, and how an error is put into that answer.

pub(crate) mod alter_configs;
pub(crate) mod api_versions;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_groups;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_groups;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_producers;
pub(crate) mod describe_topic_partitions;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod heartbeat;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod sync_group;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::Request;

use super::broker::Broker;
use super::connection::Caller;
use crate::wire::{ErrorCode, StrBytes, TopicId};

/// Who a request's sender may act for: nobody is asked for authorisation, so every operation is allowed; Kafka's value
/// for "not asked".
pub(crate) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// A message that `kafka-protocol` reads and writes.
pub(crate) trait Api {
    /// The request.
    type Request: Request + Send + Sync;

    /// Carries the request out.
    fn answer(
        broker: &Arc<Broker>,
        caller: &Caller,
        request: Self::Request,
    ) -> impl Future<Output = <Self::Request as Request>::Response> + Send;

    /// The answer that carries `code` wherever the request would have been answered, and nothing else.
    fn refuse(caller: &Caller, request: &Self::Request, code: ErrorCode) -> <Self::Request as Request>::Response;
}

/// The first of each: what is asked for twice is answered once, so that repeating a short name cannot multiply a long
/// answer.
pub(crate) fn once<T, K: Eq + Hash>(asked: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::with_capacity(asked.len());
    asked.into_iter().filter(|one| seen.insert(key(one))).collect()
}

/// Topics with each of their partitions once, as [`once`].
pub(crate) fn once_each(topics: impl Iterator<Item = (TopicName, Vec<i32>)>) -> Vec<(TopicName, Vec<i32>)> {
    let mut seen: HashMap<TopicName, HashSet<i32>> = HashMap::new();
    let mut left = Vec::new();
    for (name, mut indexes) in topics {
        let again = seen.contains_key(&name);
        let known = seen.entry(name.clone()).or_default();
        indexes.retain(|index| known.insert(*index));
        if !(again && indexes.is_empty()) {
            left.push((name, indexes));
        }
    }
    left
}

/// A string of the wire.
pub(crate) fn text(string: impl Into<String>) -> StrBytes {
    StrBytes::from_string(string.into())
}

/// An optional message of an answer: none when empty.
pub(crate) fn words(string: &str) -> Option<StrBytes> {
    (!string.is_empty()).then(|| text(string))
}

/// A topic's identity as `kafka-protocol` carries it.
pub(crate) fn uuid<U: TryFrom<Vec<u8>> + Default>(id: TopicId) -> U {
    // Sixteen bytes are an identity; the conversion cannot fail.
    U::try_from(id.0.to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_twice_is_answered_once() {
        assert_eq!(once(vec![(1, 'a'), (2, 'b'), (1, 'c')], |one| one.0), [(1, 'a'), (2, 'b')]);
        let check = |asked: &[(&'static str, &[i32])], expect: &[(&'static str, &[i32])]| {
            let own = |topics: &[(&'static str, &[i32])]| -> Vec<(TopicName, Vec<i32>)> {
                topics.iter().map(|(name, indexes)| (TopicName(text(*name)), indexes.to_vec())).collect()
            };
            assert_eq!(once_each(own(asked).into_iter()), own(expect));
        };
        check(&[("a", &[0, 0, 1]), ("b", &[0])], &[("a", &[0, 1]), ("b", &[0])]);
        check(&[("a", &[0]), ("a", &[0, 1]), ("a", &[1])], &[("a", &[0]), ("a", &[1])]);
        check(&[("a", &[]), ("a", &[])], &[("a", &[])]);
    }
}
