//! Topics that the relay finds, and that it finds gone: none of them keeps the others from a takeover.

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Client, TopicPartition};
use naru_kafka::wire::{BatchBuilder, Compression};
use naru_relay::Side;
use naru_relay::status::{GroupStatus, Mode};

use super::lost_side::{Load, PARTITIONS, await_group, check_everywhere};
use super::process::{PATIENCE, Pair};

/// Its logs differ in their first batch and not in their last.
const FORKED: &str = "forked";
const DOOMED: &str = "doomed";

/// One batch of one record, the first of this producer.
async fn put(client: &Client, producer: i64, value: &str) {
    let mut builder = BatchBuilder::new(Compression::None).producer(producer, 0, 0);
    builder.push(1_795_000_000_000, None, Some(value.as_bytes()), &[]).unwrap();
    let at = TopicPartition::new(FORKED, 0);
    client.produce(&at, builder.build().unwrap(), &ProduceOptions::default()).await.unwrap();
}

fn has(group: &GroupStatus, alarm: &str) -> bool {
    group.alarms.iter().any(|raised| raised.name == alarm)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_two_logs_and_one_that_is_gone_keep_no_other_from_a_takeover() {
    let mut pair = Pair::start().await;
    pair.create_topic("payments", PARTITIONS).await;
    pair.create_topic(DOOMED, 1).await;
    let relay = pair.relay("relay", "").await;
    let client = relay.await_topic("payments", PARTITIONS as usize).await;
    relay.await_topic(DOOMED, 1).await;
    await_group(&pair, "well", GroupStatus::is_well).await;

    for side in Side::BOTH {
        pair.clients[side].delete_topic(DOOMED).await.unwrap();
    }
    await_group(&pair, "told of the topic that is gone", |group| has(group, "topic-gone")).await;

    // Refused for their partitions until both logs hold something.
    for (side, partitions) in [(Side::A, 1), (Side::B, 2)] {
        pair.clients[side].create_topic(&NewTopic::new(FORKED, partitions), false).await.unwrap();
        pair.clients[side].await_topic(FORKED, partitions as usize, PATIENCE).await.unwrap();
        put(&pair.clients[side], 77, &format!("of {side}")).await;
        put(&pair.clients[side], 78, "of both").await;
    }
    pair.clients.a.create_partitions(FORKED, 2).await.unwrap();
    let group = await_group(&pair, "told of two logs", |group| has(group, "two-logs")).await;

    let load = Load::start(relay.bootstrap());
    pair.nodes[group.active].kill().unwrap();
    let other = group.active.other();
    await_group(&pair, "taken over", |group| group.mode == Mode::Solo && group.active == other).await;
    pair.nodes[group.active].restart().await.unwrap();
    await_group(&pair, "duplex again", |group| group.mode == Mode::Duplex && !has(group, "damaged")).await;

    client.delete_topic(DOOMED).await.unwrap();
    pair.clients.b.delete_topic(FORKED).await.unwrap();
    relay.await_topic(FORKED, 2).await;
    await_group(&pair, "well again", GroupStatus::is_well).await;
    let acked = load.end().await;
    check_everywhere(&pair, &client, &acked).await;
}
