//! The writer: a bounded queue, and one thread that owns the chain.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use naru_model::{Class, invariant};
use naru_runtime::Durability;
use naru_runtime::keys::SigningKeys;
use naru_runtime::segments::{Head, SegmentError, SegmentOptions, SegmentWriter};

use super::block::{Block, RECORDS_MAX};
use super::record::Record;

/// How long a record may wait in the queue for others of its block: each block costs a hash, a write and a wake-up, and what a
/// killed process takes with it is no more than what it had in hand.
const BLOCK_WAIT: Duration = Duration::from_millis(50);

/// How long the writer leaves a disk alone that has refused.
const DISK_WAIT: Duration = Duration::from_secs(1);

/// What a record takes in the queue.
const RECORD_BYTES_MAX: usize = 160;
const _: () = assert!(size_of::<Record>() <= RECORD_BYTES_MAX);

/// How the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Records that may wait for the writer, of at most 160 bytes each.
    pub queue_records_max: usize,
    /// What of that is for core requests only, so that a surge of open ones costs no proof.
    pub core_records_reserve: usize,
    /// A segment is sealed before it grows beyond this.
    pub segment_bytes_max: u64,
    /// How long records may be without a signature.
    pub seal_every: Duration,
    /// How long records may be lost with the power.
    pub flush_every: Duration,
}

impl Default for LogOptions {
    /// 65,536 records are 10 MiB and six seconds of 10,000 requests a second, longer than a disk stalls; a quarter of
    /// them is more than all core requests in that time. A signature a minute and an fsync a second cost nothing.
    fn default() -> Self {
        Self {
            queue_records_max: 65_536,
            core_records_reserve: 16_384,
            segment_bytes_max: 16 << 20,
            seal_every: Duration::from_secs(60),
            flush_every: Duration::from_secs(1),
        }
    }
}

/// Why the log could not be opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum DecisionLogError {
    /// The chain cannot be written: the disk's or the operator's fault, as the source says.
    #[error("{directory}: the decision log cannot be written")]
    Chain {
        /// The directory of the chain.
        directory: PathBuf,
        /// What refused.
        #[source]
        source: SegmentError,
    },
    /// The thread could not be started: the machine's fault, a retry helps when it has resources again.
    #[error("the decision log's thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// The writer ended before its time; a defect of ours.
    #[error("the decision log's writer has panicked")]
    Panicked,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a core request without a record is an alarm"]
pub enum Recorded {
    /// It is on its way to the disk.
    Queued,
    /// There was no room: an open request goes on, and the gap is counted in the log.
    GapOpen,
    /// There was no room: the core request goes on to its owned site, and somebody must look.
    GapCore,
}

/// Counts since the log was opened, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Records in the chain.
    pub written: u64,
    /// Records of open requests that are missing.
    pub gap_open: u64,
    /// Records of core requests that are missing: an alarm from the first.
    pub gap_core: u64,
    /// Times the disk refused.
    pub refusals: u64,
}

/// How the log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// The head of the sealed chain: whoever keeps it elsewhere can tell a chain that was cut.
    pub head: Head,
    /// What was written and what is missing.
    pub counters: Counters,
}

/// The log of one edge. Shared by its threads; nothing here waits but [`Self::close`].
#[derive(Debug)]
pub struct DecisionLog {
    queue: SyncSender<Record>,
    options: LogOptions,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<Result<Head, DecisionLogError>>>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Records in the queue. The channel holds as many as this may count, so that sending never finds it full.
    queued: AtomicUsize,
    is_closing: AtomicBool,
    /// The log was dropped without being closed.
    is_abandoned: AtomicBool,
    /// Not yet told in a block.
    lost_open: AtomicU64,
    lost_core: AtomicU64,
    written: AtomicU64,
    gap_open: AtomicU64,
    gap_core: AtomicU64,
    refusals: AtomicU64,
}

