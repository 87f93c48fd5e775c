//! A node of the log as a child process: it comes back on its port with its data, and never outlives its owner.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use naru_kafka::node::{Node, NodeError, NodeKind, NodeOptions, Signal};

use crate::conformance::broker::{Broker, until};

/// Tells this test binary, started by itself, to own a node in that directory.
const OWN_IN: &str = "NARU_TEST_OWN_NODE_IN";

fn options(dir: &Path) -> NodeOptions {
    NodeOptions::new(NodeKind::StandIn { exe: env!("CARGO_BIN_EXE_naru").into() }, dir)
}

#[tokio::test]
async fn a_killed_node_comes_back_on_its_port_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(options(dir.path())).await.unwrap();
    let (address, pid) = (node.address(), node.pid().unwrap());
    let mut broker = Broker::at(address);
    let topic = broker.topic("kept");
    broker.append(&topic, 0, &["a"]);
    node.kill().unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "killed and reaped");
    assert!(matches!(node.signal(Signal::SIGSTOP), Err(NodeError::Down)));
    assert!(matches!(node.resident_bytes(), Err(NodeError::Down)));
    node.restart().await.unwrap();
    assert_eq!(node.address(), address);
    assert_eq!(Broker::at(address).values(&topic, 0), ["a"]);
    assert!(node.resident_bytes().unwrap() > 0 && node.cpu_time().unwrap() < Duration::from_secs(10));
    let status = node.stop(Duration::from_secs(10)).await.unwrap();
    assert!(status.success(), "SIGTERM drains: {status}");
    assert!(!node.is_running().unwrap());
}

#[tokio::test]
async fn a_stopped_node_holds_its_clients_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(options(dir.path())).await.unwrap();
    let mut broker = Broker::at(node.address());
    let topic = broker.topic("held");
    node.signal(Signal::SIGSTOP).unwrap();
    let stat = format!("/proc/{}/stat", node.pid().unwrap());
    until("the node has stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T ").then_some(()));
    node.signal(Signal::SIGCONT).unwrap();
    assert_eq!(broker.append(&topic, 0, &["a"]), 0);
}

/// Plays two parts: the test starts this very test in a second process, which owns a node and waits to be killed.
#[tokio::test]
async fn a_node_dies_with_its_owner() {
    #[allow(clippy::disallowed_methods)] // which part this process plays
    if let Some(dir) = std::env::var_os(OWN_IN) {
        let node = Node::start(options(Path::new(&dir))).await.unwrap();
        println!("\nnode {}", node.pid().unwrap());
        std::thread::sleep(Duration::from_secs(600));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["node::a_node_dies_with_its_owner", "--exact", "--nocapture"])
        .env(OWN_IN, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let pid = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("node ").map(str::to_owned)).unwrap();
    let node = Path::new("/proc").join(pid);
    assert!(node.exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    until("the node is gone", || gone(&node).then_some(()));
}

/// Whether a process has ended; one whose new parent does not reap it stays as a zombie.
fn gone(process: &Path) -> bool {
    std::fs::read_to_string(process.join("stat")).map_or(true, |stat| stat.contains(") Z "))
}
