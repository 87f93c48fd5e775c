//! Which topics both sides have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use naru_kafka::client::admin::ConfigOwner;
use naru_kafka::client::metadata::TopicMetadata;
use naru_kafka::client::{Client, ClientError, TopicPartition};
use naru_kafka::wire::ErrorCode;
use tokio::time::{Instant, sleep_until};

use crate::relay::{Relay, TopicSpec};
use crate::side::{Side, SideMap, SideSet};
use crate::topics::plan::Observed;
use crate::topics::registry::observe;
use crate::topics::{AdminError, Life, TopicRecord, fresh_topic_id};

/// Kafka's own default of max.message.bytes.
const BATCH_BYTES_MAX: usize = 1_048_588;
const BATCH_BYTES_MAX_CONFIG: &str = "max.message.bytes";

/// Looks until the relay stops: now and then, and when somebody asks for a topic that is not known.
pub(crate) async fn run(relay: Arc<Relay>) {
    let mut told = BTreeSet::new();
    loop {
        match look(&relay, &mut told).await {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "the topics of a side cannot be read"),
        }
        let next = Instant::now() + relay.config.discovery_interval;
        tokio::select! {
            () = relay.stopping.cancelled() => return,
            () = relay.discover.notified() => {}
            () = sleep_until(next) => {}
        }
    }
}

type Topics = BTreeMap<Arc<str>, TopicMetadata>;

async fn topics(client: &Client) -> Result<Topics, ClientError> {
    let metadata = client.metadata(None).await?;
    let usable = |topic: &TopicMetadata| !topic.internal && topic.error == ErrorCode::NONE;
    Ok(metadata.topics.into_iter().filter(usable).map(|topic| (Arc::clone(&topic.name), topic)).collect())
}

async fn look(relay: &Arc<Relay>, told: &mut BTreeSet<Arc<str>>) -> Result<(), ClientError> {
    let (a, b) = tokio::try_join!(topics(&relay.upstreams.a.control), topics(&relay.upstreams.b.control))?;
    for (name, on_a) in &a {
        let Some(on_b) = b.get(name) else { continue };
        if on_a.partitions.len() != on_b.partitions.len() {
            if told.insert(Arc::clone(name)) {
                let (a, b) = (on_a.partitions.len(), on_b.partitions.len());
                tracing::warn!(topic = %name, a, b, "not served: the sides have different numbers of partitions");
            }
            continue;
        }
        if relay.served.get(name).is_some_and(|topic| topic.partitions.len() == on_a.partitions.len()) {
            continue;
        }
        let batch_bytes_max = batch_bytes_max(&relay.upstreams.a.control, name)
            .await?
            .min(batch_bytes_max(&relay.upstreams.b.control, name).await?);
        let record = match known(relay, on_a, on_b).await {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(topic = %name, error = &error as &dyn std::error::Error, "a topic cannot be kept");
                continue;
            }
        };
        if record.is_served() {
            serve(relay, &record, batch_bytes_max);
        }
    }
    for topic in relay.served.all() {
        if !a.contains_key(&topic.name) && !b.contains_key(&topic.name) {
            tracing::info!(topic = %topic.name, "a topic is served no longer: neither side has it");
            relay.served.remove(&topic.name);
        }
    }
    Ok(())
}

/// Serves what is kept: also while a side is away, and partitions go on from their checkpoints.
pub(crate) fn serve_kept(relay: &Arc<Relay>) {
    for record in relay.topics.all().into_iter().filter(TopicRecord::is_served) {
        let configured = record.configs.get(BATCH_BYTES_MAX_CONFIG).and_then(|value| value.parse().ok());
        serve(relay, &record, configured.unwrap_or(BATCH_BYTES_MAX));
    }
}

fn serve(relay: &Arc<Relay>, record: &TopicRecord, batch_bytes_max: usize) {
    let (name, partitions) = (Arc::clone(&record.name), record.partitions);
    tracing::info!(topic = %name, partitions, batch_bytes_max, "a topic is served");
    let spec =
        TopicSpec { name: Arc::clone(&name), id: record.id, topic_ids: record.sides, partitions, batch_bytes_max };
    relay.serve_topic(&spec, |index| relay.state.checkpoint(&TopicPartition::new(Arc::clone(&name), index)));
}

/// What is kept of a topic that both sides have; a new one is kept from now on.
async fn known(relay: &Arc<Relay>, on_a: &TopicMetadata, on_b: &TopicMetadata) -> Result<TopicRecord, AdminError> {
    if let Some(record) = relay.topics.get(&on_a.name) {
        return Ok(record);
    }
    let Observed::Present(there) = observe(&relay.upstreams.a.control, &on_a.name).await else {
        return Err(AdminError::Away { side: Side::A });
    };
    let set = there.configs.into_iter().filter(|(_, setting)| !setting.is_default);
    let record = TopicRecord {
        name: Arc::clone(&on_a.name),
        id: fresh_topic_id(),
        partitions: i32::try_from(on_a.partitions.len()).unwrap_or(i32::MAX),
        replication: -1,
        configs: set.map(|(name, setting)| (name, setting.value)).collect(),
        sides: SideMap { a: Some(on_a.id), b: Some(on_b.id) },
        life: Life::Live,
    };
    relay.topics.adopt(record, SideSet::PAIR).await
}

async fn batch_bytes_max(client: &Client, topic: &str) -> Result<usize, ClientError> {
    let entries = client.describe_configs(&ConfigOwner::Topic(topic.to_owned())).await?;
    let found = entries.iter().find(|entry| entry.name == BATCH_BYTES_MAX_CONFIG);
    Ok(found.and_then(|entry| entry.value.as_ref()?.parse().ok()).unwrap_or(BATCH_BYTES_MAX))
}
