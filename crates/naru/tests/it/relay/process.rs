//! Two clusters and a relay between them, as processes that end with the test.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::{Client, ClientConfig, TopicPartition};
use naru_kafka::node::{Node, NodeKind, NodeOptions, Signal};
use naru_rehearsal::service_process::{ServiceOptions, ServiceProcess};
use naru_relay::{Side, SideMap};
use tempfile::TempDir;

use crate::outside::peer;
use crate::variables::variable;

/// Longer than anything here takes beside a compiler.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const NARU: &str = env!("CARGO_BIN_EXE_naru");

/// Of a relay's log, where a test failed.
const SHOWN_LINES: usize = 100;

/// A client without patience of its own: tests that expect a refusal see it at once.
pub(crate) fn client(bootstrap: impl ToString) -> Client {
    Client::new(ClientConfig::new([bootstrap.to_string()])).unwrap()
}

/// A relay refuses one cluster as both sides. Kafka wants 22 characters.
pub(crate) fn cluster_id(name: &str) -> String {
    format!("naru-cluster-00000000{name}")
}

/// Kafka, if that is what is tested.
fn kafka() -> Option<NodeKind> {
    let subject = variable("NARU_SUBJECT").filter(|subject| subject.starts_with("kafka-"))?;
    Some(NodeKind::Apache { libs: peer(&format!("{subject}/libs")), java: "java".into() })
}

