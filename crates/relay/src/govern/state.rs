//! What a relay keeps over restarts: its coordinator and its checkpoints.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naru_kafka::client::TopicPartition;
use rand::TryRng as _;
use rand::rngs::SysRng;

use crate::checkpoints::{CheckpointError, Checkpoints, Kept};
use crate::clock;
use crate::coordination::embedded::{Embedded, OpenError};
use crate::coordination::{Coordination, ReadFailed};
use crate::sequence::Checkpoint;
use crate::sides::{Boot, GroupRecord};

/// Why the state cannot be used. Our side; a retry helps after what the sentence names is mended.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The coordinator's file.
    #[error("the coordinator cannot be opened")]
    Coordinator(#[from] OpenError),
    /// The coordinator cannot be read.
    #[error("the coordinator cannot be read")]
    Read(#[from] ReadFailed),
    /// The checkpoints.
    #[error("the checkpoints cannot be opened")]
    Checkpoints(#[from] CheckpointError),
    /// A record that no relay writes, or a newer one.
    #[error("the coordinator's record of group {group} cannot be understood")]
    Foreign {
        /// The service group.
        group: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The system has no randomness.
    #[error("no randomness")]
    Random(#[source] rand::rngs::SysError),
}

/// The key of a service group's record.
pub(crate) fn group_key(group: &str) -> String {
    format!("group/{group}")
}

/// See the module.
#[derive(Debug)]
pub struct State {
    /// Where relays agree.
    pub coordination: Arc<Embedded>,
    checkpoints: Mutex<Checkpoints>,
    kept: Kept,
    /// The coordinator is not the one that the checkpoints know, or has come less far (RELAY-13).
    in_doubt: bool,
}

impl State {
    /// Opens both in this directory, or makes them.
    ///
    /// # Errors
    /// When another process uses them, or one cannot be used.
    pub async fn open(directory: &Path) -> Result<Self, StateError> {
        let mut seed = [0; 8];
        SysRng.try_fill_bytes(&mut seed).map_err(StateError::Random)?;
        let coordination = Embedded::open(&directory.join("coordinator"), clock::now, u64::from_be_bytes(seed))?;
        let (mut checkpoints, kept) = Checkpoints::open(&directory.join("checkpoints"))?;
        let mark = coordination.mark().await?;
        let in_doubt = !kept.coordinator.is_some_and(|earlier| mark.follows(earlier));
        checkpoints.coordinator(mark);
        Ok(Self { coordination: Arc::new(coordination), checkpoints: Mutex::new(checkpoints), kept, in_doubt })
    }

    /// What is known of a service group at the start.
    ///
    /// # Errors
    /// When the record cannot be read or understood.
    pub async fn boot(&self, group: &str) -> Result<Boot, StateError> {
        let found = match self.coordination.read(&group_key(group)).await? {
            None => None,
            Some(held) => {
                let record = serde_json::from_slice(&held.value);
                let record = record.map_err(|source| StateError::Foreign { group: group.to_owned(), source })?;
                Some((held.version, record))
            }
        };
        let remembered = self.kept.groups.get(group).copied();
        Ok(Boot { found, remembered, coordinator_in_doubt: self.in_doubt })
    }

    /// What was kept of a partition.
    pub fn checkpoint(&self, at: &TopicPartition) -> Option<Checkpoint> {
        self.kept.partitions.get(at).cloned()
    }

    /// Remembers what was read back for a service group.
    pub(crate) fn remember(&self, group: &str, record: &GroupRecord) {
        self.checkpoints().group(group, record);
    }

    pub(crate) fn checkpoints(&self) -> MutexGuard<'_, Checkpoints> {
        // A note is one step; nothing panics inside.
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
