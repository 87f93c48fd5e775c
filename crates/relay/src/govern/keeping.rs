//! Writes checkpoints now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::TopicPartition;
use tokio::time::{MissedTickBehavior, interval};

use crate::coordination::Coordination as _;
use crate::relay::Relay;

/// What is above the last checkpoint is compared at a start: seconds of records at most.
const EVERY: Duration = Duration::from_secs(1);

/// Until the relay stops; once more then.
pub(super) async fn run(relay: Arc<Relay>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = HashMap::new();
    loop {
        let stops = tokio::select! {
            () = relay.stopping.cancelled() => true,
            _ = ticks.tick() => false,
        };
        round(&relay, &mut written).await;
        if stops {
            return;
        }
    }
}

async fn round(relay: &Arc<Relay>, written: &mut HashMap<TopicPartition, i64>) {
    match relay.state.coordination.mark().await {
        Ok(mark) => relay.state.checkpoints().coordinator(mark),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the coordinator has no mark"),
    }
    for topic in relay.served.all() {
        for partition in &topic.partitions {
            let view = partition.shown().view;
            if !view.ready || written.get(partition.at()) == Some(&view.gate) {
                continue;
            }
            // A partition that ends has said what it had to say.
            if let Ok(Some(checkpoint)) = partition.checkpoint().await {
                written.insert(partition.at().clone(), checkpoint.gate);
                relay.state.checkpoints().partition(partition.at(), &checkpoint);
            }
        }
    }
    let state = Arc::clone(&relay.state);
    let done = tokio::task::spawn_blocking(move || {
        let mut checkpoints = state.checkpoints();
        if checkpoints.is_dirty() { checkpoints.round() } else { Ok(()) }
    });
    match done.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(error = &error as &dyn std::error::Error, "checkpoints cannot be kept"),
        // Only when the runtime ends.
        Err(error) => tracing::warn!(%error, "checkpoints were not written"),
    }
}
