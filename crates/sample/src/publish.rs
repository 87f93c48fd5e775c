//! Carries the outbox to the log: in the order of commitment, each row once.
//!
//! A session makes the topic when there is none, looks which rows of the outbox the log already holds, and then sends
//! the rest by one idempotent producer, which keeps the order of each partition over any number of retries and never
//! gives a record up. A row leaves the outbox when its acknowledgement is written down. Whatever goes wrong ends the
//! session, and the next one starts over with what then stands in the outbox and in the log.
//!
//! Where to look: acknowledgements of a partition come in order, so every record that this service has in the log
//! beyond what is written down belongs to a row that still stands in the outbox, among the first [`IN_FLIGHT_MAX`].
//! One thing remains that only a transactional producer could exclude: a request of an ended session that the broker
//! has received but not yet looked at. A session therefore gives it [`SETTLE`] before it looks; and consumers that
//! must be certain drop a second record of the same `id`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::store::{OutboxRow, Reader, StoreError};
use crate::writer::{Acknowledged, Command};

/// Rows that are sent and not yet written down as acknowledged. It bounds the producer's memory (about 1 MB) and what
/// a new session has to look for.
pub const IN_FLIGHT_MAX: usize = 1000;
/// Partitions of a topic that this service makes.
pub const PARTITIONS: i32 = 6;
/// How long a request of an ended session may lie unread in the broker's socket. A broker that is slower than this in
/// reading what has arrived, and restarts its clients at the same time, may get a record doubled.
const SETTLE: Duration = Duration::from_millis(500);
/// How long one question to the cluster may take.
const ASK_MAX: Duration = Duration::from_secs(5);
/// How long looking through the log may take before the session is given up: at 10 MB a second, about 300 MB.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// The pause before the next session: the log is away, and sessions are dear.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a session ended. The next session is the retry.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("the log refused or was away")]
    Log(#[from] KafkaError),
    #[error("the topic was not made: {0}")]
    Topic(RDKafkaErrorCode),
    #[error("the log did not show its end in time")]
    LookedTooLong,
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("the looking task failed")]
    Task(#[from] tokio::task::JoinError),
}

/// How the log is, as far as this service knows.
#[derive(Debug, Default)]
pub struct LogState {
    serving: AtomicBool,
}

impl LogState {
    /// One word for `/status`.
    pub fn name(&self) -> &'static str {
        if self.serving.load(Ordering::Relaxed) { "serving" } else { "away" }
    }

    fn set(&self, serving: bool) {
        // Logged when it changes, not for every attempt.
        match (self.serving.swap(serving, Ordering::Relaxed), serving) {
            (false, true) => tracing::info!("the log is serving"),
            (true, false) => tracing::warn!("the log is away, the outbox keeps what is not acknowledged"),
            _ => {}
        }
    }
}

/// The publishing task.
#[derive(Debug)]
pub struct Publisher {
    /// Where the brokers are: `host:port`, separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: &'static str,
    /// Reads the outbox.
    pub reader: Reader,
    /// The way to the writer.
    pub commands: mpsc::Sender<Command>,
    /// The position of the last operation on disk.
    pub committed: watch::Receiver<i64>,
    /// Told how the log is.
    pub log: Arc<LogState>,
    /// When cancelled: publish what the outbox holds and end.
    pub drain: CancellationToken,
    /// When cancelled: end at once. What is left stays in the outbox.
    pub cut: CancellationToken,
}

impl Publisher {
    /// Publishes until it is told to drain and the outbox is empty, or until it is cut.
    pub async fn run(mut self) {
        let cut = self.cut.clone();
        let sessions = async {
            while let Err(error) = self.session().await {
                tracing::info!(error = &error as &dyn std::error::Error, "a publishing session ended");
                self.log.set(false);
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = cut.cancelled() => {}
            () = sessions => {}
        }
    }

    async fn session(&mut self) -> Result<(), SessionError> {
        self.make_topic().await?;
        self.look().await?;
        // Room for every row in flight: the producer's thread never finds it full.
        let (deliveries, mut delivered) = mpsc::channel(IN_FLIGHT_MAX);
        let context = Deliveries { deliveries, log: Arc::clone(&self.log) };
        let producer: ThreadedProducer<Deliveries> = self.producer_config().create_with_context(context)?;
        let ended = self.pump(&producer, &mut delivered).await;
        // Dropping waits until librdkafka's threads are gone; the next session must not look before.
        tokio::task::spawn_blocking(move || drop(producer)).await?;
        ended
    }

    /// Sends the outbox and writes the acknowledgements down, until the outbox is drained or something fails.
    async fn pump(
        &mut self,
        producer: &ThreadedProducer<Deliveries>,
        delivered: &mut mpsc::Receiver<Result<Acknowledged, KafkaError>>,
    ) -> Result<(), SessionError> {
        let mut batch = Vec::with_capacity(IN_FLIGHT_MAX);
        let (mut sent, mut in_flight) = (0, 0);
        loop {
            self.committed.mark_unchanged();
            let rows = self.reader.outbox(sent, IN_FLIGHT_MAX - in_flight).await?;
            for OutboxRow { position, key, value, .. } in &rows {
                let record = BaseRecord::with_opaque_to(self.topic, Box::new(*position)).key(key).payload(value);
                producer.send(record).map_err(|(error, _)| error)?;
                (sent, in_flight) = (*position, in_flight + 1);
            }
            if in_flight == 0 && rows.is_empty() && self.drain.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                count = delivered.recv_many(&mut batch, IN_FLIGHT_MAX) => {
                    let rows: Result<Vec<_>, _> = batch.drain(..).collect();
                    self.log.set(rows.is_ok());
                    self.acknowledge(rows?).await?;
                    in_flight -= count;
                }
                changed = self.committed.changed(), if in_flight < IN_FLIGHT_MAX => {
                    changed.map_err(|_| StoreError::WriterStopped)?;
                }
                () = self.drain.cancelled(), if in_flight == 0 => {}
            }
        }
    }

