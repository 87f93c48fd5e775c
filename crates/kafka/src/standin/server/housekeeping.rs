//! Background work: retention, compaction, the expiry of producers and of committed offsets.

use std::sync::Arc;

use super::blocking::blocking;
use super::broker::Broker;
use super::journal::chain;
use super::partition::Partition;
use crate::standin::log::PRODUCER_EXPIRY_CHECK_MS;
use crate::standin::storage::StoreError;

/// Producers are looked for in every tenth round: with the usual minute between rounds, every ten minutes, as Kafka does
/// ([`PRODUCER_EXPIRY_CHECK_MS`]); where rounds are made to follow quickly, so is this.
const ROUNDS_PER_PRODUCER_CHECK: u64 = PRODUCER_EXPIRY_CHECK_MS as u64 / 60_000;

/// Looks after every partition and every group, again and again, until the broker stops.
pub(crate) async fn run(broker: Arc<Broker>) {
    for round in 1_u64.. {
        tokio::select! {
            () = broker.stopping.cancelled() => return,
            () = tokio::time::sleep(broker.config.housekeeping_interval) => {}
        }
        let producers = round.is_multiple_of(ROUNDS_PER_PRODUCER_CHECK);
        for topic in broker.topics.all() {
            for partition in &topic.partitions {
                if broker.stopping.is_cancelled() {
                    return;
                }
                let (partition, now_ms) = (Arc::clone(partition), broker.clock.now_ms());
                let index = partition.index;
                if let Err(error) = blocking(move || tidy(&partition, producers, now_ms)).await.and_then(|done| done) {
                    tracing::warn!(topic = %topic.name, partition = index, error = %chain(&error), "housekeeping failed");
                }
            }
        }
        broker.coordinator.expire().await;
    }
}

fn tidy(partition: &Partition, producers: bool, now_ms: i64) -> Result<(), StoreError> {
    let store = &partition.store;
    let segments = store.apply_retention(now_ms)?;
    store.compact(now_ms)?;
    let producers = if producers { store.expire_producers(now_ms) } else { 0 };
    if segments > 0 || producers > 0 {
        tracing::debug!(partition = partition.index, segments, producers, "expired");
    }
    Ok(())
}
