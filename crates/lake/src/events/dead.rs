//! Events that do not fit: kept in a topic of their own, each with where it stood and why.

use std::time::Duration;

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Client, ClientError, TopicPartition};
use naru_kafka::wire::{BatchBuilder, Compression, ErrorCode, WireError};
use serde_json::json;

/// How long a topic that was just made may take to have a leader.
const TOPIC_WAIT_MAX: Duration = Duration::from_secs(30);
/// Letters in one batch, before they are compressed: below what brokers take by default.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// Why a letter is not in its topic.
#[derive(Debug, thiserror::Error)]
pub enum DeadError {
    /// The log refused or was away.
    #[error(transparent)]
    Log(#[from] ClientError),
    /// It cannot be written as a record.
    #[error("a dead letter")]
    Wire(#[from] WireError),
}

/// One event that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its time, milliseconds since 1970.
    pub time_ms: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Why.
    pub reason: String,
}

/// The topic of letters of one topic of events.
#[derive(Debug)]
pub struct DeadLetters {
    client: Client,
    of: String,
    at: TopicPartition,
    is_there: bool,
}

impl DeadLetters {
    /// For a topic of events.
    pub fn new(client: Client, of: &str, topic: &str) -> Self {
        Self { client, of: of.to_owned(), at: TopicPartition::new(topic, 0), is_there: false }
    }

    /// Writes letters; they are acknowledged when this returns. After a crash some may be written again: each says the
    /// offset that it is of.
    ///
    /// # Errors
    /// When the log does not take them.
    pub async fn write(&mut self, letters: &[Letter]) -> Result<(), DeadError> {
        if letters.is_empty() {
            return Ok(());
        }
        self.make().await?;
        let mut batch = BatchBuilder::new(Compression::None);
        for letter in letters {
            let place = format!("{}/{}@{}", self.of, letter.partition, letter.offset);
            let replay = format!(
                "naru lake replay --config lake.toml --topic {} --partition {} --offset {}",
                self.of, letter.partition, letter.offset
            );
            let headers = json!({ "at": place, "reason": letter.reason, "replay": replay }).to_string();
            let value = letter.value.as_deref();
            batch.push(
                letter.time_ms,
                letter.key.as_deref(),
                value,
                &[("naru.dead".as_bytes(), Some(headers.as_bytes()))],
            )?;
            if batch.size_bytes() > BATCH_BYTES_MAX {
                let full = std::mem::replace(&mut batch, BatchBuilder::new(Compression::None));
                self.send(full).await?;
            }
        }
        match batch.is_empty() {
            true => Ok(()),
            false => self.send(batch).await,
        }
    }

    async fn send(&self, batch: BatchBuilder) -> Result<(), DeadError> {
        self.client.produce(&self.at, batch.build()?, &ProduceOptions::default()).await?;
        Ok(())
    }

    async fn make(&mut self) -> Result<(), DeadError> {
        if self.is_there {
            return Ok(());
        }
        match self.client.create_topic(&NewTopic::new(&*self.at.topic, 1), false).await {
            Ok(_) => {}
            Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {}
            Err(error) => return Err(error.into()),
        }
        self.client.await_topic(&self.at.topic, 1, TOPIC_WAIT_MAX).await?;
        self.is_there = true;
        Ok(())
    }
}
