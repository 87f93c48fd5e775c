//! Opening a partition: reading the checkpoint, scanning what came after it, and mending what a crash left.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{Checkpoint, Loaded, mark};
use super::index::Index;
use super::store::{Active, Inner, Sealed};
use super::walk::{EpochRule, Expect, Step, Unsound, Walker};
use super::{StoreConfig, StoreError, atomic, segment};
use crate::standin::log::{LeaderEpochs, Log, ProducerTable};

/// Bytes read at once while scanning.
const SCAN_BYTES: usize = 256 << 10;

/// How far the leader epoch rises when the log may have been cut, as Kafka's does.
const EPOCHS_AFTER_CRASH: i32 = 2;

/// What opening a partition found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// The partition was closed in order, or is new.
    pub clean: bool,
    /// The first offset that can be read.
    pub log_start: i64,
    /// The offset that the next record gets.
    pub log_end: i64,
    /// The leader epoch of the next record.
    pub leader_epoch: i32,
    /// Bytes that were read and checked.
    pub scanned_bytes: u64,
    /// Bytes cut from the end: writes that never finished.
    pub cut_bytes: u64,
    /// Offsets that had been durable and are not there any more, because a file is shorter than it was: lost, whatever
    /// policy was in force. None after a mere crash.
    pub lost_offsets: Option<Range<i64>>,
    /// Places that cannot be read; what lies behind them can.
    pub damaged: Vec<Damage>,
    /// Indexes that were missing or damaged and were made again.
    pub indexes_rebuilt: usize,
    /// The checkpoint was damaged: producers and epochs were gathered from the segments, and the log start is the first
    /// segment's.
    pub checkpoint_damaged: bool,
}

/// A place in a segment that cannot be read. Fetching there answers CORRUPT_MESSAGE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub segment: PathBuf,
    /// Where in it, bytes.
    pub bytes: Range<u64>,
    /// The offsets that stood there; empty if only the segment's header is damaged.
    pub offsets: Range<i64>,
    /// What is wrong with the first batch there.
    pub reason: &'static str,
}

pub(super) fn recover(dir: &Path, config: &StoreConfig) -> Result<(Inner, Recovery), StoreError> {
    let bases = list_segments(dir)?;
    let (checkpoint, checkpoint_damaged) = match Checkpoint::load(dir)? {
        Loaded::Whole(checkpoint) => (Some(checkpoint), false),
        Loaded::Missing => (None, !bases.is_empty()),
        Loaded::Damaged => (None, true),
    };
    let fresh = checkpoint.is_none() && bases.is_empty();
    let clean = checkpoint.as_ref().map_or(fresh, |checkpoint| checkpoint.clean);
    let mut recovery = Recovery { clean, checkpoint_damaged, ..Recovery::default() };

    let first = bases.first().copied();
    let at = checkpoint.unwrap_or_else(|| Checkpoint {
        log_start: first.unwrap_or(0),
        recovery_point: first.unwrap_or(0),
        leader_epoch: 0,
        clean: false,
        epochs: LeaderEpochs::default(),
        producers: ProducerTable::default(),
    });
    let epochs = if checkpoint_damaged { EpochRule::AtLeast(0) } else { EpochRule::Exactly(at.leader_epoch) };
    let log = Log::restore(config.log.clone(), at.log_start, at.recovery_point, at.epochs.clone(), at.producers);
    // A checkpoint is written after the mark; the mark's file may be gone.
    let mark = mark::read(&dir.join(mark::FILE_NAME))?.max(at.recovery_point);
    let mut scan = Scan { dir, config, log, epochs, recovery_point: at.recovery_point, mark, recovery };
    let (sealed, active) = scan.segments(&bases)?;
    let Scan { mut log, recovery: found, .. } = scan;
    recovery = found;

    let leader_epoch = match () {
        () if fresh => 0,
        () if clean => at.leader_epoch + 1,
        () => at.leader_epoch.max(log.leader_epoch()) + EPOCHS_AFTER_CRASH,
    };
    log.raise_leader_epoch(leader_epoch);
    log.raise_high_watermark(log.log_end());
    if log.log_end() < mark {
        recovery.lost_offsets = Some(log.log_end()..mark);
    }
    recovery.log_start = log.log_start();
    recovery.log_end = log.log_end();
    recovery.leader_epoch = leader_epoch;

    // What was scanned may be in the page cache only.
    active.file.sync_data().map_err(StoreError::io("sync", &active.path))?;
    active.index.save(&segment::index_path(&active.path))?;
    let inner = Inner {
        durable_end: log.log_end(),
        durable_position: Some(active.index.end_position),
        log,
        sealed,
        active,
        rolled: Vec::new(),
        held: VecDeque::new(),
        cut_to: None,
        since_checkpoint: 0,
        unread_bytes: 0,
        offline: None,
    };
    inner.checkpoint(false).save(dir)?;
    atomic::sync_dir(dir)?;
    report(dir, &recovery);
    Ok((inner, recovery))
}

