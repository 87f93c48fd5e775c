//! The topics that are being served, and every change to them.
//!
//! A change is written to the catalogue before anyone sees it. Each topic's files live under its identity, so that what
//! is left of a deleted topic can never be taken for a new one's.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;

use super::blocking::blocking;
use super::identity::fresh;
use super::partition::Partition;
use crate::standin::storage::{Disk, Flush, PartitionStore, StoreConfig, StoreError};
use crate::standin::topics::catalogue::{Catalogue, CatalogueError, PRODUCER_ID_BLOCK, TopicEntry, hex};
use crate::standin::topics::{Refusal, config, validate_name};
use crate::wire::{ErrorCode, TopicId};

/// Partitions of all topics together: each holds two files open, and the usual limit of a process is 1,024, which a
/// start raises as far as the system lets it; more partitions than this is no longer a stand-in's work.
pub(crate) const PARTITIONS_MAX: usize = 4_000;

/// A topic that is being served.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: TopicId,
    pub(crate) leader_epoch: i32,
    pub(crate) configs: BTreeMap<String, String>,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

impl Topic {
    pub(crate) fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        usize::try_from(index).ok().and_then(|i| self.partitions.get(i))
    }

    /// Whether records may be deleted by age, size or offset; otherwise only newer ones of their key end them.
    pub(crate) fn deletes(&self) -> bool {
        config::value(&self.configs, "cleanup.policy").is_none_or(|policy| policy.contains("delete"))
    }
}

#[derive(Debug, Default)]
struct Live {
    by_name: BTreeMap<String, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
}

impl Live {
    fn put(&mut self, topic: Arc<Topic>) {
        self.by_id.insert(topic.id, Arc::clone(&topic));
        self.by_name.insert(topic.name.clone(), topic);
    }
}

/// All topics.
#[derive(Debug)]
pub(crate) struct Topics {
    dir: PathBuf,
    disk: Arc<Disk>,
    flush: Flush,
    producer_expiry_ms: i64,
    live: RwLock<Live>,
    catalogue: Mutex<Catalogue>,
    producer_ids: Mutex<std::ops::Range<i64>>,
}

/// A topic as it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) configs: BTreeMap<String, String>,
}

impl Topics {
    /// Opens every topic of the catalogue. Blocks.
    pub(crate) fn open(
        dir: &Path,
        catalogue: Catalogue,
        disk: Arc<Disk>,
        flush: Flush,
        producer_expiry_ms: i64,
    ) -> Result<Self, StoreError> {
        let topics = Self {
            dir: dir.join("topics"),
            disk,
            flush,
            producer_expiry_ms,
            live: RwLock::default(),
            catalogue: Mutex::new(Catalogue::new(String::new(), 0)),
            producer_ids: Mutex::new(0..0),
        };
        topics.sweep(&catalogue)?;
        let mut live = Live::default();
        for (name, entry) in &catalogue.topics {
            live.put(Arc::new(topics.open_topic(name, entry, Vec::new())?));
        }
        Ok(Self { live: RwLock::new(live), catalogue: Mutex::new(catalogue), ..topics })
    }

