//! Consumer groups through the relay: members on the active side, offsets on both, and on from there after a takeover.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::groups::GroupOffset;
use naru_kafka::client::{CallOptions, Client, Connection, TopicPartition};
use naru_kafka::node;
use naru_kafka::serve::messages::join_group_request::JoinGroupRequestProtocol;
use naru_kafka::serve::messages::{GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest};
use naru_kafka::wire::{ErrorCode, StrBytes};
use naru_relay::Side;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use super::process::{PATIENCE, Pair, RelayProcess, client};
use crate::outside::member::{Member, poll_until};
use crate::outside::{self, peer};

/// A member whose brokers come and go.
fn join(relay: &RelayProcess, group: &str, topic: &str, settings: &[(&str, &str)]) -> Member {
    Member::join(&relay.bootstrap(), group, topic, settings).tolerant()
}

fn number(text: &str) -> u32 {
    text.parse().unwrap()
}

/// How many records the members have seen.
fn seen(members: &[&mut Member]) -> usize {
    members.iter().flat_map(|member| &member.seen).map(|text| number(text)).collect::<BTreeSet<_>>().len()
}

async fn produce(relay: &RelayProcess, topic: &str, numbers: std::ops::Range<u32>) {
    let producer: FutureProducer =
        outside::client(&relay.bootstrap()).set("enable.idempotence", "true").set("linger.ms", "2").create().unwrap();
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
    let mut first = join(&relay, "sharers", "orders", &cooperative);
    let mut second = join(&relay, "sharers", "orders", &cooperative);
    poll_until(PATIENCE, "two and two", &mut [&mut first, &mut second], |members| {
        members.iter().all(|member| member.partitions().len() == 2)
    });
    produce(&relay, "orders", 0..300).await;
    poll_until(PATIENCE, "the first 300", &mut [&mut first, &mut second], |members| seen(members) >= 300);
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
    poll_until(PATIENCE, "the next 300", &mut [&mut first, &mut second], |members| seen(members) >= 600);
    let resumed = killed.elapsed();
    // What was read and not yet committed when the group came together again may be read again, nothing else.
    let again: Vec<_> =
        first.seen.iter().chain(&second.seen).map(|text| number(text)).filter(|number| *number < 300).collect();
    assert_eq!(again.len(), 300, "committed, and read again: {again:?}");
    assert!(resumed < Duration::from_secs(30), "it took {resumed:?}");
    println!("consumed again {resumed:?} after the kill");

    // Members join the other side and commit there. What is committed already is not committed again, and says so.
    let deadline = Instant::now() + PATIENCE;
    loop {
        first.poll();
        second.poll();
        let told = [&first, &second].map(|member| member.consumer.commit_consumer_state(CommitMode::Sync));
        let offsets = committed(&client, "sharers").await;
        let joined = [&first, &second].iter().all(|member| member.partitions().len() == 2);
        if joined && offsets.iter().map(|(_, offset)| offset).sum::<i64>() == 600 {
            break;
        }
        assert!(Instant::now() < deadline, "{told:?}, {offsets:?}\n{}", relay.log());
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
    let mut members = names.map(|name| join(&relay, "fixed", "orders", &[("group.instance.id", name)]));
    let [first, second] = &mut members;
    poll_until(PATIENCE, "two and two", &mut [&mut *first, &mut *second], |members| {
        members.iter().all(|member| member.partitions().len() == 2)
    });
    let before = [first.partitions(), second.partitions()];
    pair.nodes.a.kill().unwrap();
    produce(&relay, "orders", 0..200).await;
    poll_until(PATIENCE, "the records", &mut [&mut *first, &mut *second], |members| {
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
    node::tie(command.as_std_mut()).stdin(Stdio::piped()).stdout(Stdio::piped());
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

/// Joins once the group is loaded, and again under the name that a newcomer is given first.
async fn join_raw(broker: &Connection, request: &mut JoinGroupRequest) -> JoinGroupResponse {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = broker.call_with(request, &CallOptions::default().versions(5, 9)).await.unwrap();
        match ErrorCode(answer.error_code) {
            ErrorCode::MEMBER_ID_REQUIRED => request.member_id = answer.member_id,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => assert!(Instant::now() < deadline, "the group is not loaded"),
            _ => return answer,
        }
    }
}

/// A member of a killed side is asked to join again, and is never told that it is unknown: librdkafka would lose a
/// second, and a cooperative member all of its partitions.
async fn check_rejoin(group: &str, instance: Option<&'static str>) {
    let mut pair = Pair::start().await;
    let relay = pair.relay("rejoin", "").await;
    let client = with_topic(&pair, &relay, "orders").await;
    let broker = client.dedicated(&client.coordinator(group).await.unwrap()).await.unwrap();
    let group = GroupId(StrBytes::from_string(group.to_owned()));
    let protocol = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
    let mut request = JoinGroupRequest::default()
        .with_group_id(group.clone())
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(10_000)
        .with_group_instance_id(instance.map(StrBytes::from_static_str))
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    let joined = join_raw(&broker, &mut request).await;
    assert_eq!(joined.error_code, 0);
    request.member_id = joined.member_id.clone();

    pair.nodes.a.kill().unwrap();
    let beat = HeartbeatRequest::default()
        .with_group_id(group.clone())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_group_instance_id(request.group_instance_id.clone());
    let sync = SyncGroupRequest::default()
        .with_group_id(group)
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_group_instance_id(request.group_instance_id.clone());
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ErrorCode(broker.call_with(&beat, &CallOptions::default().versions(3, 4)).await.unwrap().error_code) {
            ErrorCode::REBALANCE_IN_PROGRESS => break,
            code => assert!(code.is_retriable(), "{code:?}"),
        }
        assert!(Instant::now() < deadline, "{}", relay.log());
    }
    let synced = broker.call_with(&sync, &CallOptions::default().versions(3, 4)).await.unwrap();
    assert_eq!(ErrorCode(synced.error_code), ErrorCode::REBALANCE_IN_PROGRESS);
    let again = broker.call_with(&request, &CallOptions::default().versions(5, 9)).await.unwrap();
    assert_eq!(ErrorCode(again.error_code), ErrorCode::NONE);
    assert_ne!(again.member_id, joined.member_id, "the other side's own name for it");
    // One that never was a member is told so.
    request.group_id = GroupId(StrBytes::from_static_str("another"));
    let stranger = join_raw(&broker, &mut request).await;
    assert_eq!(ErrorCode(stranger.error_code), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_a_takeover_made_unknown_joins_again_at_once() {
    check_rejoin("moving", None).await;
    check_rejoin("fixed", Some("one")).await;
}
