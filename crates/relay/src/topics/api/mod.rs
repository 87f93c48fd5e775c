//! One file per message about topics.

pub(crate) mod alter_configs;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_topics;
pub(crate) mod describe_configs;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_producers;
pub(crate) mod describe_topic_partitions;
pub(crate) mod incremental_alter_configs;

use std::collections::HashMap;
use std::hash::Hash;

use naru_kafka::wire::{ErrorCode, StrBytes};

use super::registry::AdminError;
use crate::accept::api::text;

/// Where a setting comes from, as messages number it: set on the topic.
const SET_ON_TOPIC: i8 = 1;
/// The broker's default.
const BY_DEFAULT: i8 = 5;

/// How often each is asked for: Kafka refuses what one request asks for twice.
fn times<T: Eq + Hash>(asked: impl Iterator<Item = T>) -> HashMap<T, usize> {
    let mut times = HashMap::new();
    for one in asked {
        *times.entry(one).or_default() += 1;
    }
    times
}

/// Code and words for a client, with the cause that a side gave.
fn told(topic: &str, error: &AdminError) -> (i16, Option<StrBytes>) {
    let code = error.code();
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    if !matches!(error, AdminError::Refused { .. }) {
        tracing::warn!(topic, error = error as &dyn std::error::Error, "a topic could not be changed");
    }
    (code.0, Some(text(format!("{error}{cause}"))))
}

fn twice(what: &str) -> AdminError {
    AdminError::refused(ErrorCode::INVALID_REQUEST, format!("{what} is in this request more than once."))
}
