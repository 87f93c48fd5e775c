//! What must survive the relay's process and is not for the coordinator: each partition's gate and windows, and what
//! was read back from the coordinator last (RELAY-11, RELAY-13), and what counts where a consumer group was set back
//! (RELAY-4).
//!
//! One file of frames, the newest of each name counts. An older checkpoint than the last one is true as well, only
//! lower, so that nothing waits for a write, and a file that is lost costs time and automatic decisions, no records.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::{Buf, BufMut, Bytes};
use naru_kafka::client::TopicPartition;
use naru_kafka::wire::TopicId;
use naru_runtime::durable::frame::{self, Tail};
use naru_runtime::durable::{AppendError, AppendFile, DirectoryLock, Durability, replace_file};
use serde::{Deserialize, Serialize};

use crate::coordination::Mark;
use crate::offsets::{self, Marks, Position};
use crate::sequence::Checkpoint;
use crate::sides::GroupRecord;

const PARTITION: u8 = 1;
const GROUP: u8 = 2;
const COORDINATOR: u8 = 3;
const FORGOTTEN: u8 = 4;
const MARKS: u8 = 5;

/// Bytes of a checkpoint in one frame; more goes into several. Well below what a frame may hold.
const PART_BYTES_MAX: usize = 1 << 20;

/// Bytes that the file may have beyond four times of what counts in it; then it is written anew.
const SLACK_BYTES: u64 = 8 << 20;

/// About how much one round may write: with a round a second, little beside what the records themselves cost. What
/// finds no room is written in the next round, in turn.
const ROUND_BYTES_MAX: usize = 4 << 20;

/// The file tells which topics there are; it is for the relay alone.
const MODE: u32 = 0o600;

/// Why checkpoints cannot be kept. Our side: the disk. A retry helps when that is mended; what is on the disk stays true.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another process uses the directory.
    #[error("{directory}: another process uses it")]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// The system refused.
    #[error("{path}: cannot be used")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An append failed.
    #[error("checkpoints cannot be written")]
    Append(#[from] AppendError),
}

/// What was kept.
#[derive(Debug, Default, Clone)]
pub struct Kept {
    /// Per partition.
    pub partitions: BTreeMap<TopicPartition, OfTopic<Checkpoint>>,
    /// Per service group: the record that was read back last.
    pub groups: BTreeMap<String, GroupRecord>,
    /// The coordinator as it was seen last.
    pub coordinator: Option<Mark>,
}

/// A checkpoint with the topic that it is of: one made again under the name is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfTopic<C> {
    /// The relay's identity of the topic, as text; None in files that say nothing of it.
    #[serde(default)]
    pub topic: Option<String>,
    /// The checkpoint.
    #[serde(flatten)]
    pub checkpoint: C,
}

/// A mark as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct KeptMark {
    topic: String,
    partition: i32,
    position: (i64, String),
    farthest: (i64, String),
}

impl KeptMark {
    fn of((place, mark): (&TopicPartition, &offsets::Mark)) -> Self {
        let plain = |position: &Position| (position.offset, position.metadata.to_string());
        let (position, farthest) = (plain(&mark.position), plain(&mark.farthest));
        Self { topic: place.topic.to_string(), partition: place.partition, position, farthest }
    }

    fn into_mark(self) -> (TopicPartition, offsets::Mark) {
        let position = |(offset, metadata): (i64, String)| Position { offset, metadata: metadata.into() };
        let mark = offsets::Mark { position: position(self.position), farthest: position(self.farthest) };
        (TopicPartition::new(self.topic, self.partition), mark)
    }
}

/// What is to be kept. Nothing here waits for the disk: [`File::round`] does, and holds this only to take and to give
/// back.
#[derive(Debug)]
pub struct Checkpoints {
    /// The newest of each name, as it stands in the file or will.
    newest: BTreeMap<Name, Bytes>,
    dirty: BTreeSet<Name>,
    /// When the newest checkpoint of each partition was made: an older one that comes late counts for nothing.
    made: BTreeMap<TopicPartition, u64>,
    /// Where the last round ended.
    next: Option<Name>,
    live_bytes: u64,
}

