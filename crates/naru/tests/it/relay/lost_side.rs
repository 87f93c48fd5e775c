//! A side is lost under load, comes back, and is switched to.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::reader::ReadOptions;
use naru_kafka::client::{Client, TopicPartition};
use naru_relay::Side;
use naru_relay::Side::{A, B};
use naru_relay::status::{GroupStatus, Mode, StatusReport};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::task::JoinSet;

use super::process::{PATIENCE, Pair};

const NARU: &str = env!("CARGO_BIN_EXE_naru");
pub(super) const PARTITIONS: i32 = 2;
/// What the issue promises to producers.
pub(super) const RESUME_MAX: Duration = Duration::from_secs(3);

/// `naru relay VERB --state DIR --json ...`: the exit code and the status.
pub(super) async fn ask(state: PathBuf, verb: &str, more: &[&str]) -> (i32, Option<StatusReport>) {
    let mut command = tokio::process::Command::new(NARU);
    command.args(["relay", verb, "--json", "--state"]).arg(state).args(more);
    let output = command.output().await.unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).ok())
}

/// The status of the group that everything belongs to, once it is as wanted.
pub(super) async fn await_group(pair: &Pair, what: &str, wanted: impl Fn(&GroupStatus) -> bool) -> GroupStatus {
    await_group_named(pair, "default", what, wanted).await
}

/// A group's status, once it is as wanted.
pub(super) async fn await_group_named(
    pair: &Pair,
    name: &str,
    what: &str,
    wanted: impl Fn(&GroupStatus) -> bool,
) -> GroupStatus {
    let deadline = Instant::now() + PATIENCE;
    let mut last = None;
    while Instant::now() < deadline {
        let (_, report) = ask(pair.path("relay").join("state"), "status", &[]).await;
        last = report.and_then(|report| report.groups.into_iter().find(|group| group.name == name));
        if let Some(group) = last.as_ref().filter(|group| wanted(group)) {
            return group.clone();
        }
        // As often as the relay's own figures change.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not {what}: {last:?}")
}

pub(super) struct Acked {
    value: String,
    at: TopicPartition,
    offset: i64,
    when: Instant,
}

/// One idempotent producer of librdkafka, a record after the other.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    task: JoinSet<Vec<Acked>>,
}

impl Load {
    pub(super) fn start(bootstrap: String) -> Self {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .create()
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&acknowledged);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut acked = Vec::new();
            for number in 0.. {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let (value, partition) = (format!("payment-{number}"), number % PARTITIONS);
                let record = FutureRecord::<(), _>::to("payments").partition(partition).payload(&value);
                let delivery =
                    producer.send_result(record).map_err(|(error, _)| error).unwrap().await.unwrap().unwrap();
                let at = TopicPartition::new("payments", partition);
                acked.push(Acked { value, at, offset: delivery.offset, when: Instant::now() });
                count.store(acked.len(), Ordering::SeqCst);
            }
            acked
        });
        Self { stop, acknowledged, task }
    }

    /// Records acknowledged so far.
    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    pub(super) async fn end(mut self) -> Vec<Acked> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.join_next().await.unwrap().unwrap()
    }
}

/// The longest time without an acknowledgement.
pub(super) fn longest_stall(acked: &[Acked]) -> Duration {
    acked.windows(2).map(|two| two[1].when - two[0].when).max().unwrap()
}

