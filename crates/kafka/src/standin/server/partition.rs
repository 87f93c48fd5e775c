//! One partition as the server holds it: its store, and who waits for records.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::standin::storage::PartitionStore;

/// Waiters that are kept before the dead ones are looked for: a long poll of an idle partition leaves one behind
/// every time.
const WAITERS_BEFORE_SWEEP: usize = 64;

/// One partition.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) index: i32,
    pub(crate) store: Arc<PartitionStore>,
    waiters: Mutex<Vec<Weak<Notify>>>,
}

impl Partition {
    pub(crate) fn new(index: i32, store: Arc<PartitionStore>) -> Self {
        Self { index, store, waiters: Mutex::new(Vec::new()) }
    }

    /// Wakes `waiter` once, at the next append or when the partition goes.
    pub(crate) fn wait(&self, waiter: &Arc<Notify>) {
        let mut waiters = lock(&self.waiters);
        if waiters.len() >= WAITERS_BEFORE_SWEEP {
            waiters.retain(|w| w.strong_count() > 0);
        }
        waiters.push(Arc::downgrade(waiter));
    }

    /// Records were appended, or the partition goes.
    pub(crate) fn wake(&self) {
        for waiter in lock(&self.waiters).drain(..) {
            if let Some(waiter) = waiter.upgrade() {
                waiter.notify_one();
            }
        }
    }
}

/// Locks a mutex whose holder cannot leave half a change behind: poisoning says nothing more than that a task failed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