    /// Removes directories of topics that the catalogue does not have: deletions that a crash cut short.
    fn sweep(&self, catalogue: &Catalogue) -> Result<(), StoreError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { action, path, source }
        };
        std::fs::create_dir_all(&self.dir).map_err(io("make directory", &self.dir))?;
        let known: Vec<String> = catalogue.topics.values().map(|t| hex(t.id)).collect();
        for entry in std::fs::read_dir(&self.dir).map_err(io("list", &self.dir))? {
            let path = entry.map_err(io("list", &self.dir))?.path();
            let kept = path.file_name().and_then(|n| n.to_str()).is_some_and(|n| known.iter().any(|k| k == n));
            if !kept {
                tracing::info!(path = %path.display(), "removing what is left of a deleted topic");
                std::fs::remove_dir_all(&path).map_err(io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Opens the partitions of a topic that are not open yet, as new: what an attempt that failed before the catalogue
    /// had them left in their place is removed, or they would begin with its leader epochs. Blocks.
    fn make_topic(&self, name: &str, entry: &TopicEntry, partitions: Vec<Arc<Partition>>) -> Result<Topic, StoreError> {
        for index in partitions.len() as i32..entry.partitions {
            let dir = self.dir.join(hex(entry.id)).join(index.to_string());
            match std::fs::remove_dir_all(&dir) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::Io { action: "remove", path: dir, source });
                }
                _ => {}
            }
        }
        self.open_topic(name, entry, partitions)
    }

    /// Opens the partitions of a topic that are not open yet. Blocks.
    fn open_topic(
        &self,
        name: &str,
        entry: &TopicEntry,
        mut partitions: Vec<Arc<Partition>>,
    ) -> Result<Topic, StoreError> {
        let log = config::log_config(&entry.configs, self.producer_expiry_ms);
        for index in partitions.len() as i32..entry.partitions {
            let dir = self.dir.join(hex(entry.id)).join(index.to_string());
            let config = StoreConfig { disk: Arc::clone(&self.disk), flush: self.flush, log: log.clone() };
            let (store, _) = PartitionStore::open(&dir, config)?;
            partitions.push(Arc::new(Partition { index, store }));
        }
        // Each store raises its epoch when it opens, more after a crash; the topic shows one epoch for all.
        let leader_epoch = partitions.iter().map(|p| p.store.leader_epoch()).max().unwrap_or(0);
        for partition in partitions.iter().filter(|p| p.store.leader_epoch() < leader_epoch) {
            partition.store.raise_leader_epoch(leader_epoch)?;
        }
        Ok(Topic { name: name.to_owned(), id: entry.id, leader_epoch, configs: entry.configs.clone(), partitions })
    }

    /// The topic of this name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).cloned()
    }

    /// The topic of this identity.
    pub(crate) fn get_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    /// Every topic, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).by_name.values().cloned().collect()
    }

    fn publish(&self, topic: Arc<Topic>) {
        self.live.write().unwrap_or_else(PoisonError::into_inner).put(topic);
    }

    /// Checks a topic that is asked for, against Kafka's rules and our bounds.
    fn validate(catalogue: &Catalogue, new: &NewTopic) -> Result<TopicEntry, Refusal> {
        validate_name(&new.name)?;
        if catalogue.topics.contains_key(&new.name) {
            let message = format!("Topic '{}' already exists.", new.name);
            return Err(Refusal::new(ErrorCode::TOPIC_ALREADY_EXISTS, message));
        }
        if let Some(other) = catalogue.topics.keys().find(|o| o.replace('.', "_") == new.name.replace('.', "_")) {
            let message = format!("Topic '{}' collides with existing topic: {other}", new.name);
            return Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
        }
        if new.partitions < 1 {
            let message = "Number of partitions must be larger than 0.";
            return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        if catalogue.partition_count() + new.partitions as usize > PARTITIONS_MAX {
            let message = format!("this broker holds at most {PARTITIONS_MAX} partitions");
            return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        let mut configs = BTreeMap::new();
        for (name, value) in &new.configs {
            configs.insert(name.clone(), config::validate(name, value)?);
        }
        let id = TopicId(fresh());
        Ok(TopicEntry { id, partitions: new.partitions, configs })
    }

    /// Makes a topic, durably, unless it is only to be checked.
    pub(crate) async fn create(self: &Arc<Self>, new: NewTopic, validate_only: bool) -> Result<Arc<Topic>, Refusal> {
        let mut catalogue = self.catalogue.lock().await;
        let entry = Self::validate(&catalogue, &new)?;
        if validate_only {
            let (name, id, configs) = (new.name, TopicId::NIL, entry.configs);
            return Ok(Arc::new(Topic { name, id, leader_epoch: 0, configs, partitions: Vec::new() }));
        }
        let this = Arc::clone(self);
        let name = new.name.clone();
        let opening = entry.clone();
        let topic = blocking(move || this.make_topic(&name, &opening, Vec::new())).await.and_then(|opened| opened);
        let topic = Arc::new(topic.map_err(|e| storage(&e))?);
        let mut next = catalogue.clone();
        next.topics.insert(new.name, entry);
        self.store(&mut catalogue, next).await?;
        self.publish(Arc::clone(&topic));
        tracing::info!(topic = %topic.name, partitions = new.partitions, "topic made");
        Ok(topic)
    }

    /// Replaces the catalogue on disk, then in memory.
    async fn store(&self, current: &mut Catalogue, next: Catalogue) -> Result<(), Refusal> {
        let dir = self.dir.parent().unwrap_or(&self.dir).to_owned();
        let writing = next.clone();
        match blocking(move || writing.store(&dir)).await {
            Ok(Ok(())) => {
                *current = next;
                Ok(())
            }
            Ok(Err(error)) => Err(catalogue_refusal(&error)),
            Err(error) => Err(storage(&error)),
        }
    }

    /// Deletes a topic. It is gone for good when this returns; `forget` is told before its name is free again.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        name: &str,
        forget: impl Future<Output = ()> + Send,
    ) -> Result<Arc<Topic>, Refusal> {
        let mut catalogue = self.catalogue.lock().await;
        let Some(topic) = self.get(name) else {
            return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic."));
        };
        let mut next = catalogue.clone();
        next.topics.remove(name);
        self.store(&mut catalogue, next).await?;
        {
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            live.by_name.remove(name);
            live.by_id.remove(&topic.id);
        }
        forget.await;
        let gone = Arc::clone(&topic);
        let dir = self.dir.join(hex(topic.id));
        let removed = blocking(move || {
            for partition in &gone.partitions {
                partition.store.delete()?;
            }
            std::fs::remove_dir_all(&dir).map_err(|source| StoreError::Io { action: "remove", path: dir, source })
        });
        if let Err(error) = removed.await.and_then(|done| done) {
            // The topic is gone from the catalogue; the next start removes the rest.
            tracing::warn!(topic = name, %error, "files of a deleted topic are left behind");
        }
        tracing::info!(topic = name, "topic deleted");
        Ok(topic)
    }

    /// Adds partitions.
    pub(crate) async fn grow(self: &Arc<Self>, name: &str, count: i32, validate_only: bool) -> Result<(), Refusal> {
        let mut catalogue = self.catalogue.lock().await;
        let (Some(topic), Some(entry)) = (self.get(name), catalogue.topics.get(name)) else {
            return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic."));
        };
        let invalid = |message: String| Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
        if count == entry.partitions {
            return invalid(format!("Topic already has {count} partition(s)."));
        }
        if count < entry.partitions {
            let has = entry.partitions;
            return invalid(format!(
                "The topic {name} currently has {has} partition(s); {count} would not be an increase."
            ));
        }
        if catalogue.partition_count() + (count - entry.partitions) as usize > PARTITIONS_MAX {
            return invalid(format!("this broker holds at most {PARTITIONS_MAX} partitions"));
        }
        if validate_only {
            return Ok(());
        }
        let mut grown = entry.clone();
        grown.partitions = count;
        let mut next = catalogue.clone();
        next.topics.insert(name.to_owned(), grown.clone());
        let this = Arc::clone(self);
        let opened = blocking(move || this.make_topic(&topic.name, &grown, topic.partitions.clone()));
        let topic = opened.await.and_then(|opened| opened).map_err(|e| storage(&e))?;
        self.store(&mut catalogue, next).await?;
        self.publish(Arc::new(topic));
        Ok(())
    }

    /// Changes settings: `change` gets the present ones and leaves those wanted.
    pub(crate) async fn configure(
        self: &Arc<Self>,
        name: &str,
        validate_only: bool,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Refusal> + Send,
    ) -> Result<(), Refusal> {
        let mut catalogue = self.catalogue.lock().await;
        let (Some(topic), Some(entry)) = (self.get(name), catalogue.topics.get(name)) else {
            let message = format!("The topic '{name}' does not exist.");
            return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
        };
        let mut changed = entry.clone();
        change(&mut changed.configs)?;
        if validate_only {
            return Ok(());
        }
        let mut next = catalogue.clone();
        next.topics.insert(name.to_owned(), changed.clone());
        self.store(&mut catalogue, next).await?;
        let log = config::log_config(&changed.configs, self.producer_expiry_ms);
        for partition in &topic.partitions {
            partition.store.set_config(log.clone());
        }
        self.publish(Arc::new(Topic {
            name: topic.name.clone(),
            id: topic.id,
            leader_epoch: topic.leader_epoch,
            configs: changed.configs,
            partitions: topic.partitions.clone(),
        }));
        Ok(())
    }

    /// A producer id that was never handed out. A block is written down before its first is.
    pub(crate) async fn allot_producer_id(&self) -> Result<i64, Refusal> {
        let mut block = self.producer_ids.lock().await;
        if block.is_empty() {
            let mut catalogue = self.catalogue.lock().await;
            let start = catalogue.next_producer_id;
            let mut next = catalogue.clone();
            next.next_producer_id = start + PRODUCER_ID_BLOCK;
            self.store(&mut catalogue, next).await?;
            *block = start..start + PRODUCER_ID_BLOCK;
        }
        block.next().ok_or_else(|| Refusal::new(ErrorCode::COORDINATOR_NOT_AVAILABLE, "no producer id"))
    }
}

fn storage(error: &StoreError) -> Refusal {
    tracing::warn!(%error, "a topic's files cannot be changed");
    Refusal::new(error.code(), error.to_string())
}

fn catalogue_refusal(error: &CatalogueError) -> Refusal {
    tracing::warn!(%error, "the catalogue cannot be written");
    Refusal::new(ErrorCode::KAFKA_STORAGE_ERROR, error.to_string())
}
