//! Two clusters, a source's records in them, and tables beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apache_avro::types::Value as Avro;
use naru_audit::auditor::Auditor;
use naru_audit::certificate::Certificate;
use naru_audit::config::AuditConfig;
use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Client, ClientConfig, TopicPartition};
use naru_kafka::standin::storage::Flush;
use naru_kafka::standin::{Standin, StandinConfig};
use naru_kafka::wire::{BatchBuilder, Compression};
use naru_runtime::clocks::SystemClock;
use naru_runtime::config::Sources;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

pub const PARTITIONS: i32 = 3;

type KeyAndValue = (Vec<u8>, Vec<u8>);

/// One change, as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub partition: i32,
    pub position: i64,
    pub sequence: i64,
    pub at: i64,
    pub op: &'static str,
    pub key: String,
    pub id: i64,
    pub cents: Option<i64>,
    pub note: Option<String>,
}

impl Change {
    pub const AT: i64 = 1_795_000_000_000_000;
}

fn schema() -> Json {
    let decimal = json!({"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2});
    let column = |name: &str, number: u64, of: Json| json!({"name": name, "type": ["null", of], "naru.column": number});
    let row = json!({"type": "record", "name": "Row", "naru.key": [0], "fields": [
        column("id", 1, json!("long")), column("amount", 2, decimal), column("note", 4, json!("string")),
    ]});
    json!({"type": "record", "name": "Change", "namespace": "naru.test", "fields": [
        {"name": "op", "type": {"type": "enum", "name": "Op",
            "symbols": ["begin", "read", "end", "insert", "update", "delete", "truncate"]}},
        {"name": "position", "type": "long"},
        {"name": "sequence", "type": "long"},
        {"name": "transaction", "type": "long"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "kept", "type": {"type": "array", "items": "int"}},
        {"name": "row", "type": ["null", row]},
    ]})
}

/// The log's records of a change.
pub struct Encoder {
    schema: apache_avro::Schema,
    print: [u8; 8],
}

impl Encoder {
    pub fn new() -> Self {
        let schema = apache_avro::Schema::parse(&schema()).unwrap();
        let print = schema.fingerprint::<apache_avro::rabin::Rabin>().bytes.as_slice().try_into().unwrap();
        Self { schema, print }
    }

    fn value(&self, change: &Change) -> Vec<u8> {
        let symbols = ["begin", "read", "end", "insert", "update", "delete", "truncate"];
        let op = symbols.iter().position(|name| *name == change.op).unwrap() as u32;
        let union = |value: Option<Avro>| match value {
            None => Avro::Union(0, Box::new(Avro::Null)),
            Some(value) => Avro::Union(1, Box::new(value)),
        };
        let cents = change.cents.map(|cents| Avro::Decimal(apache_avro::Decimal::from(cents.to_be_bytes())));
        let row = Avro::Record(vec![
            ("id".into(), union(Some(Avro::Long(change.id)))),
            ("amount".into(), union(cents)),
            ("note".into(), union(change.note.clone().map(Avro::String))),
        ]);
        let has_row = !["begin", "end", "truncate"].contains(&change.op);
        let value = Avro::Record(vec![
            ("op".into(), Avro::Enum(op, change.op.into())),
            ("position".into(), Avro::Long(change.position)),
            ("sequence".into(), Avro::Long(change.sequence)),
            ("transaction".into(), Avro::Long(7)),
            ("at".into(), Avro::TimestampMicros(change.at)),
            ("kept".into(), Avro::Array(vec![])),
            ("row".into(), union(has_row.then_some(row))),
        ]);
        let mut bytes = vec![0xC3, 0x01];
        bytes.extend_from_slice(&self.print);
        bytes.extend(apache_avro::to_avro_datum(&self.schema, value).unwrap());
        bytes
    }

    fn fingerprint(&self) -> String {
        format!("{:016x}", u64::from_le_bytes(self.print))
    }
}

/// Two clusters that end with the test.
pub struct Clusters {
    _standins: [Standin; 2],
    pub clients: [Client; 2],
    pub addresses: [String; 2],
    pub directory: TempDir,
}

impl Clusters {
    pub async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let start = async |name: &str| {
            let mut config = StandinConfig::new(directory.path().join(name), "127.0.0.1:0".parse().unwrap());
            config.flush = Flush::Write;
            Standin::start(config).await.unwrap()
        };
        let standins = [start("a").await, start("b").await];
        let addresses = standins.each_ref().map(|standin| standin.local_addr().to_string());
        let clients = addresses.each_ref().map(|address| Client::new(ClientConfig::new([address.clone()])).unwrap());
        Self { _standins: standins, clients, addresses, directory }
    }

    async fn create(&self, topic: &str, partitions: i32) {
        for client in &self.clients {
            client.create_topic(&NewTopic::new(topic, partitions), false).await.unwrap();
            client.await_topic(topic, partitions as usize, std::time::Duration::from_secs(30)).await.unwrap();
        }
    }

    async fn write(&self, cluster: usize, at: &TopicPartition, records: &[KeyAndValue]) {
        if records.is_empty() {
            return;
        }
        let mut batch = BatchBuilder::new(Compression::Zstd);
        for (key, value) in records {
            batch.push(1, Some(key), Some(value), &[]).unwrap();
        }
        let client = &self.clients[cluster];
        client.produce(at, batch.build().unwrap(), &ProduceOptions::default()).await.unwrap();
    }
}

/// One source in the clusters, by a name of its own.
pub struct World<'a> {
    pub clusters: &'a Clusters,
    pub name: String,
    encoder: Encoder,
    pub state: PathBuf,
    pub warehouse: PathBuf,
}

