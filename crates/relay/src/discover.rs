//! Which topics both sides have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use naru_kafka::client::admin::ConfigOwner;
use naru_kafka::client::metadata::TopicMetadata;
use naru_kafka::client::{Client, ClientError};
use naru_kafka::wire::ErrorCode;
use tokio::time::{Instant, sleep_until};

use crate::relay::{Relay, TopicSpec};
use crate::side::SideMap;

/// Kafka's own default of max.message.bytes.
const BATCH_BYTES_MAX: usize = 1_048_588;

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
        let partitions = i32::try_from(on_a.partitions.len()).unwrap_or(i32::MAX);
        if relay.served.get(name).is_some_and(|topic| topic.partitions.len() == on_a.partitions.len()) {
            continue;
        }
        let batch_bytes_max = batch_bytes_max(&relay.upstreams.a.control, name)
            .await?
            .min(batch_bytes_max(&relay.upstreams.b.control, name).await?);
        let topic_ids = SideMap { a: Some(on_a.id), b: Some(on_b.id) };
        let spec = TopicSpec { name: Arc::clone(name), id: on_a.id, topic_ids, partitions, batch_bytes_max };
        tracing::info!(topic = %name, partitions, batch_bytes_max, "a topic is served");
        relay.serve_topic(&spec, |_| None);
    }
    for topic in relay.served.all() {
        if !a.contains_key(&topic.name) && !b.contains_key(&topic.name) {
            tracing::info!(topic = %topic.name, "a topic is served no longer: neither side has it");
            relay.served.remove(&topic.name);
        }
    }
    Ok(())
}

async fn batch_bytes_max(client: &Client, topic: &str) -> Result<usize, ClientError> {
    let entries = client.describe_configs(&ConfigOwner::Topic(topic.to_owned())).await?;
    let found = entries.iter().find(|entry| entry.name == "max.message.bytes");
    Ok(found.and_then(|entry| entry.value.as_ref()?.parse().ok()).unwrap_or(BATCH_BYTES_MAX))
}
