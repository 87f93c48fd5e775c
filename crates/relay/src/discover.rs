//! Which topics both sides have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::admin::ConfigOwner;
use naru_kafka::client::metadata::TopicMetadata;
use naru_kafka::client::{Client, ClientError, TopicPartition};
use naru_kafka::wire::ErrorCode;
use tokio::time::{Instant, sleep_until};

use crate::relay::{Relay, TopicSpec};
use crate::sequence::Event;
use crate::side::{Side, SideMap, SideSet};
use crate::topics::plan::Observed;
use crate::topics::registry::observe;
use crate::topics::{AdminError, Life, TopicRecord, fresh_topic_id};

/// Kafka's own default of max.message.bytes.
const BATCH_BYTES_MAX: usize = 1_048_588;
const BATCH_BYTES_MAX_CONFIG: &str = "max.message.bytes";

/// How often the limits of a topic that is served are read again: they change by hand.
const CONFIGS_AGE_MAX: Duration = Duration::from_secs(300);

/// What was seen last, so that a change is noticed and a complaint is made once.
#[derive(Debug, Default)]
struct Seen {
    /// Topics that were said not to be served.
    told: BTreeSet<Arc<str>>,
    /// Sides that could not be read.
    unread: SideMap<bool>,
    /// When a topic's limits were read.
    limits: BTreeMap<Arc<str>, Instant>,
    /// Leader epochs by topic and partition.
    epochs: SideMap<BTreeMap<Arc<str>, Vec<i32>>>,
}

/// Looks until the relay stops: now and then, and when somebody asks for a topic that is not known.
pub(crate) async fn run(relay: Arc<Relay>) {
    let mut seen = Seen::default();
    loop {
        let (a, b) = tokio::join!(topics(&relay.upstreams.a.control), topics(&relay.upstreams.b.control));
        let (a, b) = (seen.read(Side::A, a), seen.read(Side::B, b));
        for (side, topics) in [(Side::A, &a), (Side::B, &b)] {
            if let Some(topics) = topics {
                look_at_leaders(&relay, side, topics, &mut seen).await;
            }
        }
        if let (Some(a), Some(b)) = (a, b)
            && let Err(error) = look_at_topics(&relay, &a, &b, &mut seen).await
        {
            tracing::info!(%error, "the limits of a topic cannot be read");
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

impl Seen {
    /// The topics, or a word about why not when that is new. Whether a side is away is the probes' to say.
    fn read(&mut self, side: Side, topics: Result<Topics, ClientError>) -> Option<Topics> {
        let failed = topics.as_ref().err().map(ToString::to_string);
        let was = std::mem::replace(&mut self.unread[side], failed.is_some());
        if let Some(error) = failed
            && !was
        {
            tracing::info!(%side, error, "the topics of a side cannot be read");
        }
        topics.ok()
    }
}

async fn topics(client: &Client) -> Result<Topics, ClientError> {
    let metadata = client.metadata(None).await?;
    let usable = |topic: &TopicMetadata| !topic.internal && topic.error == ErrorCode::NONE;
    Ok(metadata.topics.into_iter().filter(usable).map(|topic| (Arc::clone(&topic.name), topic)).collect())
}

/// Tells partitions of leaders that are new, also where no connection was lost: the end is looked at before the next
/// write (RELAY-3).
async fn look_at_leaders(relay: &Relay, side: Side, topics: &Topics, seen: &mut Seen) {
    let mut epochs = BTreeMap::new();
    for (name, topic) in topics {
        let now: Vec<_> = topic.partitions.iter().map(|partition| partition.leader_epoch).collect();
        let before = seen.epochs[side].get(name);
        if let (Some(before), Some(served)) = (before, relay.served.get(name)) {
            for (partition, (now, before)) in served.partitions.iter().zip(now.iter().zip(before)) {
                // One that is not served any more need not know.
                if now > before && partition.send(Event::Reconnected { side }).await.is_ok() {
                    tracing::info!(%side, at = %partition.at(), leader_epoch = now, "a partition has a new leader");
                }
            }
        }
        epochs.insert(Arc::clone(name), now);
    }
    seen.epochs[side] = epochs;
}

async fn look_at_topics(relay: &Arc<Relay>, a: &Topics, b: &Topics, seen: &mut Seen) -> Result<(), ClientError> {
    seen.limits.retain(|name, _| a.contains_key(name));
    for (name, on_a) in a {
        let Some(on_b) = b.get(name) else { continue };
        if on_a.partitions.len() != on_b.partitions.len() {
            if seen.told.insert(Arc::clone(name)) {
                let (a, b) = (on_a.partitions.len(), on_b.partitions.len());
                tracing::warn!(topic = %name, a, b, "not served: the sides have different numbers of partitions");
            }
            continue;
        }
        let whole = relay.served.get(name).is_some_and(|topic| topic.partitions.len() == on_a.partitions.len());
        if whole && seen.limits.get(name).is_some_and(|read| read.elapsed() < CONFIGS_AGE_MAX) {
            continue;
        }
        let batch_bytes_max = batch_bytes_max(&relay.upstreams.a.control, name)
            .await?
            .min(batch_bytes_max(&relay.upstreams.b.control, name).await?);
        seen.limits.insert(Arc::clone(name), Instant::now());
        if whole && relay.served.get(name).is_some_and(|topic| topic.batch_bytes_max == batch_bytes_max) {
            continue;
        }
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
