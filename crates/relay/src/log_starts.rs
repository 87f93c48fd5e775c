//! Where the sides' logs begin: their own retention moves that behind the relay's back, and what one side no longer has
//! is not shown.

use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::offsets::{ListedOffset, OffsetAt};
use tokio::time::sleep;

use crate::partition::PartitionHandle;
use crate::relay::Relay;
use crate::sequence::Event;
use crate::side::Side;

/// Between two looks. Brokers look for old segments every 5 minutes (log.retention.check.interval.ms); until the next
/// look a reader of what one of them deleted is answered by that side, that it is out of range.
const EVERY: Duration = Duration::from_secs(5);

/// Partitions per request: an answer of about 64 KB.
const PARTITIONS_AT_ONCE: usize = 1_000;

/// Looks until the relay stops.
pub(crate) async fn run(relay: Arc<Relay>) {
    while relay.stopping.run_until_cancelled(sleep(EVERY)).await.is_some() {
        let topics = relay.served.all();
        let partitions: Vec<_> = topics.iter().flat_map(|topic| topic.partitions.iter().cloned()).collect();
        let round = async { tokio::join!(look(&relay, Side::A, &partitions), look(&relay, Side::B, &partitions)) };
        relay.stopping.run_until_cancelled(round).await;
    }
}

async fn look(relay: &Relay, side: Side, partitions: &[PartitionHandle]) {
    let in_sync = |partition: &&PartitionHandle| {
        let shown = partition.shown();
        shown.view.ready && shown.in_sync.contains(side)
    };
    let client = &relay.upstreams[side].control;
    let asked: Vec<_> = partitions.iter().filter(in_sync).collect();
    for some in asked.chunks(PARTITIONS_AT_ONCE) {
        let places: Vec<_> = some.iter().map(|partition| (partition.at().clone(), OffsetAt::Earliest)).collect();
        for (partition, listed) in some.iter().zip(client.list_offsets(&places).await) {
            // One that cannot be asked now is asked in the next round.
            let Ok(ListedOffset { offset: Some(log_start), .. }) = listed else { continue };
            if log_start > partition.shown().view.log_start && is_recorded(relay, side, partition).await {
                tracing::debug!(at = %partition.at(), %side, log_start, "a log begins later");
                if partition.send(Event::BeginsAt { side, log_start }).await.is_err() {
                    tracing::debug!(at = %partition.at(), "the partition was given up");
                }
            }
        }
    }
}

/// Whether the topic there is still the one that was recorded: a namesake's log says nothing (RELAY-12).
async fn is_recorded(relay: &Relay, side: Side, partition: &PartitionHandle) -> bool {
    let name = &partition.at().topic;
    let Some(recorded) = relay.topics.get(name).and_then(|record| record.sides[side]) else { return false };
    let client = &relay.upstreams[side].control;
    client.forget_leaders(name);
    client.topic(name).await.is_ok_and(|topic| topic.id == recorded)
}
