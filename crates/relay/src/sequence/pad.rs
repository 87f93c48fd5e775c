//! Starting a log in the middle: a side whose log ends below the other's log start is filled with empty records up to
//! there, because a broker gives offsets and is not given them; then they are deleted.

use naru_kafka::wire::{Batch, BatchBuilder, Compression, ErrorCode, WireError};

use super::event::ReadFailed;
use super::line::{outgoing, with_producer};
use super::partition::Partition;
use super::track::{Cargo, Follow, REFUSED_RETRY_MS, Stage};
use super::{Action, Millis};
use crate::side::Side;

/// Empty records in one batch: 0.8 MB as zstd, below the default limit of a message; appended in 0.10-0.18 s.
pub const PADDING_RECORDS_MAX: i64 = 1_000_000;

/// Padding under way.
#[derive(Debug)]
pub(super) struct Padding {
    /// Where it ends: the offset of the first batch that the active side has.
    to: i64,
    /// The last batch that was made: most are alike.
    batch: Option<Batch>,
}

fn empty_records(count: i64) -> Result<Batch, WireError> {
    let mut builder = BatchBuilder::new(Compression::Zstd);
    for _ in 0..count {
        // Of the year 1970: the first that retention would take.
        builder.push(0, None, Some(&[]), &[])?;
    }
    Batch::split_first(&mut builder.build()?)
}

impl Partition {
    /// Reads the first batch of the active side, to learn where it begins: a log start may lie inside a batch.
    pub(super) fn begin_aligning(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        let active = self.standing.active;
        let (may_ask, end) = (now >= self.sides[active].retry_at, self.sides[active].end);
        let id = self.order_id();
        let track = &mut self.sides[side];
        let Stage::Follow(Follow::Aligning { order, log_start }) = &mut track.stage else { return };
        if order.is_some() || !may_ask {
            return;
        }
        let from = *log_start;
        if from >= end {
            track.stage = Stage::Follow(Follow::Padding(Box::new(Padding { to: from, batch: None })));
            return;
        }
        *order = Some((id, now));
        out.push(Action::Read { order: id, side: active, from, before: from + 1, bytes_max: 1 });
    }

    pub(super) fn aligned(&mut self, side: Side, outcome: Result<Vec<Batch>, ReadFailed>) -> Result<(), ReadFailed> {
        let batches = outcome?;
        let to = batches.first().ok_or(ReadFailed::Unreachable)?.header().base_offset;
        self.sides[side].stage = Stage::Follow(Follow::Padding(Box::new(Padding { to, batch: None })));
        Ok(())
    }

    pub(super) fn pad(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        let leased = self.is_leased(now);
        let (id, epoch) = (self.copier_id(side), self.restamped[side].epoch);
        let track = &mut self.sides[side];
        let Stage::Follow(Follow::Padding(padding)) = &mut track.stage else { return };
        if track.end >= padding.to {
            track.stage = Stage::Follow(Follow::Copying);
            return;
        }
        if !track.flight.is_empty() || track.fault.is_some() || now < track.retry_at || !leased {
            return;
        }
        let count = (padding.to - track.end).min(PADDING_RECORDS_MAX);
        if padding.batch.as_ref().is_none_or(|batch| i64::from(batch.header().record_count) != count) {
            match empty_records(count) {
                Ok(batch) => padding.batch = Some(batch),
                Err(_) => {
                    track.refuses = Some(ErrorCode::UNKNOWN_SERVER_ERROR);
                    track.retry_at = now + REFUSED_RETRY_MS;
                    return;
                }
            }
        }
        let Some(batch) = padding.batch.clone() else { return };
        let header = with_producer(&batch, id, epoch, track.copier_next);
        let cargo = Cargo::Placed { offset: track.end, header };
        self.write(now, side, cargo, outgoing(header, &batch), out);
    }
}
