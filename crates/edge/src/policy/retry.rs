//! The retry budget: a second attempt is paid for by requests that needed none.

use std::sync::atomic::{AtomicU32, Ordering};

use naru_model::Class;

/// Attempts of one request, the first included: what fails twice fails for a reason that a third does not mend.
pub const ATTEMPTS_MAX: u32 = 2;
/// What an attempt costs, in thousandths.
const ATTEMPT: u32 = 1000;
/// What an open request pays in: retries add a tenth of the load at most.
const OPEN_DEPOSIT: u32 = 100;
/// What a core request pays in: a second attempt for each. When a site dies, every other core request meets it until its
/// health check has failed, and core's reserve has room for the few there are.
const CORE_DEPOSIT: u32 = ATTEMPT;
/// Most that is saved up, in thousandths of an attempt: a peer that dies with some requests in flight is covered, a
/// site that dies is not worth a second storm.
const SAVED_MAX: u32 = 20 * ATTEMPT;

/// A budget per class, so that a promotion cannot spend what core needs.
#[derive(Debug, Default)]
pub struct RetryBudgets {
    core: RetryBudget,
    open: RetryBudget,
}

impl RetryBudgets {
    /// Pays in for a request of this class that was sent for the first time.
    pub fn deposit(&self, class: Class) {
        match class {
            Class::Core => self.core.deposit(CORE_DEPOSIT),
            Class::Open => self.open.deposit(OPEN_DEPOSIT),
        }
    }

    /// Pays for one more attempt of a request of this class, if there is enough.
    #[must_use]
    pub fn withdraw(&self, class: Class) -> bool {
        match class {
            Class::Core => self.core.withdraw(),
            Class::Open => self.open.withdraw(),
        }
    }
}

/// What has been saved up for retries.
#[derive(Debug)]
struct RetryBudget(AtomicU32);

impl Default for RetryBudget {
    /// Full: the first failure after a start may be retried.
    fn default() -> Self {
        Self(AtomicU32::new(SAVED_MAX))
    }
}

impl RetryBudget {
    fn deposit(&self, thousandths: u32) {
        let saved = |saved: u32| (saved < SAVED_MAX).then(|| (saved + thousandths).min(SAVED_MAX));
        // Full is no failure: there is nothing to add.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, saved).unwrap_or_default();
    }

    fn withdraw(&self) -> bool {
        let left = |saved: u32| saved.checked_sub(ATTEMPT);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_what_its_own_requests_paid_in() {
        let budgets = RetryBudgets::default();
        let check = |class: Class, deposits: usize, expect: usize| {
            (0..deposits).for_each(|_| budgets.deposit(class));
            assert_eq!((0..1_000).filter(|_| budgets.withdraw(class)).count(), expect, "{class:?} after {deposits}");
        };
        check(Class::Open, 0, 20);
        check(Class::Open, 50, 5);
        check(Class::Open, 10_000, 20);
        check(Class::Core, 0, 20);
        check(Class::Core, 5, 5);
        check(Class::Core, 10_000, 20);
        check(Class::Open, 0, 0);
    }
}
