//! Producers and a consumer group at work through the relay, and what they were told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Backoff, Client, ClientConfig as RawConfig, TopicPartition};
use naru_kafka::wire::{BatchBuilder, Compression};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaResult;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{PARTITIONS, TOPIC};
use crate::kill::load::{History, Id, parse, value};

pub(super) const GROUP: &str = "rounds-readers";
const MEMBERS: usize = 2;
/// Between two records of a producer: a load that leaves the machine to the processes under test.
const EVERY: Duration = Duration::from_millis(8);
/// Records of librdkafka without an answer, so that a strike hits several batches in flight.
const IN_FLIGHT_MAX: usize = 500;
/// Pause of our own producers before they send a refused batch again.
const RETRY_AFTER: Duration = Duration::from_millis(20);
const COMMIT_EVERY: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(50);

/// What clients were told, beside what the history of a broker's test holds.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    /// Acknowledged without an offset.
    pub(super) unplaced: Vec<Id>,
    /// What the group was given, and what it was told about its commits.
    pub(super) events: Vec<Event>,
}

/// In the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A member was given partitions.
    Assigned { member: usize, session: u32 },
    /// A member was given a record.
    Given { member: usize, session: u32, partition: i32, offset: i64, id: Option<Id> },
    /// A commit was acknowledged.
    Committed { partition: i32, offset: i64 },
}

/// Clients at work.
pub(super) struct Load {
    pub(super) history: Arc<History>,
    unplaced: Arc<Mutex<Vec<Id>>>,
    stop: watch::Sender<bool>,
    producers: JoinSet<()>,
    delivered: Arc<Mutex<Delivered>>,
    leave: Arc<AtomicBool>,
    members: Vec<JoinHandle<()>>,
}

impl Load {
    #[expect(clippy::disallowed_methods, reason = "`stop` joins them")]
    pub(super) fn start(bootstrap: &str, seed: u64) -> Self {
        let (history, unplaced) = (Arc::new(History::default()), Arc::default());
        let stop = watch::Sender::new(false);
        let mut producers = JoinSet::new();
        for partition in 0..PARTITIONS {
            let (history, unplaced) = (Arc::clone(&history), Arc::clone(&unplaced));
            producers.spawn(librdkafka(bootstrap.to_owned(), partition, stop.subscribe(), history, unplaced));
        }
        let mut config = RawConfig::new([bootstrap]);
        config.backoff = Backoff { first: Duration::from_millis(10), max: Duration::from_millis(100) };
        config.connection.request_timeout = Duration::from_secs(5);
        let client = Client::new(config).unwrap();
        for partition in 0..PARTITIONS {
            let rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(partition.unsigned_abs().into()));
            producers.spawn(raw(client.clone(), partition, rng, stop.subscribe(), Arc::clone(&history)));
        }
        let (delivered, leave) = (Arc::new(Mutex::default()), Arc::new(AtomicBool::new(false)));
        let members = (0..MEMBERS).map(|member| {
            let (bootstrap, delivered, leave) = (bootstrap.to_owned(), Arc::clone(&delivered), Arc::clone(&leave));
            std::thread::spawn(move || read(&bootstrap, member, &delivered, &leave))
        });
        let members = members.collect();
        Self { history, unplaced, stop, producers, delivered, leave, members }
    }

    /// Lets every producer finish what it has begun, and the group reach the end.
    pub(super) async fn stop(mut self, bootstrap: &str, within: Duration) -> (Arc<History>, Delivered) {
        self.stop.send_replace(true);
        while let Some(ended) = self.producers.join_next().await {
            ended.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        }
        let client = super::cluster::client(bootstrap);
        let mut ends = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let at = TopicPartition::new(TOPIC, partition);
            ends.insert(partition, client.list_offset(&at, OffsetAt::Latest).await.unwrap().offset.unwrap());
        }
        assert!(client.shutdown(Duration::from_secs(5)).await, "the client's connections end");
        let deadline = Instant::now() + within;
        while self.delivered.lock().unwrap().next_offsets() != ends {
            let next = self.delivered.lock().unwrap().next_offsets();
            assert!(Instant::now() < deadline, "the group stands at {next:?}, the log ends at {ends:?}");
            tokio::time::sleep(POLL).await;
        }
        self.leave.store(true, Ordering::Relaxed);
        let members = std::mem::take(&mut self.members);
        let left = tokio::task::spawn_blocking(|| members.into_iter().for_each(|member| member.join().unwrap()));
        left.await.unwrap();
        let mut delivered = std::mem::take(&mut *self.delivered.lock().unwrap());
        delivered.unplaced = std::mem::take(&mut *self.unplaced.lock().unwrap());
        (self.history, delivered)
    }
}

impl Delivered {
    fn next_offsets(&self) -> BTreeMap<i32, i64> {
        let mut next: BTreeMap<i32, i64> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
        for event in &self.events {
            if let Event::Given { partition, offset, .. } = event {
                let entry = next.entry(*partition).or_default();
                *entry = (*entry).max(offset + 1);
            }
        }
        next
    }
}

