//! The broker's clock: the wall clock at the start, and from then on only forward.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch that never go back: session time-outs must not fire because somebody set the clock.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    start_ms: i64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the broker's one clock: everything behind it is given the time")]
    pub(crate) fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX) }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        let passed_ms = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.start_ms.saturating_add(passed_ms)
    }
}
