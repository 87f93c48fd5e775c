//! The coordinator's log: what groups and offsets must outlive a restart, durable before it is answered.
//!
//! One task writes, so the order in the log is the order in which changes were decided, and changes that wait together
//! share one batch and one flush. When the log has grown, all that stands is written again and the past is dropped.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::blocking::blocking;
use super::clock::Clock;
use super::coordinator::State;
use super::partition::lock;
use crate::standin::groups::group::Answer;
use crate::standin::groups::record::{Change, RecordError};
use crate::standin::groups::{ASSIGNMENTS_BYTES_MAX, MEMBERS_BYTES_MAX, MEMBERS_MAX};
use crate::standin::log::LogConfig;
use crate::standin::storage::{AppendError, PartitionStore, ReadError, StoreError};
use crate::wire::{Batch, BatchBuilder, Compression, ErrorCode, WireError};

/// Commands that may wait. A client waits for its own, so this is a bound on clients that commit at once.
pub(super) const COMMANDS_MAX: usize = 1_024;
/// Commands that share one batch.
const COMMANDS_PER_BATCH: usize = 256;
/// A batch is closed when it has grown to this. One change may be larger: a group is one record.
const BATCH_BYTES: usize = 512 << 10;
/// What may be written before everything that stands is written again: a start reads at most this and what stands.
const SNAPSHOT_AFTER_BYTES: u64 = 8 << 20;
/// A closed segment is what can be dropped.
const SEGMENT_BYTES: u64 = 32 << 20;
/// The largest batch: one that is not full yet and the largest change, a group's, with a share for the fields of fixed
/// length. The log takes none that is larger than a segment.
const LARGEST_BATCH_BYTES: usize =
    BATCH_BYTES + MEMBERS_BYTES_MAX + ASSIGNMENTS_BYTES_MAX + MEMBERS_MAX * 64 + (256 << 10);
const _: () = assert!(LARGEST_BATCH_BYTES as u64 <= SEGMENT_BYTES);
/// Read from the log at once, at a start.
const READ_BYTES: usize = 1 << 20;

/// Changes to write down, and who is told afterwards.
#[derive(Debug, Default)]
pub(super) struct Command {
    pub(super) changes: Vec<Change>,
    /// Parked members that are answered when the changes are durable, or when they cannot be: a group goes on without
    /// its log, it only forgets more at a restart.
    pub(super) deliver: Vec<(oneshot::Sender<Answer>, Answer)>,
    /// Told how it went.
    pub(super) done: Option<oneshot::Sender<Result<(), ErrorCode>>>,
}

