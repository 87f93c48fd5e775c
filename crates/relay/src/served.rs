//! The topics that clients see, with the partitions at work behind them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use naru_kafka::wire::TopicId;
use tokio::sync::watch;

use crate::partition::PartitionHandle;

/// A topic that clients see.
#[derive(Debug, Clone)]
pub struct ServedTopic {
    /// Its name, the same on both sides.
    pub name: Arc<str>,
    /// The relay's own identity of it (RELAY-8).
    pub id: TopicId,
    /// The service group that it belongs to.
    pub group: Arc<str>,
    /// Largest batch that both sides take, bytes.
    pub batch_bytes_max: usize,
    /// By rising number, from 0.
    pub partitions: Vec<PartitionHandle>,
}

impl ServedTopic {
    /// A partition by its number.
    pub fn partition(&self, index: i32) -> Option<&PartitionHandle> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

#[derive(Debug, Default)]
struct Table {
    by_name: BTreeMap<Arc<str>, Arc<ServedTopic>>,
    by_id: HashMap<TopicId, Arc<ServedTopic>>,
}

/// All of them.
#[derive(Debug)]
pub struct Served {
    table: RwLock<Table>,
    changes: watch::Sender<u64>,
}

impl Default for Served {
    fn default() -> Self {
        Self { table: RwLock::default(), changes: watch::Sender::new(0) }
    }
}

impl Served {
    /// A topic by its name.
    pub fn get(&self, name: &str) -> Option<Arc<ServedTopic>> {
        self.read(|table| table.by_name.get(name).cloned())
    }

    /// A topic by the relay's identity of it.
    pub fn by_id(&self, id: TopicId) -> Option<Arc<ServedTopic>> {
        self.read(|table| table.by_id.get(&id).cloned())
    }

    /// As a message names it: by its identity where it has one, else by name.
    pub fn find(&self, name: &str, id: TopicId) -> Option<Arc<ServedTopic>> {
        if id.is_nil() { self.get(name) } else { self.by_id(id) }
    }

    /// All topics, by name.
    pub fn all(&self) -> Vec<Arc<ServedTopic>> {
        self.read(|table| table.by_name.values().cloned().collect())
    }

    /// The partitions of a service group.
    pub fn partitions_of(&self, group: &str) -> Vec<PartitionHandle> {
        self.read(|table| {
            let topics = table.by_name.values().filter(|topic| *topic.group == *group);
            topics.flat_map(|topic| topic.partitions.iter().cloned()).collect()
        })
    }

    /// Is told a rising number whenever the topics change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Shows a topic from now on, in place of the one of that name.
    pub fn insert(&self, topic: ServedTopic) {
        let topic = Arc::new(topic);
        self.write(|table| {
            if let Some(old) = table.by_name.insert(Arc::clone(&topic.name), Arc::clone(&topic)) {
                table.by_id.remove(&old.id);
            }
            table.by_id.insert(topic.id, topic);
        });
    }

    /// Shows a topic no longer, and ends its partitions' tasks.
    pub fn remove(&self, name: &str) {
        let removed = self.write(|table| {
            let removed = table.by_name.remove(name);
            if let Some(topic) = &removed {
                table.by_id.remove(&topic.id);
            }
            removed
        });
        if let Some(topic) = removed {
            topic.partitions.iter().for_each(PartitionHandle::retire);
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        // Nothing that holds it for writing can leave half a change behind.
        read(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let value = change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|changes| *changes += 1);
        value
    }
}
