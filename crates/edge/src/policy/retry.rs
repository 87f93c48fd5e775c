//! The retry budget: a second attempt is paid for by requests that needed none.

use std::sync::atomic::{AtomicU32, Ordering};

/// Attempts of one request, the first included: what fails twice fails for a reason that a third does not mend.
pub const ATTEMPTS_MAX: u32 = 2;
/// What a request pays in, in thousandths of an attempt: retries add a tenth of the load at most.
const DEPOSIT: u32 = 100;
/// What an attempt costs, in thousandths.
const ATTEMPT: u32 = 1000;
/// Most that is saved up, in thousandths of an attempt: a peer that dies with some requests in flight is covered, a
/// site that dies is not worth a second storm.
const SAVED_MAX: u32 = 20 * ATTEMPT;

/// What has been saved up for retries.
#[derive(Debug)]
pub struct RetryBudget(AtomicU32);

impl Default for RetryBudget {
    /// Full: the first failure after a start may be retried.
    fn default() -> Self {
        Self(AtomicU32::new(SAVED_MAX))
    }
}

impl RetryBudget {
    /// Pays in for a request that was sent for the first time.
    pub fn deposit(&self) {
        let saved = |saved: u32| (saved < SAVED_MAX).then(|| (saved + DEPOSIT).min(SAVED_MAX));
        // Full is no failure: there is nothing to add.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, saved).unwrap_or_default();
    }

    /// Pays for one more attempt, if there is enough.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        let left = |saved: u32| saved.checked_sub(ATTEMPT);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_tenth_of_the_requests_behind_what_was_saved() {
        let budget = RetryBudget::default();
        let withdrawn = |times: usize| (0..times).filter(|_| budget.withdraw()).count();
        assert_eq!(withdrawn(100), 20);
        (0..50).for_each(|_| budget.deposit());
        assert_eq!(withdrawn(100), 5);
        (0..10_000).for_each(|_| budget.deposit());
        assert_eq!(withdrawn(100), 20);
    }
}
