//! Changes on their way to the log: each once, in order, its schema before it; marks behind what is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::{Client, ClientError};
use naru_runtime::clocks::{SystemClock, WallClock as _};
use serde_json::json;

use crate::change::{Change, Op, Place};
use crate::config::CaptureConfig;
use crate::error::CaptureError;
use crate::log::resume::{self, Copied, Mark, WrittenSchema};
use crate::log::topics::{self, Topic};
use crate::log::{Producer, ProducerOptions};
use crate::status::Status;
use crate::table::Table;
use crate::tokens::Vault;

/// The key of records without a row.
const NO_KEY: &[u8] = b"[]";
/// What a flush is begun at: enough for whole batches in every partition, little enough to wait for.
const FLUSH_BYTES: usize = 8 << 20;

/// Of a reason, which stands in each mark until its table is copied: enough for a key and the way on.
const REASON_CHARS_MAX: usize = 2_000;

/// Writes a source's topics.
#[derive(Debug)]
pub struct Writer {
    producer: Producer,
    lanes: BTreeMap<Arc<str>, Lane>,
    schemas: Topic,
    marks: Topic,
    /// Fingerprints that stand in the topic of schemas.
    known: BTreeSet<u64>,
    /// The last mark, and what is counted since.
    mark: Mark,
    status: Arc<Status>,
    vault: Option<Vault>,
}

/// A table's topic.
#[derive(Debug)]
struct Lane {
    topic: Topic,
    /// The last record of each partition.
    last: Vec<Option<Place>>,
    /// Whether it had no record ever when it was opened.
    is_new: bool,
    /// The definition of the last record.
    table: Option<Arc<Table>>,
}

impl Lane {
    /// Whether the copy that a mark speaks of is none any more: without its records, or with keys in other partitions.
    fn lost_its_copy(&self, mark: &Mark) -> bool {
        let topic = &*self.topic.name;
        let other = mark.tables.get(topic).is_some_and(|copied| copied.partitions != self.topic.partitions);
        mark.copies.contains_key(topic) && (self.is_new || other)
    }
}

/// Something to be written, or a reason not to write any more.
#[derive(Debug)]
pub enum Item {
    /// A change.
    Change(Change),
    /// Nothing more is written of a table, until it is copied anew.
    Stop {
        /// Its topic.
        topic: Arc<str>,
        /// Why, and the way on.
        reason: String,
    },
}

impl Writer {
    /// Makes what is missing of the topics, and finds out how far each is written.
    ///
    /// # Errors
    /// The log's, or that a topic holds what is not ours.
    pub async fn open(config: &CaptureConfig, client: Client, status: Arc<Status>) -> Result<Self, CaptureError> {
        let replication = config.log.replication;
        let schemas = topics::ensure(&client, &topics::kept(topics::schemas(&config.source), replication)).await?;
        let marks = topics::ensure(&client, &topics::kept(topics::marks(&config.source), replication)).await?;
        let schemas_written = resume::schemas(&client, &schemas.name).await?;
        let known = schemas_written.iter().map(|written| written.fingerprint).collect();
        let mut lanes = BTreeMap::new();
        for table in &config.tables {
            let name = crate::config::topic(&config.source, &table.schema, &table.name);
            // Whatever the brokers' default is: compaction would take rows that a later record says were kept.
            let wanted = NewTopic { replication, ..NewTopic::new(name, config.log.partitions) };
            let wanted = wanted.config("cleanup.policy", "delete");
            let topic = topics::ensure(&client, &wanted).await?;
            let ends = resume::ends(&client, &topic).await?;
            let named = (table.schema.clone(), table.name.clone());
            // A schema is written once: the last one written need not be that of the last record.
            let is_last = |written: &&WrittenSchema| {
                *written.topic == *topic.name && ends.fingerprint.is_none_or(|print| print == written.fingerprint)
            };
            let avro = schemas_written.iter().rev().find(is_last);
            let table = avro.and_then(|written| Table::restored(topic.name.clone(), named, &written.schema));
            let lane = Lane { topic, last: ends.places, is_new: ends.is_new, table: table.map(Arc::new) };
            lanes.insert(lane.topic.name.clone(), lane);
        }
        let mut mark = resume::last_mark(&client, &marks.name).await?.unwrap_or_default();
        // A table that was left out for a while has missed changes: when it is back, it is copied anew.
        mark.copies.retain(|topic, _| lanes.contains_key(topic.as_str()));
        mark.tables.retain(|topic, _| lanes.contains_key(topic.as_str()));
        mark.stopped.retain(|topic, _| lanes.contains_key(topic.as_str()));
        for lane in lanes.values() {
            if lane.lost_its_copy(&mark) {
                let topic = &*lane.topic.name;
                tracing::warn!(topic, "the topic was made anew or got partitions, the table is copied anew");
                mark.forget_copy(topic);
            }
        }
        mark.stopped.iter().for_each(|(topic, reason)| status.stopped(topic, reason));
        let mark = Mark { session: mark.session + 1, transactions: 0, records: BTreeMap::new(), ..mark };
        let options =
            ProducerOptions { batch_bytes_max: config.log.batch_bytes_max.as_usize(), patience: config.log.patience };
        let producer = Producer::open(client, options).await?;
        let vault = config.vault.as_ref().map(|vault| Vault::open(vault, status.clone())).transpose()?;
        Ok(Self { producer, lanes, schemas, marks, known, mark, status, vault })
    }

