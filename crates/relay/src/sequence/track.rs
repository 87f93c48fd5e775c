//! What is known of one side's log.

use std::collections::VecDeque;

use naru_kafka::wire::{Batch, BatchHeader, ErrorCode};

use super::compare::{Comparison, Locating};
use super::event::WriteRefused;
use super::{Millis, OrderId, Suspicion};

/// How long a side is left alone after it failed, milliseconds: often enough for a takeover within seconds, seldom
/// enough that a dead side costs nothing.
pub(super) const RETRY_MS: Millis = 50;

/// How long a side is left alone after it refused a batch for good, milliseconds: someone has to mend it first.
pub(super) const REFUSED_RETRY_MS: Millis = 1_000;

/// A write on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) order: OrderId,
    pub(super) given: Millis,
    pub(super) what: Cargo,
    pub(super) outcome: Option<Result<i64, WriteRefused>>,
}

/// What a write carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cargo {
    /// An entry without a place, by its key.
    New(u64),
    /// A batch that stands at this offset on the other side, as it is written here.
    Placed {
        /// Its offset.
        offset: i64,
        /// As it is written.
        header: BatchHeader,
    },
}

/// How far a side's log is known.
#[derive(Debug)]
pub(super) enum Stage {
    /// Something may stand above the confirmed end, or the end may have fallen: to be read before the next write.
    Unchecked,
    /// Its end is being read.
    Locating(OrderId, Millis),
    /// Its batches from `at` on are being read and held against the line.
    Reading {
        /// The order.
        order: OrderId,
        /// When it was given.
        given: Millis,
        /// Next offset to compare.
        at: i64,
        /// The log end.
        until: i64,
    },
    /// What is there is known to be what the line holds, up to the confirmed end, and no more.
    Checked,
    /// Not in sync (or a standby of an `async` topic): see `follow`.
    Follow(Follow),
}

/// How far a follower has come.
#[allow(dead_code)] // the stages of copying come next
#[derive(Debug)]
pub(super) enum Follow {
    /// Its end and the active side's have to be read.
    Unlocated,
    /// They are being read.
    Locating(Box<Locating>),
    /// What it has is held against the active side's.
    Comparing(Box<Comparison>),
    /// Equal up to its confirmed end.
    Copying,
}

/// Batches below the gate that a follower needs next: read from the active side, or kept when they left the line.
#[derive(Debug, Default)]
pub(super) struct Spool {
    pub(super) batches: VecDeque<Batch>,
    pub(super) bytes: usize,
    /// The offset after the last one.
    pub(super) next: i64,
    pub(super) order: Option<(OrderId, Millis)>,
}

impl Spool {
    pub(super) fn push(&mut self, batch: Batch) {
        self.bytes += batch.bytes().len();
        self.next = batch.header().next_offset();
        self.batches.push_back(batch);
    }

    /// Drops what ends at or below an offset.
    pub(super) fn trim(&mut self, below: i64) {
        while let Some(batch) = self.batches.pop_front_if(|batch| batch.header().next_offset() <= below) {
            self.bytes -= batch.bytes().len();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// One side.
#[derive(Debug)]
pub(super) struct Track {
    /// Below this the side is known to hold what the line holds, or held.
    pub(super) end: i64,
    /// The last batch below `end`, as it stands there, if known.
    pub(super) tail: Option<BatchHeader>,
    pub(super) log_start: i64,
    pub(super) leader_epoch: i32,
    pub(super) stage: Stage,
    /// Writes without outcome, or whose outcome waits for an older one's, in the order given.
    pub(super) flight: VecDeque<Flight>,
    /// Not to be asked before.
    pub(super) retry_at: Millis,
    /// Why it is not to be trusted until the standing leaves it out.
    pub(super) fault: Option<Suspicion>,
    pub(super) absent_since: Option<Millis>,
    pub(super) refuses: Option<ErrorCode>,
    /// Its leader epoch is another than the checkpoint's and it has not been compared since.
    pub(super) changed: bool,
    /// A follower whose confirmation is required already, so that it can become in sync.
    pub(super) joined: bool,
    /// For a side that follows: what it needs next.
    pub(super) spool: Spool,
    /// The last suspicion told.
    pub(super) told: Option<Suspicion>,
}

impl Track {
    pub(super) fn new(end: i64) -> Self {
        Self {
            end,
            tail: None,
            log_start: 0,
            leader_epoch: -1,
            stage: Stage::Unchecked,
            flight: VecDeque::new(),
            retry_at: 0,
            fault: None,
            absent_since: None,
            refuses: None,
            changed: false,
            joined: false,
            spool: Spool::default(),
            told: None,
        }
    }

    pub(super) fn is_checked(&self) -> bool {
        matches!(self.stage, Stage::Checked) && self.fault.is_none()
    }

    /// Has to be read before anything more is written.
    pub(super) fn doubt(&mut self) {
        match &self.stage {
            Stage::Checked | Stage::Locating(..) | Stage::Reading { .. } => self.stage = Stage::Unchecked,
            Stage::Follow(_) => self.stage = Stage::Follow(Follow::Unlocated),
            Stage::Unchecked => {}
        }
    }

    /// It could not be asked.
    pub(super) fn failed(&mut self, now: Millis, since: Millis) {
        self.retry_at = now + RETRY_MS;
        self.absent_since.get_or_insert(since);
    }

    /// It answered.
    pub(super) fn answered(&mut self) {
        self.absent_since = None;
    }

    /// When the oldest order without outcome was given.
    pub(super) fn oldest(&self) -> Option<Millis> {
        let write = self.flight.iter().filter(|flight| flight.outcome.is_none()).map(|flight| flight.given).min();
        let read = match &self.stage {
            Stage::Locating(_, given) | Stage::Reading { given, .. } => Some(*given),
            _ => None,
        };
        write.into_iter().chain(read).min()
    }
}