fn report(dir: &Path, recovery: &Recovery) {
    let partition = dir.display();
    for damage in &recovery.damaged {
        let Damage { segment, bytes, offsets, reason } = damage;
        tracing::error!(%partition, segment = %segment.display(), ?bytes, ?offsets, reason, "damaged records");
    }
    if let Some(offsets) = &recovery.lost_offsets {
        tracing::error!(%partition, ?offsets, "records that were durable are gone: a file is shorter than it was");
    }
    if recovery.checkpoint_damaged {
        tracing::error!(%partition, "checkpoint missing or damaged: gathered anew from the segments");
    }
    let Recovery { clean, log_start, log_end, leader_epoch, cut_bytes, scanned_bytes, .. } = recovery;
    tracing::debug!(%partition, clean, log_start, log_end, leader_epoch, cut_bytes, scanned_bytes, "opened");
}

/// The base offsets of the segments, in order. Temporary files of a crash are removed.
fn list_segments(dir: &Path) -> Result<Vec<i64>, StoreError> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let path = entry.map_err(StoreError::io("list", dir))?.path();
        if let Some(base) = segment::base_of(&path) {
            bases.push(base);
        } else if path.extension().is_some_and(|extension| extension == "new" || extension == "compacting") {
            atomic::remove_if_there(&path)?;
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

struct Scan<'a> {
    dir: &'a Path,
    config: &'a StoreConfig,
    log: Log,
    epochs: EpochRule<'static>,
    recovery_point: i64,
    mark: i64,
    recovery: Recovery,
}

/// A segment after its scan.
struct Scanned {
    path: PathBuf,
    file: File,
    index: Index,
    compacted: bool,
    /// It was cut: whatever came behind it was never durable.
    cut: bool,
    /// Its end is damaged below the durable end, so that nothing may be appended to it.
    spoilt: bool,
}

