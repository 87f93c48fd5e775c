//! A topic of which the sides hold two different logs is not taken in: nothing of either is deleted unasked.

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::reader::ReadOptions;
use naru_kafka::client::{Client, TopicPartition};
use naru_relay::Side;
use naru_relay::status::{GroupStatus, Mode};

use super::lost_side::{ask, await_group};
use super::preflight::write;
use super::process::{PATIENCE, Pair};

const FORKED: &str = "forked";

async fn values(client: &Client) -> Vec<String> {
    let mut values = Vec::new();
    let consume = |record: naru_kafka::wire::Record| {
        values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        Ok(())
    };
    client.read_records(&TopicPartition::new(FORKED, 0), 0, 2, &ReadOptions::default(), consume).await.unwrap();
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn two_logs_of_one_name_are_left_alone_until_somebody_decides_which_counts() {
    let pair = Pair::start().await;
    pair.create_topic("payments", 1).await;
    let relay = pair.relay("relay", "").await;
    relay.await_topic("payments", 1).await;
    // In sync, so that the standby's part of what differs would count for nothing.
    await_group(&pair, "well", GroupStatus::is_well).await;
    let state = pair.path("relay").join("state");

    // Refused for their partitions until both logs hold something.
    for (side, partitions) in [(Side::A, 1), (Side::B, 2)] {
        pair.clients[side].create_topic(&NewTopic::new(FORKED, partitions), false).await.unwrap();
        pair.clients[side].await_topic(FORKED, partitions as usize, PATIENCE).await.unwrap();
    }
    let of = |side: Side| [format!("first of {side}"), format!("second of {side}")];
    for side in Side::BOTH {
        let values = of(side);
        write(&pair.clients[side], FORKED, &values.each_ref().map(String::as_str)).await;
    }
    pair.clients.a.create_partitions(FORKED, 2).await.unwrap();
    let two_logs = |group: &GroupStatus| group.alarms.iter().any(|alarm| alarm.name == "two-logs");
    let group = await_group(&pair, "told", two_logs).await;
    assert_eq!((group.topics_refused.first.clone(), group.mode), (vec![FORKED.to_owned()], Mode::Duplex));
    assert_eq!(ask(state.clone(), "status", &[]).await.0, 3, "a person must decide");
    for side in Side::BOTH {
        assert_eq!(values(&pair.clients[side]).await, of(side), "side {side}");
    }

    pair.clients.b.delete_topic(FORKED).await.unwrap();
    relay.await_topic(FORKED, 2).await;
    await_group(&pair, "well again", GroupStatus::is_well).await;
    assert_eq!(ask(state, "status", &[]).await.0, 0);
    for side in Side::BOTH {
        assert_eq!(values(&pair.clients[side]).await, of(Side::A), "side {side}");
    }
}