impl DecisionLog {
    /// Opens the chain of a directory, or begins one, and starts its writer. `run` tells this start of the writer from
    /// every other: milliseconds since 1970.
    ///
    /// # Errors
    /// When another process writes the chain, its end is damaged in a way that no crash explains, or the disk refuses.
    pub fn open(
        directory: &Path,
        keys: Arc<SigningKeys>,
        options: LogOptions,
        run: u64,
    ) -> Result<Self, DecisionLogError> {
        let (queue, records) = sync_channel(options.queue_records_max.max(1));
        let shared = Arc::new(Shared::default());
        let mut writer = Writer {
            chain: None,
            directory: directory.to_owned(),
            keys,
            options,
            shared: shared.clone(),
            records,
            block: Block { run, ..Block::default() },
            is_pending: false,
            payload: Vec::new(),
            flushed: Instant::now(),
            sealed: Instant::now(),
        };
        writer.open_chain()?;
        let thread = thread::Builder::new().name("decision-log".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(DecisionLogError::Thread)?;
        Ok(Self { queue, options, shared, writer: Mutex::new(Some(thread)) })
    }

    /// Takes a record. Never waits, allocates nothing, and makes no system call.
    pub fn record(&self, record: Record) -> Recorded {
        let is_core = record.class == Some(Class::Core);
        if let Some(place) = record.place {
            let may = record.class.is_some_and(|class| class.may_run_on(place.kind));
            invariant!(EDGE_1, may, "request {:032x} of class {:?} at {}", record.request_id, record.class, place.site);
        }
        let reserve = if is_core { 0 } else { self.options.core_records_reserve };
        let bound = self.options.queue_records_max.saturating_sub(reserve);
        let fits = self.shared.queued.fetch_add(1, Ordering::Relaxed) < bound;
        if fits && !self.shared.is_closing.load(Ordering::Relaxed) && self.queue.try_send(record).is_ok() {
            return Recorded::Queued;
        }
        self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        self.shared.lose(is_core);
        if is_core { Recorded::GapCore } else { Recorded::GapOpen }
    }

    /// The counts so far.
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Writes what is queued, seals the chain and ends the writer. Blocks on the disk. A second call does nothing.
    ///
    /// # Errors
    /// When the chain could not be brought to its end; what is missing then is not known to the chain.
    pub fn close(&self) -> Result<Option<Closed>, DecisionLogError> {
        self.shared.is_closing.store(true, Ordering::SeqCst);
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(None) };
        thread.thread().unpark();
        let head = thread.join().map_err(|_| DecisionLogError::Panicked)??;
        Ok(Some(Closed { head, counters: self.counters() }))
    }
}

impl Drop for DecisionLog {
    fn drop(&mut self) {
        // The writer goes on alone, to the end of the queue.
        self.shared.is_abandoned.store(true, Ordering::SeqCst);
        self.shared.is_closing.store(true, Ordering::SeqCst);
        if let Some(thread) = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).as_ref() {
            thread.thread().unpark();
        }
    }
}

impl Shared {
    fn lose(&self, is_core: bool) {
        let (lost, gap) = match is_core {
            true => (&self.lost_core, &self.gap_core),
            false => (&self.lost_open, &self.gap_open),
        };
        lost.fetch_add(1, Ordering::Relaxed);
        gap.fetch_add(1, Ordering::Relaxed);
    }

    fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            written: read(&self.written),
            gap_open: read(&self.gap_open),
            gap_core: read(&self.gap_core),
            refusals: read(&self.refusals),
        }
    }
}

struct Writer {
    /// None after the disk has refused, until it is opened again.
    chain: Option<SegmentWriter>,
    directory: PathBuf,
    keys: Arc<SigningKeys>,
    options: LogOptions,
    shared: Arc<Shared>,
    records: Receiver<Record>,
    /// What is to be written next.
    block: Block,
    is_pending: bool,
    payload: Vec<u8>,
    flushed: Instant,
    sealed: Instant,
}

