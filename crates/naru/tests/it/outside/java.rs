//! The tools of Apache Kafka 4.3.1, by way of the Java clients.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use naru_kafka::node;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::{PATIENCE, Subject, peer, read_all, run};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const VERIFIABLE: &str = "org.apache.kafka.tools.VerifiableProducer";

/// A tool, told where the subject is.
fn tool(subject: &Subject, class: &str, args: &str) -> Command {
    java_tool(&subject.bootstrap(), class, args)
}

/// A tool, told where a cluster is.
pub(crate) fn java_tool(bootstrap: &str, class: &str, args: &str) -> Command {
    let mut command = Command::new("java");
    // Quick to start, small beside its neighbours.
    command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp"]);
    command.arg(peer("kafka-4.3.1/libs").join("*")).arg(class);
    command.args(["--bootstrap-server", bootstrap]).args(args.split_whitespace());
    command
}

fn lines(range: std::ops::Range<usize>) -> String {
    range.map(|number| format!("k{}:{number}\n", number % 10)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_command_makes_grows_and_deletes_topics() {
    let subject = Subject::start().await;
    let topics = async |args: &str| run(&mut tool(&subject, TOPICS, args), "").await;
    let made =
        topics("--create --topic a.topic --partitions 3 --replication-factor 1 --config retention.ms=60000").await;
    assert!(made.contains("Created topic a.topic"), "{made}");
    assert!(topics("--list").await.lines().any(|line| line == "a.topic"));
    topics("--create --topic a.topic --partitions 9 --if-not-exists").await;
    let described = topics("--describe --topic a.topic").await;
    assert!(described.contains("PartitionCount: 3") && described.contains("retention.ms=60000"), "{described}");
    topics("--alter --topic a.topic --partitions 5").await;
    let described = topics("--describe --topic a.topic").await;
    assert_eq!(described.matches("Partition: ").count(), 5, "{described}");
    topics("--delete --topic a.topic").await;
    assert!(!topics("--list").await.contains("a.topic"));
}

#[tokio::test(flavor = "multi_thread")]
async fn verifiable_producer_is_acknowledged_for_all_it_sends() {
    let subject = Subject::start().await;
    run(&mut tool(&subject, TOPICS, "--create --topic verified --partitions 3"), "").await;
    let said = run(&mut tool(&subject, VERIFIABLE, "--topic verified --max-messages 3000 --acks -1"), "").await;
    let events: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |name: &str| events.iter().filter(|event| event["name"] == name).count();
    assert_eq!((count("producer_send_success"), count("producer_send_error")), (3000, 0));
    let summary = events.iter().find(|event| event["name"] == "tool_data").unwrap();
    assert_eq!((&summary["sent"], &summary["acked"]), (&3000.into(), &3000.into()));
    let seen: BTreeSet<usize> = read_all(&subject.bootstrap(), "verified")
        .iter()
        .map(|seen| seen.value.as_ref().unwrap().parse().unwrap())
        .collect();
    assert!(seen.into_iter().eq(0..3000));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_tools_carry_every_codec() {
    let subject = Subject::start().await;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("console-{codec}");
        run(&mut tool(&subject, TOPICS, &format!("--create --topic {topic} --partitions 1")), "").await;
        let args = format!(
            "--topic {topic} --compression-codec {codec} --reader-property parse.key=true --reader-property key.separator=:"
        );
        let input = lines(0..500);
        run(&mut tool(&subject, PRODUCER, &args), &input).await;
        let args = format!(
            "--topic {topic} --from-beginning --max-messages 500 --formatter-property print.key=true \
             --formatter-property key.separator=:"
        );
        assert_eq!(run(&mut tool(&subject, CONSUMER, &args), "").await, input, "{codec}");
    }
}

/// A console consumer that goes on until it is stopped; its lines are in a file.
struct Consumer {
    child: Child,
    lines: PathBuf,
}

impl Consumer {
    fn start(subject: &Subject, name: &str, args: &str) -> Self {
        let lines = subject.path(name);
        let mut command = tool(subject, CONSUMER, args);
        command.stdout(File::create(&lines).unwrap()).stderr(Stdio::null()).kill_on_drop(true);
        node::tie(command.as_std_mut());
        Self { child: command.spawn().unwrap(), lines }
    }

    fn seen(&self) -> BTreeSet<String> {
        fs::read_to_string(&self.lines).unwrap().lines().map(str::to_owned).collect()
    }

    async fn stop(&mut self) {
        let pid = self.child.id().unwrap().cast_signed();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
    }
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn console_consumers_share_a_group_that_the_group_command_sees() {
    let subject = Subject::start().await;
    run(&mut tool(&subject, TOPICS, "--create --topic shared --partitions 4"), "").await;
    let produce = async |range| {
        let args = "--topic shared --reader-property parse.key=true --reader-property key.separator=:";
        run(&mut tool(&subject, PRODUCER, args), &lines(range)).await;
    };
    let values = |range: std::ops::Range<usize>| range.map(|n| n.to_string()).collect::<BTreeSet<_>>();
    let groups = async |args: &str| run(&mut tool(&subject, GROUPS, args), "").await;
    // Per member: how many partitions it has. The fifth column, after group, consumer, host and client.
    let shares = async || {
        let described = groups("--describe --group sharers --members").await;
        let rows = described.lines().filter(|line| line.starts_with("sharers"));
        let mut shares: Vec<String> = rows.map(|row| row.split_whitespace().nth(4).unwrap().to_owned()).collect();
        shares.sort();
        shares.join(" ")
    };
    let args = "--topic shared --group sharers --from-beginning --command-property auto.commit.interval.ms=200";
    let mut first = Consumer::start(&subject, "first", args);
    produce(0..200).await;
    until("200 at the first", async || first.seen() == values(0..200)).await;
    let mut second = Consumer::start(&subject, "second", args);
    until("two and two", async || shares().await == "2 2").await;
    produce(200..400).await;
    until("400 at both", async || &first.seen() | &second.seen() == values(0..400)).await;
    assert!(first.seen().is_disjoint(&second.seen()));

    first.stop().await;
    until("four and none", async || shares().await == "4").await;
    produce(400..500).await;
    until("500 at both", async || &first.seen() | &second.seen() == values(0..500)).await;
    second.stop().await;

    produce(500..600).await;
    let described = groups("--describe --group sharers").await;
    // The sixth column, after group, topic, partition, committed and end.
    let rows = described.lines().filter(|line| line.starts_with("sharers"));
    let lag: usize = rows.map(|row| row.split_whitespace().nth(5).unwrap().parse::<usize>().unwrap()).sum();
    assert_eq!(lag, 100, "{described}");
    let resumed = run(&mut tool(&subject, CONSUMER, &format!("{args} --max-messages 100")), "").await;
    assert_eq!(resumed.lines().map(str::to_owned).collect::<BTreeSet<_>>(), values(500..600));

    assert!(groups("--list").await.lines().any(|line| line == "sharers"));
    groups("--reset-offsets --group sharers --topic shared --to-earliest --execute").await;
    let again = run(&mut tool(&subject, CONSUMER, &format!("{args} --max-messages 600")), "").await;
    assert_eq!(again.lines().map(str::to_owned).collect::<BTreeSet<_>>(), values(0..600));
    groups("--delete --group sharers").await;
    assert!(!groups("--list").await.contains("sharers"));
}
