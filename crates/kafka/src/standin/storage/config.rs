//! How a partition is kept on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Disk;
use crate::standin::log::LogConfig;

/// When an append counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flush {
    /// When the disk has it: one fsync serves all appends that wait for it. Consumers see a record only then. What was
    /// acknowledged survives SIGKILL and the loss of power.
    #[default]
    Fsync,
    /// When the operating system has it, as in Kafka. What was acknowledged survives SIGKILL but not the loss of power.
    Write,
}

impl Flush {
    /// Bytes appended to a partition after which the flusher writes a checkpoint: a start after SIGKILL scans at most about
    /// so much of it. Only what is on the disk can be passed over by a start. Under `Fsync` it is there; under `Write` the
    /// checkpoint has to wait for it, so there are fewer, and the system has written back most of it by itself. Kafka
    /// waits for a whole segment.
    pub(super) const fn checkpoint_bytes(self) -> u64 {
        match self {
            Self::Fsync => 32 << 20,
            Self::Write => 256 << 20,
        }
    }
}

/// What [`PartitionStore::open`](super::PartitionStore::open) needs.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// What this broker's partitions share.
    pub disk: Arc<Disk>,
    /// When an append counts as done.
    pub flush: Flush,
    /// The topic's configuration.
    pub log: LogConfig,
}

/// Faults on request, for tests and rehearsals; all off at first.
#[derive(Debug, Default)]
pub struct StoreFaults {
    hold_unflushed: AtomicBool,
    disk_full: AtomicBool,
}

impl StoreFaults {
    /// While on, appended batches stay in memory until they are flushed, so that SIGKILL loses the unflushed tail, as
    /// the loss of power would.
    pub fn set_hold_unflushed(&self, on: bool) {
        self.hold_unflushed.store(on, Ordering::Relaxed);
    }

    /// While on, every write of a batch stops half-way with "no space left on device".
    pub fn set_disk_full(&self, on: bool) {
        self.disk_full.store(on, Ordering::Relaxed);
    }

    /// See [`Self::set_hold_unflushed`].
    pub fn hold_unflushed(&self) -> bool {
        self.hold_unflushed.load(Ordering::Relaxed)
    }

    /// See [`Self::set_disk_full`].
    pub fn disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }
}