impl Writer {
    /// Writes until the log is closed and its queue is empty.
    fn run(mut self) -> Result<Head, DecisionLogError> {
        loop {
            // Read first: what was queued before the log was closed is found below.
            let is_closing = self.shared.is_closing.load(Ordering::SeqCst);
            let is_empty = self.fill(is_closing);
            if is_closing && is_empty {
                self.block.is_end = true;
                self.is_pending = true;
            }
            match self.write(is_closing && is_empty) {
                Ok(Some(head)) => return Ok(head),
                Ok(None) if is_empty => thread::park_timeout(BLOCK_WAIT),
                Ok(None) => {}
                Err(error) if is_closing => {
                    if self.shared.is_abandoned.load(Ordering::SeqCst) {
                        // Nobody waits for what this gives back.
                        tracing::error!(error = &error as &dyn std::error::Error, "the decision log is not sealed");
                    }
                    return Err(error);
                }
                Err(error) => {
                    // The queue fills meanwhile, then gaps are counted: no request waits for a disk. Said once for each
                    // attempt, which is once a second.
                    tracing::error!(error = &error as &dyn std::error::Error, "the decision log is not written");
                    self.chain = None;
                    self.shared.refusals.fetch_add(1, Ordering::Relaxed);
                    thread::park_timeout(DISK_WAIT);
                }
            }
        }
    }

    /// Fills the block from the queue, unless one is still to be written; whether the queue was emptied.
    fn fill(&mut self, is_closing: bool) -> bool {
        let is_empty = loop {
            if self.block.records.len() == RECORDS_MAX {
                break false;
            }
            match self.records.try_recv() {
                Ok(record) => {
                    self.shared.queued.fetch_sub(1, Ordering::Relaxed);
                    self.block.records.push(record);
                }
                // Somebody who was let in may not have sent yet.
                Err(TryRecvError::Empty) if is_closing && self.shared.queued.load(Ordering::SeqCst) > 0 => {
                    thread::yield_now();
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break true,
            }
        };
        self.block.lost_open += self.shared.lost_open.swap(0, Ordering::Relaxed);
        self.block.lost_core += self.shared.lost_core.swap(0, Ordering::Relaxed);
        self.is_pending |= !self.block.records.is_empty() || self.block.lost_open + self.block.lost_core > 0;
        is_empty
    }

    /// Writes what is pending; flushes and seals when it is time. Answers with the head behind the last seal.
    fn write(&mut self, is_last: bool) -> Result<Option<Head>, DecisionLogError> {
        if self.chain.is_none() {
            self.open_chain()?;
        }
        let error = |source| DecisionLogError::Chain { directory: self.directory.clone(), source };
        let Some(chain) = &mut self.chain else { return Ok(None) };
        if self.is_pending {
            self.block.encode(&mut self.payload);
            chain.append(&self.payload).map_err(error)?;
            let count = self.block.records.len() as u64;
            self.shared.written.fetch_add(count, Ordering::Relaxed);
            self.block.records.clear();
            (self.block.lost_open, self.block.lost_core) = (0, 0);
            self.block.first += count;
            self.is_pending = false;
        }
        let error = |source| DecisionLogError::Chain { directory: self.directory.clone(), source };
        let now = Instant::now();
        if is_last || now.duration_since(self.sealed) >= self.options.seal_every {
            let head = chain.seal().map_err(error)?;
            (self.sealed, self.flushed) = (now, now);
            return Ok(is_last.then_some(head));
        }
        if now.duration_since(self.flushed) >= self.options.flush_every {
            chain.flush().map_err(error)?;
            self.flushed = now;
        }
        Ok(None)
    }

    fn open_chain(&mut self) -> Result<(), DecisionLogError> {
        let options = SegmentOptions {
            segment_bytes_max: self.options.segment_bytes_max,
            // A flush a second stands for each append: what the power takes is seen as records that are missing.
            durability: Durability::OnFlush,
        };
        let opened = SegmentWriter::open(&self.directory, self.keys.clone(), options);
        let error = |source| DecisionLogError::Chain { directory: self.directory.clone(), source };
        let (chain, _) = opened.map_err(error)?;
        self.chain = Some(chain);
        Ok(())
    }
}