    async fn acknowledge(&self, rows: Vec<Acknowledged>) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        let command = Command::Acknowledge { rows, reply };
        self.commands.send(command).await.map_err(|_| StoreError::WriterStopped)?;
        // A reply that was dropped: not written. The rows stay, and the next session finds them in the log.
        done.await.map_err(|_| StoreError::WriterStopped)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", format!("sample-{}", self.topic))
            // A broker that restarts is back within seconds; librdkafka's own bound is ten.
            .set("reconnect.backoff.max.ms", "1000")
            .set("log.connection.close", "false")
            .set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    fn producer_config(&self) -> ClientConfig {
        let mut config = self.config();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Never give a record up: one that is given up and sent again would lose its place or be doubled.
            .set("message.timeout.ms", "0")
            .set("queue.buffering.max.messages", (2 * IN_FLIGHT_MAX).to_string())
            .set("linger.ms", "2")
            // The partition that a Java producer would choose for the same key.
            .set("partitioner", "murmur2_random");
        config
    }

    async fn make_topic(&self) -> Result<(), SessionError> {
        let admin: AdminClient<Quiet> = self.config().create_with_context(Quiet)?;
        // -1: as many replicas as the cluster's own default says.
        let topic = NewTopic::new(self.topic, PARTITIONS, TopicReplication::Fixed(-1));
        let options = AdminOptions::new().request_timeout(Some(ASK_MAX)).operation_timeout(Some(ASK_MAX));
        match admin.create_topics([&topic], &options).await?.into_iter().next() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(SessionError::Topic(code)),
        }
    }

    /// Writes down the rows of the outbox that the log already holds.
    async fn look(&self) -> Result<(), SessionError> {
        let rows = self.reader.outbox(0, IN_FLIGHT_MAX).await?;
        if rows.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(SETTLE).await;
        let wanted = rows.into_iter().map(|row| (row.id, row.position)).collect();
        let look = Look {
            config: self.config(),
            topic: self.topic,
            from: self.reader.published().await?.into_iter().collect(),
            wanted,
            cut: self.cut.clone(),
        };
        let found = tokio::task::spawn_blocking(move || look.run()).await??;
        if !found.is_empty() {
            tracing::info!(rows = found.len(), "the log already holds rows of the outbox");
            self.acknowledge(found).await?;
        }
        Ok(())
    }
}

/// Reads the log from where it was last written down to its end. Blocks.
struct Look {
    config: ClientConfig,
    topic: &'static str,
    from: HashMap<i32, i64>,
    wanted: HashMap<String, i64>,
    cut: CancellationToken,
}

/// The part of a record that tells which row it was.
#[derive(serde::Deserialize)]
struct Identified {
    id: String,
}

impl Look {
    fn run(mut self) -> Result<Vec<Acknowledged>, SessionError> {
        // The group is never joined; librdkafka wants its name before it assigns partitions by hand.
        self.config.set("group.id", "sample-look").set("enable.auto.commit", "false");
        self.config.set("enable.partition.eof", "false").set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer<Quiet> = self.config.create_with_context(Quiet)?;
        let mut assignment = TopicPartitionList::new();
        let mut ends = HashMap::new();
        let metadata = consumer.fetch_metadata(Some(self.topic), ASK_MAX)?;
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            let partition = partition.id();
            let (start, end) = consumer.fetch_watermarks(self.topic, partition, ASK_MAX)?;
            // Beyond the end: the log was lost or made anew, and says nothing about what was written down.
            let from = self.from.get(&partition).copied().filter(|from| *from <= end).unwrap_or(start).max(start);
            if from < end {
                assignment.add_partition_offset(self.topic, partition, Offset::Offset(from))?;
                ends.insert(partition, end);
            }
        }
        consumer.assign(&assignment)?;
        let mut found = Vec::new();
        let deadline = Instant::now() + LOOK_MAX;
        while !ends.is_empty() {
            if self.cut.is_cancelled() || Instant::now() > deadline {
                return Err(SessionError::LookedTooLong);
            }
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message?;
            let (partition, offset) = (message.partition(), message.offset());
            // A record that is not ours is passed over.
            let id = message.payload().and_then(|value| serde_json::from_slice::<Identified>(value).ok());
            if let Some(position) = id.and_then(|Identified { id }| self.wanted.remove(&id)) {
                found.push(Acknowledged { position, partition, offset });
            }
            if ends.get(&partition).is_some_and(|end| offset + 1 >= *end) {
                ends.remove(&partition);
            }
        }
        Ok(found)
    }
}

/// Takes librdkafka's own lines into ours. A log that is away is no error of this service.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(error = &error as &dyn std::error::Error, reason, "librdkafka");
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}

/// Hands the producer's acknowledgements to the session.
struct Deliveries {
    deliveries: mpsc::Sender<Result<Acknowledged, KafkaError>>,
    log: Arc<LogState>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Quiet.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.log.set(false);
        }
        Quiet.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<i64>;

    fn delivery(&self, result: &DeliveryResult<'_>, position: Box<i64>) {
        let delivered = match result {
            Ok(message) => {
                Ok(Acknowledged { position: *position, partition: message.partition(), offset: message.offset() })
            }
            Err((error, _)) => Err(error.clone()),
        };
        // A session that has ended does not listen: its rows are still in the outbox.
        let _ended = self.deliveries.try_send(delivered).is_err();
    }
}