/// Each acknowledged record stands at its offset, once, and nothing else stands there.
async fn check_log(who: &str, client: &Client, acked: &[Acked]) {
    for partition in 0..PARTITIONS {
        let at = TopicPartition::new("payments", partition);
        let expect: Vec<_> =
            acked.iter().filter(|one| one.at == at).map(|one| (one.offset, one.value.clone())).collect();
        let end = client.list_offset(&at, OffsetAt::Latest).await.unwrap().offset.unwrap();
        let mut found = Vec::new();
        let consume = |record: naru_kafka::wire::Record| {
            found.push((record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
            Ok(())
        };
        client.read_records(&at, 0, end, &ReadOptions::default(), consume).await.unwrap();
        assert!(found == expect, "{who} {at}: {} records, {} acknowledged", found.len(), expect.len());
    }
}

pub(super) async fn check_everywhere(pair: &Pair, relay: &Client, acked: &[Acked]) {
    for side in Side::BOTH {
        check_log(&side.to_string(), &pair.clients[side], acked).await;
    }
    check_log("relay", relay, acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_killed_under_load_is_taken_over_comes_back_and_is_switched_to() {
    let mut pair = Pair::start().await;
    pair.create_topic("payments", PARTITIONS).await;
    let relay = pair.relay("relay", "").await;
    let client = relay.await_topic("payments", PARTITIONS as usize).await;
    let duplex = |active: Side| move |group: &GroupStatus| group.active == active && group.mode == Mode::Duplex;
    await_group(&pair, "duplex", duplex(A)).await;
    let state = pair.path("relay").join("state");

    let load = Load::start(relay.bootstrap());
    pair.nodes.a.kill().unwrap();
    let group = await_group(&pair, "taken over", |group| group.active == B && group.mode == Mode::Solo).await;
    assert_eq!(ask(state.clone(), "status", &[]).await.0, 3, "a person should look");
    assert!(group.alarms.iter().any(|alarm| alarm.name == "solo"), "{group:?}");
    assert_eq!(ask(state.clone(), "switch", &["--to", "a"]).await.0, 3, "a lost side is not switched to");

    pair.nodes.a.restart().await.unwrap();
    let group = await_group(&pair, "in sync again", duplex(B)).await;
    assert!(group.alarms.is_empty(), "{group:?}");

    let (code, report) = ask(state.clone(), "switch", &["--to", "a"]).await;
    let group = report.unwrap().groups.into_iter().find(|group| group.name == "default").unwrap();
    assert_eq!((code, group.active, group.mode, group.rollback), (0, A, Mode::Duplex, Some(B)));
    assert_eq!(ask(state.clone(), "switch", &["--confirm"]).await.0, 0);
    assert_eq!(ask(state, "status", &[]).await.0, 0);

    let acked = load.end().await;
    let stall = longest_stall(&acked);
    assert!(stall < RESUME_MAX, "producers stood still for {stall:?}");
    check_everywhere(&pair, &client, &acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_a_side_goes_on_alone_only_beyond_doubt() {
    let mut pair = Pair::start().await;
    pair.create_topic("payments", PARTITIONS).await;
    let mut relay = pair.relay("relay", "").await;
    relay.await_topic("payments", PARTITIONS as usize).await;
    let load = Load::start(relay.bootstrap());
    await_group(&pair, "duplex", |group| group.mode == Mode::Duplex).await;
    let mut acked = load.end().await;

    // The standby goes away with the relay: the active side is as it was.
    pair.nodes.b.kill().unwrap();
    relay.kill_and_restart().await;
    await_group(&pair, "alone", |group| group.mode == Mode::Solo && group.active == A).await;
    let load = Load::start(relay.bootstrap());
    pair.nodes.b.restart().await.unwrap();
    await_group(&pair, "in sync again", |group| group.mode == Mode::Duplex).await;
    acked.extend(load.end().await);

    // Now the active side has died as well and may have lost its tail.
    pair.nodes.b.kill().unwrap();
    pair.nodes.a.kill().unwrap();
    pair.nodes.a.restart().await.unwrap();
    relay.kill_and_restart().await;
    let in_doubt = |group: &GroupStatus| group.alarms.iter().any(|alarm| alarm.name == "in-doubt");
    await_group(&pair, "in doubt", |group| group.mode == Mode::Stopped && in_doubt(group)).await;
    pair.nodes.b.restart().await.unwrap();
    await_group(&pair, "duplex", |group| group.mode == Mode::Duplex && !in_doubt(group)).await;
    let load = Load::start(relay.bootstrap());
    let client = relay.await_topic("payments", PARTITIONS as usize).await;
    acked.extend(load.end().await);
    check_everywhere(&pair, &client, &acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_not_complete_before_the_topics_of_both_sides_are_taken_in() {
    let pair = Pair::start().await;
    // Only one side has it: for two looks somebody may be making it on the other.
    pair.clients.a.create_topic(&NewTopic::new("late", 1), false).await.unwrap();
    let relay = pair.relay_that_looks_every("2s", "relay", "").await;
    let state = pair.path("relay").join("state");
    let group = await_group(&pair, "not complete", |group| group.topics_waiting.count == 1).await;
    assert_eq!((group.topics_waiting.first, group.mode), (vec!["late".to_owned()], Mode::Duplex));
    assert_eq!(ask(state.clone(), "status", &[]).await.0, 3, "clients do not see the topic yet");
    relay.await_topic("late", 1).await;
    await_group(&pair, "complete", GroupStatus::is_well).await;
    assert_eq!(ask(state, "status", &[]).await.0, 0);
}