/// The file of checkpoints. Its calls wait for the disk: not for an async task.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    /// None after a failed write: written anew in the next round.
    file: Option<AppendFile>,
    _lock: DirectoryLock,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Coordinator,
    Group(String),
    Marks(String),
    Partition(TopicPartition),
}

impl File {
    /// Opens the file in this directory, or makes both, and says what was kept. A damaged file is put aside: without
    /// checkpoints the start is in doubt, and says so itself.
    ///
    /// # Errors
    /// When another process has the directory or the system refuses.
    pub fn open(directory: &Path) -> Result<(Self, Checkpoints, Kept), CheckpointError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| CheckpointError::File { path, source }
        };
        let lock = DirectoryLock::take(directory).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => CheckpointError::InUse { directory: directory.to_owned() },
            _ => failed(directory)(error),
        })?;
        let path = directory.join("checkpoints");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(&path)(error)),
        };
        let newest = match decode(&bytes) {
            Some(newest) => newest,
            None => {
                let aside = directory.join("checkpoints.damaged");
                tracing::error!(path = %path.display(), aside = %aside.display(), "checkpoints are damaged, put aside");
                std::fs::rename(&path, &aside).map_err(failed(&path))?;
                BTreeMap::new()
            }
        };
        let kept = understand(&newest);
        let live_bytes = newest.values().map(|value| value.len() as u64).sum();
        let mut this = Self { path, file: None, _lock: lock };
        this.write_anew(&newest).map_err(failed(&this.path.clone()))?;
        Ok((this, Checkpoints { newest, dirty: BTreeSet::new(), made: BTreeMap::new(), next: None, live_bytes }, kept))
    }

    /// Writes some of what was noted, about [`ROUND_BYTES_MAX`] bytes, and makes it durable. Groups and the coordinator
    /// come first.
    ///
    /// # Errors
    /// When the disk refuses; what was noted is written by a later round.
    pub fn round(&mut self, noted: &Mutex<Checkpoints>) -> Result<(), CheckpointError> {
        // A note is one step; nothing panics inside.
        let lock = || noted.lock().unwrap_or_else(PoisonError::into_inner);
        let live_bytes = lock().live_bytes;
        if self.file.as_ref().is_none_or(|file| file.length() > 4 * live_bytes + SLACK_BYTES) {
            self.file = None;
            let newest = lock().take_all();
            let written = self.write_anew(&newest);
            return written.map_err(|source| {
                lock().dirty.extend(newest.into_keys());
                CheckpointError::File { path: self.path.clone(), source }
            });
        }
        let taken = lock().take_some();
        let mut out = Vec::new();
        taken.iter().for_each(|(name, value)| put(&mut out, name, value.as_deref()));
        let Some(file) = &mut self.file else { return Ok(()) };
        if !out.is_empty()
            && let Err(error) = file.append(&out).and_then(|()| file.flush())
        {
            self.file = None;
            lock().dirty.extend(taken.into_iter().map(|(name, _)| name));
            return Err(error.into());
        }
        Ok(())
    }

    fn write_anew(&mut self, newest: &BTreeMap<Name, Bytes>) -> io::Result<()> {
        let mut out = Vec::new();
        newest.iter().for_each(|(name, value)| put(&mut out, name, Some(value)));
        replace_file(&self.path, &out, MODE)?;
        self.file = Some(AppendFile::open_cut(&self.path, out.len() as u64, Durability::OnFlush)?);
        Ok(())
    }
}

/// A partition's checkpoint as it stands in the file: up to some megabytes of text, made by whoever has the time.
#[derive(Debug)]
pub struct Encoded(Bytes);

