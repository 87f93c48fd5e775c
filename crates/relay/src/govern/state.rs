//! What a relay keeps over restarts: its coordinator and its checkpoints.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naru_kafka::client::TopicPartition;
use naru_kafka::wire::TopicId;
use rand::TryRng as _;
use rand::rngs::SysRng;

use crate::checkpoints::{CheckpointError, Checkpoints, Encoded, File, OfTopic};
use crate::clock;
use crate::coordination::embedded::{Embedded, OpenError};
use crate::coordination::{Coordination, ReadFailed};
use crate::offsets::Marks;
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

/// Of what a checkpoint is, and when it was made: a number that rises.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// The relay's identity of the topic.
    pub topic: TopicId,
    /// Higher for what is made later.
    pub made: u64,
}

/// See the module.
#[derive(Debug)]
pub struct State {
    /// Where relays agree.
    pub coordination: Arc<Embedded>,
    checkpoints: Mutex<Checkpoints>,
    /// Held while the disk is waited for.
    file: Mutex<File>,
    /// What a relay before this one kept of partitions that are not served yet. Each is taken once: a topic that is
    /// made again under the name is another one.
    kept: Mutex<BTreeMap<TopicPartition, OfTopic<Checkpoint>>>,
    remembered: BTreeMap<String, GroupRecord>,
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
        let (file, mut checkpoints, kept) = File::open(&directory.join("checkpoints"))?;
        let mark = coordination.mark().await?;
        let in_doubt = !kept.coordinator.is_some_and(|earlier| mark.follows(earlier));
        checkpoints.coordinator(mark);
        Ok(Self {
            coordination: Arc::new(coordination),
            checkpoints: Mutex::new(checkpoints),
            file: Mutex::new(file),
            kept: Mutex::new(kept.partitions),
            remembered: kept.groups,
            in_doubt,
        })
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
        let remembered = self.remembered.get(group).copied();
        Ok(Boot { found, remembered, coordinator_in_doubt: self.in_doubt })
    }

    /// What was kept of a partition of this very topic, for its first start in the life of this relay.
    pub fn take_checkpoint(&self, at: &TopicPartition, topic: TopicId) -> Option<Checkpoint> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(at)?;
        kept.topic.is_none_or(|of| of == topic.to_string()).then_some(kept.checkpoint)
    }

    /// Notes a partition's checkpoint, the newer of two by when they were made. Takes the time that its size takes: not
    /// for an async task.
    pub(crate) fn note(&self, at: &TopicPartition, made: Made, checkpoint: &Checkpoint) {
        let Made { topic, made } = made;
        let encoded = Encoded::of(topic, checkpoint);
        self.checkpoints().partition(at, made, encoded);
    }

    /// Notes a checkpoint and makes it durable. Waits for the disk: not for an async task.
    pub(crate) fn keep(&self, at: &TopicPartition, made: Made, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        self.note(at, made, checkpoint);
        loop {
            // A round that took it before has ended when this is held, and has written it or put it back.
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.checkpoints().waits(at) {
                return Ok(());
            }
            file.round(&self.checkpoints)?;
        }
    }

    /// Makes durable what counts where a consumer group was set back. Waits for the disk: not for an async task.
    pub(crate) fn keep_marks(&self, group: &str, marks: &Marks) -> Result<(), CheckpointError> {
        self.checkpoints().marks(group, marks);
        loop {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.checkpoints().marks_wait(group) {
                return Ok(());
            }
            file.round(&self.checkpoints)?;
        }
    }

    /// Forgets a partition that is not served any more.
    pub(crate) fn forget(&self, at: &TopicPartition) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(at);
        self.checkpoints().forget(at);
    }

    /// Writes what was noted, if anything was. Waits for the disk: not for an async task.
    pub(crate) fn write(&self) -> Result<(), CheckpointError> {
        if !self.checkpoints().is_dirty() {
            return Ok(());
        }
        self.file.lock().unwrap_or_else(PoisonError::into_inner).round(&self.checkpoints)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;
    use crate::offsets::{Mark, Position};
    use crate::side::SideMap;

    #[tokio::test]
    async fn where_a_group_was_set_back_is_known_over_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let position = |offset| Position { offset, metadata: "words".into() };
        let mark = Mark { position: position(3), farthest: position(90) };
        let marks: Marks = [(TopicPartition::new("payments", 2), mark)].into();
        let state = State::open(directory.path()).await.unwrap();
        state.keep_marks("settlement", &marks).unwrap();
        state.keep_marks("other", &marks).unwrap();
        state.keep_marks("other", &Marks::new()).unwrap();
        drop(state);

        let state = State::open(directory.path()).await.unwrap();
        assert_eq!(state.checkpoints().marks_of("settlement"), marks);
        assert_eq!(state.checkpoints().marks_of("other"), Marks::new());
    }

    #[tokio::test]
    async fn a_topic_made_again_does_not_begin_where_its_namesake_was() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint {
            gate: 10,
            log_start: 0,
            agreed: SideMap { a: 10, b: 10 },
            last_batch: (9, 77),
            leader_epochs: SideMap { a: 3, b: 4 },
            windows: Vec::new(),
            stamp: (5, 6),
            restamped: SideMap::default(),
            lent: Vec::new(),
        };
        let topic = TopicId([1; 16]);
        let places = [0, 1, 2].map(|partition| TopicPartition::new("payments", partition));
        let state = State::open(directory.path()).await.unwrap();
        places.iter().for_each(|at| state.note(at, Made { topic, made: 1 }, &checkpoint));
        state.write().unwrap();
        drop(state);

        let state = State::open(directory.path()).await.unwrap();
        assert_eq!(state.take_checkpoint(&places[0], topic), Some(checkpoint));
        // Of one that was made again before its namesake was forgotten.
        assert_eq!(state.take_checkpoint(&places[2], TopicId([2; 16])), None);
        for at in &places {
            state.forget(at);
            assert_eq!(state.take_checkpoint(at, topic), None, "{at}");
        }
    }
}
