//! The lane of usage notifications: one for each transaction on the log.
//!
//! Notifications and the offset behind their records become durable in one record, so that a restart reads on exactly where
//! the promises end. The key of a notification is made of its transaction's id: even a courier that has lost its log meets
//! the provider's memory of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use naru_kafka::client::fetch::{FetchFrom, FetchOptions};
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::{Client, ClientConfig, ClientError, TopicPartition};
use naru_kafka::wire::Batch;
use ring::digest;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::config::{From, UsageConfig};
use crate::courier::{Shared, TEXT_BYTES_MAX};
use crate::drive;
use crate::log::{Closed, Notification, Record};
use crate::pace::Bucket;

/// Notifications of one durable record.
const NOTIFICATIONS_MAX: usize = 500;
/// Longest wait of a broker for records: what a notification waits for at most when nothing comes.
const FETCH_WAIT: Duration = Duration::from_millis(200);
/// Bytes of a batch in memory.
const BATCH_BYTES_MAX: usize = 64 << 20;
/// Between two tries while the log is away.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the lane saves up for its next message.
const SAVING: Duration = Duration::from_millis(2);

/// Reads one topic.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    client: Client,
    topic: Arc<str>,
    config: UsageConfig,
    queue: mpsc::Sender<u64>,
}

/// A record as far as it is a transaction.
#[derive(Debug, PartialEq, Eq)]
struct Transaction {
    id: String,
    token: String,
    text: String,
}

impl Reader {
    pub(crate) fn new(
        shared: Arc<Shared>,
        config: &UsageConfig,
        topic: &str,
        queue: mpsc::Sender<u64>,
    ) -> Result<Self, ClientError> {
        let brokers = config.bootstrap.iter().map(ToString::to_string);
        let client = Client::new(ClientConfig::new(brokers))?;
        Ok(Self { shared, client, topic: topic.into(), config: config.clone(), queue })
    }

