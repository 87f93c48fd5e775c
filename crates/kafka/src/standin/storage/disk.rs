//! What the partitions of one broker share: flusher threads, the cache, open files, faults.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

use super::cache::BatchCache;
use super::index::Index;
use super::store::Shared;
use super::{StoreError, StoreFaults};

/// Bounds of what the partitions of a broker share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskConfig {
    /// Threads that call fsync. Four: fsyncs of different files overlap, and a journal serialises more than that.
    pub flush_threads: usize,
    /// Memory for the newest batches, bytes. 8 MiB: consumers that keep up are within milliseconds of the end.
    pub cache_bytes_max: usize,
    /// Closed segments kept open for reading. The newest segment of each partition is open besides.
    pub open_segments_max: usize,
    /// Memory for the indexes of those segments, bytes.
    pub index_bytes_max: usize,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self { flush_threads: 4, cache_bytes_max: 8 << 20, open_segments_max: 128, index_bytes_max: 8 << 20 }
    }
}

/// What the partitions of one broker share. Dropping it waits for its threads.
#[derive(Debug)]
pub struct Disk {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
    faults: StoreFaults,
    next_id: AtomicU64,
    appended_bytes: AtomicU64,
    fsyncs: AtomicU64,
    panicked: CancellationToken,
    pub(super) cache: BatchCache,
    pub(super) segments: SegmentPool,
}

impl Disk {
    /// Starts the flusher threads.
    #[expect(clippy::disallowed_methods, reason = "fsync blocks; dropping the disk joins them")]
    pub fn start(config: &DiskConfig) -> Arc<Self> {
        let queue = Arc::new(Queue::default());
        let panicked = CancellationToken::new();
        let threads = (0..config.flush_threads.max(1))
            .map(|_| {
                let (queue, guard) = (Arc::clone(&queue), Panicking(panicked.clone()));
                std::thread::spawn(move || {
                    let _guard = guard;
                    queue.serve();
                })
            })
            .collect();
        Arc::new(Self {
            queue,
            threads,
            faults: StoreFaults::default(),
            next_id: AtomicU64::new(0),
            appended_bytes: AtomicU64::new(0),
            fsyncs: AtomicU64::new(0),
            panicked,
            cache: BatchCache::new(config.cache_bytes_max),
            segments: SegmentPool::new(config.open_segments_max, config.index_bytes_max),
        })
    }

    /// The switches for faults.
    pub fn faults(&self) -> &StoreFaults {
        &self.faults
    }

    /// Bytes of batches that were appended.
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed)
    }

    /// Times that a segment was synced.
    pub fn fsyncs(&self) -> u64 {
        self.fsyncs.load(Ordering::Relaxed)
    }

    /// Resolves when a flusher thread has panicked: appends that wait for it are never answered.
    pub async fn flusher_panicked(&self) {
        self.panicked.cancelled().await;
    }

    pub(super) fn count_appended(&self, bytes: u64) {
        self.appended_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Makes a segment's bytes durable.
    pub(super) fn sync(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        file.sync_data().map_err(StoreError::io("sync", path))
    }

    pub(super) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Has a flusher thread flush the store soon. A store is queued once at most: see `Shared::enqueue`.
    pub(super) fn enqueue(&self, store: Weak<Shared>) {
        self.queue.state().stores.push_back(store);
        self.queue.ready.notify_one();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.queue.state().stop = true;
        self.queue.ready.notify_all();
        for thread in self.threads.drain(..) {
            // The last store may be dropped by a flusher thread itself, which ends without being waited for.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a flusher thread panicked");
            }
        }
    }
}

/// Says that its thread ended by a panic.
struct Panicking(CancellationToken);

impl Drop for Panicking {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a flusher thread panicked; this is a fault of the broker");
            self.0.cancel();
        }
    }
}

// Bounded by the number of open stores, each of which is queued once at most.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<QueueState>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    stores: VecDeque<Weak<Shared>>,
    stop: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        loop {
            let mut state = self.state();
            let store = loop {
                if let Some(store) = state.stores.pop_front() {
                    break store;
                }
                if state.stop {
                    return;
                }
                state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            if let Some(store) = store.upgrade() {
                store.flush_queued();
            }
        }
    }
}

/// A closed segment, open for reading.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub file: Arc<File>,
    pub path: PathBuf,
    pub index: Arc<Index>,
}

/// Closed segments that were read last.
#[derive(Debug)]
pub(super) struct SegmentPool {
    count_max: usize,
    index_bytes_max: usize,
    state: Mutex<PoolState>,
}

#[derive(Debug, Default)]
struct PoolState {
    open: HashMap<u64, (Arc<OpenSegment>, u64)>,
    index_bytes: usize,
    uses: u64,
}

impl SegmentPool {
    fn new(count_max: usize, index_bytes_max: usize) -> Self {
        Self { count_max, index_bytes_max, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, segment: u64) -> Option<Arc<OpenSegment>> {
        let mut state = self.state();
        state.uses += 1;
        let now = state.uses;
        let (open, used) = state.open.get_mut(&segment)?;
        *used = now;
        Some(Arc::clone(open))
    }

    pub fn insert(&self, segment: u64, opened: Arc<OpenSegment>) {
        let mut state = self.state();
        state.remove(segment);
        let bytes = opened.index.bytes();
        while !state.open.is_empty()
            && (state.open.len() >= self.count_max || state.index_bytes + bytes > self.index_bytes_max)
        {
            let oldest = state.open.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id);
            let Some(oldest) = oldest else { break };
            state.remove(oldest);
        }
        state.uses += 1;
        let now = state.uses;
        state.index_bytes += bytes;
        state.open.insert(segment, (opened, now));
    }

    pub fn remove(&self, segment: u64) {
        self.state().remove(segment);
    }
}

impl PoolState {
    fn remove(&mut self, segment: u64) {
        if let Some((gone, _)) = self.open.remove(&segment) {
            self.index_bytes -= gone.index.bytes();
        }
    }
}
