//! Two clocks, injected wherever time is read.
//!
//! [`WallClock`] is the time that passes: durations by a monotonic reading, dates by the machine's calendar. [`DayClock`]
//! is the calendar of the day that is played, which may run faster: a rehearsal plays a day in minutes, in production
//! the factor is 1.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time that passes.
pub trait WallClock: Send + Sync + std::fmt::Debug {
    /// Time since a fixed moment of this process; never goes back. For durations and time-outs.
    fn monotonic(&self) -> Duration;

    /// Milliseconds since 1970-01-01 UTC; may jump when the machine's clock is set. For dates only.
    fn unix_ms(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic reading is zero now.
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl WallClock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that is injected")]
    fn unix_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => millis(since),
            Err(before) => -millis(before.duration()),
        }
    }
}

/// A length in whole milliseconds, as wall clocks count; the largest number for one that is longer.
pub fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// A clock that stands still until it is moved; for tests and simulation.
#[derive(Debug, Default)]
pub struct ManualClock {
    monotonic_us: AtomicU64,
    unix_ms_offset: AtomicI64,
}

impl ManualClock {
    /// A clock at this date, its monotonic reading zero.
    pub fn at(unix_ms: i64) -> Self {
        Self { monotonic_us: AtomicU64::new(0), unix_ms_offset: AtomicI64::new(unix_ms) }
    }

    /// Lets time pass on both readings; what is below a microsecond is cut.
    pub fn advance(&self, by: Duration) {
        let by_us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.monotonic_us.fetch_add(by_us, Ordering::SeqCst);
    }

    /// Sets the calendar as an operator or a time service does; the monotonic reading does not notice.
    pub fn set_unix_ms(&self, unix_ms: i64) {
        self.unix_ms_offset.store(unix_ms - self.passed_ms(), Ordering::SeqCst);
    }

    fn passed_ms(&self) -> i64 {
        millis(self.monotonic())
    }
}

impl WallClock for ManualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic_us.load(Ordering::SeqCst))
    }

    fn unix_ms(&self) -> i64 {
        self.unix_ms_offset.load(Ordering::SeqCst).saturating_add(self.passed_ms())
    }
}

/// The calendar of the day that is played: begins at a given date and runs `factor` times as fast as the wall clock,
/// by its monotonic reading, so that setting the machine's clock moves no deadline of the day.
#[derive(Debug, Clone)]
pub struct DayClock {
    wall: Arc<dyn WallClock>,
    start_unix_ms: i64,
    factor: NonZeroU32,
    origin: Duration,
}

impl DayClock {
    /// A day that is at `start_unix_ms` now and runs `factor` times as fast as `wall`.
    pub fn starting(wall: Arc<dyn WallClock>, start_unix_ms: i64, factor: NonZeroU32) -> Self {
        let origin = wall.monotonic();
        Self { wall, start_unix_ms, factor, origin }
    }

    /// The day that it is, at its own pace.
    pub fn real(wall: Arc<dyn WallClock>) -> Self {
        let now = wall.unix_ms();
        Self::starting(wall, now, NonZeroU32::MIN)
    }

    /// The date of the day, in milliseconds since 1970-01-01 UTC.
    pub fn unix_ms(&self) -> i64 {
        let passed_us = self.passed().as_micros().saturating_mul(u128::from(self.factor.get()));
        self.start_unix_ms.saturating_add(i64::try_from(passed_us / 1000).unwrap_or(i64::MAX))
    }

    /// How long to wait, by the wall clock, until the day reaches this date; zero when it has.
    pub fn wait_until(&self, unix_ms: i64) -> Duration {
        let day_ms = u64::try_from(unix_ms.saturating_sub(self.start_unix_ms)).unwrap_or(0);
        let wall_us = u128::from(day_ms).saturating_mul(1000).div_ceil(u128::from(self.factor.get()));
        Duration::from_micros(u64::try_from(wall_us).unwrap_or(u64::MAX)).saturating_sub(self.passed())
    }

    /// A length of the day as it passes on the wall clock.
    pub fn wall_length(&self, of_day: Duration) -> Duration {
        of_day / self.factor.get()
    }

    fn passed(&self) -> Duration {
        self.wall.monotonic().saturating_sub(self.origin)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn a_scaled_day_runs_faster_and_ignores_a_set_clock() {
        let wall = Arc::new(ManualClock::at(1_000_000));
        wall.advance(Duration::from_secs(5));
        let day = DayClock::starting(wall.clone(), 500, NonZeroU32::new(60).unwrap());
        let check = |advance: Duration, unix_ms: i64, wait_until_a_minute: Duration| {
            wall.advance(advance);
            assert_eq!(day.unix_ms(), unix_ms);
            assert_eq!(day.wait_until(60_500), wait_until_a_minute);
        };
        check(Duration::ZERO, 500, Duration::from_secs(1));
        check(Duration::from_millis(250), 15_500, Duration::from_millis(750));
        wall.set_unix_ms(0);
        check(Duration::from_millis(749), 60_440, Duration::from_millis(1));
        check(Duration::from_millis(1), 60_500, Duration::ZERO);
        check(Duration::from_secs(60), 3_660_500, Duration::ZERO);
        assert_eq!(wall.unix_ms(), 60_750);
        assert_eq!(day.wall_length(Duration::from_secs(90)), Duration::from_millis(1500));
    }

    #[test]
    fn waiting_as_long_as_told_reaches_the_date() {
        for factor in [1, 7, 60, 1440] {
            let wall = Arc::new(ManualClock::at(0));
            let day = DayClock::starting(wall.clone(), 0, NonZeroU32::new(factor).unwrap());
            for date in [1, 999, 86_400_000] {
                wall.advance(day.wait_until(date));
                assert!(day.unix_ms() >= date, "{factor} {date}");
                assert!(day.unix_ms() <= date + i64::from(factor), "{factor} {date}");
            }
        }
    }

    #[test]
    fn the_real_day_is_the_machines() {
        let wall = Arc::new(SystemClock::new());
        let day = DayClock::real(wall.clone());
        assert!((wall.unix_ms() - day.unix_ms()).abs() < 1000);
        assert!(wall.unix_ms() > 1_700_000_000_000);
    }
}
