//! Events that do not fit: kept in a topic of their own, each with where it stood and why.

use std::time::Duration;

use bytes::Bytes;
use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::{Client, ClientError, TopicPartition};
use naru_kafka::wire::{BatchBuilder, Compression, ErrorCode, WireError};
use serde_json::json;

/// How long a topic that was just made may take to have a leader.
const TOPIC_WAIT_MAX: Duration = Duration::from_secs(30);
/// Letters in one batch, before they are compressed: below what brokers take by default.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// The header that says what became of an event.
const DEAD: &str = "naru.dead";

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
    /// Its headers.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
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
    /// offset that it is of. A letter that the topic does not take because of its size goes without key, value and
    /// headers; where the log allows nobody to write letters, each is a line in the lake's own log.
    ///
    /// # Errors
    /// When the log does not take them.
    pub async fn write(&mut self, letters: &[Letter]) -> Result<(), DeadError> {
        if letters.is_empty() {
            return Ok(());
        }
        match self.make().await {
            Ok(()) => {}
            Err(error) if is_forbidden(&error) => {
                letters.iter().for_each(|letter| self.tell(letter, &error));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let mut from = 0;
        while from < letters.len() {
            let mut bytes = letters[from].bytes();
            let more = letters[from + 1..].iter().take_while(|letter| {
                bytes += letter.bytes();
                bytes <= BATCH_BYTES_MAX
            });
            let to = from + 1 + more.count();
            self.send(&letters[from..to]).await?;
            from = to;
        }
        Ok(())
    }

    async fn send(&self, letters: &[Letter]) -> Result<(), DeadError> {
        let refused = match self.produce(letters, true).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if is_forbidden(&refused) {
            letters.iter().for_each(|letter| self.tell(letter, &refused));
            return Ok(());
        }
        if !is_too_large(&refused) {
            return Err(refused);
        }
        for letter in letters {
            let one = std::slice::from_ref(letter);
            match self.produce(one, true).await {
                Err(error) if is_too_large(&error) => self.produce(one, false).await?,
                other => other?,
            }
        }
        Ok(())
    }

    async fn produce(&self, letters: &[Letter], whole: bool) -> Result<(), DeadError> {
        let mut batch = BatchBuilder::new(Compression::Zstd);
        for letter in letters {
            let place = format!("{}/{}@{}", self.of, letter.partition, letter.offset);
            let replay = format!(
                "naru lake replay --config lake.toml --topic {} --partition {} --offset {}",
                self.of, letter.partition, letter.offset
            );
            let mut about = json!({ "at": place, "reason": letter.reason, "replay": replay });
            if !whole {
                about["without"] = "its value: the topic does not take records of its size".into();
            }
            let about = about.to_string();
            let mut headers: Vec<(&[u8], Option<&[u8]>)> = vec![(DEAD.as_bytes(), Some(about.as_bytes()))];
            if !whole {
                batch.push(letter.time_ms, None, None, &headers)?;
                continue;
            }
            headers.extend(letter.headers.iter().map(|(name, value)| (name.as_ref(), value.as_deref())));
            batch.push(letter.time_ms, letter.key.as_deref(), letter.value.as_deref(), &headers)?;
        }
        self.client.produce(&self.at, batch.build()?, &ProduceOptions::default()).await?;
        Ok(())
    }

    fn tell(&self, letter: &Letter, error: &DeadError) {
        let error = error as &dyn std::error::Error;
        let (topic, partition, offset, reason) = (&self.of, letter.partition, letter.offset, &letter.reason);
        tracing::error!(topic, partition, offset, reason, error, "an event does not fit, and has no letter");
    }

    async fn make(&mut self) -> Result<(), DeadError> {
        if self.is_there {
            return Ok(());
        }
        match self.client.create_topic(&NewTopic::new(&*self.at.topic, 1), false).await {
            Ok(_) => {}
            Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {}
            // Somebody else may have made it.
            Err(error) if self.client.topic(&self.at.topic).await.is_err() => return Err(error.into()),
            Err(_) => {}
        }
        self.client.await_topic(&self.at.topic, 1, TOPIC_WAIT_MAX).await?;
        self.is_there = true;
        Ok(())
    }
}

impl Letter {
    /// About what it takes in a batch.
    fn bytes(&self) -> usize {
        let part = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Bytes::len));
        part(&self.key) + part(&self.value) + headers.sum::<usize>() + self.reason.len() + LETTER_BYTES
    }
}

/// What a letter takes beside what it carries: its place and the command, in JSON.
const LETTER_BYTES: usize = 512;

fn code(error: &DeadError) -> Option<ErrorCode> {
    match error {
        DeadError::Log(error) => error.code(),
        DeadError::Wire(_) => None,
    }
}

fn is_too_large(error: &DeadError) -> bool {
    matches!(code(error), Some(ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE))
}

fn is_forbidden(error: &DeadError) -> bool {
    matches!(
        code(error),
        Some(
            ErrorCode::TOPIC_AUTHORIZATION_FAILED
                | ErrorCode::CLUSTER_AUTHORIZATION_FAILED
                | ErrorCode::POLICY_VIOLATION
        )
    )
}