/// Why the log cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error("a change cannot be encoded")]
    Wire(#[from] WireError),
    #[error("a change cannot be appended")]
    Append(#[from] AppendError),
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    #[error("the log's storage failed")]
    Store(#[from] StoreError),
    #[error("a record is not one of this broker's")]
    Record(#[from] RecordError),
}

/// How the log is kept: nothing ages out of it, only a snapshot ends its past.
pub(super) fn log_config() -> LogConfig {
    LogConfig {
        batch_bytes_max: LARGEST_BATCH_BYTES,
        timestamp_after_max_ms: i64::MAX,
        segment_bytes: SEGMENT_BYTES,
        segment_ms: i64::MAX,
        retention_ms: -1,
        retention_bytes: -1,
        ..LogConfig::default()
    }
}

/// Every change in the log, oldest first. Blocks.
pub(super) fn load(store: &PartitionStore, mut apply: impl FnMut(Change)) -> Result<(), JournalError> {
    let mut offset = store.log_start();
    while offset < store.high_watermark() {
        let out = store.read(offset, READ_BYTES, true)?;
        for mut chunk in out.chunks {
            while !chunk.is_empty() {
                let batch = Batch::split_first(&mut chunk)?;
                for record in batch.records(log_config().decompressed_bytes_max) {
                    let record = record?;
                    if let Some(key) = record.key.filter(|_| record.offset >= offset) {
                        apply(Change::decode(key, record.value)?);
                    }
                }
                offset = offset.max(batch.header().next_offset());
            }
        }
    }
    Ok(())
}

/// The one writer.
pub(super) struct Journal {
    pub(super) store: PartitionStore,
    pub(super) state: Arc<Mutex<State>>,
    pub(super) clock: Arc<Clock>,
    pub(super) since_snapshot_bytes: u64,
}

impl Journal {
    /// Writes until it is told to finish, and then what waits already.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>, finish: CancellationToken) {
        let mut waiting = Vec::new();
        loop {
            let received = tokio::select! {
                received = commands.recv_many(&mut waiting, COMMANDS_PER_BATCH) => received,
                () = finish.cancelled(), if !commands.is_closed() => {
                    commands.close();
                    continue;
                }
            };
            if received == 0 {
                return;
            }
            let written = self.write(waiting.iter().flat_map(|c| &c.changes)).await;
            let code = match &written {
                Ok(()) => Ok(()),
                Err(error) => {
                    tracing::warn!(error = %chain(error), "groups and offsets could not be written down");
                    // What Kafka answers when the offsets topic's disk fails: retriable, by asking for the coordinator.
                    Err(ErrorCode::NOT_COORDINATOR)
                }
            };
            {
                let mut state = lock(&self.state);
                for change in waiting.iter().flat_map(|c| &c.changes) {
                    if code.is_ok() {
                        state.apply(change);
                    }
                    state.settled(change);
                }
            }
            for command in waiting.drain(..) {
                for (to, answer) in command.deliver {
                    // The client is gone: nobody to tell.
                    drop(to.send(answer));
                }
                if let Some(done) = command.done {
                    done.send(code).ok();
                }
            }
            if self.since_snapshot_bytes > SNAPSHOT_AFTER_BYTES
                && let Err(error) = self.snapshot().await
            {
                tracing::warn!(error = %chain(&error), "the coordinator's log could not be cut; it grows on");
                self.since_snapshot_bytes = 0;
            }
        }
    }

    async fn write<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> Result<(), JournalError> {
        let now_ms = self.clock.now_ms();
        let mut builder = BatchBuilder::new(Compression::None);
        let mut durables = Vec::new();
        for change in changes {
            let (key, value) = change.encode();
            builder.push(now_ms, Some(&key), value.as_deref(), &[])?;
            if builder.size_bytes() >= BATCH_BYTES {
                let full = std::mem::replace(&mut builder, BatchBuilder::new(Compression::None));
                durables.push(self.append(full, now_ms)?);
            }
        }
        if !builder.is_empty() {
            durables.push(self.append(builder, now_ms)?);
        }
        // Each one: a batch that was cut off after a failed fsync says nothing about those before and after it.
        for durable in durables {
            durable.wait().await?;
        }
        Ok(())
    }

    fn append(&mut self, builder: BatchBuilder, now_ms: i64) -> Result<crate::standin::storage::Durable, JournalError> {
        let mut bytes: Bytes = builder.build()?;
        self.since_snapshot_bytes += bytes.len() as u64;
        let batch = Batch::split_first(&mut bytes)?;
        Ok(self.store.append(&batch, self.store.leader_epoch(), now_ms)?.durable)
    }

    /// Writes everything that stands, then drops what came before it.
    async fn snapshot(&mut self) -> Result<(), JournalError> {
        let start = self.store.log_end();
        let standing = lock(&self.state).standing();
        self.write(standing.iter()).await?;
        self.since_snapshot_bytes = 0;
        let (store, now_ms) = (self.store.clone(), self.clock.now_ms());
        blocking(move || -> Result<(), JournalError> {
            store.delete_records_before(start)?;
            store.apply_retention(now_ms)?;
            Ok(())
        })
        .await??;
        tracing::debug!(changes = standing.len(), "the coordinator's log was cut");
        Ok(())
    }
}

/// An error with its causes, for a log line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
