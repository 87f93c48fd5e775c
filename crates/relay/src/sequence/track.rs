//! What is known of one side's log.

use std::collections::VecDeque;

use naru_kafka::wire::{Batch, BatchHeader, ErrorCode};

use super::active::{Meaning, meaning};
use super::compare::{Comparison, Locating};
use super::event::{ReadFailed, WriteRefused};
use super::pad::Padding;
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
    /// The batch at an offset that it answered with, below its end, is being read: is it the one we sent?
    Judging {
        /// The order.
        order: OrderId,
        /// When it was given.
        given: Millis,
        /// Which entry.
        key: u64,
    },
    /// What is there is known to be what the line holds, up to the confirmed end, and no more.
    Checked,
    /// Not in sync (or a standby of an `async` topic): see `follow`.
    Follow(Follow),
}

/// How far a follower has come.
#[derive(Debug)]
pub(super) enum Follow {
    /// Its end and the active side's have to be read.
    Unlocated,
    /// They are being read.
    Locating(Box<Locating>),
    /// What it has is held against the active side's.
    Comparing {
        /// The comparison.
        comparison: Box<Comparison>,
        /// Where its log ends.
        log_end: i64,
    },
    /// It ends below the active side's log start: where that side's first batch begins is being read.
    Aligning {
        /// The order.
        order: Option<(OrderId, Millis)>,
        /// The active side's log start.
        log_start: i64,
    },
    /// It is filled with empty records up to there.
    Padding(Box<Padding>),
    /// Equal up to its confirmed end.
    Copying,
}

/// Batches below the gate that a follower needs next: read from the active side, or kept when they left the line.
#[derive(Debug, Default)]
pub(super) struct Spool {
    /// Each with its header as it stands on the active side.
    pub(super) batches: VecDeque<(BatchHeader, Batch)>,
    pub(super) bytes: usize,
    /// The offset after the last one.
    pub(super) next: i64,
    pub(super) order: Option<(OrderId, Millis)>,
}

impl Spool {
    pub(super) fn push(&mut self, header: BatchHeader, batch: Batch) {
        self.bytes += batch.bytes().len();
        self.next = header.next_offset();
        self.batches.push_back((header, batch));
    }

