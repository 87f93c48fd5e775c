//! What a long poll waits for.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::sync::watch;

use crate::partition::{PartitionHandle, Shown};

/// Any of these partitions gets on, or goes.
#[derive(Default)]
pub(super) struct Watched(Vec<watch::Receiver<Shown>>);

impl Watched {
    /// Watches a partition from now on.
    pub(super) fn add(&mut self, partition: &PartitionHandle) {
        let mut receiver = partition.watch();
        receiver.mark_unchanged();
        self.0.push(receiver);
    }

    /// Resolves when the gate, log start or readiness of any has changed since it was added; never if there are none.
    pub(super) async fn changed(&mut self) {
        let mut changes: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::with_capacity(self.0.len());
        for receiver in &mut self.0 {
            changes.push(Box::pin(async move {
                let known = *receiver.borrow_and_update();
                let seen = |shown: &Shown| (shown.view.gate, shown.view.log_start, shown.view.ready);
                // An error says that the partition is gone, which the reader must find out too.
                drop(receiver.wait_for(|shown| seen(shown) != seen(&known)).await);
            }));
        }
        poll_fn(|context| {
            let ready = changes.iter_mut().any(|change| change.as_mut().poll(context).is_ready());
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
