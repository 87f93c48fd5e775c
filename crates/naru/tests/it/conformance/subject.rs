//! The broker under test, chosen by NARU_SUBJECT, and one running node that all tests share. A relay between two
//! stand-ins is such a broker, too; what cannot hold through it is in `through_a_relay.md`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, mpsc};
use std::thread;

use naru_kafka::node::{Node, NodeKind, NodeOptions};

use crate::relay::process::Pair;
use crate::variables::variable;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    StandIn,
    Kafka3,
    Kafka4,
    Relay,
}

/// Intervals that a test would otherwise wait for, by Kafka's names.
const QUICK: [(&str, &str); 5] = [
    ("log.retention.check.interval.ms", "200"),
    ("log.initial.task.delay.ms", "200"),
    ("producer.id.expiration.check.interval.ms", "200"),
    ("offsets.retention.check.interval.ms", "200"),
    ("log.cleaner.backoff.ms", "200"),
];

/// The same for the stand-in, which looks at everything in one interval.
const QUICK_STAND_IN: [&str; 4] = ["--housekeeping-interval", "200ms", "--group-initial-rebalance-delay", "0s"];

pub fn subject() -> Subject {
    match variable("NARU_SUBJECT").as_deref() {
        None | Some("stand-in") => Subject::StandIn,
        Some("kafka-3.9.2") => Subject::Kafka3,
        Some("kafka-4.3.1") => Subject::Kafka4,
        Some("relay") => Subject::Relay,
        Some(other) => panic!("NARU_SUBJECT is {other}: say stand-in, kafka-3.9.2, kafka-4.3.1 or relay"),
    }
}

/// The address of the node that every test may use: topics and groups have names of their own.
pub fn shared() -> SocketAddr {
    // Statics are not dropped: the node ends with this process, by the kernel.
    static SHARED: LazyLock<Node> = LazyLock::new(|| start("shared"));
    static RELAY: LazyLock<SocketAddr> = LazyLock::new(relay);
    if subject() == Subject::Relay { *RELAY } else { SHARED.address() }
}

/// Two stand-ins and a relay between them. They end with the thread that started them, so it goes on for ever.
#[expect(clippy::disallowed_methods, reason = "it must live as long as the process, so nobody joins it")]
fn relay() -> SocketAddr {
    let (started, address) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let dir = directory("relay");
        let running = block_on(async {
            let pair = Pair::start_in(&dir, &QUICK_STAND_IN).await;
            keep_identity(&pair.path("relay").join("state"));
            let relay = pair.relay("relay", "auto_create_topics = true").await;
            (pair, relay)
        });
        started.send(running.1.bootstrap().parse().unwrap()).unwrap();
        loop {
            thread::park();
        }
    });
    address.recv().expect("two stand-ins and a relay start")
}

/// What a relay keeps of its identity, before its first start: clients expect the cluster id that every subject has.
fn keep_identity(state: &Path) {
    fs::create_dir_all(state).unwrap();
    fs::write(state.join("identity"), "cluster_id naru-cluster-000000001\nepoch -1\ncopier_id 4611686018427387000\n")
        .unwrap();
}

/// A directory for a node of this run.
fn directory(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    remove_left_behind(&root);
    root.join(format!("{}-{name}", std::process::id()))
}

/// A node of the test's own, for what cannot be shared: killing, cutting and restarting.
pub fn start(name: &str) -> Node {
    let dir = directory(name);
    let (kind, options) = match subject() {
        Subject::StandIn => {
            (NodeKind::StandIn { exe: env!("CARGO_BIN_EXE_naru").into() }, QUICK_STAND_IN.map(Into::into).into())
        }
        Subject::Kafka3 => (apache("kafka-3.9.2"), Vec::new()),
        Subject::Kafka4 => (apache("kafka-4.3.1"), Vec::new()),
        Subject::Relay => panic!("a node that is killed and cut is no relay: see through_a_relay.md"),
    };
    let mut node = NodeOptions::new(kind, dir);
    node.args = options;
    node.properties = QUICK.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    block_on(Node::start(node)).unwrap_or_else(|error| panic!("{:?} does not start: {error}", subject()))
}

/// Waits for one of the node's futures; the tests themselves block.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn apache(version: &str) -> NodeKind {
    let peers = variable("NARU_PEERS").expect("NARU_PEERS names the folder of Kafka's jars: run ./x test");
    let java = match variable("JAVA_HOME") {
        Some(home) => Path::new(&home).join("bin/java"),
        None => PathBuf::from("java"),
    };
    NodeKind::Apache { libs: Path::new(&peers).join(version).join("libs"), java }
}

/// Removes the directories of runs whose process is gone: a killed run cannot tidy up after itself.
fn remove_left_behind(root: &Path) {
    fs::create_dir_all(root).unwrap();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let owner = name.split('-').next().unwrap();
        if !Path::new("/proc").join(owner).exists()
            && let Err(error) = fs::remove_dir_all(&path)
        {
            // Another run may be removing it at the same time.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display());
        }
    }
}