    /// Drops what ends at or below an offset.
    pub(super) fn trim(&mut self, below: i64) {
        while let Some((_, batch)) = self.batches.pop_front_if(|(header, _)| header.next_offset() <= below) {
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
    /// The leader epoch under which it was last found to hold everything up to `end`; -1 if not known.
    pub(super) whole_epoch: i32,
    pub(super) stage: Stage,
    /// Writes without outcome, or whose outcome waits for an older one's, in the order given.
    pub(super) flight: VecDeque<Flight>,
    /// Up to where it is known to hold what it held, if it was asked: what is above may be gone, or other than it was.
    pub(super) cut: Option<i64>,
    /// An answer said that its log ends lower than it did, at this offset, and that is not looked into yet.
    pub(super) contradicted: Option<i64>,
    /// Not to be asked before.
    pub(super) retry_at: Millis,
    /// Why it is not to be trusted until the standing leaves it out.
    pub(super) fault: Option<Suspicion>,
    pub(super) absent_since: Option<Millis>,
    /// It answers and takes no batch: when the first that it did not take was sent.
    pub(super) stuck_since: Option<Millis>,
    pub(super) refuses: Option<ErrorCode>,
    /// Its leader epoch is another than the checkpoint's and it has not been compared since.
    pub(super) changed: bool,
    /// For a side that follows: what it needs next.
    pub(super) spool: Spool,
    /// The order that moves a follower's log start.
    pub(super) trimming: Option<OrderId>,
    /// The sequence of the next record written under the copier's id.
    pub(super) copier_next: i32,
    /// The offset of a batch whose sequence it refused although its log was found whole.
    pub(super) refused_at: Option<i64>,
    /// The last suspicion told.
    pub(super) told: Option<Suspicion>,
}

impl Track {
    pub(super) fn new(end: i64, whole_epoch: i32) -> Self {
        Self {
            end,
            tail: None,
            log_start: 0,
            leader_epoch: -1,
            whole_epoch,
            stage: Stage::Unchecked,
            flight: VecDeque::new(),
            cut: None,
            contradicted: None,
            retry_at: 0,
            fault: None,
            absent_since: None,
            stuck_since: None,
            refuses: None,
            changed: false,
            spool: Spool::default(),
            trimming: None,
            copier_next: 0,
            refused_at: None,
            told: None,
        }
    }

    pub(super) fn is_checked(&self) -> bool {
        matches!(self.stage, Stage::Checked) && self.fault.is_none()
    }

    /// What it holds was held against the line or the other side, and is what it should be.
    pub(super) fn found_whole(&mut self) {
        self.stage = Stage::Checked;
        self.changed = false;
        self.contradicted = None;
        self.whole_epoch = self.leader_epoch;
    }

    /// It answered as if it held nothing from this offset on that it had confirmed: nothing above counts before it was
    /// looked at.
    pub(super) fn contradict(&mut self, offset: i64) {
        self.contradicted = Some(self.contradicted.map_or(offset, |before| before.min(offset)));
        self.doubt();
    }

    /// Has to be read before anything more is written.
    pub(super) fn doubt(&mut self) {
        match &self.stage {
            Stage::Follow(_) => self.stage = Stage::Follow(Follow::Unlocated),
            _ => self.stage = Stage::Unchecked,
        }
    }

    /// It could not be asked.
    pub(super) fn failed(&mut self, now: Millis, since: Millis) {
        self.retry_at = now + RETRY_MS;
        self.absent_since.get_or_insert(since);
    }

    /// It took a batch, or what it holds shows that it did.
    pub(super) fn took(&mut self, next: i64, tail: BatchHeader) {
        (self.end, self.tail) = (next, Some(tail));
        self.refuses = None;
        self.unstick();
    }

    /// It takes batches, or there is none to take.
    pub(super) fn unstick(&mut self) {
        let since = self.stuck_since.take();
        self.absent_since = self.absent_since.filter(|_| self.absent_since != since);
    }

    /// A write to it has an outcome.
    pub(super) fn tried(&mut self, now: Millis, given: Millis, outcome: Result<i64, WriteRefused>) {
        let takes_nothing = match outcome {
            Err(WriteRefused::NotSent) => return self.failed(now, given),
            Err(WriteRefused::Unknown) => {
                self.failed(now, given);
                true
            }
            Err(WriteRefused::Refused(code)) => {
                self.answered();
                matches!(meaning(code), Meaning::Later | Meaning::Elsewhere)
            }
            Ok(_) => {
                self.answered();
                false
            }
        };
        if takes_nothing {
            self.stuck_since.get_or_insert(given);
        } else {
            self.unstick();
        }
    }

    /// It answered.
    pub(super) fn answered(&mut self) {
        self.absent_since = None;
    }

    /// Takes batches that were read for it. They must begin where it ends.
    pub(super) fn spooled(&mut self, outcome: Result<Vec<Batch>, ReadFailed>) -> Result<(), ReadFailed> {
        for batch in outcome? {
            if batch.header().base_offset != self.spool.next {
                break;
            }
            self.spool.push(*batch.header(), batch);
        }
        if self.spool.batches.is_empty() { Err(ReadFailed::Unreachable) } else { Ok(()) }
    }

    /// When the oldest order without outcome was given.
    pub(super) fn oldest(&self) -> Option<Millis> {
        let write = self.flight.iter().filter(|flight| flight.outcome.is_none()).map(|flight| flight.given).min();
        let read = match &self.stage {
            Stage::Locating(_, given) | Stage::Reading { given, .. } | Stage::Judging { given, .. } => Some(*given),
            _ => None,
        };
        write.into_iter().chain(read).min()
    }
}
