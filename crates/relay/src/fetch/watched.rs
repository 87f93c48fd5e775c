//! What a long poll waits for.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::sync::watch;

use crate::partition::{PartitionHandle, Shown};

/// Any of these partitions gets on, or goes.
#[derive(Default)]
pub(super) struct Watched(Vec<(watch::Receiver<Shown>, Seen)>);

/// What a reader waits for a change of.
type Seen = (i64, i64, bool);

fn seen(shown: &Shown) -> Seen {
    (shown.view.gate, shown.view.log_start, shown.view.ready)
}

impl Watched {
    /// Watches a partition from now on.
    pub(super) fn add(&mut self, partition: &PartitionHandle) {
        let receiver = partition.watch();
        let known = seen(&receiver.borrow());
        self.0.push((receiver, known));
    }

    /// Resolves when the gate, log start or readiness of any is not what it was when it was added; never if there are
    /// none.
    pub(super) async fn changed(&mut self) {
        let mut changes: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::with_capacity(self.0.len());
        for (receiver, known) in &mut self.0 {
            changes.push(Box::pin(async move {
                // An error says that the partition is gone, which the reader must find out too.
                drop(receiver.wait_for(|shown| seen(shown) != *known).await);
            }));
        }
        poll_fn(|context| {
            let ready = changes.iter_mut().any(|change| change.as_mut().poll(context).is_ready());
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
