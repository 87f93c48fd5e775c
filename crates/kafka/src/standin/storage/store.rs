//! One partition on disk: appending, and what there is to ask.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::watch;

use super::disk::{Disk, OpenSegment};
use super::index::Index;
use super::recovery::{self, Recovery};
use super::{AppendError, Durable, Flush, Progress, ReadError, StoreConfig, StoreError, atomic, checkpoint, segment};
use crate::standin::log::{self, Admission, DuplicateOf, EpochEnd, Log, LogConfig, ProducerTable, SegmentSummary};
use crate::wire::batch::Batch;

/// A partition on disk. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub struct PartitionStore {
    pub(super) shared: Arc<Shared>,
}

/// A batch's place, as the producer is told.
#[derive(Debug)]
pub struct Appended {
    /// The offset of its first record; of the batch it repeats, if it is a duplicate.
    pub base_offset: i64,
    /// The time of appending, if the topic's timestamps are the broker's; else -1.
    pub log_append_time: i64,
    /// It had been appended before, and nothing was written.
    pub duplicate: bool,
    /// The log start.
    pub log_start: i64,
    /// To be awaited before an answer to acks=all.
    pub durable: Durable,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub id: u64,
    pub dir: PathBuf,
    pub disk: Arc<Disk>,
    pub flush: Flush,
    pub inner: Mutex<Inner>,
    pub progress: watch::Sender<Progress>,
    queued: AtomicBool,
    // Held by whoever flushes or rewrites files, so that two do not at once. Taken before `inner`.
    pub flushing: Mutex<()>,
    pub mark: File,
    me: Weak<Shared>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub log: Log,
    /// Closed segments, oldest first.
    pub sealed: Vec<Sealed>,
    pub active: Active,
    /// Closed since the last flush: to be synced, and their indexes written.
    pub rolled: Vec<Arc<OpenSegment>>,
    /// What the fault "hold unflushed" keeps from the active segment's file.
    pub held: VecDeque<Held>,
    /// Everything below is on disk.
    pub durable_end: i64,
    /// The position of `durable_end`, if it is in the active segment.
    pub durable_position: Option<u64>,
    /// A failed write could not be taken back yet: the file is to be cut here before the next one.
    pub cut_to: Option<u64>,
    pub since_checkpoint: u64,
    /// Bytes appended since somebody last read, or since the store was opened.
    pub unread_bytes: u64,
    pub offline: Option<&'static str>,
}

/// A closed segment.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    pub id: u64,
    pub base_offset: i64,
    /// The offset after its last record, or after the last that compaction or damage left.
    pub end_offset: i64,
    pub path: PathBuf,
    pub size_bytes: u64,
    pub max_timestamp: i64,
    pub compacted: bool,
}

/// The newest segment.
#[derive(Debug)]
pub(super) struct Active {
    pub id: u64,
    pub base_offset: i64,
    pub path: PathBuf,
    pub file: Arc<File>,
    /// Covers all of it, with what is held.
    pub index: Index,
}

#[derive(Debug)]
pub(super) struct Held {
    pub base_offset: i64,
    pub last_offset: i64,
    pub position: u64,
    pub bytes: Bytes,
}

