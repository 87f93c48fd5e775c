//! Walking over the batches of a segment file. Every batch that comes out of here has been checked.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::{Bytes, BytesMut};

use super::StoreError;
use super::index::Index;
use crate::standin::log::LeaderEpochs;
use crate::wire::WireError;
use crate::wire::batch::{Batch, BatchHeader};

/// Which leader epoch a batch must carry. The field is outside the batch's checksum, so it is held against what is known
/// from elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) enum EpochRule<'a> {
    /// The one that the log had at that offset; batches that lie wholly below the log start are not judged.
    AsKnown { epochs: &'a LeaderEpochs, log_start: i64 },
    /// This one: what was appended since the checkpoint.
    Exactly(i32),
    /// No lower than this: nothing better is known.
    AtLeast(i32),
}

/// What the next batch must look like, besides its checksum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expect<'a> {
    /// Its base offset; with `gaps`, the least that it can be.
    pub next_offset: i64,
    /// No offset of it may reach this.
    pub end_offset: i64,
    /// Its base offset may not be above this.
    pub base_max: i64,
    /// The segment was compacted.
    pub gaps: bool,
    pub epochs: EpochRule<'a>,
    /// For a compacted segment, the index, which lists every batch.
    pub index: Option<&'a Index>,
}

#[derive(Debug)]
pub(super) enum Step {
    /// A sound batch, and where it stands.
    Batch(Batch, u64),
    End,
    /// What stands here is not a batch, or not the one expected.
    Unsound(Unsound),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsound {
    pub reason: &'static str,
    /// The file may simply end within a batch.
    pub ends_early: bool,
}

/// A position in a segment file, with a window of it in memory.
pub(super) struct Walker<'a> {
    file: &'a File,
    path: &'a Path,
    position: u64,
    end: u64,
    window: Bytes,
    window_at: u64,
    window_bytes: usize,
}

impl<'a> Walker<'a> {
    /// Walks from `position` to `end`, reading `window_bytes` at once, or one batch if that is larger.
    pub fn new(file: &'a File, path: &'a Path, position: u64, end: u64, window_bytes: usize) -> Self {
        Self { file, path, position, end, window: Bytes::new(), window_at: position, window_bytes }
    }

    /// Where the next batch is expected.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The bytes between two positions, if both are within what was read last.
    pub fn slice(&self, from: u64, to: u64) -> Option<Bytes> {
        let from = usize::try_from(from.checked_sub(self.window_at)?).ok()?;
        let to = usize::try_from(to.checked_sub(self.window_at)?).ok()?;
        (to <= self.window.len()).then(|| self.window.slice(from..to))
    }

    /// Bytes in memory that begin at the position.
    fn here(&self) -> Bytes {
        // A search that went ahead in vain comes back to before the window.
        let skip = self.position.checked_sub(self.window_at).and_then(|skip| usize::try_from(skip).ok());
        match skip {
            Some(skip) if skip <= self.window.len() => self.window.slice(skip..),
            _ => Bytes::new(),
        }
    }

