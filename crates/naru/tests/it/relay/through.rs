//! Records through the relay: on both sides at the same offsets, and seen by consumers only below the gate.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use naru_kafka::client::fetch::{FetchFrom, FetchOptions};
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::reader::ReadOptions;
use naru_kafka::client::{Client, TopicPartition};
use naru_kafka::node::Signal;
use naru_kafka::wire::{BatchBuilder, Compression, ErrorCode};
use naru_relay::Side;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::process::{PATIENCE, Pair, RelayProcess};

fn batch(values: &[&str]) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(1_795_000_000_000, None, Some(value.as_bytes()), &[]).unwrap();
    }
    builder.build().unwrap()
}

/// Every batch of a partition by its offset, less what differs between clusters: its place and its leader's epoch.
async fn batches(client: &Client, at: &TopicPartition) -> BTreeMap<i64, bytes::Bytes> {
    let end = client.list_offset(at, OffsetAt::Latest).await.unwrap().offset.unwrap();
    let mut seen = BTreeMap::new();
    let read = client
        .read_batches(at, 0, end, &ReadOptions::default(), |batch| {
            seen.insert(batch.header().base_offset, batch.with_offset(0, 0).to_bytes());
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(read.next_offset, end);
    seen
}

async fn values(client: &Client, at: &TopicPartition) -> Vec<String> {
    let end = client.list_offset(at, OffsetAt::Latest).await.unwrap().offset.unwrap();
    let mut seen = Vec::new();
    let consume = |record: naru_kafka::wire::Record| {
        seen.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        Ok(())
    };
    client.read_records(at, 0, end, &ReadOptions::default(), consume).await.unwrap();
    seen
}

async fn produce_many(relay: &RelayProcess, topic: &str, prefix: &str, idempotent: bool) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", relay.bootstrap())
        .set("enable.idempotence", idempotent.to_string())
        .set("linger.ms", "2")
        .create()
        .unwrap();
    let values: Vec<_> = (0..200).map(|number| format!("{prefix}-{number}")).collect();
    let sent: Vec<_> = values
        .iter()
        .map(|value| {
            let record = FutureRecord::<(), _>::to(topic).payload(value);
            producer.send_result(record).map_err(|(error, _)| error).unwrap()
        })
        .collect();
    for one in sent {
        one.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_of_others_produce_is_on_both_sides_at_the_same_offsets() {
    let pair = Pair::start().await;
    pair.create_topic("orders", 2).await;
    let relay = pair.relay("relay", "").await;
    let client = relay.await_topic("orders", 2).await;
    produce_many(&relay, "orders", "idempotent", true).await;
    produce_many(&relay, "orders", "plain", false).await;
    let mut all = Vec::new();
    for partition in 0..2 {
        let at = TopicPartition::new("orders", partition);
        let (a, b) = (batches(&pair.clients.a, &at).await, batches(&pair.clients.b, &at).await);
        assert!(a == b, "{at}: {:?} and {:?}", a.keys(), b.keys());
        assert!(batches(&client, &at).await == a, "{at}: consumers see what is on the sides");
        all.extend(values(&client, &at).await);
    }
    all.sort();
    let mut expect: Vec<_> = (0..200).flat_map(|n| [format!("idempotent-{n}"), format!("plain-{n}")]).collect();
    expect.sort();
    assert_eq!(all, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_see_nothing_that_only_one_side_holds() {
    let pair = Pair::start().await;
    pair.create_topic("orders", 1).await;
    // The standby may be silent for longer than this test takes, and is not given up.
    let relay = pair
        .relay(
            "relay",
            "request_timeout = '60s'\nsuspect_after = '60s'\ntakeover_after = '60s'\ndefault_absence = 'block'",
        )
        .await;
    let client = relay.await_topic("orders", 1).await;
    let at = TopicPartition::new("orders", 0);
    let options = ProduceOptions::default();
    assert_eq!(
        client
            .produce(&at, naru_kafka::wire::RecordData::Whole(batch(&["first"])), &options)
            .await
            .unwrap()
            .base_offset,
        0
    );

    pair.nodes.b.signal(Signal::SIGSTOP).unwrap();
    let second =
        client.begin_produce(&at, naru_kafka::wire::RecordData::Whole(batch(&["second"])), &options).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while pair.clients.a.list_offset(&at, OffsetAt::Latest).await.unwrap().offset != Some(2) {
        assert!(Instant::now() < deadline, "the active side never had the batch");
    }
    let shown = client.list_offset(&at, OffsetAt::Latest).await.unwrap();
    assert_eq!((shown.offset, shown.leader_epoch), (Some(1), Some(0)));
    let poll = FetchOptions { max_wait: Duration::from_millis(100), ..FetchOptions::default() };
    let fetched = client.fetch_one(&FetchFrom::new(at.clone(), 1), &poll).await.unwrap();
    assert_eq!((fetched.high_watermark, fetched.last_stable_offset, fetched.batches.len()), (1, 1, 0));
    let beyond = client.fetch_one(&FetchFrom::new(at.clone(), 2), &poll).await.unwrap_err();
    assert_eq!(beyond.code(), Some(ErrorCode::OFFSET_OUT_OF_RANGE));

    // A long poll wakes when the standby has it.
    let waiting = {
        let (client, from) = (client.clone(), FetchFrom::new(at.clone(), 1));
        let options = FetchOptions { max_wait: PATIENCE, ..FetchOptions::default() };
        async move { client.fetch_one(&from, &options).await }
    };
    pair.nodes.b.signal(Signal::SIGCONT).unwrap();
    let (appended, fetched) = tokio::join!(second.appended(), waiting);
    assert_eq!(appended.unwrap().base_offset, 1);
    assert_eq!(fetched.unwrap().high_watermark, 2);
    for side in Side::BOTH {
        assert_eq!(values(&pair.clients[side], &at).await, ["first", "second"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_side_does_to_a_batch_the_sides_stay_equal_and_nothing_is_lost_or_doubled() {
    let pair = Pair::start().await;
    pair.create_topic("orders", 1).await;
    let relay = pair.relay("relay", "default_absence = 'block'").await;
    let client = relay.await_topic("orders", 1).await;
    let at = TopicPartition::new("orders", 0);
    let faults = [
        r#"{"api":"Produce","drop":"before-write"}"#,
        r#"{"api":"Produce","count":3,"drop":"after-write"}"#,
        r#"{"api":"Produce","count":2,"error":"NOT_LEADER_OR_FOLLOWER"}"#,
        r#"{"api":"Produce","count":2,"error":"REQUEST_TIMED_OUT"}"#,
        r#"{"api":"Produce","error":"NOT_ENOUGH_REPLICAS_AFTER_APPEND"}"#,
        r#"{"api":"Produce","error":"NOT_ENOUGH_REPLICAS"}"#,
        r#"{"api":"Produce","count":2,"delay_ms":300}"#,
        r#"{"api":"ListOffsets","count":2,"drop":"before-write"}"#,
        r#"{"api":"Metadata","count":2,"drop":"before-write"}"#,
        r#"{"api":"Fetch","count":2,"drop":"before-write"}"#,
    ];
    let mut expect = Vec::new();
    for (round, fault) in faults.iter().enumerate() {
        for side in Side::BOTH {
            pair.fault(side, fault).await;
            let prefix = format!("{round}{side}");
            produce_many(&relay, "orders", &prefix, true).await;
            expect.extend((0..200).map(|number| format!("{prefix}-{number}")));
            let (a, b) = (batches(&pair.clients.a, &at).await, batches(&pair.clients.b, &at).await);
            assert!(a == b, "{fault} at {side}: {:?} and {:?}", a.keys().last(), b.keys().last());
        }
    }
    let mut seen = values(&client, &at).await;
    seen.sort();
    expect.sort();
    assert_eq!(seen, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_killed_goes_on_with_a_higher_epoch_and_loses_nothing() {
    let pair = Pair::start().await;
    pair.create_topic("orders", 1).await;
    let mut relay = pair.relay("relay", "").await;
    let at = TopicPartition::new("orders", 0);
    let mut epochs = Vec::new();
    for round in 0..3 {
        let client = relay.await_topic("orders", 1).await;
        epochs.push(client.topic("orders").await.unwrap().partitions[0].leader_epoch);
        produce_many(&relay, "orders", &format!("round{round}"), true).await;
        assert_eq!(values(&client, &at).await.len(), 200 * (round + 1));
        relay.kill_and_restart().await;
    }
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
    assert!(batches(&pair.clients.a, &at).await == batches(&pair.clients.b, &at).await);
    assert!(!relay.log().contains("ERROR"), "{}", relay.log());
}