impl Encoded {
    /// Encodes it.
    pub fn of(topic: TopicId, checkpoint: &Checkpoint) -> Self {
        Self(json(&OfTopic { topic: Some(topic.to_string()), checkpoint }))
    }
}

impl Checkpoints {
    /// Notes a partition's checkpoint, unless one that was made later is there; [`File::round`] writes it.
    pub fn partition(&mut self, at: &TopicPartition, made: u64, checkpoint: Encoded) {
        if self.made.get(at).is_some_and(|newer| *newer > made) {
            return;
        }
        self.made.insert(at.clone(), made);
        self.note(Name::Partition(at.clone()), checkpoint.0);
    }

    /// Whether a checkpoint of this partition waits to be written: a newer one need not be made yet.
    pub fn waits(&self, at: &TopicPartition) -> bool {
        self.dirty.contains(&Name::Partition(at.clone()))
    }

    /// Notes what was read back for a service group.
    pub fn group(&mut self, name: &str, record: &GroupRecord) {
        self.note(Name::Group(name.to_owned()), json(record));
    }

    /// Notes what counts where a consumer group was set back.
    pub fn marks(&mut self, group: &str, marks: &Marks) {
        let name = Name::Marks(group.to_owned());
        // A group that never was set back leaves nothing here.
        if !marks.is_empty() || self.newest.contains_key(&name) {
            self.note(name, json(&marks.iter().map(KeptMark::of).collect::<Vec<_>>()));
        }
    }

    /// What was noted last of a consumer group. One that cannot be understood is not there.
    pub fn marks_of(&self, group: &str) -> Marks {
        let Some(value) = self.newest.get(&Name::Marks(group.to_owned())) else { return Marks::new() };
        match serde_json::from_slice::<Vec<KeptMark>>(value) {
            Ok(marks) => marks.into_iter().map(KeptMark::into_mark).collect(),
            Err(error) => {
                tracing::warn!(%error, "what counts where a consumer group was set back cannot be understood");
                Marks::new()
            }
        }
    }

    /// Whether the marks of this consumer group wait to be written.
    pub fn marks_wait(&self, group: &str) -> bool {
        self.dirty.contains(&Name::Marks(group.to_owned()))
    }

    /// Notes the coordinator's mark.
    pub fn coordinator(&mut self, mark: Mark) {
        self.note(Name::Coordinator, json(&mark));
    }

    /// Forgets a partition that is not served any more.
    pub fn forget(&mut self, at: &TopicPartition) {
        self.made.remove(at);
        let name = Name::Partition(at.clone());
        if let Some(old) = self.newest.remove(&name) {
            self.live_bytes -= old.len() as u64;
            self.dirty.insert(name);
        }
    }

    /// Whether something waits to be written.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Takes what the next round writes.
    fn take_some(&mut self) -> Vec<(Name, Option<Bytes>)> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        let first = self.dirty.iter().filter(|name| !matches!(name, Name::Partition(_)));
        let from = self.next.clone().unwrap_or(Name::Coordinator);
        let in_turn = self.dirty.range(from.clone()..).chain(self.dirty.range(..from));
        let partitions = in_turn.filter(|name| matches!(name, Name::Partition(_)));
        for name in first.chain(partitions) {
            if bytes > ROUND_BYTES_MAX {
                self.next = Some(name.clone());
                break;
            }
            let value = self.newest.get(name).cloned();
            bytes += value.as_ref().map_or(0, Bytes::len);
            taken.push((name.clone(), value));
        }
        for (name, _) in &taken {
            self.dirty.remove(name);
        }
        taken
    }

    /// Takes everything, for a file that is written anew.
    fn take_all(&mut self) -> BTreeMap<Name, Bytes> {
        self.dirty.clear();
        self.newest.clone()
    }

    fn note(&mut self, name: Name, value: Bytes) {
        let length = value.len() as u64;
        let old = self.newest.get(&name);
        if old == Some(&value) {
            return;
        }
        self.live_bytes = self.live_bytes + length - old.map_or(0, |old| old.len() as u64);
        self.newest.insert(name.clone(), value);
        self.dirty.insert(name);
    }
}

fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).expect("checkpoints are numbers, texts and lists of them").into()
}

fn put(out: &mut Vec<u8>, name: &Name, value: Option<&[u8]>) {
    let (kind, text, number) = match name {
        Name::Coordinator => (COORDINATOR, "", 0),
        Name::Group(group) => (GROUP, group.as_str(), 0),
        Name::Marks(group) => (MARKS, group.as_str(), 0),
        Name::Partition(at) => (PARTITION, &*at.topic, at.partition),
    };
    let kind = if value.is_some() { kind } else { FORGOTTEN };
    let parts: Vec<_> = value.unwrap_or_default().chunks(PART_BYTES_MAX).collect();
    let count = parts.len().max(1);
    for index in 0..count {
        let mut head = Vec::with_capacity(14 + text.len());
        head.put_u32_le(u32::try_from(index).unwrap_or(u32::MAX));
        head.put_u32_le(u32::try_from(count).unwrap_or(u32::MAX));
        head.put_i32_le(number);
        head.put_u16_le(u16::try_from(text.len()).unwrap_or(u16::MAX));
        let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
        frame::put(out, kind, &[&head, text, parts.get(index).copied().unwrap_or_default()]);
    }
}

/// The newest whole value of each name. None if the file is damaged.
fn decode(bytes: &[u8]) -> Option<BTreeMap<Name, Bytes>> {
    let (frames, _, tail) = frame::scan(bytes);
    if let Tail::Damaged { .. } = tail {
        return None;
    }
    let mut newest = BTreeMap::new();
    let mut parts: (Option<Name>, u32, Vec<u8>) = (None, 0, Vec::new());
    for frame in frames {
        let mut body = frame.body;
        let (index, count) = (body.try_get_u32_le().ok()?, body.try_get_u32_le().ok()?);
        let (number, length) = (body.try_get_i32_le().ok()?, usize::from(body.try_get_u16_le().ok()?));
        let (text, value) = body.split_at_checked(length)?;
        let text = std::str::from_utf8(text).ok()?;
        let name = match frame.kind {
            COORDINATOR => Name::Coordinator,
            GROUP => Name::Group(text.to_owned()),
            MARKS => Name::Marks(text.to_owned()),
            PARTITION | FORGOTTEN => Name::Partition(TopicPartition::new(text, number)),
            _ => return None,
        };
        if frame.kind == FORGOTTEN {
            newest.remove(&name);
            continue;
        }
        if index == 0 {
            parts = (Some(name), 0, Vec::new());
        } else if parts.0.as_ref() != Some(&name) || parts.1 != index {
            return None;
        }
        parts.1 += 1;
        parts.2.extend_from_slice(value);
        if parts.1 == count
            && let (Some(name), _, value) = std::mem::take(&mut parts)
        {
            newest.insert(name, Bytes::from(value));
        }
    }
    Some(newest)
}

/// What cannot be understood, such as after a change of the format, is not there.
fn understand(newest: &BTreeMap<Name, Bytes>) -> Kept {
    let mut kept = Kept::default();
    for (name, value) in newest {
        let understood = match name {
            Name::Coordinator => serde_json::from_slice(value).map(|mark| kept.coordinator = Some(mark)),
            Name::Group(group) => serde_json::from_slice(value).map(|record| {
                kept.groups.insert(group.clone(), record);
            }),
            // Understood when the group is first asked for.
            Name::Marks(_) => Ok(()),
            Name::Partition(at) => serde_json::from_slice(value).map(|checkpoint| {
                kept.partitions.insert(at.clone(), checkpoint);
            }),
        };
        if let Err(error) = understood {
            tracing::warn!(?name, %error, "a checkpoint cannot be understood: the start is in doubt for it");
        }
    }
    kept
}

#[cfg(test)]
mod tests;
