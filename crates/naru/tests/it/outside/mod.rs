//! Clients that others wrote, against the subject: the stand-in, or Kafka or a relay when `NARU_SUBJECT` says so. A
//! client that notices a difference fails here.

#![allow(clippy::unwrap_used)] // a test panics on failure

pub(crate) mod java;
mod kafka_python;
pub(crate) mod kcat;
pub(crate) mod librdkafka;
pub(crate) mod member;
mod sample;

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use naru_kafka::node::{self, Node, NodeKind, NodeOptions, Signal};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::relay::process::{Pair, RelayProcess};
use crate::variables::variable;

/// How long a client may take for what it is asked: two cores may be compiling, and a JVM starts in it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The `naru` under test.
const NARU: &str = env!("CARGO_BIN_EXE_naru");

/// What the clients are told to connect to.
enum Running {
    Node(Box<Node>),
    /// A relay, and the clusters behind it.
    Relay(Box<(RelayProcess, Pair)>),
}

/// A node of the subject, and the directory that all of the test's files are in.
struct Subject {
    running: Running,
    dir: TempDir,
}

impl Subject {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kind = match variable("NARU_SUBJECT").as_deref() {
            None | Some("stand-in") => NodeKind::StandIn { exe: NARU.into() },
            Some(kafka @ ("kafka-3.9.2" | "kafka-4.3.1")) => {
                NodeKind::Apache { libs: peer(&format!("{kafka}/libs")), java: "java".into() }
            }
            Some("relay") => {
                let pair = Pair::start_in(dir.path(), &[]).await;
                let relay = pair.relay("relay", "auto_create_topics = true").await;
                return Self { running: Running::Relay(Box::new((relay, pair))), dir };
            }
            Some(other) => panic!("NARU_SUBJECT={other}: write stand-in, kafka-3.9.2, kafka-4.3.1 or relay"),
        };
        let options = NodeOptions::new(kind, dir.path().join("node"));
        let node = Node::start(options).await.unwrap_or_else(|error| panic!("the subject did not start: {error}"));
        Self { running: Running::Node(Box::new(node)), dir }
    }

    fn bootstrap(&self) -> String {
        match &self.running {
            Running::Node(node) => node.bootstrap(),
            Running::Relay(running) => running.0.bootstrap(),
        }
    }

    /// Ends what the clients are connected to, at once.
    fn kill(&mut self) {
        match &mut self.running {
            Running::Node(node) => node.kill().unwrap(),
            Running::Relay(running) => running.0.kill(),
        }
    }

    /// Starts it again where it was.
    async fn restart(&mut self) {
        match &mut self.running {
            Running::Node(node) => node.restart().await.unwrap(),
            Running::Relay(running) => running.0.restart().await,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A program or directory that was fetched for the tests. Its absence is a failure, never a reason to skip.
pub(crate) fn peer(path: &str) -> PathBuf {
    let Some(peers) = variable("NARU_PEERS") else {
        panic!("NARU_PEERS is not set, so there is no {path}: run `./x test`, which fetches it");
    };
    let found = Path::new(&peers).join(path);
    assert!(found.exists(), "{} does not exist: run `./x test`, which fetches it", found.display());
    found
}

/// librdkafka with its own lines kept out of the test's output.
pub(crate) fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.max.ms", "500")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Emerg);
    config
}

/// A record as a consumer of every partition sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    partition: i32,
    offset: i64,
    key: Option<String>,
    pub(crate) value: Option<String>,
}

/// Every record of a topic from the start of its log to the end that it has now, by partition and offset.
pub(crate) fn read_all(bootstrap: &str, topic: &str) -> Vec<Seen> {
    let consumer: BaseConsumer = client(bootstrap).set("group.id", "reads-all").create().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut assignment = TopicPartitionList::new();
    let mut ends = std::collections::BTreeMap::new();
    for partition in metadata.topics()[0].partitions() {
        let (start, end) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE).unwrap();
        if start < end {
            assignment.add_partition_offset(topic, partition.id(), Offset::Offset(start)).unwrap();
            ends.insert(partition.id(), end);
        }
    }
    consumer.assign(&assignment).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut seen = Vec::new();
    while !ends.is_empty() {
        assert!(Instant::now() < deadline, "{topic}: {} records, and then nothing before {ends:?}", seen.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let (partition, offset) = (message.partition(), message.offset());
        seen.push(Seen { partition, offset, key: message.key().map(text), value: message.payload().map(text) });
        if ends.get(&partition).is_some_and(|end| offset + 1 >= *end) {
            ends.remove(&partition);
        }
    }
    seen.sort();
    seen
}

#[test]
fn a_tied_process_ends_with_the_thread_that_started_it() {
    let started = std::thread::scope(|scope| {
        scope.spawn(|| node::tie(std::process::Command::new("sleep").arg("60")).spawn().unwrap()).join()
    });
    assert_eq!(started.unwrap().wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
}

/// Runs a client's program to its end, and gives what it wrote. It must end well and in time.
pub(crate) async fn run(command: &mut Command, input: &str) -> String {
    node::tie(command.as_std_mut());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let what = format!("{:?}", command.as_std());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{what}: {error}: run `./x test`, which installs it"));
    let mut stdin = child.stdin.take().unwrap();
    let ended = async {
        let (written, output) = tokio::join!(
            async {
                stdin.write_all(input.as_bytes()).await.unwrap();
                drop(stdin);
            },
            child.wait_with_output()
        );
        let () = written;
        output.unwrap()
    };
    let output = tokio::time::timeout(PATIENCE, ended).await.unwrap_or_else(|_| panic!("{what}: not done in time"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{what}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}