    /// The last mark, with what was counted since.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// The highest position of any record.
    pub fn highest(&self) -> u64 {
        let places = self.lanes.values().flat_map(|lane| lane.last.iter().flatten());
        places.map(|place| place.position).max().unwrap_or(0).max(self.mark.position)
    }

    /// The definition of a topic's last record.
    pub fn table(&self, topic: &str) -> Option<Arc<Table>> {
        self.lanes.get(topic)?.table.clone()
    }

    /// Forgets that a table was copied.
    pub fn forget_copy(&mut self, topic: &str) {
        self.mark.forget_copy(topic);
    }

    /// Adds items in their order, and writes what is enough for a flush.
    ///
    /// # Errors
    /// The log's. A value that does not fit stops its table, and is none.
    pub async fn add(&mut self, items: Vec<Item>) -> Result<(), CaptureError> {
        let items = match &mut self.vault {
            Some(vault) => vault.tokenise(items).await,
            None => items.into_iter().map(refuse_plain).collect(),
        };
        for item in items {
            match item {
                Item::Change(change) => self.change(change).await?,
                Item::Stop { topic, reason } => self.stop(&topic, reason),
            }
            if self.producer.pending_bytes() > FLUSH_BYTES {
                self.producer.flush().await?;
            }
        }
        Ok(())
    }

    async fn change(&mut self, change: Change) -> Result<(), CaptureError> {
        let topic = change.table.topic.clone();
        if change.op == Op::Begin {
            self.mark.stopped.remove(&*topic);
            self.status.goes_on(&topic);
        } else if self.mark.stopped.contains_key(&*topic) {
            return Ok(());
        }
        let lane = self.lanes.get(&topic).expect("only tables of the configuration are sent");
        let encoded = match Encoded::of(&change, &lane.topic) {
            Ok(encoded) => encoded,
            Err(reason) => {
                self.stop(&topic, reason);
                return Ok(());
            }
        };
        let partitions: Vec<usize> = match change.op.is_for_all() {
            true => (0..lane.topic.partitions).collect(),
            false => vec![crate::log::partition(&encoded.key, lane.topic.partitions)],
        };
        let partitions: Vec<_> =
            partitions.into_iter().filter(|partition| lane.last[*partition] < Some(change.place)).collect();
        if partitions.is_empty() {
            return Ok(());
        }
        if let Some(before) = &lane.table
            && change.op != Op::Begin
            && before.fingerprint != change.table.fingerprint
            && let Some(reason) = incompatible(before, &change.table)
        {
            self.stop(&topic, reason);
            return Ok(());
        }
        if !self.known.contains(&change.table.fingerprint) {
            self.schema(&change.table).await?;
        }
        let lane = self.lanes.get_mut(&topic).expect("it was there");
        lane.table = Some(change.table.clone());
        for partition in partitions {
            self.producer.push(&lane.topic, partition, change.at / 1000, &encoded.key, &encoded.value)?;
            lane.last[partition] = Some(change.place);
        }
        *self.mark.records.entry(topic.to_string()).or_default() += 1;
        self.status.wrote(&topic, &change);
        Ok(())
    }

    /// Writes a schema before the first record that uses it, and after every record before.
    async fn schema(&mut self, table: &Table) -> Result<(), ClientError> {
        // Batches of several topics go side by side: what was added before is acknowledged first.
        self.producer.flush().await?;
        let value = json!({"topic": &*table.topic, "schema": table.avro}).to_string();
        let key = table.fingerprint_hex();
        self.producer.push(&self.schemas, 0, now_ms(), key.as_bytes(), value.as_bytes())?;
        self.producer.flush().await?;
        self.known.insert(table.fingerprint);
        Ok(())
    }

    fn stop(&mut self, topic: &str, reason: String) {
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        self.mark.forget_copy(topic);
        if self.mark.stopped.get(topic) == Some(&reason) {
            return;
        }
        tracing::error!(topic, reason, "table stopped, the others go on");
        self.status.stopped(topic, &reason);
        self.mark.stopped.insert(topic.to_owned(), reason);
    }

