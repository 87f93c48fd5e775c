//! A stand-in broker and a lake, as processes that end with the test, and what writes to the one and asks the other.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Client, ClientConfig, TopicPartition};
use naru_kafka::node::{Node, NodeKind, NodeOptions};
use naru_kafka::wire::{BatchBuilder, Compression};
use naru_rehearsal::service_process::{ServiceOptions, ServiceProcess};
use tempfile::TempDir;
use tokio::process::Command;

/// Longer than anything here takes beside a compiler.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

const NARU: &str = env!("CARGO_BIN_EXE_naru");
/// Of a lake's log, where a test failed.
const SHOWN_LINES: usize = 60;

/// The columns of the sample's payments.
pub(super) const PAYMENTS: &str = r#"
[[events]]
topic = "payments"
table = "pay.payments"
column = [
  { name = "id", type = "string" },
  { name = "payer", from = "user", type = "string" },
  { name = "merchant", type = "string" },
  { name = "amount", from = "amount.minor", type = "long" },
  { name = "status", type = "string", required = false },
  { name = "at", from = "$time", type = "timestamp" },
]
"#;

/// A broker, a lake, and the folder of both.
pub(super) struct World {
    _node: Node,
    pub(super) client: Client,
    pub(super) lake: ServiceProcess,
    pub(super) dir: TempDir,
}

impl World {
    /// With more settings of the lake, in TOML; tables behind the top ones.
    pub(super) async fn start(top: &str, tables: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let kind = NodeKind::StandIn { exe: NARU.into() };
        let mut options = NodeOptions::new(kind, dir.path().join("broker")).arg("--flush").arg("write");
        options.ready_within = PATIENCE;
        let node = Node::start(options).await.unwrap();
        let client = Client::new(ClientConfig::new([node.address().to_string()])).unwrap();
        let lake = lake(dir.path(), &node.address().to_string(), top, tables).await;
        Self { _node: node, client, lake, dir }
    }

    pub(super) fn warehouse(&self) -> PathBuf {
        self.dir.path().join("warehouse")
    }

    pub(super) async fn topic(&self, name: &str, partitions: i32) {
        let topic = NewTopic { name: name.to_owned(), partitions, replication: 1, configs: Default::default() };
        self.client.create_topic(&topic, false).await.unwrap();
        self.client.await_topic(name, usize::try_from(partitions).unwrap(), PATIENCE).await.unwrap();
    }

    pub(super) async fn write(&self, topic: &str, partition: i32, values: &[String]) {
        write(&self.client, topic, partition, values).await;
    }

    /// What psql prints, fields with | between them; an error of the server panics.
    pub(super) async fn ask(&self, sql: &str) -> String {
        let (told, error) = self.psql("analyst", sql).await;
        assert_eq!(error, "", "{sql}");
        told
    }

    /// What psql prints, and its complaints.
    pub(super) async fn psql(&self, user: &str, sql: &str) -> (String, String) {
        let address = self.lake.address();
        self.psql_by(&format!("postgresql://{user}@{address}/naru"), sql).await
    }

    /// The same, by a whole address.
    pub(super) async fn psql_by(&self, url: &str, sql: &str) -> (String, String) {
        let said = Command::new("psql").args(["-X", "-A", "-t", "-w", url, "-c", sql]).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
        (text(said.stdout), text(said.stderr))
    }

    /// Asks until the answer is right.
    pub(super) async fn until(&self, sql: &str, expect: &str) {
        self.until_by(&format!("postgresql://analyst@{}/naru", self.lake.address()), sql, expect).await;
    }

    /// The same, by a whole address.
    pub(super) async fn until_by(&self, url: &str, sql: &str, expect: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (told, error) = self.psql_by(url, sql).await;
            if told == expect && error.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{sql}: {told} {error}, not {expect}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.lake.log_path()).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(SHOWN_LINES).collect();
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// A lake over that warehouse.
pub(super) async fn lake(dir: &Path, bootstrap: &str, top: &str, tables: &str) -> ServiceProcess {
    let file = dir.join("lake.toml");
    let config = format!(
        "warehouse = {:?}\ncommit_interval = '200ms'\n{top}\n[log]\nbootstrap = ['{bootstrap}']\n{tables}",
        dir.join("warehouse")
    );
    std::fs::write(&file, config).unwrap();
    let args = ["lake", "--config", file.to_str().unwrap()].map(str::to_owned).to_vec();
    let options = ServiceOptions { name: "lake".to_owned(), program: NARU.into(), args, dir: dir.join("lake") };
    ServiceProcess::start(options).await.unwrap()
}

/// Writes values as one batch, acknowledged.
pub(super) async fn write(client: &Client, topic: &str, partition: i32, values: &[String]) {
    let mut batch = BatchBuilder::new(Compression::None);
    for value in values {
        batch.push(now_ms(), Some(b"k"), Some(value.as_bytes()), &[]).unwrap();
    }
    let at = TopicPartition::new(topic, partition);
    client.produce(&at, batch.build().unwrap(), &ProduceOptions::default()).await.unwrap();
}

/// A payment as the sample service writes it.
pub(super) fn payment(id: u64, merchant: &str, minor: i64) -> String {
    format!(
        r#"{{"id":"p{id}","kind":"payment","sequence":{id},"idempotency_key":"k{id}","user":"u{}","merchant":"{merchant}","status":"done","amount":{{"currency":"KRW","minor":{minor}}}}}"#,
        id % 10
    )
}

#[allow(clippy::disallowed_methods)] // records carry the time of day
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