/// Two nodes, sides of a relay.
pub(crate) struct Pair {
    pub(crate) nodes: SideMap<Node>,
    pub(crate) clients: SideMap<Client>,
    dir: PathBuf,
    /// Removes the directory, where it is the pair's own.
    _temporary: Option<TempDir>,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let pair = Self::start_in(dir.path(), &[]).await;
        Self { _temporary: Some(dir), ..pair }
    }

    /// Two nodes of Kafka where `NARU_SUBJECT` names it, else stand-ins; for tests that ask for no faults.
    pub(crate) async fn of_subject() -> Self {
        let dir = TempDir::new().unwrap();
        let start = |name: &str| {
            let kind = kafka().unwrap_or(NodeKind::StandIn { exe: NARU.into() });
            let mut options = NodeOptions::new(kind, dir.path().join(name));
            options.cluster_id = cluster_id(name);
            Node::start(options)
        };
        let nodes = SideMap { a: start("a").await.unwrap(), b: start("b").await.unwrap() };
        let pair = Self::made(nodes, dir.path());
        Self { _temporary: Some(dir), ..pair }
    }

    /// In a directory that somebody else removes, with more arguments of the stand-in.
    pub(crate) async fn start_in(dir: &Path, args: &[&str]) -> Self {
        let start = |name: &str| {
            let kind = NodeKind::StandIn { exe: NARU.into() };
            let mut options = NodeOptions::new(kind, dir.join(name)).arg("--flush").arg("write");
            options = options.arg("--admin").arg("127.0.0.1:0");
            options.cluster_id = cluster_id(name);
            options.args.extend(args.iter().map(Into::into));
            options.ready_within = PATIENCE;
            Node::start(options)
        };
        let nodes = SideMap { a: start("a").await.unwrap(), b: start("b").await.unwrap() };
        Self::made(nodes, dir)
    }

    pub(crate) fn made(nodes: SideMap<Node>, dir: &Path) -> Self {
        let clients = SideMap::from_fn(|side| client(nodes[side].address()));
        Self { nodes, clients, dir: dir.to_owned(), _temporary: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes a topic on both sides.
    pub(crate) async fn create_topic(&self, name: &str, partitions: i32) {
        for side in Side::BOTH {
            let topic = NewTopic { name: name.to_owned(), partitions, replication: 1, configs: Default::default() };
            self.clients[side].create_topic(&topic, false).await.unwrap();
        }
    }

    /// Asks a side for a fault.
    pub(crate) async fn fault(&self, side: Side, fault: &str) {
        let url = format!("http://{}/faults", self.nodes[side].admin().unwrap());
        let said = reqwest::Client::new().post(url).body(fault.to_owned()).send().await.unwrap();
        assert!(said.status().is_success(), "{fault}: {}", said.text().await.unwrap());
    }

    /// Takes every fault of a side back.
    pub(crate) async fn mend(&self, side: Side) {
        let url = format!("http://{}/faults", self.nodes[side].admin().unwrap());
        let said = reqwest::Client::new().delete(url).send().await.unwrap();
        assert!(said.status().is_success(), "{}", said.text().await.unwrap());
    }

    /// A relay between them, with more settings (TOML) before the tables of the sides.
    pub(crate) async fn relay(&self, name: &str, settings: &str) -> RelayProcess {
        self.relay_that_looks_every("200ms", name, settings).await
    }

    /// The same with another interval between its looks at the topics.
    pub(crate) async fn relay_that_looks_every(&self, interval: &str, name: &str, settings: &str) -> RelayProcess {
        let dir = self.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        let [a, b] = Side::BOTH.map(|side| self.nodes[side].address());
        let config = format!(
            "state = {:?}\ndiscovery_interval = '{interval}'\n{settings}\n\
             [a]\nbootstrap = ['{a}']\n[b]\nbootstrap = ['{b}']\n[telemetry]\nmetrics = '127.0.0.1:0'\n",
            dir.join("state")
        );
        RelayProcess::start(name, &dir, &config).await
    }
}

/// A relay as a process.
pub(crate) struct RelayProcess {
    process: ServiceProcess,
    config: PathBuf,
}

impl RelayProcess {
    pub(crate) async fn start(name: &str, dir: &Path, config: &str) -> Self {
        let file = dir.join("relay.toml");
        std::fs::write(&file, config).unwrap();
        let args = ["relay", "--config", file.to_str().unwrap()].map(str::to_owned).to_vec();
        let options = ServiceOptions { name: name.to_owned(), program: NARU.into(), args, dir: dir.to_owned() };
        Self { process: ServiceProcess::start(options).await.unwrap(), config: file }
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.process.address().to_string()
    }

    /// Waits until the relay shows a topic with so many partitions and has read where each ends on both sides: from
    /// then on a side that stands still keeps nobody from asking.
    pub(crate) async fn await_topic(&self, name: &str, partitions: usize) -> Client {
        let client = client(self.bootstrap());
        client.await_topic(name, partitions, PATIENCE).await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        for partition in 0..i32::try_from(partitions).unwrap() {
            let at = TopicPartition::new(name, partition);
            while let Err(error) = client.list_offset(&at, OffsetAt::Latest).await {
                assert!(error.retry_can_help() && Instant::now() < deadline, "{at} is not served: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        client
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal).unwrap();
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&mut self) {
        self.process.restart().await.unwrap();
    }

    /// Ends it at once and starts it again where it was.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.restart().await.unwrap();
    }

    /// Where its metrics are read.
    pub(crate) fn metrics_address(&self) -> String {
        let log = self.log();
        log.split_whitespace().find_map(|word| word.strip_prefix("metrics=")).unwrap().to_owned()
    }

    /// A figure of the relay's metrics, without labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let address = self.metrics_address();
        let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("naru_{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
    }

    /// Resident memory, bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    /// The process that was started with this relay's own configuration file.
    fn pid(&self) -> u32 {
        let file = self.config.to_str().unwrap().as_bytes();
        let processes = std::fs::read_dir("/proc").unwrap();
        let ids = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
        let is_ours = |id: &u32| {
            // One that has ended meanwhile is none of ours.
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            line.windows(file.len()).any(|part| part == file)
        };
        { ids }.find(is_ours).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.process.log_path()).unwrap()
    }
}

/// A test that fails shows what the relay told last.
impl Drop for RelayProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.process.log_path()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(SHOWN_LINES).collect();
            println!("the end of {}'s log:", self.config.display());
            tail.into_iter().rev().for_each(|line| println!("{line}"));
        }
    }
}