    fn fill(&mut self, needed: usize) -> Result<(), StoreError> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let mut window = BytesMut::zeroed(self.window_bytes.max(needed).min(left));
        self.file.read_exact_at(&mut window, self.position).map_err(StoreError::io("read", self.path))?;
        self.window = window.freeze();
        self.window_at = self.position;
        Ok(())
    }

    /// The next batch. The position moves on only past a sound one.
    pub fn next(&mut self, expect: &Expect<'_>) -> Result<Step, StoreError> {
        if self.position >= self.end {
            return Ok(Step::End);
        }
        loop {
            match first_batch(self.here(), self.end - self.position, self.position, expect) {
                Ok(batch) => {
                    let position = self.position;
                    self.position += batch.bytes().len() as u64;
                    return Ok(Step::Batch(batch, position));
                }
                Err(Judgement::NeedsMore(needed)) => self.fill(needed)?,
                Err(Judgement::Unsound(unsound)) => return Ok(Step::Unsound(unsound)),
            }
        }
    }

    /// After an unsound batch: moves to the next sound one that begins at `base_max` or below, and returns it. If there
    /// is none, moves to the end. The base offset is outside a batch's checksum, and behind a gap nothing but that bound
    /// tells a damaged one.
    pub fn resync(&mut self, expect: &Expect<'_>, base_max: i64) -> Result<Option<(Batch, u64)>, StoreError> {
        let expect = Expect { gaps: true, base_max, ..*expect };
        let damaged_at = self.position;
        // The length of the damaged batch may be sound. Tried first, because the damaged batch's records could hold
        // bytes that look like a batch.
        if let Some(size) = self.claimed_size()? {
            self.position = damaged_at + size;
            if let Step::Batch(batch, position) = self.next(&expect)? {
                return Ok(Some((batch, position)));
            }
        }
        self.position = damaged_at + 1;
        while self.position < self.end {
            // Most bytes are dismissed without another read: the window is reused while it reaches far enough.
            let here = self.here();
            let hopeless = here.len() > MAGIC_AT && here[MAGIC_AT] != 2;
            if !hopeless && let Step::Batch(batch, position) = self.next(&expect)? {
                return Ok(Some((batch, position)));
            }
            self.position += 1;
        }
        Ok(None)
    }

    fn claimed_size(&mut self) -> Result<Option<u64>, StoreError> {
        let left = self.end - self.position;
        if left < HEADER_BYTES as u64 {
            return Ok(None);
        }
        if self.here().len() < HEADER_BYTES {
            self.fill(HEADER_BYTES)?;
        }
        let size = BatchHeader::decode(&self.here()).ok().map(|header| header.size_bytes() as u64);
        Ok(size.filter(|size| *size < left))
    }
}

const HEADER_BYTES: usize = 61;
const MAGIC_AT: usize = 16;

enum Judgement {
    NeedsMore(usize),
    Unsound(Unsound),
}

fn unsound(reason: &'static str) -> Judgement {
    Judgement::Unsound(Unsound { reason, ends_early: false })
}

fn first_batch(here: Bytes, left: u64, position: u64, expect: &Expect<'_>) -> Result<Batch, Judgement> {
    const ENDS_EARLY: Judgement = Judgement::Unsound(Unsound { reason: "the file ends in it", ends_early: true });
    if left < HEADER_BYTES as u64 {
        return Err(ENDS_EARLY);
    }
    if here.len() < HEADER_BYTES {
        return Err(Judgement::NeedsMore(HEADER_BYTES));
    }
    let header = BatchHeader::decode(&here).map_err(|error| unsound(reason(&error)))?;
    // Judged before its bytes are asked for, so that a damaged length reads no more than a batch that could be next.
    judge(&header, position, expect).map_err(unsound)?;
    if header.size_bytes() as u64 > left {
        return Err(ENDS_EARLY);
    }
    if header.size_bytes() > here.len() {
        return Err(Judgement::NeedsMore(header.size_bytes()));
    }
    let batch = Batch::split_first(&mut here.clone()).map_err(|error| unsound(reason(&error)))?;
    batch.verify_crc().map_err(|error| unsound(reason(&error)))?;
    Ok(batch)
}

fn judge(header: &BatchHeader, position: u64, expect: &Expect<'_>) -> Result<(), &'static str> {
    let base = header.base_offset;
    let in_order = if expect.gaps { base >= expect.next_offset } else { base == expect.next_offset };
    if !in_order || base > expect.base_max || header.last_offset_delta < 0 || header.next_offset() > expect.end_offset {
        return Err("its offsets do not follow");
    }
    if expect.index.is_some_and(|index| !index.may_hold(base, position)) {
        return Err("the index does not list it");
    }
    let epoch = header.partition_leader_epoch;
    let known = match expect.epochs {
        EpochRule::AsKnown { epochs, log_start } => {
            header.last_offset() < log_start || epochs.epoch_at(header.last_offset()) == Some(epoch)
        }
        EpochRule::Exactly(expected) => epoch == expected,
        EpochRule::AtLeast(least) => epoch >= least,
    };
    if known { Ok(()) } else { Err("its leader epoch is not the one of its time") }
}

fn reason(error: &WireError) -> &'static str {
    match error {
        WireError::BadCrc { .. } => "its checksum does not match",
        WireError::BadMagic { .. } => "its format is not known",
        _ => "its header contradicts itself",
    }
}
