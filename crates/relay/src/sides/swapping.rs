//! One change of the record on its way: sent, perhaps applied, read back.

use super::event::{Action, SwapOutcome};
use super::{GroupRecord, Standing};
use crate::sequence::Millis;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sending,
    Reading,
    /// Until this time; then the swap is sent again, or the record read again.
    Waiting {
        until: Millis,
        resend: bool,
    },
}

/// A change that was sent. It ends only with a record read back that has another version, or with the certainty that
/// nothing was written: a swap whose outcome is unknown may be applied at any later time, and only a newer version
/// rules that out. So the very same swap is sent until one of them, or someone else's, has won.
#[derive(Debug, Clone, Copy)]
pub(super) struct Swap {
    expected: u64,
    record: GroupRecord,
    stage: Stage,
    /// An earlier sending may be applied yet.
    perhaps_applied: bool,
}

/// Where a swap has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Not decided.
    Goes,
    /// Nothing was written, nor will be.
    NotWritten,
    /// This stands there, read back.
    ReadBack(u64, GroupRecord),
    /// Nothing stands there, or something older than what was expected.
    WentBack(Option<(u64, GroupRecord)>),
}

impl Swap {
    /// A swap that its maker sends.
    pub fn new(expected: u64, record: GroupRecord) -> Self {
        Self { expected, record, stage: Stage::Sending, perhaps_applied: false }
    }

    pub fn record(&self) -> GroupRecord {
        self.record
    }

    pub fn sent(&self) -> Standing {
        self.record.standing
    }

    /// Whether it was read that nothing of it is written so far, and it waits.
    pub fn stands_unwritten(&self) -> bool {
        matches!(self.stage, Stage::Waiting { resend: true, .. })
    }

    /// Another record from the same version: of the two only one can be written.
    pub fn instead(&mut self, record: GroupRecord, out: &mut Vec<Action>) {
        self.record = record;
        self.stage = Stage::Sending;
        out.push(Action::Swap { expected: self.expected, record });
    }

    pub fn swapped(&mut self, now: Millis, retry_ms: Millis, outcome: SwapOutcome, out: &mut Vec<Action>) -> Step {
        if self.stage != Stage::Sending {
            return Step::Goes;
        }
        match outcome {
            SwapOutcome::Unavailable if !self.perhaps_applied => return Step::NotWritten,
            SwapOutcome::Unavailable => self.stage = Stage::Waiting { until: now + retry_ms, resend: true },
            SwapOutcome::Done | SwapOutcome::Conflict | SwapOutcome::Unknown => {
                self.perhaps_applied |= outcome == SwapOutcome::Unknown;
                self.stage = Stage::Reading;
                out.push(Action::ReadBack);
            }
        }
        Step::Goes
    }

    pub fn read(&mut self, now: Millis, retry_ms: Millis, found: Option<Option<(u64, GroupRecord)>>) -> Step {
        if self.stage != Stage::Reading {
            return Step::Goes;
        }
        match found {
            None => self.stage = Stage::Waiting { until: now + retry_ms, resend: false },
            Some(Some((version, record))) if version > self.expected => return Step::ReadBack(version, record),
            Some(Some((version, _))) if version == self.expected => {
                self.stage = Stage::Waiting { until: now + retry_ms, resend: true };
            }
            Some(None) if self.expected == 0 => {
                self.stage = Stage::Waiting { until: now + retry_ms, resend: true };
            }
            Some(older) => return Step::WentBack(older),
        }
        Step::Goes
    }

    /// Sends or reads again when it is time.
    pub fn tick(&mut self, now: Millis, may_write: bool, out: &mut Vec<Action>) {
        let Stage::Waiting { until, resend } = self.stage else { return };
        if now < until {
            return;
        }
        if resend && may_write {
            self.stage = Stage::Sending;
            out.push(Action::Swap { expected: self.expected, record: self.record });
        } else {
            self.stage = Stage::Reading;
            out.push(Action::ReadBack);
        }
    }
}
