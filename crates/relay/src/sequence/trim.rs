//! The log start: shown is the larger of the sides'; the relay moves it, and so does a side's own retention.

use naru_kafka::wire::ErrorCode;

use super::admit::NOT_NOW;
use super::event::ReadFailed;
use super::partition::Partition;
use super::track::RETRY_MS;
use super::{Action, Millis, OrderId, Refusal, Ticket};
use crate::side::{Side, SideMap};

/// Deletions under way at once, at most: they are rare, and each costs both sides a request.
const DELETIONS_MAX: usize = 16;

/// A client's deletion under way.
#[derive(Debug)]
pub(super) struct Deletion {
    ticket: Ticket,
    before: i64,
    step: Deleting,
}

#[derive(Debug)]
enum Deleting {
    /// What is to be deleted tells of its producers: their windows have to be durable first.
    Keeping,
    /// On its way to the sides.
    Ordered(SideMap<Option<OrderId>>),
    /// Done; where the log begins is being made durable.
    Showing,
}

impl Partition {
    pub(super) fn delete_before(&mut self, now: Millis, ticket: Ticket, offset: i64, out: &mut Vec<Action>) {
        let before = if offset == -1 { self.line.gate } else { offset };
        let refusal = if !self.is_running() || !self.is_leased(now) || self.is_stopped() {
            Some((NOT_NOW, "this partition is stopped"))
        } else if self.deletions.len() >= DELETIONS_MAX {
            Some((NOT_NOW, "too many deletions wait in this partition"))
        } else if before < 0 || before > self.line.gate {
            Some((ErrorCode::OFFSET_OUT_OF_RANGE, "beyond what both sides hold"))
        } else {
            None
        };
        if let Some((code, why)) = refusal {
            out.push(Action::AnswerDelete { ticket, result: Err(Refusal { code, why }) });
            return;
        }
        if before <= self.log_start {
            out.push(Action::AnswerDelete { ticket, result: Ok(self.log_start) });
            return;
        }
        self.deletions.push(Deletion { ticket, before, step: Deleting::Keeping });
    }

    /// Deletions whose next step is free.
    pub(super) fn advance_deletions(&mut self, now: Millis, out: &mut Vec<Action>) {
        if !self.is_running() || !self.is_leased(now) {
            return;
        }
        let mut deletions = std::mem::take(&mut self.deletions);
        for deletion in &mut deletions {
            if matches!(deletion.step, Deleting::Keeping) && self.keeper.has_kept(deletion.before) {
                let mut orders = SideMap::default();
                for side in Side::BOTH {
                    if self.is_in_sync(side) {
                        let (order, before) = (self.order_id(), deletion.before);
                        orders[side] = Some(order);
                        out.push(Action::DeleteRecords { order, side, before });
                    }
                }
                deletion.step = Deleting::Ordered(orders);
            }
        }
        for shown in
            deletions.extract_if(.., |one| matches!(one.step, Deleting::Showing) && one.before <= self.log_start)
        {
            out.push(Action::AnswerDelete { ticket: shown.ticket, result: Ok(self.log_start) });
        }
        self.deletions = deletions;
    }

    pub(super) fn records_deleted(
        &mut self,
        now: Millis,
        side: Side,
        order: OrderId,
        outcome: Result<i64, ReadFailed>,
        out: &mut Vec<Action>,
    ) {
        if self.sides[side].trimming == Some(order) {
            self.sides[side].trimming = None;
            match outcome {
                Ok(log_start) => self.sides[side].log_start = log_start,
                Err(failed) => {
                    self.unread(now, side, now, failed);
                    self.sides[side].retry_at = now + RETRY_MS;
                }
            }
            return;
        }
        let is_of =
            |deletion: &Deletion| matches!(&deletion.step, Deleting::Ordered(orders) if orders[side] == Some(order));
        let Some(index) = self.deletions.iter().position(is_of) else { return };
        match outcome {
            Ok(log_start) => {
                self.sides[side].log_start = self.sides[side].log_start.max(log_start);
                let deletion = &mut self.deletions[index];
                let Deleting::Ordered(orders) = &mut deletion.step else { return };
                orders[side] = None;
                if orders.iter().all(|(_, order)| order.is_none()) {
                    deletion.step = Deleting::Showing;
                    let before = deletion.before;
                    self.begin_at(before);
                }
            }
            Err(failed) => {
                let deletion = self.deletions.swap_remove(index);
                let code = match failed {
                    ReadFailed::Refused(code) => code,
                    ReadFailed::Unreachable | ReadFailed::OtherTopic(_) => NOT_NOW,
                };
                let refusal = Refusal { code, why: "not deleted on every side; a repetition is harmless" };
                out.push(Action::AnswerDelete { ticket: deletion.ticket, result: Err(refusal) });
            }
        }
    }

    /// A side in sync is trimmed by its own retention, too; what a follower says of its log is read when it is examined.
    pub(super) fn begins_at(&mut self, side: Side, log_start: i64) {
        let in_sync = self.is_running() && self.is_in_sync(side);
        let track = &mut self.sides[side];
        if in_sync && track.fault.is_none() {
            track.log_start = track.log_start.max(log_start);
        }
    }

    /// The log start follows the sides in sync: what one of them no longer has is not shown.
    pub(super) fn move_log_start(&mut self) {
        if !self.is_running() {
            return;
        }
        // One that joins counts when it has joined: until then it may begin where it once did.
        let counts = |side: &Side| self.standing.in_sync.contains(*side) || self.sides[*side].is_checked();
        let starts = Side::BOTH.into_iter().filter(counts).map(|side| self.sides[side].log_start);
        let start = starts.max().unwrap_or(0).min(self.line.gate);
        if start > self.begins {
            self.begin_at(start);
        }
    }

    /// A follower's log must not begin before what is shown: what it holds there is padding, or was deleted.
    pub(super) fn trim_follower(&mut self, now: Millis, side: Side, out: &mut Vec<Action>) {
        let before = self.log_start;
        let track = &self.sides[side];
        let due = track.log_start < before && track.end >= before && track.trimming.is_none() && now >= track.retry_at;
        if due && track.fault.is_none() && self.is_leased(now) {
            let order = self.order_id();
            self.sides[side].trimming = Some(order);
            out.push(Action::DeleteRecords { order, side, before });
        }
    }
}
