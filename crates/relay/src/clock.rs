//! The clock of leases and patience.

use crate::sequence::Millis;

/// Milliseconds since the machine started, time asleep included (CLOCK_BOOTTIME): a lease that ended while the machine
/// slept has ended (RELAY-9).
pub fn now() -> Millis {
    use nix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux since 2.6.39 has CLOCK_BOOTTIME");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    seconds * 1_000 + nanos / 1_000_000
}

/// Milliseconds since 1970, for comparing with the times of records. May jump.
#[expect(clippy::disallowed_methods, reason = "the relay's one date: everything behind it is given it")]
pub(crate) fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
