//! Topics of the log, asked of a relay: what it answers as done is on both sides.

use std::time::Duration;

use async_trait::async_trait;
use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::{Client, ClientConfig, ClientError, ConnectionConfig, Outcome};
use naru_kafka::wire::ErrorCode;

use super::{Provider, ProviderError, Seen, SeenState, Shape, Wanted};

/// Topics of a cluster, or of a relay in its place.
///
/// The log keeps no note of who asked for a topic: what exists under a name that was asked for is taken for ours, so the
/// desk asks for a name only after it has seen that there is none.
pub struct Topics {
    client: Client,
    /// The names that are ours, and their keys.
    ours: std::sync::Mutex<std::collections::BTreeMap<String, String>>,
}

impl std::fmt::Debug for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topics").field("client", &self.client).finish_non_exhaustive()
    }
}

fn failed(error: &ClientError) -> ProviderError {
    let said = naru_runtime::causes::with_causes(error);
    match error.retry_can_help() || error.outcome() != Outcome::NotDone {
        true => ProviderError::Unknown(said),
        false => ProviderError::Refused(said),
    }
}

impl Topics {
    /// Asks these brokers, or this relay.
    ///
    /// # Errors
    /// For addresses that are none.
    pub fn new(bootstrap: Vec<String>, request_timeout: Duration) -> Result<Self, ClientError> {
        let connection = ConnectionConfig { request_timeout, ..ConnectionConfig::default() };
        let client = Client::new(ClientConfig { connection, ..ClientConfig::new(bootstrap) })?;
        Ok(Self { client, ours: std::sync::Mutex::default() })
    }

    /// Says which topics are ours, by what the book holds.
    pub fn own(&self, ours: impl IntoIterator<Item = (String, String)>) {
        *self.ours.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = ours.into_iter().collect();
    }

    /// Whether a topic of this name is there.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn exists(&self, name: &str) -> Result<bool, ProviderError> {
        let metadata = self.client.metadata(None).await.map_err(|error| failed(&error))?;
        Ok(metadata.topics.iter().any(|topic| &*topic.name == name))
    }
}

#[async_trait]
impl Provider for Topics {
    fn settle(&self) -> Duration {
        // Metadata follows a change within this time on a healthy cluster.
        Duration::from_secs(2)
    }

    async fn create(&self, _fence: u64, wanted: &Wanted) -> Result<Seen, ProviderError> {
        let Shape::Topic(topic) = &wanted.shape else {
            return Err(ProviderError::Refused("a log makes topics only".to_owned()));
        };
        let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX);
        let mut new = NewTopic::new(&topic.name, partitions);
        if let Some(replication) = topic.replication {
            new.replication = i16::from(replication);
        }
        if let Some(hours) = topic.retention_hours {
            new = new.config("retention.ms", (u64::from(hours) * 3_600_000).to_string());
        }
        let seen = Seen { key: wanted.key.clone(), id: topic.name.clone(), state: SeenState::Ready };
        match self.client.create_topic(&new, false).await {
            Ok(_) => Ok(seen),
            // Asked for before, by this key: the answer was lost, or its process died.
            Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => Ok(seen),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn observe(&self) -> Result<Vec<Seen>, ProviderError> {
        let metadata = self.client.metadata(None).await.map_err(|error| failed(&error))?;
        let ours = self.ours.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let seen = metadata.topics.iter().filter_map(|topic| {
            let key = ours.get(&*topic.name)?;
            Some(Seen { key: key.clone(), id: topic.name.to_string(), state: SeenState::Ready })
        });
        Ok(seen.collect())
    }

    async fn delete(&self, _fence: u64, seen: &Seen) -> Result<(), ProviderError> {
        match self.client.delete_topic(&seen.id).await {
            Ok(()) => Ok(()),
            Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }
}
