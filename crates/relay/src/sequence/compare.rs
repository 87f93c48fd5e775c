//! Holding the logs of two sides against each other, batch by batch.

use std::collections::VecDeque;

use naru_kafka::wire::{Batch, BatchHeader};

use super::event::{Located, ReadFailed};
use super::{Action, Millis, OrderId};
use crate::side::{Side, SideMap};

/// Whether two batches hold the same: all but base offset and leader epoch. Where either was written under a copier's
/// id its producer and checksum are left out; the records are compared in any case.
pub(super) fn same(ours: &BatchHeader, ours_batch: &Batch, theirs: &Batch, is_copier: impl Fn(i64) -> bool) -> bool {
    let other = theirs.header();
    let restamped = is_copier(ours.producer_id) || is_copier(other.producer_id);
    let producers =
        |header: &BatchHeader| (header.producer_id, header.producer_epoch, header.base_sequence, header.crc);
    let rest = |header: &BatchHeader| {
        (
            header.attributes,
            header.last_offset_delta,
            header.record_count,
            header.base_timestamp,
            header.max_timestamp,
            header.batch_length,
        )
    };
    rest(ours) == rest(other)
        && (restamped || producers(ours) == producers(other))
        && ours_batch.payload() == theirs.payload()
}

/// The same of two batches as they were read from two logs.
pub(crate) fn is_same_batch(one: &Batch, other: &Batch, is_copier: impl Fn(i64) -> bool) -> bool {
    same(one.header(), one, other, is_copier)
}

/// The ends of the logs of one or both sides, being read.
#[derive(Debug, Default)]
pub(super) struct Locating {
    pub(super) orders: SideMap<Option<(OrderId, Millis)>>,
    pub(super) found: SideMap<Option<Located>>,
}

/// What comes next in a comparison.
#[derive(Debug)]
pub(super) enum Step {
    /// The same batch on both, as it stands on each.
    Both(Batch, SideMap<BatchHeader>),
    /// The other side ends here.
    Only(Side, Batch),
    /// They differ from here on: the first batch of each that is not the other's.
    Differ(SideMap<BatchHeader>),
    /// More has to be read.
    More,
    /// Both end here.
    Done,
}

/// One side's share of a comparison.
#[derive(Debug)]
struct Reel {
    next: i64,
    until: i64,
    batches: VecDeque<Batch>,
    order: Option<(OrderId, Millis)>,
}

/// A comparison of two logs from an offset on.
#[derive(Debug)]
pub(super) struct Comparison {
    reels: SideMap<Reel>,
    copiers: Vec<i64>,
}

impl Comparison {
    /// Compares each side's batches from `from` to its `until`. Where `until` is not above `from` nothing is read.
    pub(super) fn new(from: i64, until: SideMap<i64>, copiers: Vec<i64>) -> Self {
        let reels =
            SideMap::from_fn(|side| Reel { next: from, until: until[side], batches: VecDeque::new(), order: None });
        Self { reels, copiers }
    }

    /// Whether no batch of the side is missing.
    fn is_exhausted(&self, side: Side) -> bool {
        let reel = &self.reels[side];
        reel.batches.is_empty() && reel.next >= reel.until
    }

    /// Orders what has to be read, under the ids given, if the side may be asked now.
    pub(super) fn read(
        &mut self,
        now: Millis,
        bytes_max: usize,
        may_ask: SideMap<bool>,
        ids: SideMap<OrderId>,
        out: &mut Vec<Action>,
    ) {
        for side in Side::BOTH {
            let reel = &mut self.reels[side];
            if reel.order.is_none() && reel.batches.is_empty() && reel.next < reel.until && may_ask[side] {
                let order = ids[side];
                reel.order = Some((order, now));
                out.push(Action::Read { order, side, from: reel.next, before: reel.until, bytes_max });
            }
        }
    }

    /// Whose read this is.
    pub(super) fn owner(&self, order: OrderId) -> Option<(Side, Millis)> {
        self.reels
            .iter()
            .find_map(|(side, reel)| reel.order.filter(|(id, _)| *id == order).map(|(_, given)| (side, given)))
    }

    /// When the oldest read of a side without outcome was given.
    pub(super) fn oldest(&self, side: Side) -> Option<Millis> {
        self.reels[side].order.map(|(_, given)| given)
    }

    /// Takes a read's outcome. An end of the log before `until` is a failure: the side lost something meanwhile.
    pub(super) fn take(&mut self, side: Side, outcome: Result<Vec<Batch>, ReadFailed>) -> Result<(), ReadFailed> {
        let reel = &mut self.reels[side];
        reel.order = None;
        let before = reel.next;
        for batch in outcome? {
            let header = batch.header();
            if header.next_offset() > reel.next && header.base_offset < reel.until {
                reel.next = header.next_offset();
                reel.batches.push_back(batch);
            }
        }
        if reel.next == before { Err(ReadFailed::Unreachable) } else { Ok(()) }
    }

    /// The next step.
    pub(super) fn step(&mut self) -> Step {
        match (self.reels.a.batches.front(), self.reels.b.batches.front()) {
            (Some(a), Some(b)) => {
                let is_copier = |id| self.copiers.contains(&id);
                if a.header().base_offset != b.header().base_offset || !same(a.header(), a, b, is_copier) {
                    return Step::Differ(SideMap { a: *a.header(), b: *b.header() });
                }
                // The one that kept its own producer, if either did.
                let prefer_b = is_copier(a.header().producer_id);
                let headers = SideMap { a: *a.header(), b: *b.header() };
                let (a, b) = (self.reels.a.batches.pop_front(), self.reels.b.batches.pop_front());
                if prefer_b { b } else { a }.map_or(Step::More, |batch| Step::Both(batch, headers))
            }
            (Some(_), None) => self.only(Side::A),
            (None, Some(_)) => self.only(Side::B),
            (None, None) if self.is_exhausted(Side::A) && self.is_exhausted(Side::B) => Step::Done,
            (None, None) => Step::More,
        }
    }

    fn only(&mut self, side: Side) -> Step {
        if !self.is_exhausted(side.other()) {
            return Step::More;
        }
        self.reels[side].batches.pop_front().map_or(Step::More, |batch| Step::Only(side, batch))
    }
}
