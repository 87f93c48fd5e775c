//! SIGKILL under load, over and over: what the stand-in acknowledged is there afterwards, once, at its offset.
//!
//! A session is one broker, killed several times while librdkafka and producers of our own write to it; then every
//! partition is read and judged. The seed draws the moments of the kills and what is written. Two controls show that
//! the judge can find something: planted anomalies, and a broker that answers before it has written anything.

pub mod judge;
pub mod load;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::{Backoff, Client, ClientConfig};
use naru_kafka::node::{Node, NodeKind, NodeOptions};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use judge::{Stored, read_all, violations};
use load::{History, Load};

use crate::variables::number;

const TOPIC: &str = "killed";
const PARTITIONS: i32 = 4;

/// Kills of one broker: enough for a log with many epochs, few enough that reading it stays short.
const KILLS_PER_SESSION: u32 = 10;

/// How long the load runs before a kill, from the first acknowledgement after the restart on.
const ALIVE_MS: std::ops::Range<u64> = 5..150;

/// How long a restarted broker and its clients may take until something is acknowledged again.
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);

/// How much is played, for this suite and for the relay's rounds.
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) seed: u64,
}

impl Plan {
    pub(crate) fn from_environment() -> Self {
        Self {
            rounds: number("NARU_KILL_ROUNDS").map_or(60, |rounds| u32::try_from(rounds).unwrap()),
            seed: number("NARU_KILL_SEED").unwrap_or(1),
        }
    }

    fn replay(&self) -> String {
        let Self { rounds, seed } = self;
        format!("NARU_KILL_SEED={seed} NARU_KILL_ROUNDS={rounds} cargo test -p naru --test it kill:: -- --nocapture")
    }
}

fn broker(dir: &Path, flush: &str) -> NodeOptions {
    let exe = env!("CARGO_BIN_EXE_naru").into();
    NodeOptions::new(NodeKind::StandIn { exe }, dir).arg("--flush").arg(flush).arg("--admin").arg("127.0.0.1:0")
}

/// From now on a kill takes with it what was not flushed. Without this a SIGKILL proves little: the kernel keeps what
/// was written, flushed or not, and only a loss of power would tell an early answer from an honest one.
async fn lose_unflushed_tail(node: &Node) {
    let admin = node.admin().expect("the broker announces its admin port");
    let fault = r#"{"lose_unflushed_tail": true}"#;
    let asked = reqwest::Client::new().post(format!("http://{admin}/faults")).body(fault).send().await.unwrap();
    assert!(asked.status().is_success(), "{asked:?}");
}

fn client(node: &Node) -> Client {
    let mut config = ClientConfig::new([node.bootstrap()]);
    // A broker is back within a few tens of milliseconds: the load must be there when it is.
    config.backoff = Backoff { first: Duration::from_millis(5), max: Duration::from_millis(50) };
    config.connection.request_timeout = Duration::from_secs(10);
    Client::new(config).unwrap()
}

/// One broker, killed `kills` times under load. Returns what was acknowledged, and what is there.
async fn session(seed: u64, kills: u32) -> (Arc<History>, Vec<Stored>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(broker(dir.path(), "fsync")).await.unwrap();
    lose_unflushed_tail(&node).await;
    let client = client(&node);
    client.create_topic(&NewTopic::new(TOPIC, PARTITIONS), false).await.unwrap();
    let load = Load::start(&client, &node.bootstrap(), rng.random());
    for _ in 0..kills {
        load.history.progress(PROGRESS_WITHIN).await;
        // Not a wait for something: the moment of the kill.
        tokio::time::sleep(Duration::from_millis(rng.random_range(ALIVE_MS))).await;
        node.kill().unwrap();
        node.restart().await.unwrap();
        lose_unflushed_tail(&node).await;
    }
    load.history.progress(PROGRESS_WITHIN).await;
    let history = load.stop().await;
    // Once more, so that what is read has survived, too.
    node.kill().unwrap();
    node.restart().await.unwrap();
    let stored = read_all(&client, TOPIC, PARTITIONS).await;
    assert!(client.shutdown(Duration::from_secs(5)).await, "the client's connections end");
    (history, stored)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_sigkill() {
    let plan = Plan::from_environment();
    println!("replay: {}", plan.replay());
    let (mut left, mut acknowledged, mut sessions) = (plan.rounds, 0, 0);
    while left > 0 {
        let kills = left.min(KILLS_PER_SESSION);
        let (history, stored) = session(plan.seed.wrapping_add(sessions), kills).await;
        let found = violations(&history, &stored);
        assert!(
            found.is_empty(),
            "{} violations in session {sessions}, the first: {:#?}\nreplay: {}",
            found.len(),
            &found[..found.len().min(10)],
            plan.replay()
        );
        acknowledged += history.acknowledged().len();
        sessions += 1;
        left -= kills;
    }
    println!("{} kills, {acknowledged} records acknowledged, 0 lost, 0 doubled", plan.rounds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_answers_before_it_writes_is_seen_to_lose_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(broker(dir.path(), "write")).await.unwrap();
    lose_unflushed_tail(&node).await;
    let client = client(&node);
    client.create_topic(&NewTopic::new(TOPIC, PARTITIONS), false).await.unwrap();
    let history = load::write_some(&client, 20).await;
    node.kill().unwrap();
    node.restart().await.unwrap();
    let found = violations(&history, &read_all(&client, TOPIC, PARTITIONS).await);
    assert_eq!(found.len(), 20, "{found:?}");
    assert!(found.iter().all(|violation| violation.contains("lost")), "{found:?}");
}
