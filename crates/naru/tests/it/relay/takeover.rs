//! Clients that others wrote while the active side is killed under their load: nothing reaches their user but
//! acknowledgements, and what was acknowledged stands once, and in order, on the side that is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use naru_kafka::node;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseRecord, Producer as _};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use super::process::{PATIENCE, Pair, RelayProcess};
use crate::outside::kcat::kcat_itself;
use crate::outside::librdkafka::Answers;
use crate::outside::{self, Seen, peer, read_all};

/// Records that a client sends; the kill comes when a third is acknowledged.
const RECORDS: usize = 6000;
const KILLED_AFTER: usize = RECORDS / 3;

/// Records of one key that do not rise, or that are missing, or that stand twice.
fn check_log(side: &str, topic: &str, key: impl Fn(usize) -> usize) {
    let seen = read_all(side, topic);
    let number = |seen: &Seen| seen.value.as_ref().unwrap().parse::<usize>().unwrap();
    let numbers: BTreeSet<usize> = seen.iter().map(number).collect();
    assert_eq!((seen.len(), numbers.len()), (RECORDS, RECORDS), "{topic}: records and distinct ones");
    let mut last = BTreeMap::new();
    for seen in &seen {
        let number = number(seen);
        let earlier = last.insert(key(number), number);
        assert!(earlier < Some(number), "{topic}: {earlier:?} stands before {number}");
    }
}

/// A tool of Apache Kafka that writes events, one JSON object a line, into a file.
struct Tool {
    child: Child,
    events: PathBuf,
}

impl Tool {
    fn start(relay: &RelayProcess, dir: &Path, class: &str, args: &str) -> Self {
        let events = dir.join(class);
        let mut command = Command::new("java");
        // Quick to start, small beside its neighbours.
        command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp"]);
        command.arg(peer("kafka-4.3.1/libs").join("*")).arg(format!("org.apache.kafka.tools.{class}"));
        command.args(["--bootstrap-server", &relay.bootstrap()]).args(args.split_whitespace());
        command.stdout(File::create(&events).unwrap()).stderr(Stdio::null()).kill_on_drop(true);
        node::tie(command.as_std_mut());
        Self { child: command.spawn().unwrap(), events }
    }

    /// The events of one name, so far.
    fn events(&self, name: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(&self.events).unwrap();
        // The last line may not be whole yet.
        let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        events.filter(|event| event["name"] == name).collect()
    }

