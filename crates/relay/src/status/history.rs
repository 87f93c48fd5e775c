//! How the ends of logs have moved, for lags in seconds and the end of a catch-up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::relay::Relay;
use crate::sequence::Millis;
use crate::side::{Side, SideMap};

/// Samples of each group: ten minutes, one a second. A longer lag is shown as at least that.
const SAMPLES_MAX: usize = 600;
/// What rates are taken over, milliseconds: long enough to be steady, short enough to follow a change.
const RATE_MS: Millis = 10_000;
/// The same soon after the start: enough samples for an end to be named.
const RATE_MS_MIN: Millis = 3_000;

/// The records of a group's partitions on each side, as far as ends are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub at: Millis,
    pub ends: SideMap<i64>,
}

/// The newest samples of one group.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
}

impl History {
    pub fn push(&mut self, sample: Sample) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// How old the newest record is that the side has, compared with the active side, milliseconds.
    pub fn lag_ms(&self, now: Millis, side: Side, active: Side) -> Millis {
        let Some(newest) = self.samples.back() else { return 0 };
        if newest.ends[side] >= newest.ends[active] {
            return 0;
        }
        let had = self.samples.iter().rev().find(|sample| sample.ends[active] <= newest.ends[side]);
        let since = had.or(self.samples.front()).map_or(now, |sample| sample.at);
        now.saturating_sub(since)
    }

    /// Records a second that a side gains on the active one. None without enough samples.
    pub fn pace(&self, side: Side, active: Side) -> Option<Pace> {
        let newest = self.samples.back()?;
        let before = self.samples.iter().rev().find(|sample| newest.at - sample.at >= RATE_MS);
        let before = before.or(self.samples.front()).filter(|before| newest.at - before.at >= RATE_MS_MIN)?;
        let seconds = (newest.at - before.at) as f64 / 1000.0;
        let rate = |side: Side| (newest.ends[side] - before.ends[side]) as f64 / seconds;
        Some(Pace { copied: rate(side), gained: rate(side) - rate(active) })
    }
}

/// Records a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    /// Copied to the side.
    pub copied: f64,
    /// Copied beyond what comes in meanwhile.
    pub gained: f64,
}

/// Of every group.
#[derive(Debug, Default)]
pub(super) struct Histories {
    groups: Mutex<BTreeMap<String, History>>,
}

impl Histories {
    pub fn sample(&self, relay: &Relay, at: Millis) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        for name in relay.groups.keys() {
            let mut ends = SideMap { a: 0, b: 0 };
            for partition in relay.served.partitions_of(name) {
                let view = partition.shown().view;
                for side in Side::BOTH {
                    ends[side] += view.ends[side].unwrap_or(view.log_start);
                }
            }
            groups.entry(name.clone()).or_default().push(Sample { at, ends });
        }
    }

    pub fn of<T>(&self, group: &str, read: impl FnOnce(&History) -> T) -> T {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        match groups.get(group) {
            Some(history) => read(history),
            None => read(&History::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;
    use crate::side::Side::{A, B};

    /// A gets 100 records a second; B stands still for twenty seconds, then gets 300.
    fn history(seconds: u64) -> History {
        let mut history = History::default();
        for second in 0..=seconds {
            let a = 1000 + 100 * second as i64;
            let b = 1000 + 300 * second.saturating_sub(20) as i64;
            let ends = SideMap { a, b: b.min(a) };
            history.push(Sample { at: 1000 * second, ends });
        }
        history
    }

    #[test]
    fn a_lag_is_as_old_as_the_newest_record_that_the_side_has() {
        let check = |seconds: u64, lag_s: u64| {
            let history = history(seconds);
            assert_eq!(history.lag_ms(1000 * seconds, B, A), 1000 * lag_s, "after {seconds}");
            assert_eq!(history.lag_ms(1000 * seconds, A, A), 0);
        };
        check(0, 0);
        check(10, 10);
        check(20, 20);
        check(25, 10);
        check(30, 0);
        // Longer than the history.
        check(600, 0);
    }

    #[test]
    fn pace_is_that_of_late() {
        assert_eq!(history(2).pace(B, A), None);
        assert_eq!(history(5).pace(B, A).unwrap().gained, -100.0);
        let pace = history(30).pace(B, A).unwrap();
        assert_eq!((pace.copied, pace.gained), (300.0, 200.0));
    }
}
