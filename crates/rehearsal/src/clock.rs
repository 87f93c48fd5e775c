//! The run's clock: microseconds since the first phase began.

use std::time::{Duration, Instant};

/// Shared by everything that notes a time, so that all times of a run are comparable. Monotonic.
#[derive(Debug, Clone, Copy)]
pub struct RunClock {
    zero: Instant,
}

impl RunClock {
    /// A clock that reads zero after `lead`: consumers and load are set up in the meantime.
    pub fn starting_in(lead: Duration) -> Self {
        Self { zero: Instant::now() + lead }
    }

    /// Microseconds since the start; zero before it.
    pub fn now_us(&self) -> u64 {
        u64::try_from(Instant::now().saturating_duration_since(self.zero).as_micros()).unwrap_or(u64::MAX)
    }

    /// The moment at which the clock reads `at`.
    pub fn moment(&self, at: Duration) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.zero + at)
    }
}
