//! What the cluster looks like: brokers, topics, leaders; cached, and refreshed when an answer shows it to be stale.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use kafka_protocol::{
    messages::{MetadataRequest, MetadataResponse, metadata_request::MetadataRequestTopic},
    protocol::StrBytes,
};
use tokio::time::{Instant, sleep};

use super::{
    Client,
    config::join_address,
    connection::CallOptions,
    error::{Asked, Broker, ClientError},
};
use crate::wire::{ApiKey, ErrorCode, TopicId};

/// Topics kept in the cache; the ones longest unrefreshed go first. A client that works on more re-reads some.
const TOPICS_CACHED_MAX: usize = 10_000;

/// A partition of a topic, as named on the wire. Cheap to clone; unlike `naru_model::TopicPartition` it holds whatever
/// a broker or a test calls a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl From<&naru_model::TopicPartition> for TopicPartition {
    fn from(partition: &naru_model::TopicPartition) -> Self {
        Self::new(partition.topic.as_str(), partition.partition.get())
    }
}

/// One topic, as the asked broker knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicMetadata {
    /// The name.
    pub name: Arc<str>,
    /// Changes when a topic is deleted and made again; nil from brokers that know no ids.
    pub id: TopicId,
    /// Kafka's own, such as `__consumer_offsets`.
    pub internal: bool,
    /// [`ErrorCode::NONE`], or why nothing is known.
    pub error: ErrorCode,
    /// By rising number.
    pub partitions: Vec<PartitionMetadata>,
}

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Its number.
    pub partition: i32,
    /// The leader's node id; `None` while there is none.
    pub leader: Option<i32>,
    /// Rises with every change of the leader; -1 from brokers that do not say.
    pub leader_epoch: i32,
    /// Node ids of all replicas.
    pub replicas: Vec<i32>,
    /// Node ids of the replicas in sync.
    pub in_sync: Vec<i32>,
    /// [`ErrorCode::NONE`], or what is wrong with it.
    pub error: ErrorCode,
}

/// The answer to one Metadata request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMetadata {
    /// The cluster's id.
    pub cluster_id: Option<Arc<str>>,
    /// The controller's node id.
    pub controller: Option<i32>,
    /// Every live broker.
    pub brokers: Vec<Broker>,
    /// The topics asked for.
    pub topics: Vec<TopicMetadata>,
}

#[derive(Default)]
struct Cache {
    brokers: BTreeMap<i32, Broker>,
    topics: HashMap<Arc<str>, (Instant, Arc<TopicMetadata>)>,
    /// Where the next request without a particular broker goes.
    turn: usize,
}

/// The cache. Refreshes of it are made one at a time.
#[derive(Default)]
pub(super) struct Metadata {
    cache: Mutex<Cache>,
    refreshing: tokio::sync::Mutex<()>,
}

impl Metadata {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn topic(&self, name: &str, not_before: Instant) -> Option<Arc<TopicMetadata>> {
        let cache = self.cache();
        cache.topics.get(name).filter(|(at, _)| *at >= not_before).map(|(_, topic)| Arc::clone(topic))
    }

    fn broker(&self, node_id: i32) -> Option<Broker> {
        self.cache().brokers.get(&node_id).cloned()
    }

    pub(super) fn forget(&self, topic: &str) {
        self.cache().topics.remove(topic);
    }

    fn store(&self, metadata: &ClusterMetadata, asked_at: Instant) {
        let mut cache = self.cache();
        cache.brokers = metadata.brokers.iter().filter_map(|b| Some((b.node_id?, b.clone()))).collect();
        for topic in &metadata.topics {
            cache.topics.insert(Arc::clone(&topic.name), (asked_at, Arc::new(topic.clone())));
        }
        while cache.topics.len() > TOPICS_CACHED_MAX {
            let oldest = cache.topics.iter().min_by_key(|(_, (at, _))| *at).map(|(name, _)| Arc::clone(name));
            match oldest {
                Some(name) => cache.topics.remove(&name),
                None => break,
            };
        }
    }