    async fn ended(&mut self) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        assert!(status.unwrap_or_else(|_| panic!("not done, at last {}", self.last())).unwrap().success());
    }

    /// The last events, whatever they are.
    fn last(&self) -> String {
        let text = fs::read_to_string(&self.events).unwrap();
        let mut lines: Vec<_> = text.lines().rev().take(20).collect();
        lines.reverse();
        lines.join("\n")
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A pair, a relay, and a topic that it made on both sides.
async fn set_up(topic: &str) -> (Pair, RelayProcess) {
    let pair = Pair::start().await;
    pair.create_topic(topic, 3).await;
    let relay = pair.relay("relay", "").await;
    relay.await_topic(topic, 3).await;
    (pair, relay)
}

#[tokio::test(flavor = "multi_thread")]
async fn verifiable_producer_and_consumer_go_through_the_loss_of_the_active_side() {
    let (mut pair, relay) = set_up("verified").await;
    // The tool by itself turns retries off, and with them idempotence; an application does not.
    let settings = pair.path("producer.properties");
    fs::write(&settings, "retries=2147483647\nenable.idempotence=true\n").unwrap();
    let args = format!(
        "--topic verified --max-messages {RECORDS} --throughput 1500 --repeating-keys 10 --command-config {}",
        settings.display()
    );
    let mut producer = Tool::start(&relay, &pair.path(""), "VerifiableProducer", &args);
    let args = "--topic verified --group-id verifiers --verbose";
    let consumer = Tool::start(&relay, &pair.path(""), "VerifiableConsumer", args);
    until("a third", || producer.events("producer_send_success").len() >= KILLED_AFTER).await;
    until("a consumer that reads", || !consumer.events("record_data").is_empty()).await;
    pair.nodes.a.kill().unwrap();
    producer.ended().await;
    let errors = producer.events("producer_send_error");
    assert!(errors.is_empty(), "{} errors, the first {}\n{}", errors.len(), errors[0], relay.log());
    assert_eq!(producer.events("producer_send_success").len(), RECORDS);
    check_log(&pair.nodes.b.bootstrap(), "verified", |number| number % 10);

    let read = || -> BTreeSet<(i64, i64)> {
        let at = |event: serde_json::Value| (event["partition"].as_i64().unwrap(), event["offset"].as_i64().unwrap());
        consumer.events("record_data").into_iter().map(at).collect()
    };
    let deadline = Instant::now() + PATIENCE;
    while read().len() < RECORDS {
        assert!(Instant::now() < deadline, "{} records, and then {}\n{}", read().len(), consumer.last(), relay.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A commit between the loss and the next join may fail, as in any rebalance; then records are read again, as seen
    // above none is skipped, and it commits again.
    let committed = consumer.events("offsets_committed");
    let as_rebalancing = |event: &&serde_json::Value| event["error"].as_str().unwrap().contains("rebalance");
    let failed: Vec<_> = committed.iter().filter(|event| event["success"] != true).collect();
    assert!(failed.iter().all(as_rebalancing), "commits failed: {failed:?}\n{}", relay.log());
    assert_eq!(committed.last().unwrap()["success"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn librdkafka_and_kcat_go_through_the_loss_of_the_active_side() {
    let (mut pair, relay) = set_up("taken").await;
    pair.create_topic("cat", 1).await;
    relay.await_topic("cat", 1).await;
    let bootstrap = relay.bootstrap();
    let mut kcat = kcat_itself();
    kcat.args(["-b", &bootstrap, "-P", "-t", "cat", "-X", "enable.idempotence=true", "-X", "linger.ms=5"]);
    node::tie(kcat.as_std_mut()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut kcat = kcat.kill_on_drop(true).spawn().unwrap();
    let mut lines = kcat.stdin.take().unwrap();

    let answers = Answers::default();
    let producer = answers.producer(&bootstrap, &[]);
    let consumer: BaseConsumer = outside::client(&bootstrap)
        .set("group.id", "takers")
        .set("auto.offset.reset", "earliest")
        .set("heartbeat.interval.ms", "200")
        .set("session.timeout.ms", "6000")
        .create()
        .unwrap();
    consumer.subscribe(&["taken"]).unwrap();
    let mut seen = BTreeSet::new();
    let mut poll = |wait: Duration| {
        if let Some(message) = consumer.poll(wait) {
            seen.insert(message.unwrap_or_else(|error| panic!("{error}\n{}", relay.log())).payload().unwrap().to_vec());
        }
        seen.len()
    };
    let mut killed = false;
    for number in 0..RECORDS {
        let (key, value) = ((number % 10).to_string(), number.to_string());
        let record = BaseRecord::with_opaque_to("taken", number).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        lines.write_all(format!("{number}\n").as_bytes()).await.unwrap();
        // As many are in flight as one does not wait for.
        let deadline = Instant::now() + PATIENCE;
        while answers.acknowledged() + 500 < number {
            poll(Duration::from_millis(5));
            assert!(Instant::now() < deadline, "nothing is acknowledged after {number}\n{}", relay.log());
        }
        if !killed && answers.acknowledged() >= KILLED_AFTER {
            pair.nodes.a.kill().unwrap();
            killed = true;
        }
    }
    assert!(killed, "the kill was to come under load");
    drop(lines);
    producer.flush(PATIENCE).unwrap();
    answers.all_acknowledged(RECORDS);
    let output = tokio::time::timeout(PATIENCE, kcat.wait_with_output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check_log(&pair.nodes.b.bootstrap(), "taken", |number| number % 10);
    check_log(&pair.nodes.b.bootstrap(), "cat", |_| 0);
    let deadline = Instant::now() + PATIENCE;
    while poll(Duration::from_millis(20)) < RECORDS {
        assert!(Instant::now() < deadline, "the consumer does not go on\n{}", relay.log());
    }
}
