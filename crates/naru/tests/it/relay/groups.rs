//! Consumer groups through the relay: members on the active side, offsets on both, and on from there after a takeover.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::groups::GroupOffset;
use naru_kafka::client::{Client, TopicPartition};
use naru_relay::Side;
use rdkafka::Message as _;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use super::process::{PATIENCE, Pair, RelayProcess, client};
use crate::outside::{peer, tied};

fn outside(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.max.ms", "500")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Emerg);
    config
}

/// A member of a group, polled by the test.
struct Member {
    consumer: BaseConsumer,
    seen: Vec<u32>,
}

impl Member {
    fn join(relay: &RelayProcess, group: &str, topic: &str, settings: &[(&str, &str)]) -> Self {
        let mut config = outside(&relay.bootstrap());
        config
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("heartbeat.interval.ms", "200")
            .set("session.timeout.ms", "6000");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        Self { consumer, seen: Vec::new() }
    }

    fn poll(&mut self) {
        // Errors here are what librdkafka tells and handles itself, such as a broker that is not there.
        if let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(20)) {
            self.seen.push(std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap());
        }
    }

    fn partitions(&self) -> BTreeSet<i32> {
        self.consumer.assignment().unwrap().elements().iter().map(|element| element.partition()).collect()
    }
}

fn poll_until(what: &str, members: &mut [&mut Member], holds: impl Fn(&[&mut Member]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds(members) {
        let state: Vec<_> = members.iter().map(|member| (member.partitions(), member.seen.len())).collect();
        assert!(Instant::now() < deadline, "{what} did not come about: {state:?}");
        for member in &mut *members {
            member.poll();
        }
    }
}

/// How many records the members have seen.
fn seen(members: &[&mut Member]) -> usize {
    members.iter().flat_map(|member| &member.seen).collect::<BTreeSet<_>>().len()
}

async fn produce(relay: &RelayProcess, topic: &str, numbers: std::ops::Range<u32>) {
    let producer: FutureProducer =
        outside(&relay.bootstrap()).set("enable.idempotence", "true").set("linger.ms", "2").create().unwrap();
    let sent: Vec<_> = numbers
        .map(|number| {
            let (key, value) = ((number % 10).to_string(), number.to_string());
            producer.send_result(FutureRecord::to(topic).key(&key).payload(&value)).map_err(|(error, _)| error).unwrap()
        })
        .collect();
    for delivered in sent {
        delivered.await.unwrap().unwrap();
    }
}

async fn committed(client: &Client, group: &str) -> Vec<(TopicPartition, i64)> {
    let mut offsets: Vec<_> = client
        .committed_offsets(group, None)
        .await
        .unwrap()
        .into_iter()
        .map(|GroupOffset { at, offset, leader_epoch, .. }| {
            assert_eq!(leader_epoch, None, "a leader epoch that is not the relay's");
            (at, offset)
        })
        .collect();
    offsets.sort();
    offsets
}

async fn with_topic(pair: &Pair, relay: &RelayProcess, topic: &str) -> Client {
    let client = client(relay.bootstrap());
    client.create_topic(&NewTopic::new(topic, 4), false).await.unwrap();
    client.await_topic(topic, 4, PATIENCE).await.unwrap();
    for side in Side::BOTH {
        pair.clients[side].await_topic(topic, 4, PATIENCE).await.unwrap();
    }
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_go_on_from_their_offsets_after_the_active_side_was_killed() {
    let mut pair = Pair::of_subject().await;
    let relay = pair.relay("takeover", "").await;
    let client = with_topic(&pair, &relay, "orders").await;
    let cooperative = [("partition.assignment.strategy", "cooperative-sticky")];
    let mut first = Member::join(&relay, "sharers", "orders", &cooperative);
    let mut second = Member::join(&relay, "sharers", "orders", &cooperative);
    poll_until("two and two", &mut [&mut first, &mut second], |members| {
        members.iter().all(|member| member.partitions().len() == 2)
    });
    produce(&relay, "orders", 0..300).await;
    poll_until("the first 300", &mut [&mut first, &mut second], |members| seen(members) >= 300);
    first.consumer.commit_consumer_state(CommitMode::Sync).unwrap();
    second.consumer.commit_consumer_state(CommitMode::Sync).unwrap();
    // What was acknowledged is on each side alone.
    let before = committed(&client, "sharers").await;
    assert_eq!(before.iter().map(|(_, offset)| offset).sum::<i64>(), 300);
    for side in Side::BOTH {
        assert_eq!(committed(&pair.clients[side], "sharers").await, before, "{side}");
    }

    pair.nodes.a.kill().unwrap();
    let killed = Instant::now();
    produce(&relay, "orders", 300..600).await;
    poll_until("the next 300", &mut [&mut first, &mut second], |members| seen(members) >= 600);
    let resumed = killed.elapsed();
    // What was read and not yet committed when the group came together again may be read again, nothing else.
    let again: Vec<_> = first.seen.iter().chain(&second.seen).filter(|number| **number < 300).collect();
    assert_eq!(again.len(), 300, "committed, and read again: {again:?}");
    assert!(resumed < Duration::from_secs(30), "it took {resumed:?}");
    println!("consumed again {resumed:?} after the kill");

    // Members join the other side and commit there.
    let deadline = Instant::now() + PATIENCE;
    loop {
        first.poll();
        second.poll();
        let both = [&first, &second].map(|member| member.consumer.commit_consumer_state(CommitMode::Sync).is_ok());
        let offsets = committed(&client, "sharers").await;
        if both == [true, true] && offsets.iter().map(|(_, offset)| offset).sum::<i64>() == 600 {
            break;
        }
        assert!(Instant::now() < deadline, "{both:?}, {offsets:?}\n{}", relay.log());
    }

    // The side that was away has all of it before it is in sync again.
    pair.nodes.a.restart().await.unwrap();
    let expected = committed(&pair.clients.b, "sharers").await;
    let deadline = Instant::now() + PATIENCE;
    while committed(&pair.clients.a, "sharers").await != expected {
        assert!(Instant::now() < deadline, "{}", relay.log());
        first.poll();
        second.poll();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_keeps_its_partitions_over_a_takeover() {
    let mut pair = Pair::of_subject().await;
    let relay = pair.relay("static", "").await;
    with_topic(&pair, &relay, "orders").await;
    let names = ["one", "two"];
    let mut members = names.map(|name| Member::join(&relay, "fixed", "orders", &[("group.instance.id", name)]));
    let [first, second] = &mut members;
    poll_until("two and two", &mut [&mut *first, &mut *second], |members| {
        members.iter().all(|member| member.partitions().len() == 2)
    });
    let before = [first.partitions(), second.partitions()];
    pair.nodes.a.kill().unwrap();
    produce(&relay, "orders", 0..200).await;
    poll_until("the records", &mut [&mut *first, &mut *second], |members| {
        seen(members) >= 200 && members.iter().all(|member| member.partitions().len() == 2)
    });
    assert_eq!([first.partitions(), second.partitions()], before);
}

/// What an outside client does with a broker it does with the relay.
async fn python(part: &str) {
    let pair = Pair::of_subject().await;
    let relay = pair.relay(part, "").await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/outside/kafka_python.py");
    let mut command = Command::new(peer("venv/bin/python"));
    let output = command.args([script, part, &relay.bootstrap()]).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE * 2, output).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("{part}: ok\n"), "{}\n{}", String::from_utf8_lossy(&output.stderr), relay.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_python_shares_a_group_and_resumes_it() {
    python("group").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_python_administers_topics_and_groups() {
    python("admin").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_python_goes_through_a_takeover_without_an_error() {
    let mut pair = Pair::of_subject().await;
    let relay = pair.relay("python", "").await;
    with_topic(&pair, &relay, "orders").await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/relay/takeover.py");
    let mut command = Command::new(peer("venv/bin/python"));
    command.args([script, &relay.bootstrap(), "orders"]);
    tied(command.as_std_mut()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut go = child.stdin.take().unwrap();
    let mut line = async || tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
    assert_eq!(line().await.as_deref(), Some("committed"), "{}", relay.log());
    pair.nodes.a.kill().unwrap();
    go.write_all(b"killed\n").await.unwrap();
    assert_eq!(line().await.as_deref(), Some("committed again"), "{}", relay.log());
    assert!(child.wait().await.unwrap().success());
}
