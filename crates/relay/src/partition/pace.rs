//! How fast sides that come back may be copied to, all partitions together: the traffic of now goes before.

use std::sync::{Mutex, PoisonError};

use crate::sequence::Millis;

/// Less is not worth a pause: timers count in milliseconds, and a batch of a megabyte takes some of them.
const PAUSE_MS_MIN: Millis = 10;

/// Longest pause of a partition: it must not miss the moment when its side is required again.
const PAUSE_MS_MAX: Millis = 5_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pace {
    /// None: as fast as it goes.
    bytes_per_second: Option<u64>,
    /// When what was begun so far may have been copied, microseconds.
    paid_until: Mutex<u64>,
}

impl Pace {
    /// 0 bytes: as fast as it goes.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: (bytes_per_second > 0).then_some(bytes_per_second), paid_until: Mutex::new(0) }
    }

    /// Bytes are being copied; until when the next ones of this partition wait. None: they need not.
    pub(crate) fn copied(&self, bytes: usize, now: Millis) -> Option<Millis> {
        let rate = self.bytes_per_second?;
        let cost = (bytes as u64).saturating_mul(1_000_000) / rate;
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paid_until = (*paid_until).max(now.saturating_mul(1_000)).saturating_add(cost);
        let until = *paid_until / 1_000;
        (until >= now + PAUSE_MS_MIN).then(|| until.min(now + PAUSE_MS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_is_paid_for_in_time() {
        let pace = Pace::new(1_000_000);
        let check = |bytes, now, expect| assert_eq!(pace.copied(bytes, now), expect, "{bytes} at {now}");
        check(5_000, 100, None);
        check(5_000, 100, Some(110));
        // Another partition's share.
        check(100_000, 105, Some(210));
        // Time that nobody used is not saved up.
        check(20_000, 10_000, Some(10_020));
        check(100_000_000, 10_000, Some(15_000));
        assert_eq!(Pace::new(0).copied(usize::MAX, 0), None);
    }
}