    /// Known brokers, then the bootstrap addresses, starting one further each time.
    pub(super) fn next_broker(&self, bootstrap: &[String]) -> Option<Broker> {
        let cache = self.cache();
        let count = cache.brokers.len() + bootstrap.len();
        let turn = cache.turn % count.max(1);
        match cache.brokers.values().nth(turn) {
            Some(broker) => Some(broker.clone()),
            None => bootstrap
                .get(turn - cache.brokers.len())
                .map(|address| Broker { address: Arc::from(address.as_str()), node_id: None }),
        }
    }

    /// The broker of the current turn failed: the next request goes to another.
    pub(super) fn turn_on(&self) {
        let mut cache = self.cache();
        cache.turn = cache.turn.wrapping_add(1);
    }
}

impl Client {
    /// Asks some broker, the next one if it fails, about topics (`None`: all), and remembers the answer. Never creates
    /// a topic. A topic that is not there is in the answer with its error.
    pub async fn metadata(&self, topics: Option<&[&str]>) -> Result<ClusterMetadata, ClientError> {
        let request = MetadataRequest::default()
            .with_topics(topics.map(|topics| {
                let named = |name: &&str| {
                    MetadataRequestTopic::default().with_name(Some(StrBytes::from_string((*name).to_owned()).into()))
                };
                topics.iter().map(named).collect()
            }))
            .with_allow_auto_topic_creation(false);
        let asked_at = Instant::now();
        // Below version 4 the request cannot say "do not create"; version 1 is the first with a null list.
        let options = CallOptions { version_min: Some(4), ..CallOptions::default() };
        let metadata = self
            .ask_any(&request, &options, |said, answer| {
                said.check(answer.error_code, None)?;
                Ok(understood(answer))
            })
            .await?;
        self.shared.metadata.store(&metadata, asked_at);
        let bootstrap = &self.shared.config.bootstrap;
        self.shared.pool.retain(|broker| {
            metadata.brokers.contains(broker) || bootstrap.iter().any(|address| **address == *broker.address)
        });
        Ok(metadata)
    }

