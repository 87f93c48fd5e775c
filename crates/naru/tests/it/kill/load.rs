//! What is written while the broker is killed, and a history of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Client, TopicPartition};
use naru_kafka::wire::{BatchBuilder, Compression};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{PARTITIONS, TOPIC};

/// Records of librdkafka without an answer, so that a kill hits several batches in flight.
const IN_FLIGHT_MAX: usize = 200;

/// Pause of our own producers before they send a refused batch again.
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// The number of a producer, and of its record.
pub type Id = (u32, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    pub id: Id,
    pub partition: i32,
    pub offset: i64,
}

/// What was sent and what was acknowledged.
#[derive(Debug)]
pub struct History {
    acknowledged: Mutex<Vec<Acknowledged>>,
    // How many records each producer has begun to send, in the order of their numbers.
    sent: Mutex<BTreeMap<u32, u64>>,
    count: watch::Sender<usize>,
}

impl Default for History {
    fn default() -> Self {
        Self { acknowledged: Mutex::default(), sent: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl History {
    pub fn sends(&self, producer: u32, next: u64) {
        self.sent.lock().unwrap().insert(producer, next);
    }

    pub fn acknowledge(&self, id: Id, partition: i32, offset: i64) {
        let mut acknowledged = self.acknowledged.lock().unwrap();
        acknowledged.push(Acknowledged { id, partition, offset });
        self.count.send_replace(acknowledged.len());
    }

    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.acknowledged.lock().unwrap().clone()
    }

    pub fn was_sent(&self, (producer, number): Id) -> bool {
        self.sent.lock().unwrap().get(&producer).is_some_and(|next| number < *next)
    }

    /// Waits until something more is acknowledged.
    pub async fn progress(&self, within: Duration) {
        let mut count = self.count.subscribe();
        let more = tokio::time::timeout(within, count.changed()).await;
        more.expect("the load goes on after a restart").expect("the history is still there");
    }
}

/// The text of a record: who sent it, which it is, and some weight.
pub fn value((producer, number): Id) -> String {
    format!("{producer}:{number}:{}", "x".repeat(80))
}

pub fn parse(value: &[u8]) -> Option<Id> {
    let mut parts = std::str::from_utf8(value).ok()?.split(':');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[expect(clippy::disallowed_methods, reason = "a test dates its records itself")]
fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Producers at work.
pub struct Load {
    pub history: Arc<History>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Load {
    /// One producer of our own per partition, with one batch in flight, and librdkafka over all partitions.
    pub fn start(client: &Client, bootstrap: &str, seed: u64) -> Self {
        let history = Arc::new(History::default());
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        for partition in 0..PARTITIONS {
            let rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(partition.unsigned_abs().into()));
            tasks.spawn(raw(client.clone(), partition, rng, stop.subscribe(), Arc::clone(&history)));
            tasks.spawn(librdkafka(bootstrap.to_owned(), partition, stop.subscribe(), Arc::clone(&history)));
        }
        Self { history, stop, tasks }
    }

    /// Lets every producer finish what it has begun.
    pub async fn stop(mut self) -> Arc<History> {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        }
        self.history
    }
}

/// An idempotent producer of our own. It sends a batch until it is acknowledged; a broker that has it already must say
/// at which offset.
async fn raw(client: Client, partition: i32, mut rng: ChaCha8Rng, stop: watch::Receiver<bool>, history: Arc<History>) {
    let producer = partition.unsigned_abs();
    let at = TopicPartition::new(TOPIC, partition);
    let producer_id: i64 = rng.random_range(1 << 40..i64::MAX);
    let (mut sequence, mut next) = (0, 0);
    while !*stop.borrow() {
        let count = rng.random_range(1..=5);
        let codec = if rng.random() { Compression::None } else { Compression::Lz4 };
        history.sends(producer, next + count);
        let batch = batch(codec, producer_id, sequence, (next..next + count).map(|number| (producer, number)));
        let base = send(&client, &at, batch).await;
        for (offset, number) in (base..).zip(next..next + count) {
            history.acknowledge((producer, number), partition, offset);
        }
        next += count;
        sequence += i32::try_from(count).unwrap();
    }
}

fn batch(codec: Compression, producer_id: i64, sequence: i32, ids: impl Iterator<Item = Id>) -> Bytes {
    let mut builder = BatchBuilder::new(codec).producer(producer_id, 0, sequence);
    for id in ids {
        builder.push(now_ms(), None, Some(value(id).as_bytes()), &[]).unwrap();
    }
    builder.build().unwrap()
}

async fn send(client: &Client, at: &TopicPartition, batch: Bytes) -> i64 {
    loop {
        match client.produce(at, batch.clone(), &ProduceOptions::default()).await {
            Ok(appended) => return appended.base_offset,
            Err(error) if error.retry_can_help() => tokio::time::sleep(RETRY_AFTER).await,
            Err(error) => panic!("{at:?}: {error}: an acknowledged batch may be gone"),
        }
    }
}

/// The idempotent producer of librdkafka, with several batches in flight.
async fn librdkafka(bootstrap: String, partition: i32, stop: watch::Receiver<bool>, history: Arc<History>) {
    let producer = 1_000 + partition.unsigned_abs();
    let kafka: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .set("batch.num.messages", "20")
        .set("message.timeout.ms", "120000")
        .set("reconnect.backoff.ms", "5")
        .set("reconnect.backoff.max.ms", "50")
        .set("retry.backoff.ms", "10")
        .set("retry.backoff.max.ms", "50")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Emerg)
        .create()
        .unwrap();
    let mut waiting = JoinSet::new();
    let mut next = 0;
    while !*stop.borrow() {
        while waiting.len() < IN_FLIGHT_MAX {
            history.sends(producer, next + 1);
            let text = value((producer, next));
            let record = FutureRecord::<(), String>::to(TOPIC).partition(partition).payload(&text);
            let delivery = kafka.send_result(record).map_err(|(error, _)| error).unwrap();
            let (id, history) = ((producer, next), Arc::clone(&history));
            waiting.spawn(async move {
                let delivered = delivery.await.expect("the producer lives").map_err(|(error, _)| error);
                let delivered = delivered.unwrap_or_else(|error| panic!("record {id:?}: {error}"));
                history.acknowledge(id, delivered.partition, delivered.offset);
            });
            next += 1;
        }
        if let Some(ended) = waiting.join_next().await {
            ended.unwrap();
        }
    }
    while let Some(ended) = waiting.join_next().await {
        ended.unwrap();
    }
}

/// A known number of acknowledged records, one after the other.
pub async fn write_some(client: &Client, count: u64) -> Arc<History> {
    let history = Arc::new(History::default());
    history.sends(0, count);
    let at = TopicPartition::new(TOPIC, 0);
    for number in 0..count {
        let sequence = i32::try_from(number).unwrap();
        let batch = batch(Compression::None, 7, sequence, std::iter::once((0, number)));
        let offset = send(client, &at, batch).await;
        history.acknowledge((0, number), 0, offset);
    }
    history
}
