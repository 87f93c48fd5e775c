//! The three processes of a session, each behind a lock of its own, so that strikes may overlap.

use std::time::Duration;

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::{Client, ClientConfig};
use naru_kafka::node::{Node, NodeKind, NodeOptions, Signal};
use naru_rehearsal::service_process::{ServiceOptions, ServiceProcess};
use naru_relay::status::StatusReport;
use naru_relay::{Side, SideMap};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{PARTITIONS, TOPIC};

/// Whom a round may strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    A,
    B,
    Relay,
}

impl Role {
    pub(super) const ALL: [Self; 3] = [Self::A, Self::B, Self::Relay];
}

pub(super) struct Cast {
    nodes: SideMap<Mutex<Node>>,
    relay: Mutex<ServiceProcess>,
    _dir: TempDir,
}

/// Longer than a side that answers again can still be taken for absent (a second, by the relay's defaults) and a change
/// that was sent can take to hold.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

const NARU: &str = env!("CARGO_BIN_EXE_naru");

pub(super) fn client(bootstrap: &str) -> Client {
    Client::new(ClientConfig::new([bootstrap])).unwrap()
}

impl Cast {
    pub(super) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let start = async |name: &str| {
            let kind = NodeKind::StandIn { exe: NARU.into() };
            let mut options = NodeOptions::new(kind, dir.path().join(name)).arg("--flush").arg("fsync");
            // A relay refuses two sides that are one cluster.
            options.cluster_id = format!("naru-cluster-00000000{name}");
            let options = options.arg("--admin").arg("127.0.0.1:0").arg("--group-initial-rebalance-delay").arg("0s");
            let node = Node::start(options).await.unwrap();
            lose_unflushed_tail(&node).await;
            let made =
                NewTopic { name: TOPIC.to_owned(), partitions: PARTITIONS, replication: 1, configs: unlimited() };
            let client = client(&node.bootstrap());
            client.create_topic(&made, false).await.unwrap();
            assert!(client.shutdown(Duration::from_secs(5)).await);
            node
        };
        let nodes = SideMap { a: start("a").await, b: start("b").await };
        let relay = dir.path().join("relay");
        std::fs::create_dir_all(&relay).unwrap();
        let file = relay.join("relay.toml");
        let [a, b] = Side::BOTH.map(|side| nodes[side].bootstrap());
        let state = relay.join("state");
        let config = format!(
            "state = {state:?}\ndiscovery_interval = '200ms'\n[a]\nbootstrap = ['{a}']\n[b]\nbootstrap = ['{b}']\n"
        );
        std::fs::write(&file, config).unwrap();
        let args = ["relay", "--config", file.to_str().unwrap()].map(str::to_owned).to_vec();
        let options = ServiceOptions { name: "relay".to_owned(), program: NARU.into(), args, dir: relay };
        let relay = Mutex::new(ServiceProcess::start(options).await.unwrap());
        Self { nodes: SideMap { a: Mutex::new(nodes.a), b: Mutex::new(nodes.b) }, relay, _dir: dir }
    }

    /// Where clients find the relay.
    pub(super) async fn bootstrap(&self) -> String {
        self.relay.lock().await.address().to_string()
    }

    pub(super) async fn side(&self, side: Side) -> String {
        self.nodes[side].lock().await.bootstrap()
    }

    pub(super) async fn relay_log(&self) -> String {
        std::fs::read_to_string(self.relay.lock().await.log_path()).unwrap()
    }

    /// Kills a process and starts it again after a while, or lets it stand still for a while.
    pub(super) async fn strike(&self, role: Role, kill: bool, lasts: Duration) {
        match role {
            Role::A | Role::B => {
                let side = if role == Role::A { Side::A } else { Side::B };
                let mut node = self.nodes[side].lock().await;
                if kill {
                    node.kill().unwrap();
                    tokio::time::sleep(lasts).await;
                    node.restart().await.unwrap();
                    lose_unflushed_tail(&node).await;
                } else {
                    node.signal(Signal::SIGSTOP).unwrap();
                    tokio::time::sleep(lasts).await;
                    node.signal(Signal::SIGCONT).unwrap();
                }
            }
            Role::Relay => {
                let mut relay = self.relay.lock().await;
                if kill {
                    assert_eq!(relay.kill().unwrap(), None, "the relay had ended by itself");
                    tokio::time::sleep(lasts).await;
                    relay.restart().await.unwrap();
                } else {
                    relay.signal(Signal::SIGSTOP).unwrap();
                    tokio::time::sleep(lasts).await;
                    relay.signal(Signal::SIGCONT).unwrap();
                }
            }
        }
    }

    /// Waits until the relay says that both sides hold everything.
    pub(super) async fn await_in_sync(&self, within: Duration) {
        self.await_standing(within, Duration::ZERO).await;
    }

    /// Waits until both sides hold everything and no takeover can come any more of what was struck.
    pub(super) async fn await_settled(&self, within: Duration) {
        self.await_standing(within, SETTLED_AFTER).await;
    }

    /// Waits until both sides answer and hold everything, in one epoch, for so long.
    async fn await_standing(&self, within: Duration, lasts: Duration) {
        let deadline = Instant::now() + within;
        let mut since: Option<(u64, Instant)> = None;
        loop {
            let report = self.status().await;
            let group = report.as_ref().and_then(|report| report.groups.iter().find(|group| group.name == "default"));
            let whole = group.filter(|group| {
                Side::BOTH.iter().all(|side| group.sides[*side].in_sync && group.sides[*side].absent_seconds.is_none())
            });
            since = whole.map(|group| match since {
                Some((epoch, since)) if epoch == group.epoch => (epoch, since),
                _ => (group.epoch, Instant::now()),
            });
            if since.is_some_and(|(_, since)| since.elapsed() >= lasts) {
                return;
            }
            if Instant::now() >= deadline {
                let log = self.relay_log().await;
                let tail = &log[log.len().saturating_sub(20_000)..];
                panic!("not in sync within {within:?}; the relay says {report:?}\nthe end of its log:\n{tail}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What the relay says now; None if it does not answer.
    async fn status(&self) -> Option<StatusReport> {
        let url = format!("http://{}/status", self.relay.lock().await.ready_field("status").unwrap());
        let answer = reqwest::Client::new().get(url).timeout(Duration::from_secs(2)).send().await.ok()?;
        Some(serde_json::from_str(&answer.text().await.ok()?).unwrap())
    }
}

/// What the relay asks for, so that both sides take the same times.
fn unlimited() -> std::collections::BTreeMap<String, String> {
    let names = ["message.timestamp.before.max.ms", "message.timestamp.after.max.ms"];
    names.map(|name| (name.to_owned(), i64::MAX.to_string())).into()
}

/// From now on a kill takes with it what was not flushed.
async fn lose_unflushed_tail(node: &Node) {
    let admin = node.admin().expect("the broker announces its admin port");
    let fault = r#"{"lose_unflushed_tail": true}"#;
    let asked = reqwest::Client::new().post(format!("http://{admin}/faults")).body(fault).send().await.unwrap();
    assert!(asked.status().is_success(), "{asked:?}");
}