    /// One topic, from the cache where it is fresh enough. An unknown topic is an error.
    pub async fn topic(&self, name: &str) -> Result<Arc<TopicMetadata>, ClientError> {
        let oldest = Instant::now().checked_sub(self.shared.config.metadata_age_max);
        if let Some(topic) = oldest.and_then(|oldest| self.shared.metadata.topic(name, oldest)) {
            return Ok(topic);
        }
        let asked_at = Instant::now();
        let _one_at_a_time = self.shared.metadata.refreshing.lock().await;
        if let Some(topic) = self.shared.metadata.topic(name, asked_at) {
            return Ok(topic);
        }
        let metadata = self.metadata(Some(&[name])).await.map_err(|error| error.about(name))?;
        let found = metadata.topics.into_iter().find(|topic| *topic.name == *name);
        match found {
            Some(topic) if topic.error == ErrorCode::NONE => Ok(Arc::new(topic)),
            found => {
                self.shared.metadata.forget(name);
                let code = found.map_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, |topic| topic.error);
                let broker = metadata.brokers.into_iter().next();
                let broker = broker.unwrap_or_else(|| Broker { address: Arc::from("unknown"), node_id: None });
                Err(ClientError::Answered {
                    broker: Box::new(broker),
                    asked: Asked::about(ApiKey::Metadata, name),
                    code,
                    message: None,
                })
            }
        }
    }

    /// Waits until a topic has so many partitions and each has a leader: after making it, since brokers learn of a
    /// topic one after the other. Gives the last error if the deadline passes first.
    pub async fn await_topic(
        &self,
        name: &str,
        partitions: usize,
        deadline: Duration,
    ) -> Result<Arc<TopicMetadata>, ClientError> {
        let config = &self.shared.config;
        let deadline = Instant::now() + deadline;
        let mut failures = 0u32;
        loop {
            failures = failures.saturating_add(1);
            self.forget_leaders(name);
            let error = match self.topic(name).await {
                Ok(topic) => {
                    let led = topic.partitions.iter().filter(|partition| partition.leader.is_some()).count();
                    if led >= partitions && led == topic.partitions.len() {
                        return Ok(topic);
                    }
                    ClientError::NoBroker { asked: Asked::about(ApiKey::Metadata, name), attempts: failures }
                }
                Err(error) => error,
            };
            let wait = config.backoff.delay(failures, config.jitter.unit());
            if !error.retry_can_help() || Instant::now() + wait > deadline {
                return Err(error);
            }
            sleep(wait).await;
        }
    }

    /// The leader of a partition and its epoch, from the cache where it is fresh enough. One look: an error says
    /// whether a retry can help.
    pub async fn leader(&self, at: &TopicPartition) -> Result<(Broker, i32), ClientError> {
        let topic = self.topic(&at.topic).await?;
        let found = topic.partitions.iter().find(|partition| partition.partition == at.partition);
        let leader = found.and_then(|partition| {
            let broker = self.shared.metadata.broker(partition.leader?)?;
            Some((broker, partition.leader_epoch))
        });
        leader.ok_or_else(|| {
            // A partition that is being made, or between two leaders.
            self.shared.metadata.forget(&at.topic);
            ClientError::NoBroker { asked: Asked::about(ApiKey::Metadata, at), attempts: 1 }
        })
    }

    /// The address of a node.
    pub async fn node(&self, node_id: i32) -> Result<Broker, ClientError> {
        if let Some(broker) = self.shared.metadata.broker(node_id) {
            return Ok(broker);
        }
        self.metadata(Some(&[])).await?;
        self.shared
            .metadata
            .broker(node_id)
            .ok_or_else(|| ClientError::NoBroker { asked: Asked::about(ApiKey::Metadata, node_id), attempts: 1 })
    }

    /// Makes the next use of a topic ask for its leaders again.
    pub fn forget_leaders(&self, topic: &str) {
        self.shared.metadata.forget(topic);
    }

    /// Forgets a topic's leaders if the error shows, or may show, that they are stale.
    pub(super) fn heed(&self, topic: &str, error: &ClientError) {
        let stale = match error.code() {
            Some(code) => code.is_about_leadership(),
            None => error.retry_can_help(),
        };
        if stale {
            self.shared.metadata.forget(topic);
        }
    }
}

fn understood(answer: MetadataResponse) -> ClusterMetadata {
    let node = |id: i32| (id >= 0).then_some(id);
    let nodes = |ids: Vec<kafka_protocol::messages::BrokerId>| ids.into_iter().map(|id| id.0).collect();
    let topics = answer.topics.into_iter().map(|topic| {
        let mut partitions: Vec<_> = topic
            .partitions
            .into_iter()
            .map(|partition| PartitionMetadata {
                partition: partition.partition_index,
                leader: node(partition.leader_id.0),
                leader_epoch: partition.leader_epoch,
                replicas: nodes(partition.replica_nodes),
                in_sync: nodes(partition.isr_nodes),
                error: ErrorCode(partition.error_code),
            })
            .collect();
        partitions.sort_by_key(|partition| partition.partition);
        TopicMetadata {
            name: Arc::from(topic.name.as_ref().map_or("", |name| name.as_str())),
            id: TopicId::from(topic.topic_id),
            internal: topic.is_internal,
            error: ErrorCode(topic.error_code),
            partitions,
        }
    });
    ClusterMetadata {
        cluster_id: answer.cluster_id.map(|id| Arc::from(id.as_str())),
        controller: node(answer.controller_id.0),
        brokers: answer
            .brokers
            .into_iter()
            .map(|broker| Broker {
                address: Arc::from(join_address(&broker.host, broker.port)),
                node_id: Some(broker.node_id.0),
            })
            .collect(),
        topics: topics.collect(),
    }
}
