//! Slots: what a request holds while it is worked on.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// The slots of a process. Whoever finds none free waits, first come first served; how many wait is bounded by the
/// connections that a process takes.
#[derive(Debug)]
pub(super) struct Slots {
    free: Semaphore,
    hold: Duration,
}

impl Slots {
    pub(super) fn new(slots: u32, hold: Duration) -> Self {
        Self { free: Semaphore::new(slots as usize), hold }
    }

    /// Waits for `cost` slots, holds them for their time, and says how long it waited. Given up with the future.
    pub(super) async fn work(&self, cost: u32) -> Duration {
        let came = Instant::now();
        let held = self.free.acquire_many(cost).await.expect("nobody closes the semaphore");
        let queueing = came.elapsed();
        sleep(self.hold).await;
        drop(held);
        queueing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_waits_while_others_hold_the_slots() {
        let hold = Duration::from_millis(100);
        let slots = Slots::new(4, hold);
        let (first, second, third) = tokio::join!(slots.work(3), slots.work(1), slots.work(2));
        assert!(first < hold / 2 && second < hold / 2, "{first:?} {second:?}");
        assert!(third >= hold, "{third:?}");
    }
}