    /// Writes what was added, and waits for the acknowledgement.
    ///
    /// # Errors
    /// The log's.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        self.producer.flush().await
    }

    /// Notes that a copy is whole; the next mark says it.
    pub fn copied(&mut self, topic: &str, position: u64, number: u32) {
        self.mark.copies.insert(topic.to_owned(), position);
        self.is_of(topic, number);
    }

    /// Notes which table a topic's copy is of: what an older mark did not say.
    pub fn is_of(&mut self, topic: &str, number: u32) {
        let Some(lane) = self.lanes.get(topic) else { return };
        self.mark.tables.insert(topic.to_owned(), Copied { number, partitions: lane.topic.partitions });
    }

    /// Writes a mark behind everything that was added: all that was committed before `next` is written.
    ///
    /// # Errors
    /// The log's.
    pub async fn write_mark(&mut self, next: u64, at: i64, transactions: u64) -> Result<(), ClientError> {
        self.producer.flush().await?;
        self.mark.position = self.mark.position.max(next.saturating_sub(1));
        (self.mark.at, self.mark.transactions) = (at, transactions);
        let value = serde_json::to_vec(&self.mark).expect("a mark is numbers and texts");
        self.producer.push(&self.marks, 0, now_ms(), NO_KEY, &value)?;
        self.producer.flush().await?;
        self.status.marked(&self.mark);
        self.mark.records.clear();
        Ok(())
    }
}

/// The two halves of a record.
struct Encoded {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Encoded {
    /// The reason in words that a person acts on, if it cannot be.
    fn of(change: &Change, topic: &Topic) -> Result<Self, String> {
        let mend = "change the row, then start capture again, which copies the table anew";
        let unfit = |error: crate::change::UnfitRow| format!("{error}; {mend}");
        let key = if change.op.is_for_all() { NO_KEY.to_vec() } else { change.key().map_err(unfit)? };
        let value = change.value().map_err(unfit)?;
        Producer::fits(topic, &key, &value).map_err(|error| {
            let key = String::from_utf8_lossy(&key).into_owned();
            format!("{error}, row with the key {key}; raise max.message.bytes of the topic, then start capture again")
        })?;
        Ok(Self { key, value })
    }
}

/// Without a vault no row of a table with tokens leaves: its values are still plain.
fn refuse_plain(item: Item) -> Item {
    match item {
        Item::Change(change) if change.table.has_tokens() && change.op != Op::Begin && change.op != Op::End => {
            Item::Stop {
                topic: change.table.topic.clone(),
                reason:
                    "it was written with tokens and the configuration names no vault; name it in [vault], or copy the \
                     table anew with other policies (--copy-anew)"
                        .into(),
            }
        }
        other => other,
    }
}

/// Why rows of one definition cannot follow rows of another.
fn incompatible(before: &Table, after: &Table) -> Option<String> {
    let way_on = "start capture again, which copies the table anew";
    if before.key.iter().map(|at| before.columns[*at].number).ne(after.key.iter().map(|at| after.columns[*at].number)) {
        return Some(format!("the primary key of {} changed; {way_on}", after.qualified()));
    }
    for column in &after.columns {
        let Some(was) = before.columns.iter().find(|was| was.number == column.number) else { continue };
        if was.token != column.token {
            return Some(format!("the policy of the column {} changed; {way_on}", column.name));
        }
        if column.token.is_none()
            && !crate::evolve::widens((was.type_oid, was.modifier), (column.type_oid, column.modifier))
        {
            return Some(format!("the type of the column {} changed and values may have; {way_on}", column.name));
        }
    }
    None
}

/// The clock of records that belong to no commit.
fn now_ms() -> i64 {
    SystemClock::new().unix_ms()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;
    use crate::table::tests::{column, every_kind, table};

    #[test]
    fn without_a_vault_no_row_of_a_table_with_tokens_leaves() {
        fn check(columns: Vec<crate::table::Column>, op: Op, leaves: bool) {
            let place = Place { position: 1, sequence: 0 };
            let table = Arc::new(table(columns, vec![0]));
            let change = Change { table, op, place, transaction: 1, at: 0, row: vec![] };
            assert_eq!(matches!(refuse_plain(Item::Change(change)), Item::Change(_)), leaves, "{op:?}");
        }
        for op in [Op::Read, Op::Insert, Op::Update, Op::Delete] {
            check(every_kind(), op, false);
            check(vec![column(1, "id", 20, -1)], op, true);
        }
        check(every_kind(), Op::Begin, true);
    }
}
