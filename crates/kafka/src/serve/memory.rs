//! Bounds on the memory that requests and answers in flight may hold together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One permit stands for this many bytes: a semaphore counts in 32 bits, and small requests share one permit.
const PERMIT_BYTES: usize = 1_024;

/// A budget of bytes, shared by all connections.
#[derive(Debug)]
pub struct Budget {
    permits: Arc<Semaphore>,
    total: usize,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub struct Share(OwnedSemaphorePermit);

impl Budget {
    /// A budget of so many bytes, rounded down to whole permits; never empty.
    pub fn new(bytes: usize) -> Self {
        let total = (bytes / PERMIT_BYTES).max(1);
        Self { permits: Arc::new(Semaphore::new(total)), total }
    }

    fn permits(&self, bytes: usize) -> u32 {
        // More than everything is everything: it can be had once all others have given back.
        let wanted = bytes.div_ceil(PERMIT_BYTES).clamp(1, self.total);
        u32::try_from(wanted).unwrap_or(u32::MAX)
    }

    /// Waits for a share. First come, first served.
    pub async fn take(&self, bytes: usize) -> Option<Share> {
        // The semaphore is never closed; none is an answer all the same.
        Arc::clone(&self.permits).acquire_many_owned(self.permits(bytes)).await.ok().map(Share)
    }

    /// A share if it is there now.
    pub fn try_take(&self, bytes: usize) -> Option<Share> {
        Arc::clone(&self.permits).try_acquire_many_owned(self.permits(bytes)).ok().map(Share)
    }

    /// Bytes taken now, rounded up.
    pub fn taken_bytes(&self) -> usize {
        self.total.saturating_sub(self.permits.available_permits()) * PERMIT_BYTES
    }

    /// All bytes there are.
    pub fn total_bytes(&self) -> usize {
        self.total * PERMIT_BYTES
    }
}

impl Share {
    /// Gives back all but `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let keep = bytes.div_ceil(PERMIT_BYTES);
        if let Some(surplus) = self.0.num_permits().checked_sub(keep) {
            drop(self.0.split(surplus));
        }
    }

    /// Joins another share of the same budget.
    pub fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }
}

/// Taken from the budget at once while a request arrives: small, so that many can arrive side by side.
const STEP_BYTES: usize = 1 << 20;

/// A share that grows with a request that arrives.
#[derive(Debug)]
pub struct Growing {
    counted: usize,
    share: Option<Share>,
    last: Option<Share>,
}

impl Growing {
    /// Nothing yet; `free` bytes are not counted.
    pub fn new(free: usize) -> Self {
        Self { counted: free, share: None, last: None }
    }

    /// How far the request may grow before more must be taken.
    pub fn bytes(&self) -> usize {
        self.counted
    }

    /// Takes another step on the way to `whole` bytes, when there is one. Requests that each hold a part and wait for
    /// the rest would wait for ever; `last` is what one of them, whichever, may take to come to its end.
    pub async fn grow(&mut self, budget: &Budget, last: &Budget, whole: usize) -> Option<()> {
        let step = whole.saturating_sub(self.counted).min(STEP_BYTES);
        let share = match budget.try_take(step) {
            Some(share) => share,
            None => tokio::select! {
                share = budget.take(step) => share?,
                all = last.take(usize::MAX) => {
                    self.last = Some(all?);
                    self.counted = whole;
                    return Some(());
                }
            },
        };
        self.counted += step;
        match &mut self.share {
            Some(held) => held.merge(share),
            none => *none = Some(share),
        }
        Some(())
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

    #[tokio::test]
    async fn of_requests_that_arrive_side_by_side_one_comes_to_its_end() {
        let (budget, last) = (Budget::new(2 * STEP_BYTES), Budget::new(8 * STEP_BYTES));
        let (mut a, mut b, mut c) = (Growing::new(0), Growing::new(0), Growing::new(0));
        // Announced is not taken.
        a.grow(&budget, &last, 8 * STEP_BYTES).await.unwrap();
        b.grow(&budget, &last, 8 * STEP_BYTES).await.unwrap();
        assert_eq!((a.bytes(), b.bytes(), budget.taken_bytes()), (STEP_BYTES, STEP_BYTES, budget.total_bytes()));
        a.grow(&budget, &last, 8 * STEP_BYTES).await.unwrap();
        assert_eq!(a.bytes(), 8 * STEP_BYTES);
        // The others wait until something is given back.
        {
            let mut grow = std::pin::pin!(c.grow(&budget, &last, STEP_BYTES));
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(grow.as_mut().poll(cx).is_pending())).await);
            drop(b);
            grow.await.unwrap();
        }
        drop((a, c));
        assert_eq!((budget.taken_bytes(), last.taken_bytes()), (0, 0));
    }
}
