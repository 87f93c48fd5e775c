//! How long to wait before trying again: exponential, bounded, jittered, from injected randomness.

use std::{fmt, sync::Mutex, time::Duration};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

/// The waiting times between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt. Default 50 ms: a broker that restarts in place is back within a few of these.
    pub first: Duration,
    /// No wait is longer. Default 1 s: a failover must be noticed within its own time.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(50), max: Duration::from_secs(1) }
    }
}

impl Backoff {
    /// The wait after the given number of failures in a row, between half and the whole of the exponential step, so
    /// that clients cut off together do not come back together. `unit` is uniform in `[0, 1)`.
    pub fn delay(&self, failures: u32, unit: f64) -> Duration {
        // 2^20 times the first step is beyond every sensible maximum, and does not overflow.
        let doublings = failures.saturating_sub(1).min(20);
        let step = self.first.saturating_mul(1 << doublings).min(self.max);
        step.mul_f64(0.5 + 0.5 * unit.clamp(0.0, 1.0))
    }
}

/// The randomness behind jitter: seeded in tests and rehearsals, so that a run can be repeated.
pub struct Jitter(Mutex<Box<dyn Rng + Send>>);

impl Jitter {
    /// The same seed gives the same waits.
    pub fn seeded(seed: u64) -> Self {
        Self::from_rng(StdRng::seed_from_u64(seed))
    }

    /// Seeded by the operating system.
    pub fn from_os() -> Self {
        Self::from_rng(rand::make_rng::<StdRng>())
    }

    /// From any generator.
    pub fn from_rng(rng: impl Rng + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(rng)))
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&self) -> f64 {
        let mut rng = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        rng.random::<f64>()
    }
}

impl fmt::Debug for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jitter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_half_the_step_and_stop_at_the_maximum() {
        let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_millis(1_000) };
        let check = |failures, unit, expect_ms| {
            assert_eq!(backoff.delay(failures, unit), Duration::from_millis(expect_ms), "{failures} failures, {unit}");
        };
        check(0, 0.0, 50);
        check(1, 0.0, 50);
        check(1, 1.0, 100);
        check(2, 0.0, 100);
        check(2, 1.0, 200);
        check(5, 1.0, 1_000);
        check(u32::MAX, 0.0, 500);
        check(u32::MAX, 1.0, 1_000);
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        let waits = |seed| {
            let jitter = Jitter::seeded(seed);
            (0..8).map(|_| jitter.unit()).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
        assert!(waits(7).iter().all(|unit| (0.0..1.0).contains(unit)));
    }
}
