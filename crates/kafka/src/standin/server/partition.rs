//! One partition as the server holds it, and waiting for several at once.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::watch;

use crate::standin::storage::{PartitionStore, Progress};

/// One partition.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) index: i32,
    pub(crate) store: PartitionStore,
}

/// What a long poll waits for: any of these partitions gets on, or goes.
#[derive(Default)]
pub(crate) struct Watched(Vec<watch::Receiver<Progress>>);

impl Watched {
    /// Watches a partition from now on.
    pub(crate) fn add(&mut self, partition: &Partition) {
        self.0.push(partition.store.subscribe());
    }

    /// Resolves when any of them has changed since it was added or last waited for; never if there are none.
    pub(crate) async fn changed(&mut self) {
        let mut changes: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::with_capacity(self.0.len());
        for receiver in &mut self.0 {
            changes.push(Box::pin(async move {
                // An error says that the partition was closed, which the reader must find out too.
                let _closed = receiver.changed().await.is_err();
            }));
        }
        poll_fn(|context| {
            let ready = changes.iter_mut().any(|change| change.as_mut().poll(context).is_ready());
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Locks a mutex whose holder cannot leave half a change behind: poisoning says nothing more than that a task failed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
