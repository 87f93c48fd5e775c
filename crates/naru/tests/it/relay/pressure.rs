//! A relay whose standby is silent holds bounded memory: it stops reading from those who produce, and from nobody else.

use std::time::Instant;

use naru_kafka::client::TopicPartition;
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::node::Signal;
use naru_kafka::wire::{BatchBuilder, Compression, RecordData};
use tokio::task::JoinSet;

use super::process::{PATIENCE, Pair, client};

const MEMORY_BYTES: u64 = 8 << 20;
const BATCH_BYTES: usize = 512 << 10;
/// Together five times the memory.
const PRODUCERS: usize = 8;
const BATCHES_EACH: usize = 10;
/// What a relay may grow by: the memory for requests, as much again in sockets' and allocators' slack, and its tasks.
const GROWTH_BYTES_MAX: u64 = 2 * MEMORY_BYTES + (16 << 20);

#[tokio::test(flavor = "multi_thread")]
async fn producers_wait_at_the_bound_and_everybody_else_is_served() {
    let pair = Pair::start().await;
    pair.create_topic("orders", 1).await;
    let settings = format!(
        "request_timeout = '60s'\nsuspect_after = '60s'\ntakeover_after = '60s'\ndefault_absence = 'block'\nproduce_wait_max = '60s'\n\
         request_memory_max = '{MEMORY_BYTES}B'\nrequest_bytes_max = '1MiB'"
    );
    let relay = pair.relay("relay", &settings).await;
    let bystander = relay.await_topic("orders", 1).await;
    let at = TopicPartition::new("orders", 0);
    let before = relay.resident_bytes();
    pair.nodes.b.signal(Signal::SIGSTOP).unwrap();

    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1_795_000_000_000, None, Some(&vec![7; BATCH_BYTES]), &[]).unwrap();
    let batch = builder.build().unwrap();
    let mut producers = JoinSet::new();
    for _ in 0..PRODUCERS {
        let (producer, at, batch) = (client(relay.bootstrap()), at.clone(), batch.clone());
        producers.spawn(async move {
            let mut pending = Vec::new();
            let options = ProduceOptions { replica_wait: PATIENCE, ..ProduceOptions::default() };
            for _ in 0..BATCHES_EACH {
                pending.push(producer.begin_produce(&at, RecordData::Whole(batch.clone()), &options).await.unwrap());
            }
            for one in pending {
                one.appended().await.unwrap();
            }
        });
    }
    let deadline = Instant::now() + PATIENCE;
    // Not one more fits.
    while relay.metric("relay_request_memory_bytes").await + (2 * BATCH_BYTES as u64) < MEMORY_BYTES {
        assert!(Instant::now() < deadline, "the memory for requests was never full");
    }
    assert_eq!(bystander.list_offset(&at, OffsetAt::Latest).await.unwrap().offset, Some(0));
    bystander.metadata(None).await.unwrap();
    let held = relay.metric("relay_request_memory_bytes").await;
    assert!(held <= MEMORY_BYTES, "{held} bytes of requests");
    let growth = relay.resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "grew by {growth} bytes");

    pair.nodes.b.signal(Signal::SIGCONT).unwrap();
    while let Some(done) = producers.join_next().await {
        done.unwrap();
    }
    let written = i64::try_from(PRODUCERS * BATCHES_EACH).unwrap();
    assert_eq!(bystander.list_offset(&at, OffsetAt::Latest).await.unwrap().offset, Some(written));
    assert_eq!(relay.metric("relay_request_memory_bytes").await, 0);
}