    /// Reads on for ever; whatever goes wrong with the log is waited out, with an alarm.
    pub(crate) async fn run(self) -> Result<(), Closed> {
        loop {
            match self.session().await? {
                Ok(()) => self.shared.alarm("transactions", None),
                Err(error) => {
                    let said = naru_runtime::causes::with_causes(&error);
                    self.shared.alarm("transactions", Some(format!("{} is not read: {said}", self.topic)));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// One fetch from every partition.
    async fn session(&self) -> Result<Result<(), ClientError>, Closed> {
        let partitions = match self.client.topic(&self.topic).await {
            Ok(topic) => topic.partitions.iter().map(|one| one.partition).collect::<Vec<_>>(),
            Err(error) => return Ok(Err(error)),
        };
        let mut wanted = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let at = TopicPartition::new(self.topic.clone(), partition);
            match self.offset(&at).await? {
                Ok(offset) => wanted.push(FetchFrom::new(at, offset)),
                Err(error) => return Ok(Err(error)),
            }
        }
        let options = FetchOptions { max_wait: FETCH_WAIT, ..FetchOptions::default() };
        let fetched = self.client.fetch(&wanted, &options).await;
        for (from, fetched) in wanted.iter().zip(fetched) {
            match fetched {
                Ok(fetched) => {
                    for batch in fetched.batches {
                        if let Err(error) = self.batch(&from.at, from.offset, &batch).await? {
                            return Ok(Err(ClientError::Consumer(Arc::from(error))));
                        }
                    }
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }

    /// Where to read on; at the first meeting with a partition that is written down before anything is read.
    async fn offset(&self, at: &TopicPartition) -> Result<Result<i64, ClientError>, Closed> {
        let known = self.shared.state().offsets.get(&(at.topic.to_string(), at.partition)).copied();
        if let Some(offset) = known {
            return Ok(Ok(offset));
        }
        let place = match self.config.from {
            From::Earliest => OffsetAt::Earliest,
            From::Latest => OffsetAt::Latest,
        };
        let offset = match self.client.list_offset(at, place).await {
            Ok(listed) => listed.offset.unwrap_or(0),
            Err(error) => return Ok(Err(error)),
        };
        self.persist(at, offset, Vec::new(), 0).await?;
        Ok(Ok(offset))
    }

    async fn batch(
        &self,
        at: &TopicPartition,
        from: i64,
        batch: &Batch,
    ) -> Result<Result<(), Box<dyn std::error::Error + Send + Sync>>, Closed> {
        if batch.header().last_offset() < from {
            return Ok(Ok(()));
        }
        if let Err(error) = batch.verify_crc() {
            return Ok(Err(error.into()));
        }
        let (mut transactions, mut unreadable) = (Vec::new(), 0);
        if !batch.header().is_control() {
            for record in batch.records(BATCH_BYTES_MAX) {
                let record = match record {
                    Ok(record) if record.offset < from => continue,
                    Ok(record) => record,
                    Err(error) => return Ok(Err(error.into())),
                };
                match record.value.as_deref().and_then(|value| transaction(value, &self.config)) {
                    Some(transaction) => transactions.push(transaction),
                    None => unreadable += 1,
                }
                if transactions.len() == NOTIFICATIONS_MAX {
                    self.persist(at, record.offset + 1, std::mem::take(&mut transactions), unreadable).await?;
                    unreadable = 0;
                }
            }
        }
        self.persist(at, batch.header().next_offset(), transactions, unreadable).await?;
        Ok(Ok(()))
    }

    /// Makes notifications durable together with the offset behind them, and hands them to the lane.
    async fn persist(
        &self,
        at: &TopicPartition,
        next_offset: i64,
        transactions: Vec<Transaction>,
        unreadable: u64,
    ) -> Result<(), Closed> {
        let mut notifications: Vec<Notification> = Vec::with_capacity(transactions.len());
        {
            let mut state = self.shared.state();
            let mut own = HashSet::new();
            for Transaction { id, token, text } in transactions {
                if state.has_seen(&at.topic, &id) || !own.insert(id.clone()) {
                    state.usage.repeated += 1;
                    continue;
                }
                let batch = state.next_batch();
                let key = key(&at.topic, &id);
                notifications.push(Notification { batch, key, transaction: id, token, text });
            }
        }
        let ids: Vec<u64> = notifications.iter().map(|one| one.batch).collect();
        self.shared.usage_waiting.fetch_add(ids.len(), Ordering::Relaxed);
        let (topic, partition, at_ms) = (at.topic.to_string(), at.partition, self.shared.now_ms());
        let record = Record::Usage { topic, partition, next_offset, at_ms, notifications, unreadable };
        self.shared.record(record).await?;
        for id in ids {
            self.queue.send(id).await.map_err(|_| Closed)?;
        }
        Ok(())
    }
}

/// The key of a transaction's notification.
fn key(topic: &str, id: &str) -> String {
    let hash = digest::digest(&digest::SHA256, format!("{topic}\n{id}").as_bytes());
    // Half of it: nobody meets another's by chance.
    format!("u{}", naru_runtime::hex::to_hex(&hash.as_ref()[..16]))
}

fn transaction(value: &[u8], config: &UsageConfig) -> Option<Transaction> {
    let value: Value = serde_json::from_slice(value).ok()?;
    let id = shown(value.get(&config.id_field)?)?;
    let token = value.get(&config.token_field)?.as_str()?.to_owned();
    let mut text = String::new();
    let mut rest = config.text.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        text.push_str(before);
        let found = name.split('.').try_fold(&value, |value, part| value.get(part));
        text.push_str(&found.and_then(shown).unwrap_or_default());
        rest = after;
    }
    text.push_str(rest);
    let fits = !id.is_empty() && !token.is_empty() && text.len() <= TEXT_BYTES_MAX;
    fits.then_some(Transaction { id, token, text })
}

/// A text or a number, as people read it.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Sends notifications: those in hand first, then as they come, within the lane's own share of the provider's rate.
pub(crate) async fn send(
    shared: Arc<Shared>,
    in_hand: Vec<u64>,
    mut queued: mpsc::Receiver<u64>,
) -> Result<(), Closed> {
    let per_minute = shared.config.usage.as_ref().map_or(f64::MAX, |usage| f64::from(usage.per_second_max) * 60.0);
    let mut bucket = Bucket::new(shared.monotonic());
    shared.usage_waiting.fetch_add(in_hand.len(), Ordering::Relaxed);
    let mut in_hand = in_hand.into_iter();
    loop {
        let id = match in_hand.next() {
            Some(id) => id,
            None => match queued.recv().await {
                Some(id) => id,
                // No topic is read; what was in hand is under way.
                None => return Ok(()),
            },
        };
        while bucket.ready(shared.monotonic(), per_minute) == 0 {
            tokio::time::sleep(SAVING).await;
        }
        bucket.take(1);
        let slot = drive::slot(&shared.usage_slots).await;
        shared.usage_waiting.fetch_sub(1, Ordering::Relaxed);
        drive::spawn(&shared, "notification", id, slot);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_runtime::config::Sources;

    use super::*;

    #[test]
    fn a_record_is_a_transaction_or_is_counted() {
        let text = "bootstrap = ['a:1']\ntopics = ['payments']\ntext = '{merchant}에서 {amount.minor}원 결제'";
        let text = format!("state = 's'\n[provider]\naddress = 'p:1'\n[usage]\n{text}");
        let config = Sources::default().document("courier.toml", text).load::<crate::config::CourierConfig>();
        let config = config.unwrap().usage.unwrap();
        let check = |value: &str, expect: Option<(&str, &str, &str)>| {
            let read = transaction(value.as_bytes(), &config);
            let read = read.as_ref().map(|one| (one.id.as_str(), one.token.as_str(), one.text.as_str()));
            assert_eq!(read, expect);
        };
        let good = r#"{"id":"p1","user":"s1_a","merchant":"shop","amount":{"minor":1200}}"#;
        check(good, Some(("p1", "s1_a", "shop에서 1200원 결제")));
        check(r#"{"id":7,"user":"s1_a"}"#, Some(("7", "s1_a", "에서 원 결제")));
        check(r#"{"user":"s1_a"}"#, None);
        check(r#"{"id":"p1","user":7}"#, None);
        check("[]", None);
        check("nonsense", None);
        assert_eq!(key("payments", "p1").len(), 33);
        assert_ne!(key("payments", "p1"), key("transfers", "p1"));
    }
}