impl Scan<'_> {
    fn segments(&mut self, bases: &[i64]) -> Result<(Vec<Sealed>, Active), StoreError> {
        let mut sealed: Vec<Sealed> = Vec::new();
        let mut bases = bases.iter().copied().peekable();
        while let Some(base) = bases.next() {
            let scanned = self.segment(base, bases.peek().copied())?;
            if scanned.cut {
                for lost in bases.by_ref() {
                    let path = segment::log_path(self.dir, lost);
                    let size = fs::metadata(&path).map_err(StoreError::io("look at", &path))?.len();
                    self.recovery.cut_bytes += size.saturating_sub(segment::HEADER_BYTES);
                    atomic::remove_if_there(&segment::index_path(&path))?;
                    atomic::remove_if_there(&path)?;
                }
            }
            let Scanned { path, file, index, compacted, spoilt, .. } = scanned;
            let id = self.config.disk.new_id();
            if bases.peek().is_none() && !spoilt && !compacted {
                return Ok((sealed, Active { id, base_offset: base, path, file: Arc::new(file), index }));
            }
            let (size_bytes, max_timestamp) = (index.end_position, index.max_timestamp);
            let end_offset = bases.peek().copied().unwrap_or(index.end_offset);
            sealed.push(Sealed { id, end_offset, base_offset: base, path, size_bytes, max_timestamp, compacted });
        }
        // A new partition, or one whose last segment takes no more.
        let base_offset = self.log.log_end();
        let path = segment::log_path(self.dir, base_offset);
        let file = Arc::new(segment::create(&path, base_offset, false)?);
        let index = Index::new(base_offset, segment::HEADER_BYTES, false);
        Ok((sealed, Active { id: self.config.disk.new_id(), base_offset, path, file, index }))
    }

    fn segment(&mut self, base: i64, next_base: Option<i64>) -> Result<Scanned, StoreError> {
        let path = segment::log_path(self.dir, base);
        let file = segment::open(&path)?;
        let size = file.metadata().map_err(StoreError::io("look at", &path))?.len();
        let header = segment::read_header(&file, &path)?;
        if header.damaged {
            self.mend_header(&file, &path, base, size)?;
        }
        let compacted = header.compacted;
        let index_path = segment::index_path(&path);
        let saved = Index::load(&index_path)?.filter(|index| {
            let starts_scan = index.end_offset == self.recovery_point || next_base.is_some();
            index.is_dense() == compacted && index.end_position <= size && starts_scan
        });
        let whole =
            |index: &Index| next_base.is_some_and(|next| next <= self.recovery_point) && index.end_position == size;
        let mut scanned = Scanned {
            path,
            file,
            index: Index::new(base, segment::HEADER_BYTES, compacted),
            compacted,
            cut: false,
            spoilt: false,
        };
        match saved {
            Some(index) if whole(&index) => {
                scanned.index = index;
                return Ok(scanned);
            }
            // An index up to the recovery point: the scan begins there. One beyond it would skip what the log must see.
            Some(index) if index.end_offset <= self.recovery_point => scanned.index = index,
            _ if size > segment::HEADER_BYTES => self.recovery.indexes_rebuilt += 1,
            _ => {}
        }
        self.scan(&mut scanned, size.max(segment::HEADER_BYTES), next_base)?;
        if next_base.is_some() && !scanned.cut {
            scanned.index.save(&index_path)?;
        }
        Ok(scanned)
    }

    fn mend_header(&mut self, file: &File, path: &Path, base: i64, size: u64) -> Result<(), StoreError> {
        use std::os::unix::fs::FileExt;
        // Shorter than a header: it was being made when the crash came.
        if size >= segment::HEADER_BYTES {
            self.recovery.damaged.push(Damage {
                segment: path.to_owned(),
                bytes: 0..segment::HEADER_BYTES,
                offsets: base..base,
                reason: "the segment's header cannot be read",
            });
        }
        file.write_all_at(&segment::encode_header(base, false), 0).map_err(StoreError::io("write", path))
    }

    /// Walks over a segment from where its index ends.
    fn scan(&mut self, scanned: &mut Scanned, size: u64, next_base: Option<i64>) -> Result<(), StoreError> {
        let Scanned { path, file, index, .. } = scanned;
        let mut walker = Walker::new(file, path, index.end_position, size, SCAN_BYTES);
        self.recovery.scanned_bytes += size - index.end_position;
        loop {
            let expect = self.expect(index, next_base, scanned.compacted);
            let unsound = match walker.next(&expect)? {
                Step::Batch(batch, _) => {
                    self.found(index, batch.header());
                    continue;
                }
                Step::End if !self.lacks_end(index, next_base) => return Ok(()),
                Step::End => Unsound { reason: "the file is shorter than it was", ends_early: true },
                Step::Unsound(unsound) => unsound,
            };
            let at = walker.position();
            let from = index.end_offset;
            let below_mark = from < self.mark || next_base.is_some_and(|next| next <= self.mark);
            if !below_mark {
                return self.cut(scanned, at, size);
            }
            let until = match walker.resync(&expect, next_base.unwrap_or(self.mark))? {
                Some((batch, position)) => {
                    index.skip(position, batch.header().base_offset);
                    self.log.skip_damaged(batch.header().base_offset);
                    self.damaged(path, at..position, from..batch.header().base_offset, unsound);
                    self.found(index, batch.header());
                    continue;
                }
                // Below the recovery point the log keeps its end, so that what follows must not stand here.
                None if next_base.is_none() && unsound.ends_early && from >= self.recovery_point => {
                    return self.cut(scanned, at, size);
                }
                None => next_base.unwrap_or(self.mark),
            };
            index.skip(size, until);
            self.log.skip_damaged(until);
            self.damaged(path, at..size, from..until, unsound);
            scanned.spoilt = next_base.is_none();
            return Ok(());
        }
    }

    /// Whether a segment that ends here has lost its end: offsets below the next segment, or the recovery point, are not
    /// in it. A compacted one may have had nothing there.
    fn lacks_end(&self, index: &Index, next_base: Option<i64>) -> bool {
        !index.is_dense() && index.end_offset < next_base.unwrap_or(self.recovery_point)
    }

    fn expect(&self, index: &Index, next_base: Option<i64>, gaps: bool) -> Expect<'static> {
        // Below the recovery point the checkpoint knows the epochs; a batch is judged there when it is read.
        let epochs = match self.epochs {
            EpochRule::Exactly(epoch) if index.end_offset >= self.recovery_point => EpochRule::Exactly(epoch),
            _ => EpochRule::AtLeast(0),
        };
        let end_offset = next_base.unwrap_or(i64::MAX);
        // Where offsets have gaps, only what was durable bounds them.
        let base_max = if gaps { next_base.unwrap_or(self.mark) } else { i64::MAX };
        Expect { next_offset: index.end_offset, end_offset, base_max, gaps, epochs, index: None }
    }

    fn found(&mut self, index: &mut Index, header: &crate::wire::batch::BatchHeader) {
        index.note(header.base_offset, header.next_offset(), header.size_bytes() as u64, header.max_timestamp);
        if header.base_offset >= self.recovery_point {
            self.log.replay(header);
        }
    }

    fn cut(&mut self, scanned: &mut Scanned, position: u64, size: u64) -> Result<(), StoreError> {
        scanned.file.set_len(position).map_err(StoreError::io("cut", &scanned.path))?;
        scanned.cut = true;
        self.recovery.cut_bytes += size - position;
        Ok(())
    }

    fn damaged(&mut self, path: &Path, bytes: Range<u64>, offsets: Range<i64>, unsound: Unsound) {
        self.recovery.damaged.push(Damage { segment: path.to_owned(), bytes, offsets, reason: unsound.reason });
    }
}
