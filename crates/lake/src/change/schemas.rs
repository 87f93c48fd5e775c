//! The schemas of a source, read from its topic as records ask for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::fetch::{FetchFrom, FetchOptions};
use naru_kafka::client::{Client, TopicPartition};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::schema::ChangeSchema;
use crate::error::LakeError;

/// A schema is written before the first record that uses it; two clusters behind a relay, or a slow broker, may show them
/// the other way round for this long at most.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// One look at the topic's end.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes that a batch of schemas may hold.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// The schemas of one source. Clones are the same.
#[derive(Debug, Clone)]
pub struct Schemas {
    client: Client,
    at: TopicPartition,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    next: i64,
    /// By topic too: tables with the same columns have the same fingerprint.
    schemas: HashMap<(String, u64), Arc<ChangeSchema>>,
    newest: HashMap<String, Arc<ChangeSchema>>,
}

impl Schemas {
    /// The schemas of a source; nothing is read yet.
    pub fn new(client: Client, source: &str) -> Self {
        Self { client, at: TopicPartition::new(format!("{source}.schemas"), 0), known: Arc::default() }
    }

    /// The schema that records of a topic carry the fingerprint of.
    ///
    /// # Errors
    /// When the topic cannot be read, holds what cannot be understood, or does not have it in time.
    pub async fn get(&self, topic: &str, fingerprint: u64) -> Result<Arc<ChangeSchema>, LakeError> {
        let deadline = Instant::now() + WAIT_MAX;
        let wanted = (topic.to_owned(), fingerprint);
        let mut known = self.known.lock().await;
        loop {
            if let Some(schema) = known.schemas.get(&wanted) {
                return Ok(Arc::clone(schema));
            }
            if Instant::now() > deadline {
                let what = format!("has no schema {fingerprint:016x}, with which a record of {topic} was written");
                return Err(LakeError::Schema { topic: self.at.topic.to_string(), what });
            }
            self.look(&mut known).await?;
        }
    }

    /// The newest schema of a topic; none if there is none yet.
    ///
    /// # Errors
    /// When the topic cannot be read, or holds what cannot be understood.
    pub async fn newest(&self, topic: &str) -> Result<Option<Arc<ChangeSchema>>, LakeError> {
        let mut known = self.known.lock().await;
        if !known.newest.contains_key(topic) {
            self.look(&mut known).await?;
        }
        Ok(known.newest.get(topic).cloned())
    }

    async fn look(&self, known: &mut Known) -> Result<(), LakeError> {
        let options = FetchOptions { max_wait: LOOK, ..FetchOptions::default() };
        let from = FetchFrom::new(self.at.clone(), known.next);
        let fetched = self.client.fetch_one(&from, &options).await?;
        for batch in fetched.batches {
            let damaged = |source| LakeError::Batch { at: self.at.to_string(), source };
            batch.verify_crc().map_err(damaged)?;
            for record in batch.records(BATCH_BYTES_MAX) {
                let record = record.map_err(damaged)?;
                if record.offset < known.next {
                    continue;
                }
                known.next = record.offset + 1;
                let (Some(key), Some(value)) = (record.key, record.value) else { continue };
                let schema = ChangeSchema::read(record.offset, &key, &value).map_err(|what| LakeError::Schema {
                    topic: self.at.topic.to_string(),
                    what: format!("at offset {}: {what}", record.offset),
                })?;
                let schema = Arc::new(schema);
                known.newest.insert(schema.topic.clone(), Arc::clone(&schema));
                known.schemas.insert((schema.topic.clone(), schema.fingerprint), schema);
            }
            known.next = known.next.max(batch.header().next_offset());
        }
        Ok(())
    }
}