impl<'a> World<'a> {
    pub async fn new(clusters: &'a Clusters, name: &str) -> Self {
        let directory = clusters.directory.path();
        let (state, warehouse) = (directory.join(format!("{name}-state")), directory.join(format!("{name}-lake")));
        let world = Self { clusters, name: name.to_owned(), encoder: Encoder::new(), state, warehouse };
        clusters.create(&format!("{name}.schemas"), 1).await;
        clusters.create(&format!("{name}.marks"), 1).await;
        clusters.create(&world.topic(), PARTITIONS).await;
        let said = json!({"topic": world.topic(), "schema": schema()}).to_string().into_bytes();
        let record = (world.encoder.fingerprint().into_bytes(), said);
        let at = TopicPartition::new(format!("{name}.schemas"), 0);
        for cluster in 0..2 {
            clusters.write(cluster, &at, std::slice::from_ref(&record)).await;
        }
        world
    }

    pub fn topic(&self) -> String {
        format!("{}.payments", self.name)
    }

    /// Writes changes to one cluster, in their order within each partition.
    pub async fn write(&self, cluster: usize, changes: &[Change]) {
        let mut by_partition: BTreeMap<i32, Vec<KeyAndValue>> = BTreeMap::new();
        for change in changes {
            let record = (change.key.clone().into_bytes(), self.encoder.value(change));
            by_partition.entry(change.partition).or_default().push(record);
        }
        for (partition, records) in by_partition {
            self.clusters.write(cluster, &TopicPartition::new(self.topic(), partition), &records).await;
        }
    }

    /// Says in both clusters that everything up to a position is written.
    pub async fn mark(&self, position: i64) {
        let value = json!({"position": position, "at": Change::AT, "transactions": 1, "records": {}}).to_string();
        let at = TopicPartition::new(format!("{}.marks", self.name), 0);
        for cluster in 0..2 {
            self.clusters.write(cluster, &at, &[(vec![], value.clone().into_bytes())]).await;
        }
    }

    /// With more settings of the source.
    pub fn config(&self, more: &str) -> AuditConfig {
        let [a, b] = &self.clusters.addresses;
        let (state, catalogue) = (self.state.display(), self.warehouse.join("catalogue.db"));
        let text = format!(
            "state = '{state}'\nhold_max = '0s'\nsettle_max = '0s'\n[a]\nbootstrap = ['{a}']\n[b]\nbootstrap = ['{b}']\n\
             [lake]\ncatalogue = '{}'\n[[source]]\nname = '{}'\namounts = ['{}.amount']\n{more}",
            catalogue.display(),
            self.name,
            self.topic(),
        );
        Sources::default().document("audit.toml", text).load().unwrap()
    }

    pub async fn auditor(&self, more: &str) -> Auditor {
        Auditor::open(self.config(more), Arc::new(SystemClock::new())).await.unwrap()
    }
}

/// Every certificate of a state directory.
pub fn certificates(state: &Path) -> Vec<Certificate> {
    let text = std::fs::read_to_string(state.join("certificates.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
