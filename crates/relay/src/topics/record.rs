//! What is kept of a topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_kafka::client::admin::ConfigChange;
use naru_kafka::wire::TopicId;
use serde::{Deserialize, Serialize};

use super::identity;
use crate::side::SideMap;

/// A change of one configuration as it is kept; without a value: back to the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The configuration's name.
    pub name: String,
    /// Its new value.
    pub value: Option<String>,
}

impl From<&Change> for ConfigChange {
    fn from(change: &Change) -> Self {
        match &change.value {
            Some(value) => Self::Set(change.name.clone(), value.clone()),
            None => Self::Unset(change.name.clone()),
        }
    }
}

/// Where a topic is in its life. Everything but `Live` and `Deleted` is an intent: it is finished after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// To be made on both sides.
    Creating,
    /// Served.
    Live,
    /// To have more partitions on both sides.
    Growing {
        /// How many.
        to: i32,
    },
    /// To be configured on both sides.
    Altering {
        /// What changes.
        changes: Vec<Change>,
    },
    /// To be deleted on both sides.
    Deleting,
    /// Deleted on both sides past the relay. Not served, and named until somebody deletes it or makes it again.
    Gone,
    /// Gone. Kept, so that what a side away still has of it is not taken for a new topic.
    Deleted,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRecord {
    /// Its name, the same on both sides.
    pub name: Arc<str>,
    /// The relay's own identity of it (RELAY-8).
    #[serde(with = "identity")]
    pub id: TopicId,
    /// How many partitions are served.
    pub partitions: i32,
    /// How many replicas it is made with; -1 leaves it to the brokers.
    pub replication: i16,
    /// What was set explicitly, so that it can be made again on a side.
    pub configs: BTreeMap<String, String>,
    /// Its identities on the sides, where they are known (RELAY-12).
    #[serde(with = "identity::sides")]
    pub sides: SideMap<Option<TopicId>>,
    /// How many partitions it was taken in with: what they held nobody had promised (see
    /// [`crate::sequence::PartitionConfig::taken_in`]). 0 for one that the relay made.
    #[serde(default)]
    pub taken_in: i32,
    /// Where it is in its life.
    pub life: Life,
}

impl TopicRecord {
    /// Whether clients see it.
    pub fn is_served(&self) -> bool {
        matches!(self.life, Life::Live | Life::Growing { .. } | Life::Altering { .. })
    }

    /// Whether something about it is unfinished.
    pub fn has_intent(&self) -> bool {
        !matches!(self.life, Life::Live | Life::Gone | Life::Deleted)
    }

    /// The record with changed configurations.
    #[must_use]
    pub fn altered(&self, changes: &[Change]) -> Self {
        let mut altered = self.clone();
        for change in changes {
            match &change.value {
                Some(value) => altered.configs.insert(change.name.clone(), value.clone()),
                None => altered.configs.remove(&change.name),
            };
        }
        altered
    }
}