impl PartitionStore {
    /// Opens a partition's directory, or makes it, and mends what a crash left. Blocks.
    ///
    /// After a crash the leader epoch is two higher than before, after a store that was closed in order one. The caller
    /// tells [`Self::expire_producers`] the time next.
    ///
    /// # Errors
    /// The disk refuses, or a file is of a later format. Damaged records are no error: see [`Recovery::damaged`].
    pub fn open(dir: impl Into<PathBuf>, config: StoreConfig) -> Result<(Self, Recovery), StoreError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(StoreError::io("create directory", &dir))?;
        let (inner, recovery) = recovery::recover(&dir, &config)?;
        let mark_path = dir.join(checkpoint::mark::FILE_NAME);
        let mark = File::options().write(true).create(true).truncate(false).open(&mark_path);
        let mark = mark.map_err(StoreError::io("open", &mark_path))?;
        checkpoint::mark::write(&mark, &mark_path, inner.durable_end)?;
        let progress = Progress {
            log_start: inner.log.log_start(),
            high_watermark: inner.log.high_watermark(),
            durable_end: inner.durable_end,
            ..Progress::default()
        };
        let shared = Arc::new_cyclic(|me| Shared {
            id: config.disk.new_id(),
            dir,
            disk: config.disk,
            flush: config.flush,
            inner: Mutex::new(inner),
            progress: watch::Sender::new(progress),
            queued: AtomicBool::new(false),
            flushing: Mutex::new(()),
            mark,
            me: Weak::clone(me),
        });
        Ok((Self { shared }, recovery))
    }

    /// Appends one batch as a producer sent it, at `now_ms`. Writes to a file, so it may block for as long as a write
    /// does; it never waits for fsync.
    ///
    /// # Errors
    /// The batch is refused, or the disk is: then nothing of it is in the log, and once the disk takes writes again the
    /// same batch may be sent again.
    pub fn append(&self, batch: &Batch, leader_epoch: i32, now_ms: i64) -> Result<Appended, AppendError> {
        let shared = &self.shared;
        if leader_epoch > shared.inner().log.leader_epoch() {
            self.raise_leader_epoch(leader_epoch)?;
        }
        let config = {
            let inner = shared.inner();
            inner.usable()?;
            inner.log.config().clone()
        };
        // Not under the lock: others append and read while a large batch is decompressed.
        let valid = log::validate(batch, &config, now_ms)?;
        let mut inner = shared.inner();
        inner.usable()?;
        let entry = match inner.log.admit(&valid, leader_epoch, now_ms)? {
            Admission::Append(entry) => entry,
            Admission::Duplicate(of) => return Ok(shared.duplicate(&inner, of)),
        };
        if let Err(error) = shared.write(&mut inner, batch, &entry) {
            inner.log.append_failed(&entry);
            return Err(error.into());
        }
        inner.log.appended(&entry);
        inner.since_checkpoint += batch.bytes().len() as u64;
        shared.disk.count_appended(batch.bytes().len() as u64);
        let durable = match shared.flush {
            Flush::Fsync => Durable::when(shared.progress.subscribe(), entry.next_offset()),
            Flush::Write => {
                inner.log.raise_high_watermark(entry.next_offset());
                shared.publish(&inner);
                Durable::at_once()
            }
        };
        let wants_flush = shared.flush == Flush::Fsync
            || !inner.rolled.is_empty()
            || (inner.since_checkpoint >= shared.flush.checkpoint_bytes() && inner.held.is_empty());
        let log_start = inner.log.log_start();
        drop(inner);
        if wants_flush {
            shared.enqueue();
        }
        Ok(Appended {
            base_offset: entry.stamp.base_offset,
            log_append_time: entry.stamp.log_append_time.unwrap_or(-1),
            duplicate: false,
            log_start,
            durable,
        })
    }

    /// Begins a new leader epoch and makes it durable, so that recovery can hold the batches of it against it. Blocks.
    pub fn raise_leader_epoch(&self, leader_epoch: i32) -> Result<(), StoreError> {
        let mut before = leader_epoch;
        let raised = self.shared.flush_then(|inner| {
            before = inner.log.leader_epoch();
            inner.log.raise_leader_epoch(leader_epoch);
            Ok(false)
        });
        if raised.is_err() {
            self.shared.inner().log.withdraw_leader_epoch(before);
        }
        raised
    }

    /// Makes everything appended so far durable, and lets a start begin here. Blocks.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.shared.flush_then(|_| Ok(false))
    }

    /// Flushes, and marks the partition as closed in order. Blocks. Appends and reads are refused from then on.
    pub fn close(&self) -> Result<(), StoreError> {
        self.shared.flush_then(|inner| {
            inner.offline = Some("it is closed");
            Ok(true)
        })?;
        self.shared.progress.send_modify(|progress| progress.closed = true);
        Ok(())
    }

    /// Removes the partition with all its files. Blocks.
    pub fn delete(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        let _flushing = shared.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inner = shared.inner();
        inner.offline = Some("it is deleted");
        inner.held.clear();
        shared.disk.cache.cut(shared.id, 0);
        for sealed in inner.sealed.drain(..) {
            shared.disk.segments.remove(sealed.id);
        }
        shared.progress.send_modify(|progress| progress.closed = true);
        match fs::remove_dir_all(&shared.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove directory", &shared.dir)(error))
            }
            _ => Ok(()),
        }
    }

    /// Moves the log start to `before`, or to the high watermark for -1, and makes that durable. Returns the log start.
    /// Blocks.
    ///
    /// # Errors
    /// `before` is out of range, or the disk refuses.
    pub fn delete_records_before(&self, before: i64) -> Result<i64, ReadError> {
        let moved = {
            let mut inner = self.shared.inner();
            inner.usable()?;
            let (log_start, log_end) = (inner.log.log_start(), inner.log.high_watermark());
            let moved = inner.log.delete_records_before(before);
            moved.map_err(|_| ReadError::OutOfRange { offset: before, log_start, log_end })?
        };
        self.flush()?;
        Ok(moved)
    }

    /// Removes the segments that retention has no use for at `now_ms`; how many they were. Blocks.
    pub fn apply_retention(&self, now_ms: i64) -> Result<usize, StoreError> {
        let count = {
            let inner = self.shared.inner();
            inner.usable()?;
            inner.log.expired(&inner.dated_summaries(), now_ms).count
        };
        if count == 0 {
            return Ok(0);
        }
        let mut gone = Vec::new();
        self.shared.flush_then(|inner| {
            // Counted again: more may have come while nothing was locked.
            let count = inner.log.expired(&inner.dated_summaries(), now_ms).count;
            if count > inner.sealed.len() {
                self.shared.roll(inner)?;
            }
            gone = inner.sealed.drain(..count.min(inner.sealed.len())).collect();
            let first = inner.sealed.first().map_or(inner.active.base_offset, |sealed| sealed.base_offset);
            inner.log.raise_log_start(first);
            Ok(false)
        })?;
        // Only now: the log start that passes them is durable.
        for sealed in &gone {
            self.shared.disk.segments.remove(sealed.id);
            atomic::remove_if_there(&segment::index_path(&sealed.path))?;
            atomic::remove_if_there(&sealed.path)?;
        }
        Ok(gone.len())
    }

    /// Forgets producers whose last batch is dated too far back; how many they were. For the caller's timer, every
    /// [`PRODUCER_EXPIRY_CHECK_MS`](crate::standin::log::PRODUCER_EXPIRY_CHECK_MS), and once after opening.
    pub fn expire_producers(&self, now_ms: i64) -> usize {
        self.shared.inner().log.expire_producers(now_ms)
    }

    /// Where a leader epoch ended.
    pub fn offset_for_leader_epoch(&self, leader_epoch: i32) -> EpochEnd {
        self.shared.inner().log.end_of_epoch(leader_epoch)
    }

    /// The producers known, copied.
    pub fn producers(&self) -> ProducerTable {
        self.shared.inner().log.producers().clone()
    }

    /// Puts another configuration in force, from the next batch on.
    pub fn set_config(&self, config: LogConfig) {
        self.shared.inner().log.set_config(config);
    }

    /// The leader epoch of the next record.
    pub fn leader_epoch(&self) -> i32 {
        self.shared.inner().log.leader_epoch()
    }

    /// The leader epoch of the record at an offset.
    pub fn leader_epoch_at(&self, offset: i64) -> Option<i32> {
        self.shared.inner().log.epochs().epoch_at(offset)
    }

    /// The first offset that can be read.
    pub fn log_start(&self) -> i64 {
        self.shared.progress.borrow().log_start
    }

    /// The offset up to which consumers may read: under [`Flush::Fsync`] what is on disk, else the log end.
    pub fn high_watermark(&self) -> i64 {
        self.shared.progress.borrow().high_watermark
    }

    /// The offset that the next record gets.
    pub fn log_end(&self) -> i64 {
        self.shared.inner().log.log_end()
    }

    /// Bytes that the partition's segments hold.
    pub fn size_bytes(&self) -> u64 {
        self.shared.inner().summaries().iter().map(|segment| segment.size_bytes).sum()
    }

    /// Follows the partition: a fetch waits here for the high watermark to rise.
    pub fn subscribe(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// Holds up every flush until the guard is dropped.
    #[cfg(test)]
    pub(crate) fn hold_flushes(&self) -> MutexGuard<'_, ()> {
        self.shared.flushing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }
}

