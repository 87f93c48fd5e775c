//! Bytes per second and principal: whoever is over is told how long, and not read from for that long.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Principal;
use super::config::QuotaConfig;
use crate::sequence::Millis;

/// How much of its rate a principal may use at once after a rest, milliseconds: Kafka's window of one second.
const BURST_MS: u64 = 1_000;

/// Longest throttle: as long as clients wait for an answer at least. What is left of a debt is throttled later.
pub const THROTTLE_MS_MAX: u64 = 30_000;

/// Buckets kept; those at rest go first. Far above the number of principals: their names are ours, from users and
/// certificates.
const BUCKETS_MAX: usize = 10_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Traffic {
    /// Bytes of Produce requests.
    Produce,
    /// Bytes of Fetch answers.
    Fetch,
}

/// A rate with its debt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    bytes_per_second: u64,
    /// Used of the burst, in thousandths of bytes; above the burst it is a debt.
    used: u64,
    at: Millis,
}

impl Bucket {
    fn new(bytes_per_second: u64, now: Millis) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), used: 0, at: now }
    }

    /// Counts bytes; how long to wait until the rate is kept again, milliseconds.
    fn charge(&mut self, bytes: u64, now: Millis) -> u64 {
        // A thousandth of a byte per millisecond and byte per second: no rounding adds up.
        let regained = now.saturating_sub(self.at).saturating_mul(self.bytes_per_second);
        self.at = self.at.max(now);
        self.used = self.used.saturating_sub(regained).saturating_add(bytes.saturating_mul(1_000));
        let debt = self.used.saturating_sub(self.bytes_per_second.saturating_mul(BURST_MS));
        debt.div_ceil(self.bytes_per_second).min(THROTTLE_MS_MAX)
    }

    fn is_at_rest(&self, now: Millis) -> bool {
        now.saturating_sub(self.at).saturating_mul(self.bytes_per_second) >= self.used
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    produce: Option<u64>,
    fetch: Option<u64>,
}

impl Limits {
    fn of(self, traffic: Traffic) -> Option<u64> {
        match traffic {
            Traffic::Produce => self.produce,
            Traffic::Fetch => self.fetch,
        }
    }
}

/// The quotas of all principals, shared by all connections.
#[derive(Debug, Default)]
pub struct Quotas {
    limits: HashMap<String, Limits>,
    buckets: Mutex<HashMap<(Principal, Traffic), Bucket>>,
}

/// Stands for each principal that has no quota of its own.
const EACH: &str = "*";

impl Quotas {
    /// These quotas; the first that names a principal counts.
    pub fn new(quotas: &[QuotaConfig]) -> Self {
        let mut limits: HashMap<String, Limits> = HashMap::new();
        for quota in quotas {
            let bytes = |size: Option<naru_runtime::config::ByteSize>| size.map(|size| size.as_usize() as u64);
            let of = Limits { produce: bytes(quota.produce_per_second), fetch: bytes(quota.fetch_per_second) };
            quota.principals.iter().for_each(|name| {
                limits.entry(name.clone()).or_insert(of);
            });
        }
        Self { limits, buckets: Mutex::default() }
    }

    /// Counts traffic; how long the connection is to be throttled, milliseconds.
    pub fn charge(&self, principal: &Principal, traffic: Traffic, bytes: u64, now: Millis) -> u64 {
        let limits = self.limits.get(principal.as_str()).or_else(|| self.limits.get(EACH));
        let Some(rate) = limits.and_then(|limits| limits.of(traffic)) else { return 0 };
        // Nothing that holds it can leave half a change behind.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| !bucket.is_at_rest(now));
        }
        buckets.entry((principal.clone(), traffic)).or_insert_with(|| Bucket::new(rate, now)).charge(bytes, now)
    }
}

#[cfg(test)]
mod tests {
    use naru_runtime::config::ByteSize;

    use super::*;

    #[test]
    fn a_rate_is_kept_over_time_with_a_seconds_burst() {
        let mut bucket = Bucket::new(1_000, 0);
        let mut check = |bytes: u64, now: Millis, expect: u64| assert_eq!(bucket.charge(bytes, now), expect, "{now}");
        check(1_000, 0, 0);
        check(500, 0, 500);
        // Half of it was waited out.
        check(0, 250, 250);
        check(0, 500, 0);
        check(0, 10_000, 0);
        // A rest is worth one second and no more.
        check(1_500, 10_000, 500);
        // A clock that stands or goes back gives nothing.
        check(1, 9_000, 501);
        check(u64::MAX, 10_000, THROTTLE_MS_MAX);
    }

    #[test]
    fn quotas_are_per_principal_and_kind() {
        let quota = |names: &[&str], produce: &str, fetch: Option<&str>| {
            let size = |text: &str| <ByteSize as naru_runtime::config::Scalar>::from_text(text).expect("a size");
            QuotaConfig {
                principals: names.iter().map(|name| (*name).to_owned()).collect(),
                produce_per_second: Some(size(produce)),
                fetch_per_second: fetch.map(size),
            }
        };
        let quotas = Quotas::new(&[quota(&["bulk"], "1kB", None), quota(&["*"], "10kB", Some("1kB"))]);
        let check = |who: &str, traffic, expect: u64| {
            assert_eq!(quotas.charge(&Principal::new(who), traffic, 2_000, 0), expect, "{who} {traffic:?}");
        };
        check("bulk", Traffic::Produce, 1_000);
        check("bulk", Traffic::Produce, 3_000);
        check("bulk", Traffic::Fetch, 0);
        check("a", Traffic::Produce, 0);
        check("a", Traffic::Fetch, 1_000);
        // Another principal has a bucket of its own.
        check("b", Traffic::Fetch, 1_000);
        assert_eq!(Quotas::default().charge(&Principal::anonymous(), Traffic::Produce, u64::MAX, 0), 0);
    }
}
