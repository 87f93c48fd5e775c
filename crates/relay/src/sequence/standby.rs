//! A side that lacks placed batches gets them in the order of their offsets, one in flight: the standby, a survivor
//! that takes over, the shorter side at a start, a follower.

use naru_kafka::wire::{Batch, BatchHeader};

use super::active::{Meaning, meaning};
use super::event::WriteRefused;
use super::line::{Entry, outgoing};
use super::mutant::mutant;
use super::partition::Partition;
use super::track::{Cargo, Follow, REFUSED_RETRY_MS, RETRY_MS, Stage};
use super::{Action, Millis};
use crate::side::Side;

impl Partition {
    pub(super) fn catch_up(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
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
        let Some((batch, header)) = self.lacking(side, at) else { return };
        // Only what the side that orders holds may be copied from it.
        let next = at + i64::from(header.last_offset_delta) + 1;
        if self.is_running() && side != self.standing.active && next > self.sides[self.standing.active].end {
            return;
        }
        let cargo = Cargo::Placed { offset: at, header };
        self.write(now, side, cargo, outgoing(header, &batch), out);
    }

    /// The batch that stands at an offset, if it is at hand, and its header as the line has it.
    fn lacking(&self, side: Side, at: i64) -> Option<(Batch, BatchHeader)> {
        if let Some(entry) = self.line.at(at) {
            return Some((entry.batch.clone(), entry.header));
        }
        let batch = self.sides[side].spool.batches.front()?;
        let header = BatchHeader { base_offset: 0, partition_leader_epoch: -1, ..*batch.header() };
        (batch.header().base_offset == at).then(|| (batch.clone(), header))
    }

    /// What leaves the line is kept for a follower that needs it next.
    pub(super) fn spool(&mut self, entry: Entry) {
        for side in Side::BOTH {
            let bytes_max = self.config.copy_bytes_max;
            let track = &mut self.sides[side];
            if !matches!(track.stage, Stage::Follow(Follow::Copying)) || track.end > entry.offset {
                continue;
            }
            let continues =
                track.spool.next == entry.offset || track.spool.batches.is_empty() && track.end == entry.offset;
            if continues && track.spool.order.is_none() && track.spool.bytes < bytes_max {
                if let Some(batch) = as_read(&entry) {
                    track.spool.push(batch);
                }
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
        let track = &mut self.sides[side];
        match outcome {
            Ok(base) if base == offset && base == track.end && track.fault.is_none() => {
                track.end = offset + i64::from(header.last_offset_delta) + 1;
                track.tail = Some(BatchHeader { base_offset: offset, ..header });
                track.refuses = None;
                track.spool.trim(track.end);
            }
            // Not where it belongs: what the side holds has to be looked at.
            Ok(_) | Err(WriteRefused::Unknown) => track.doubt(),
            Err(WriteRefused::NotSent) => {}
            Err(WriteRefused::Refused(code)) => match meaning(code) {
                Meaning::Later => track.retry_at = now + RETRY_MS,
                Meaning::Sequence | Meaning::Epoch | Meaning::Forbidden | Meaning::Never => {
                    track.refuses = Some(code);
                    track.retry_at = now + REFUSED_RETRY_MS;
                    track.doubt();
                }
            },
        }
    }
}

/// An entry as a read would have brought it. None where it was stamped: its bytes are not in one piece.
fn as_read(entry: &Entry) -> Option<Batch> {
    (entry.batch.header().base_offset == entry.offset && !entry.stamped).then(|| entry.batch.clone())
}
