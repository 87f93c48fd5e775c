//! Background work: retention, compaction, the expiry of producers and of committed offsets.

use std::sync::Arc;

use super::blocking::blocking;
use super::broker::Broker;
use super::journal::chain;
use super::partition::Partition;
use crate::standin::storage::StoreError;

/// Looks after every partition and every group, again and again, until the broker stops.
pub(crate) async fn run(broker: Arc<Broker>) {
    loop {
        tokio::select! {
            () = broker.stopping.cancelled() => return,
            () = tokio::time::sleep(broker.config.housekeeping_interval) => {}
        }
        for topic in broker.topics.all() {
            for partition in &topic.partitions {
                if broker.stopping.is_cancelled() {
                    return;
                }
                let (partition, now_ms) = (Arc::clone(partition), broker.clock.now_ms());
                let index = partition.index;
                if let Err(error) = blocking(move || tidy(&partition, now_ms)).await.and_then(|done| done) {
                    tracing::warn!(topic = %topic.name, partition = index, error = %chain(&error), "housekeeping failed");
                }
            }
        }
        broker.coordinator.expire().await;
    }
}

fn tidy(partition: &Partition, now_ms: i64) -> Result<(), StoreError> {
    let store = &partition.store;
    let segments = store.apply_retention(now_ms)?;
    store.compact(now_ms)?;
    let producers = store.expire_producers(now_ms);
    if segments > 0 || producers > 0 {
        tracing::debug!(partition = partition.index, segments, producers, "expired");
    }
    Ok(())
}