impl Shared {
    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a flusher thread come by; once is enough for every append before it comes.
    pub fn enqueue(&self) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.disk.enqueue(Weak::clone(&self.me));
        }
    }

    pub fn dequeued(&self) {
        self.queued.store(false, Ordering::Release);
    }

    pub fn publish(&self, inner: &Inner) {
        self.progress.send_modify(|progress| {
            progress.log_start = inner.log.log_start();
            progress.high_watermark = inner.log.high_watermark();
            progress.durable_end = inner.durable_end;
        });
    }

    fn duplicate(&self, inner: &Inner, DuplicateOf(batch): DuplicateOf) -> Appended {
        use crate::standin::log::TimestampType::LogAppendTime;
        let stamped = inner.log.config().timestamp_type == LogAppendTime;
        let durable = match self.flush {
            Flush::Fsync => Durable::when(self.progress.subscribe(), batch.last_offset + 1),
            Flush::Write => Durable::at_once(),
        };
        Appended {
            base_offset: batch.base_offset,
            log_append_time: if stamped { batch.max_timestamp } else { -1 },
            duplicate: true,
            log_start: inner.log.log_start(),
            durable,
        }
    }
}

impl Inner {
    pub fn usable(&self) -> Result<(), StoreError> {
        self.offline.map_or(Ok(()), |reason| Err(StoreError::Offline(reason)))
    }

    /// The segments as retention sees them, oldest first, the active one last.
    pub fn summaries(&self) -> Vec<SegmentSummary> {
        let sealed = self.sealed.iter().map(|sealed| SegmentSummary {
            base_offset: sealed.base_offset,
            end_offset: sealed.end_offset,
            size_bytes: sealed.size_bytes,
            max_timestamp: sealed.max_timestamp,
            written_ms: None,
        });
        let active = SegmentSummary {
            base_offset: self.active.base_offset,
            end_offset: self.log.log_end(),
            size_bytes: self.active.index.end_position,
            max_timestamp: self.active.index.max_timestamp,
            written_ms: None,
        };
        sealed.chain([active]).collect()
    }

    /// As [`Self::summaries`], and when those were written whose records have no time.
    fn dated_summaries(&self) -> Vec<SegmentSummary> {
        let paths = self.sealed.iter().map(|sealed| &sealed.path).chain([&self.active.path]);
        let mut summaries = self.summaries();
        for (summary, path) in summaries.iter_mut().zip(paths) {
            if summary.max_timestamp < 0 {
                // A file that cannot be looked at is kept.
                summary.written_ms = segment::written_ms(path);
            }
        }
        summaries
    }
}
