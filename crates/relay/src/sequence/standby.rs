//! A side that lacks placed batches gets them in the order of their offsets, one in flight: the standby, a survivor
//! that takes over, the shorter side at a start, a follower.

use naru_kafka::wire::{Batch, BatchHeader};

use super::active::{Meaning, meaning};
use super::event::WriteRefused;
use super::line::{Entry, outgoing, with_producer};
use super::mutant::mutant;
use super::open::Opening;
use super::partition::{Partition, Phase};
use super::track::{Cargo, Follow, REFUSED_RETRY_MS, RETRY_MS, Stage};
use super::window::sequence_after;
use super::{Action, Millis};
use crate::side::Side;

/// Producers per side that are written under the copier's id, at most; beyond it the oldest is tried under its own
/// again, and refused again if need be.
const RESTAMPED_MAX: usize = 1_000;

impl Partition {
    pub(super) fn catch_up(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        // Where its end is being read nothing may be on its way: it would be above what was read, and look lost.
        if matches!(self.phase, Phase::Opening(Opening::Locating(_))) {
            return;
        }
        let track = &self.sides[side];
        let ready = matches!(track.stage, Stage::Checked | Stage::Follow(Follow::Copying));
        if !ready || track.fault.is_some() || now < track.retry_at || !self.is_leased(now) {
            return;
        }
        let mut at = track.end;
        if mutant!(self.config, StandbyOutOfOrder) {
            at = track.flight.iter().fold(at, |at, flight| match flight.what {
                Cargo::Placed { offset, header, .. } => offset + i64::from(header.last_offset_delta) + 1,
                Cargo::New(_) => at,
            });
        } else if !track.flight.is_empty() {
            return;
        }
        let Some((batch, header)) = self.lacking(side, at) else {
            if matches!(self.sides[side].stage, Stage::Follow(_)) {
                self.spool_more(now, side, out);
            }
            return;
        };
        // Only what the side that orders holds may be copied from it.
        let next = at + i64::from(header.last_offset_delta) + 1;
        if self.is_running() && side != self.standing.active && next > self.sides[self.standing.active].end {
            return;
        }
        let written = self.as_copied(side, at, &batch, header);
        let is_lent = written != header && self.is_copier(written.producer_id);
        if is_lent && !self.may_copy(at, next, &batch, &written) {
            return;
        }
        let header = written;
        let cargo = Cargo::Placed { offset: at, header };
        self.write(now, side, cargo, outgoing(header, &batch), out);
    }

    /// Whether it is durable whose a batch is that goes under the copier's id: below the gate by its producer's window,
    /// above it by its name.
    fn may_copy(&mut self, at: i64, next: i64, batch: &Batch, written: &BatchHeader) -> bool {
        if at >= self.line.gate {
            return self.is_known_whose(batch.header(), written);
        }
        !self.knows_of_before() || self.keeper.has_kept(next)
    }

    /// The header under which a side gets a batch: its client's, or the copier's where the side refused that, or where
    /// nobody knows any more whose it is. Under the client's own the side knows a late original for what it is.
    fn as_copied(&self, side: Side, at: i64, batch: &Batch, header: BatchHeader) -> BatchHeader {
        let restamped = &self.restamped[side];
        let refuses = |id: i64, epoch: i16| restamped.producers.contains(&(id, epoch));
        if !self.is_copier(header.producer_id) {
            if !refuses(header.producer_id, header.producer_epoch) {
                return header;
            }
        } else if let Some((id, epoch, sequence)) = self.client_of(at, batch)
            && !refuses(id, epoch)
        {
            // What was copied before, to the side that it is read from now, has the copier's stamp of then.
            return with_producer(batch, id, epoch, sequence);
        }
        with_producer(batch, self.copier_id(side), restamped.epoch, self.sides[side].copier_next)
    }

    /// The name that its client gave to a batch which has the copier's, if it is known.
    fn client_of(&self, at: i64, batch: &Batch) -> Option<(i64, i16, i32)> {
        let header = batch.header();
        if !header.has_producer() {
            return None;
        }
        if self.is_copier(header.producer_id) {
            return self.producers.name_at(at).filter(|(id, ..)| *id != self.stamp.id);
        }
        Some((header.producer_id, header.producer_epoch, header.base_sequence))
    }

