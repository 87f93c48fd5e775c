//! What clients see of what is kept.

use std::sync::Arc;

use naru_kafka::client::TopicPartition;
use naru_kafka::wire::ErrorCode;

use super::fresh_topic_id;
use super::record::{Life, TopicRecord};
use super::registry::AdminError;
use super::rules::{self, BATCH_BYTES_MAX, BATCH_BYTES_MAX_CONFIG, Needs};
use crate::config::Mode;
use crate::relay::{Relay, TopicSpec};
use crate::side::{SideMap, SideSet};

/// The sides that must take part in a change of a topic.
pub(crate) fn needed(relay: &Relay, topic: &str) -> SideSet {
    relay.group_of_topic(topic).standing.borrow().in_sync
}

/// What a topic must be for the relay.
pub(crate) fn needs(relay: &Relay, topic: &str) -> Needs {
    Needs {
        duplex: relay.group_of_topic(topic).config.mode == Mode::Duplex,
        mends_times: relay.config.adopt_mends_times,
    }
}

/// Largest batch of a topic, bytes. Set explicitly on every topic that is kept.
fn batch_bytes_max(record: &TopicRecord) -> usize {
    let bytes = |text: &str| text.parse().ok();
    let configured = record.configs.get(BATCH_BYTES_MAX_CONFIG).and_then(|text| bytes(text));
    configured.or_else(|| bytes(BATCH_BYTES_MAX)).unwrap_or(usize::MAX)
}

/// Serves what is kept, and no longer what is not. Partitions go on from their checkpoints.
pub(crate) fn show(relay: &Arc<Relay>) {
    let kept = relay.topics.all();
    for topic in relay.served.all() {
        if !kept.iter().any(|record| record.is_served() && record.id == topic.id) {
            tracing::info!(topic = %topic.name, "a topic is served no longer");
            relay.served.remove(&topic.name);
        }
    }
    for record in kept.iter().filter(|record| record.is_served()) {
        let (name, partitions, batch_bytes_max) = (&record.name, record.partitions, batch_bytes_max(record));
        let shown = relay.served.get(name);
        let same = |topic: &crate::served::ServedTopic| {
            topic.partitions.len() == usize::try_from(partitions).unwrap_or_default()
                && topic.batch_bytes_max == batch_bytes_max
        };
        if shown.is_some_and(|topic| same(&topic)) {
            continue;
        }
        tracing::info!(topic = %name, partitions, batch_bytes_max, "a topic is served");
        let (name, id, topic_ids, taken_in) = (Arc::clone(name), record.id, record.sides, record.taken_in);
        let spec = TopicSpec { name: Arc::clone(&name), id, topic_ids, partitions, taken_in, batch_bytes_max };
        relay.serve_topic(&spec, |index| {
            relay.state.take_checkpoint(&TopicPartition::new(Arc::clone(&name), index), id)
        });
    }
}

/// A topic as a client wants it.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// -1: as the relay's configuration says.
    pub(crate) partitions: i32,
    /// The same.
    pub(crate) replication: i16,
    pub(crate) configs: std::collections::BTreeMap<String, String>,
}

/// Makes a topic on both sides and shows it.
pub(crate) async fn create(relay: &Arc<Relay>, wanted: Wanted, validate_only: bool) -> Result<TopicRecord, AdminError> {
    let Wanted { name, partitions, replication, mut configs } = wanted;
    let needs = needs(relay, &name);
    for (config, value) in &configs {
        let change = super::record::Change { name: config.clone(), value: Some(value.clone()) };
        if let Some(reason) = rules::refused(&change, needs) {
            return Err(AdminError::refused(ErrorCode::INVALID_CONFIG, reason));
        }
    }
    for (config, value) in rules::pinned().chain([(BATCH_BYTES_MAX_CONFIG, BATCH_BYTES_MAX)]) {
        configs.entry(config.to_owned()).or_insert_with(|| value.to_owned());
    }
    let default_replication = i16::try_from(relay.config.default_replication).unwrap_or(-1);
    let record = TopicRecord {
        name: Arc::from(name),
        id: fresh_topic_id(),
        partitions: if partitions == -1 { relay.config.default_partitions } else { partitions },
        replication: if replication == -1 { default_replication } else { replication },
        configs,
        sides: SideMap::default(),
        taken_in: 0,
        life: Life::Creating,
    };
    let needed = needed(relay, &record.name);
    let made = relay.topics.create(record, needed, validate_only).await?;
    if !validate_only {
        show(relay);
    }
    Ok(made)
}