/// An idempotent producer of our own: it sends a batch until it is acknowledged, byte for byte the same.
async fn raw(client: Client, partition: i32, mut rng: ChaCha8Rng, stop: watch::Receiver<bool>, history: Arc<History>) {
    let producer = partition.unsigned_abs();
    let at = TopicPartition::new(TOPIC, partition);
    let producer_id: i64 = rng.random_range(1 << 40..i64::MAX);
    let (mut sequence, mut next) = (0, 0);
    let mut beat = interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stop.borrow() {
        beat.tick().await;
        let count = rng.random_range(1..=5);
        let codec = if rng.random() { Compression::None } else { Compression::Lz4 };
        history.sends(producer, next + count);
        let mut builder = BatchBuilder::new(codec).producer(producer_id, 0, sequence);
        for number in next..next + count {
            builder.push(1_795_000_000_000, None, Some(value((producer, number)).as_bytes()), &[]).unwrap();
        }
        let batch = builder.build().unwrap();
        let base = loop {
            match client.produce(&at, batch.clone(), &ProduceOptions::default()).await {
                Ok(appended) => break appended.base_offset,
                Err(error) if error.retry_can_help() => tokio::time::sleep(RETRY_AFTER).await,
                Err(error) => panic!("{at:?}: {error:?}: no retry is said to help"),
            }
        };
        for (offset, number) in (base..).zip(next..next + count) {
            history.acknowledge((producer, number), partition, offset);
        }
        next += count;
        sequence += i32::try_from(count).unwrap();
    }
}

/// The idempotent producer of librdkafka, with several batches in flight.
async fn librdkafka(
    bootstrap: String,
    partition: i32,
    stop: watch::Receiver<bool>,
    history: Arc<History>,
    unplaced: Arc<Mutex<Vec<Id>>>,
) {
    let producer = 1_000 + partition.unsigned_abs();
    let kafka: FutureProducer = quick(&bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .set("message.timeout.ms", "180000")
        .create()
        .unwrap();
    let mut waiting = JoinSet::new();
    let mut next = 0;
    let mut beat = interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stop.borrow() {
        beat.tick().await;
        while let Some(ended) = waiting.try_join_next() {
            ended.unwrap();
        }
        if waiting.len() >= IN_FLIGHT_MAX {
            waiting.join_next().await.unwrap().unwrap();
        }
        history.sends(producer, next + 1);
        let text = value((producer, next));
        let record = FutureRecord::<(), String>::to(TOPIC).partition(partition).payload(&text);
        let delivery = kafka.send_result(record).map_err(|(error, _)| error).unwrap();
        let (id, history, unplaced) = ((producer, next), Arc::clone(&history), Arc::clone(&unplaced));
        waiting.spawn(async move {
            let delivered = delivery.await.expect("the producer lives").map_err(|(error, _)| error);
            let delivered = delivered.unwrap_or_else(|error| panic!("record {id:?}: {error}"));
            // A duplicate from before the last five batches is acknowledged without an offset.
            match delivered.offset {
                0.. => history.acknowledge(id, delivered.partition, delivered.offset),
                _ => unplaced.lock().unwrap().push(id),
            }
        });
        next += 1;
    }
    while let Some(ended) = waiting.join_next().await {
        ended.unwrap();
    }
}

/// librdkafka that is there as soon as the relay is.
fn quick(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "200")
        .set("retry.backoff.ms", "20")
        .set("retry.backoff.max.ms", "100")
        .set("socket.timeout.ms", "10000")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Emerg);
    config
}

/// What librdkafka tells a member between two polls.
struct Told {
    member: usize,
    session: AtomicU32,
    delivered: Arc<Mutex<Delivered>>,
}

impl ClientContext for Told {}

impl ConsumerContext for Told {
    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            let session = self.session.fetch_add(1, Ordering::Relaxed) + 1;
            self.delivered.lock().unwrap().events.push(Event::Assigned { member: self.member, session });
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        if result.is_err() {
            return;
        }
        let mut delivered = self.delivered.lock().unwrap();
        for element in offsets.elements() {
            if let (Offset::Offset(offset), Ok(())) = (element.offset(), element.error()) {
                delivered.events.push(Event::Committed { partition: element.partition(), offset });
            }
        }
    }
}

/// A member of the group, until it is told to leave.
fn read(bootstrap: &str, member: usize, delivered: &Arc<Mutex<Delivered>>, leave: &AtomicBool) {
    let told = Told { member, session: AtomicU32::new(0), delivered: Arc::clone(delivered) };
    let consumer: BaseConsumer<Told> = quick(bootstrap)
        .set("group.id", GROUP)
        .set("enable.auto.commit", "false")
        // A committed offset that is gone, or a log that ends too early, must be seen and not covered up.
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", "20")
        .create_with_context(told)
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let mut committed = std::time::Instant::now();
    while !leave.load(Ordering::Relaxed) {
        if let Some(Ok(message)) = consumer.poll(POLL) {
            let session = consumer.context().session.load(Ordering::Relaxed);
            let (partition, offset) = (message.partition(), message.offset());
            let id = message.payload().and_then(parse);
            delivered.lock().unwrap().events.push(Event::Given { member, session, partition, offset, id });
        }
        if committed.elapsed() >= COMMIT_EVERY {
            committed = std::time::Instant::now();
            if consumer.commit_consumer_state(CommitMode::Async).is_err() {
                // Nothing new, or no relay at the moment: the next commit carries what this one would have.
                continue;
            }
        }
    }
}
