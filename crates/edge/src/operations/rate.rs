//! How many requests per second one client may make.
//!
//! A token bucket for each address, as one number: the moment at which it would be full again. All of them stand in a
//! table of fixed size, in which whoever is idle gives way; when more clients than it has places are busy at once, the one
//! with the fullest bucket does, and is let off lightly. So the bound on memory never turns into a bound on clients.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Clients that are counted at once: 512 KiB, and twice as many as the connections that one gateway has by default.
pub const CLIENTS_MAX: usize = SETS * WAYS;
const SETS: usize = 1 << 13;
/// One cache line.
const WAYS: usize = 8;
/// What a bucket holds: a second of the rate, so that a page with everything on it is no flood.
const BURST_TICKS: u64 = TICKS_PER_S;
/// Sixteenths of a microsecond: the highest rate is then kept within 6 %.
const TICKS_PER_S: u64 = 16_000_000;
/// When whoever was refused may come again; Retry-After has whole seconds.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

/// The buckets.
#[derive(Debug)]
pub struct Rates {
    sets: Box<[Set]>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { sets: (0..SETS).map(|_| Set::default()).collect() }
    }
}

/// A bucket in its word: by whom, and when it would be full. The clock is cut to 32 bits and goes round every 268 s; a
/// time that no bucket can have is one of another round, and means a full bucket.
fn pack(tag: u32, full_at: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(full_at)
}

/// How much of a bucket is used, in ticks.
fn used(word: u64, now: u32) -> u64 {
    let used = u64::from((word as u32).wrapping_sub(now));
    if used > BURST_TICKS { 0 } else { used }
}

impl Rates {
    /// Takes one request of a client, a number that nobody can choose, at a time on a clock that never goes back. False
    /// when that is one too many.
    #[must_use]
    pub fn take(&self, client: u64, per_s: u32, now: Duration) -> bool {
        let ticks = now.as_nanos() * u128::from(TICKS_PER_S) / 1_000_000_000;
        // Cut to its round on purpose.
        let now = ticks as u32;
        let cost = TICKS_PER_S / u64::from(per_s.max(1));
        // 0 is an empty place.
        let tag = ((client >> 32) as u32).max(1);
        let Set(places) = &self.sets[client as usize % SETS];
        loop {
            let words = places.each_ref().map(|place| place.load(Ordering::Relaxed));
            let own = words.iter().position(|word| (word >> 32) as u32 == tag);
            let place = own.or_else(|| (0..WAYS).min_by_key(|place| used(words[*place], now))).unwrap_or_default();
            let used = if own.is_some() { used(words[place], now) } else { 0 };
            if used + cost > BURST_TICKS {
                return false;
            }
            let next = pack(tag, now.wrapping_add((used + cost) as u32));
            if places[place].compare_exchange(words[place], next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: u64 = 0x1234_5678_9abc_def0;

    fn taken(rates: &Rates, client: u64, per_s: u32, at: Duration, asked: u32) -> u32 {
        (0..asked).map(|_| u32::from(rates.take(client, per_s, at))).sum()
    }

    #[test]
    fn a_client_has_a_second_of_its_rate_at_once_and_then_its_rate() {
        let check = |per_s: u32, begins: Duration| {
            let rates = Rates::default();
            let at = |ms: u64| begins + Duration::from_millis(ms);
            assert_eq!(taken(&rates, CLIENT, per_s, at(0), 2 * per_s), per_s, "{per_s}");
            assert_eq!(taken(&rates, CLIENT, per_s, at(500), per_s), per_s / 2, "{per_s}");
            assert_eq!(taken(&rates, CLIENT ^ 1 << 40, per_s, at(500), 2 * per_s), per_s, "another client");
            assert_eq!(taken(&rates, CLIENT, per_s, at(5_000), 2 * per_s), per_s, "{per_s}");
        };
        for begins in [Duration::ZERO, Duration::from_millis(267_900), Duration::from_secs(1 << 30)] {
            [2, 200, 8_000, 1_000_000].into_iter().for_each(|per_s| check(per_s, begins));
        }
    }

    #[test]
    fn idle_clients_give_way_and_the_busiest_are_still_held() {
        let rates = Rates::default();
        let same_set = |n: u64| CLIENT & 0xffff_ffff | (n + 7) << 32;
        assert_eq!(taken(&rates, CLIENT, 100, Duration::ZERO, 200), 100);
        for other in 0..100 {
            assert!(rates.take(same_set(other), 100, Duration::ZERO));
        }
        assert!(!rates.take(CLIENT, 100, Duration::ZERO), "a flood of others frees nobody who is over his rate");
    }

    #[test]
    fn threads_together_get_no_more() {
        let (rates, all) = (Rates::default(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let own = taken(&rates, CLIENT, 1000, Duration::from_secs(9), 1000);
                    all.fetch_add(u64::from(own), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(all.into_inner(), 1000);
    }
}
