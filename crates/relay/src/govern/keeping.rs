//! Writes checkpoints now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::TopicPartition;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Made;
use crate::coordination::Coordination as _;
use crate::relay::Relay;
use crate::side::SideMap;

/// What is above the last checkpoint is compared at a start: seconds of records at most.
const EVERY: Duration = Duration::from_secs(1);

/// A partition that has none is in doubt at a start without a side, so its first one does not wait so long.
const FIRST_WITHIN: Duration = Duration::from_millis(100);

/// What shows that a partition's checkpoint has changed: gate, log start, ends. What changes without them, such as a
/// leader's epoch or a stamp, is seen once in so many rounds.
type Moved = (i64, i64, SideMap<Option<i64>>);
const QUIET_ROUNDS: u64 = 60;

/// Until the relay stops; once more then.
pub(super) async fn run(relay: Arc<Relay>) {
    let mut ticks = interval(FIRST_WITHIN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = HashMap::new();
    let (mut rounds, mut next) = (0_u64, Instant::now());
    loop {
        let stops = tokio::select! {
            () = relay.stopping.cancelled() => true,
            _ = ticks.tick() => false,
        };
        if !stops && Instant::now() < next && !has_new(&relay, &written) {
            continue;
        }
        // Before it ends, everything counts.
        round(&relay, &mut written, if stops { None } else { Some(rounds) }).await;
        if stops {
            return;
        }
        (rounds, next) = (rounds + 1, Instant::now() + EVERY);
    }
}

/// Whether a partition that serves was never written.
fn has_new(relay: &Relay, written: &HashMap<TopicPartition, Moved>) -> bool {
    let topics = relay.served.all();
    let mut partitions = topics.iter().flat_map(|topic| &topic.partitions);
    partitions.any(|partition| !written.contains_key(partition.at()) && partition.shown().view.ready)
}

/// Looks at partitions that have moved since they were written, and, in turn, at the others.
async fn round(relay: &Arc<Relay>, written: &mut HashMap<TopicPartition, Moved>, number: Option<u64>) {
    match relay.state.coordination.mark().await {
        Ok(mark) => relay.state.checkpoints().coordinator(mark),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the coordinator has no mark"),
    }
    for topic in relay.served.all() {
        for partition in &topic.partitions {
            let (at, view) = (partition.at(), partition.shown().view);
            let moved = (view.gate, view.log_start, view.ends);
            let in_turn =
                number.is_none_or(|number| (number + u64::from(at.partition.unsigned_abs())) % QUIET_ROUNDS == 0);
            let rests = written.get(at) == Some(&moved) && !in_turn;
            if !view.ready || rests || relay.state.checkpoints().waits(at) {
                continue;
            }
            // A partition that ends has said what it had to say.
            if let Ok(Some((made, checkpoint))) = partition.checkpoint().await {
                written.insert(at.clone(), moved);
                let (state, at, made) = (Arc::clone(&relay.state), at.clone(), Made { topic: topic.id, made });
                // Up to some megabytes of text each.
                let noted = tokio::task::spawn_blocking(move || state.note(&at, made, &checkpoint)).await;
                if let Err(error) = noted {
                    tracing::warn!(%error, "a checkpoint was not noted");
                }
            }
        }
    }
    let state = Arc::clone(&relay.state);
    let done = tokio::task::spawn_blocking(move || state.write());
    match done.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(error = &error as &dyn std::error::Error, "checkpoints cannot be kept"),
        // Only when the runtime ends.
        Err(error) => tracing::warn!(%error, "checkpoints were not written"),
    }
}