    /// The batch that stands at an offset, if it is at hand, and its header as the line has it.
    fn lacking(&self, side: Side, at: i64) -> Option<(Batch, BatchHeader)> {
        if let Some(entry) = self.line.at(at) {
            return Some((entry.batch.clone(), entry.header));
        }
        let (standing, batch) = self.sides[side].spool.batches.front()?;
        let header = BatchHeader { base_offset: 0, partition_leader_epoch: -1, ..*standing };
        (standing.base_offset == at).then(|| (batch.clone(), header))
    }

    /// What leaves the line is kept for a follower that needs it next.
    pub(super) fn spool(&mut self, entry: &Entry) {
        for side in Side::BOTH {
            let bytes_max = self.config.copy_bytes_max;
            let track = &mut self.sides[side];
            if !matches!(track.stage, Stage::Follow(Follow::Copying)) || track.end > entry.offset {
                continue;
            }
            let continues =
                track.spool.next == entry.offset || track.spool.batches.is_empty() && track.end == entry.offset;
            if continues && track.spool.order.is_none() && track.spool.bytes < bytes_max {
                track.spool.push(entry.standing(), entry.batch.clone());
            }
        }
    }

    pub(super) fn placed_written(
        &mut self,
        now: Millis,
        side: Side,
        (offset, header): (i64, BatchHeader),
        outcome: Result<i64, WriteRefused>,
    ) {
        let is_copied = self.is_copier(header.producer_id);
        let track = &mut self.sides[side];
        match outcome {
            Ok(base) if base == offset && base == track.end && track.fault.is_none() => {
                let next = offset + i64::from(header.last_offset_delta) + 1;
                track.took(next, BatchHeader { base_offset: offset, ..header });
                track.refused_at = None;
                track.spool.trim(track.end);
                if is_copied {
                    track.copier_next = sequence_after(header.last_sequence());
                }
                return;
            }
            // Not where it belongs: what the side holds has to be looked at.
            Ok(base) => {
                if base >= offset {
                    track.doubt();
                } else {
                    track.contradict(base);
                    self.refused_sequence(side, offset, header);
                }
            }
            Err(WriteRefused::Unknown) => track.doubt(),
            Err(WriteRefused::NotSent) => {}
            Err(WriteRefused::Refused(code)) => match meaning(code) {
                Meaning::Later => track.retry_at = now + RETRY_MS,
                Meaning::Elsewhere => {
                    track.retry_at = now + RETRY_MS;
                    track.doubt();
                }
                Meaning::Sequence | Meaning::Epoch => {
                    track.doubt();
                    self.refused_sequence(side, offset, header);
                }
                Meaning::Forbidden | Meaning::Never => {
                    track.refuses = Some(code);
                    track.retry_at = now + REFUSED_RETRY_MS;
                    track.doubt();
                }
            },
        }
        if !self.is_running() && !matches!(outcome, Err(WriteRefused::NotSent)) {
            self.reopen();
        }
        // It may yet come late: the next epoch makes the broker refuse it then. What was not sent, or was refused for
        // want of something, cannot.
        let may_be_there = match outcome {
            Ok(_) | Err(WriteRefused::Unknown) => true,
            Err(WriteRefused::NotSent) => false,
            Err(WriteRefused::Refused(code)) => matches!(meaning(code), Meaning::Sequence | Meaning::Epoch),
        };
        if is_copied && may_be_there {
            self.sides[side].copier_next = 0;
            self.restamped[side].begin_epoch();
        }
    }

    /// A side refuses a batch for its sequence, or takes it for one that it has. The first time its log is looked at;
    /// if that is whole, the side's memory of the producer is not, and the batch is written under the copier's id, as
    /// is everything of that producer and epoch from then on.
    fn refused_sequence(&mut self, side: Side, offset: i64, header: BatchHeader) {
        let track = &mut self.sides[side];
        if track.refused_at != Some(offset) {
            track.refused_at = Some(offset);
            return;
        }
        self.restamp(side, (header.producer_id, header.producer_epoch));
    }

    /// From now on this producer's batches are not written under its own id to that side.
    pub(super) fn restamp(&mut self, side: Side, producer: (i64, i16)) {
        let is_copier = self.is_copier(producer.0);
        let producers = &mut self.restamped[side].producers;
        if producers.contains(&producer) || is_copier {
            return;
        }
        if producers.len() >= RESTAMPED_MAX {
            producers.remove(0);
        }
        producers.push(producer);
    }
}
