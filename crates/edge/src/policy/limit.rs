//! How a site's limit moves: down fast while requests queue, up slowly while it is used.
//!
//! Only owned sites adapt. A round trip to a cloud says nothing about a queue there, so nothing that comes back from a
//! rented site is ever fed in; and no traffic is held back in order to measure.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::Millis;
use super::mutant::mutant;
use super::slots::Slots;

/// How often the limit moves.
pub const STEP_MS: Millis = 100;
/// Queueing above this lowers the limit.
pub const QUEUEING_MAX: Duration = Duration::from_millis(20);
/// The limit after a step down, in hundredths of the one before.
const DOWN_PERCENT: u64 = 95;
/// The limit after a step up, in hundredths of the one before.
const UP_PERCENT: u64 = 101;

/// Between what a limit moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Never below; never less than core's reserve, which open requests' share is taken from.
    pub floor: Slots,
    /// Where it starts and never above: what the load test showed.
    pub ceiling: Slots,
}

/// The next limit, from what was seen during one step.
pub fn step(limit: Slots, bounds: Bounds, queueing: Option<Duration>, peak: Slots) -> Slots {
    let scaled = |percent: u64| (u64::from(limit.thousandths()) * percent / 100) as u32;
    let next = if queueing.is_some_and(|queueing| queueing > QUEUEING_MAX) {
        scaled(DOWN_PERCENT)
    } else if peak.thousandths() >= limit.thousandths() / 2 {
        scaled(UP_PERCENT)
    } else {
        limit.thousandths()
    };
    let floor = if mutant!(SinkBelowFloor) { Slots::ZERO } else { bounds.floor };
    Slots::from_thousandths(next).min(bounds.ceiling).max(floor)
}

/// How long requests of one route take at one site, and how much of that is waiting there.
///
/// A mean that is above the lowest mean of late is queueing. The lowest is taken over means and not over single
/// requests: routes whose requests differ among themselves would else always seem to queue.
#[derive(Debug, Default)]
pub struct Timing {
    sum_us: AtomicU64,
    count: AtomicU64,
    /// The lowest means of this window and of the one before, microseconds plus one; 0 when there is none.
    lowest: [AtomicU32; 2],
}

/// How long a lowest mean is remembered, at least: long enough to have seen a quiet moment, short enough to notice that
/// a service became slower for good.
pub const BASE_WINDOW_MS: Millis = 60_000;
/// Fewer requests than this in a step say nothing about a mean.
const SAMPLES_MIN: u64 = 8;

impl Timing {
    /// Adds a finished request.
    pub fn finished(&self, took: Duration) {
        self.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// What the requests since the last step say: how many, and how long each waited in the mean.
    pub fn step(&self) -> Option<(u64, Duration)> {
        let count = self.count.load(Ordering::Relaxed);
        if count < SAMPLES_MIN {
            return None;
        }
        let (count, sum_us) = (self.count.swap(0, Ordering::Relaxed), self.sum_us.swap(0, Ordering::Relaxed));
        let mean_us = u32::try_from(sum_us / count.max(1)).unwrap_or(u32::MAX - 1);
        let known = self.lowest.iter().map(|lowest| lowest.load(Ordering::Relaxed)).filter(|lowest| *lowest != 0).min();
        let base_us = known.map_or(mean_us, |lowest| mean_us.min(lowest - 1));
        let newest = self.lowest[0].load(Ordering::Relaxed);
        if newest == 0 || mean_us < newest - 1 {
            self.lowest[0].store(mean_us + 1, Ordering::Relaxed);
        }
        Some((count, Duration::from_micros(u64::from(mean_us - base_us))))
    }

    /// Begins a window: what is older than two of them is forgotten.
    pub fn turn_window(&self) {
        let newest = self.lowest[0].swap(0, Ordering::Relaxed);
        self.lowest[1].store(newest, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_falls_fast_and_rises_slowly_within_its_bounds() {
        let bounds = Bounds { floor: Slots::whole(10), ceiling: Slots::whole(100) };
        let check = |limit: u32, queueing_ms: Option<u64>, peak: u32, expect: u32| {
            let queueing = queueing_ms.map(Duration::from_millis);
            let next = step(Slots::from_thousandths(limit), bounds, queueing, Slots::from_thousandths(peak));
            assert_eq!(next.thousandths(), expect, "{limit} {queueing_ms:?} {peak}");
        };
        check(80_000, Some(21), 80_000, 76_000);
        check(80_000, Some(20), 40_000, 80_800);
        check(80_000, None, 40_000, 80_800);
        check(80_000, Some(0), 39_999, 80_000);
        check(100_000, Some(0), 100_000, 100_000);
        check(10_100, Some(500), 0, 10_000);
        check(300_000, None, 0, 100_000);
    }

    #[test]
    fn queueing_is_what_a_mean_lies_above_the_lowest_of_late() {
        let timing = Timing::default();
        let check = |took_ms: u64, expect_ms: Option<u64>| {
            (0..SAMPLES_MIN).for_each(|_| timing.finished(Duration::from_millis(took_ms)));
            let queueing = timing.step().map(|(_, queueing)| queueing);
            assert_eq!(queueing, expect_ms.map(Duration::from_millis), "{took_ms} ms");
        };
        check(100, Some(0));
        check(130, Some(30));
        check(90, Some(0));
        timing.turn_window();
        check(130, Some(40));
        timing.turn_window();
        check(130, Some(0));
        timing.finished(Duration::from_millis(900));
        assert_eq!(timing.step(), None, "one request says nothing");
    }
}
