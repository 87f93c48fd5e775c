//! Bounds on the memory that requests and answers in flight may hold together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One permit stands for this many bytes: a semaphore counts in 32 bits, and small requests share one permit.
const PERMIT_BYTES: usize = 1_024;

/// A budget of bytes, shared by all connections.
#[derive(Debug)]
pub(crate) struct Budget {
    permits: Arc<Semaphore>,
    total: usize,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let total = (bytes / PERMIT_BYTES).max(1);
        Self { permits: Arc::new(Semaphore::new(total)), total }
    }

    fn permits(&self, bytes: usize) -> u32 {
        // More than everything is everything: it can be had once all others have given back.
        let wanted = bytes.div_ceil(PERMIT_BYTES).clamp(1, self.total);
        u32::try_from(wanted).unwrap_or(u32::MAX)
    }

    /// Waits for a share. First come, first served.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Share> {
        // The semaphore is never closed; none is an answer all the same.
        Arc::clone(&self.permits).acquire_many_owned(self.permits(bytes)).await.ok().map(Share)
    }

    /// A share if it is there now.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Share> {
        Arc::clone(&self.permits).try_acquire_many_owned(self.permits(bytes)).ok().map(Share)
    }

    /// Bytes taken now, rounded up.
    pub(crate) fn taken_bytes(&self) -> usize {
        self.total.saturating_sub(self.permits.available_permits()) * PERMIT_BYTES
    }

    /// All bytes there are.
    pub(crate) fn total_bytes(&self) -> usize {
        self.total * PERMIT_BYTES
    }
}

impl Share {
    /// Gives back all but `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let keep = bytes.div_ceil(PERMIT_BYTES);
        if let Some(surplus) = self.0.num_permits().checked_sub(keep) {
            drop(self.0.split(surplus));
        }
    }

    /// Joins another share of the same budget.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure
    use super::*;

    #[tokio::test]
    async fn shares_are_bounded_and_given_back() {
        let budget = Budget::new(10 * PERMIT_BYTES);
        let mut first = budget.take(6 * PERMIT_BYTES).await.unwrap();
        assert!(budget.try_take(5 * PERMIT_BYTES).is_none());
        first.shrink(PERMIT_BYTES + 1);
        assert_eq!(budget.taken_bytes(), 2 * PERMIT_BYTES);
        first.merge(budget.try_take(8 * PERMIT_BYTES).unwrap());
        assert_eq!(budget.taken_bytes(), budget.total_bytes());
        drop(first);
        assert_eq!(budget.taken_bytes(), 0);
        assert!(budget.try_take(usize::MAX).is_some());
    }
}
