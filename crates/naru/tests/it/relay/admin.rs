//! Topics through the relay: one intent on both sides, finished whatever happens to the relay meanwhile.

use std::time::{Duration, Instant};

use naru_kafka::client::Client;
use naru_kafka::client::admin::{ConfigChange, ConfigOwner, NewTopic};
use naru_kafka::wire::ErrorCode;
use naru_relay::Side;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::process::{PATIENCE, Pair, client};

/// Whether a side has a topic, and with how many partitions.
async fn partitions(client: &Client, topic: &str) -> Option<usize> {
    client.forget_leaders(topic);
    match client.topic(topic).await {
        Ok(topic) => Some(topic.partitions.len()),
        Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => None,
        Err(error) => panic!("{error}"),
    }
}

async fn config(client: &Client, topic: &str, name: &str) -> String {
    let entries = client.describe_configs(&ConfigOwner::Topic(topic.to_owned())).await.unwrap();
    entries.into_iter().find(|entry| entry.name == name).unwrap().value.unwrap()
}

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_made_grown_configured_and_deleted_on_both_sides() {
    let pair = Pair::of_subject().await;
    let relay = pair.relay("admin", "default_partitions = 3").await;
    let client = client(relay.bootstrap());
    let id = client.create_topic(&NewTopic::new("orders", -1).config("retention.ms", "86400000"), false).await.unwrap();
    assert_eq!(client.topic("orders").await.unwrap().id, id);
    for side in Side::BOTH {
        assert_eq!(partitions(&pair.clients[side], "orders").await, Some(3), "{side}");
        assert_ne!(pair.clients[side].topic("orders").await.unwrap().id, id, "{side}: the relay's identity is its own");
        assert_eq!(config(&pair.clients[side], "orders", "compression.type").await, "producer");
    }
    let again = client.create_topic(&NewTopic::new("orders", 3), false).await.unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::TOPIC_ALREADY_EXISTS));

    client.create_partitions("orders", 5).await.unwrap();
    let owner = ConfigOwner::Topic("orders".to_owned());
    let change = ConfigChange::Set("retention.ms".to_owned(), "60000".to_owned());
    client.alter_configs(&owner, &[change]).await.unwrap();
    assert_eq!(config(&client, "orders", "retention.ms").await, "60000");
    for side in Side::BOTH {
        assert_eq!(partitions(&pair.clients[side], "orders").await, Some(5), "{side}");
        assert_eq!(config(&pair.clients[side], "orders", "retention.ms").await, "60000", "{side}");
    }
    client.await_topic("orders", 5, PATIENCE).await.unwrap();

    for (name, value) in [
        ("message.timestamp.type", "LogAppendTime"),
        ("compression.type", "zstd"),
        ("cleanup.policy", "compact"),
        ("message.timestamp.after.max.ms", "3600000"),
    ] {
        let change = ConfigChange::Set(name.to_owned(), value.to_owned());
        let refused = client.alter_configs(&owner, &[change]).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::INVALID_CONFIG), "{name}");
        assert!(refused.to_string().contains("cannot be set through the relay"), "{refused}");
        let refused = client.create_topic(&NewTopic::new("other", 1).config(name, value), false).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::INVALID_CONFIG), "{name}");
    }
    // What a side refuses is not begun.
    let refused = client.create_topic(&NewTopic::new("wide", 1).config("segment.bytes", "none"), false).await;
    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::INVALID_CONFIG));
    assert_eq!(partitions(&pair.clients.a, "wide").await, None);

    client.delete_topic("orders").await.unwrap();
    assert_eq!(partitions(&client, "orders").await, None);
    for side in Side::BOTH {
        assert_eq!(partitions(&pair.clients[side], "orders").await, None, "{side}");
    }
    // Another topic of the name is another topic.
    let second = client.create_topic(&NewTopic::new("orders", 1), false).await.unwrap();
    assert_ne!(second, id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_before_a_crash_is_finished_after_it() {
    let pair = Pair::of_subject().await;
    // Otherwise a topic that one side has would be made on the other for that alone.
    let mut relay = pair.relay("crash", "adopt = 'both'").await;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for round in 0..5 {
        let names: Vec<_> = (0..8).map(|number| format!("round-{round}-{number}")).collect();
        let asked = client(relay.bootstrap());
        let begun = async {
            for name in &names {
                let made = asked.create_topic(&NewTopic::new(name, 2), false).await;
                let grown = asked.create_partitions(name, 4).await;
                let deleted = asked.delete_topic(name).await;
                println!("{name}: {:?} {:?} {:?}", made.is_ok(), grown.is_ok(), deleted.is_ok());
            }
        };
        let crash = async {
            tokio::time::sleep(Duration::from_millis(rng.random_range(5..250))).await;
            relay.kill_and_restart().await;
        };
        tokio::join!(begun, crash);
        for name in &names {
            until(&format!("{name} on both sides alike"), async || {
                let relays = client(relay.bootstrap());
                let [a, b] = [partitions(&pair.clients.a, name).await, partitions(&pair.clients.b, name).await];
                a == b && a == partitions(&relays, name).await
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_are_there_already_are_taken_in_by_the_rules() {
    let pair = Pair::of_subject().await;
    for side in Side::BOTH {
        let topic = NewTopic::new("stamped", 1).config("message.timestamp.type", "LogAppendTime");
        pair.clients[side].create_topic(&topic, false).await.unwrap();
        let timed = NewTopic::new("timed", 2).config("message.timestamp.after.max.ms", "3600000");
        pair.clients[side].create_topic(&timed, false).await.unwrap();
    }
    pair.clients.b.create_topic(&NewTopic::new("alone", 2), false).await.unwrap();
    let relay = pair.relay("adopting", "auto_create_topics = true").await;
    relay.await_topic("timed", 2).await;
    for side in Side::BOTH {
        let limit = config(&pair.clients[side], "timed", "message.timestamp.after.max.ms").await;
        assert_eq!(limit, i64::MAX.to_string(), "{side}");
    }
    relay.await_topic("alone", 2).await;
    assert_eq!(partitions(&pair.clients.a, "alone").await, Some(2));
    assert_eq!(partitions(&client(relay.bootstrap()), "stamped").await, None);
    let log = relay.log();
    assert!(log.contains("--add-config message.timestamp.type=CreateTime"), "{log}");
}
