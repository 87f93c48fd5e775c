//! The topics of a source: made if missing, and looked at.

use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::admin::{ConfigOwner, NewTopic};
use naru_kafka::client::{Client, ClientError};
use naru_kafka::wire::ErrorCode;

/// How long a new topic may take until its partitions have leaders.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What a topic takes where it does not say: Kafka's default.
const RECORD_BYTES_DEFAULT: usize = 1_048_588;

/// A topic as far as a writer needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// How many partitions it has.
    pub partitions: usize,
    /// Largest batch that it takes, bytes (max.message.bytes).
    pub batch_bytes_max: usize,
}

/// Where a source keeps its schemas.
pub fn schemas(source: &str) -> String {
    format!("{source}.schemas")
}

/// Where a source keeps its marks.
pub fn marks(source: &str) -> String {
    format!("{source}.marks")
}

/// A topic that is never cleared by age: who reads the first record tomorrow needs the first schema.
pub fn kept(name: String, replication: i16) -> NewTopic {
    NewTopic { replication, ..NewTopic::new(name, 1) }.config("retention.ms", "-1").config("cleanup.policy", "delete")
}

/// Makes the topic unless it is there.
///
/// # Errors
/// The log's. A topic that is there is taken as it is.
pub async fn ensure(client: &Client, wanted: &NewTopic) -> Result<Topic, ClientError> {
    let mut partitions = 1;
    match client.topic(&wanted.name).await {
        Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => {
            match client.create_topic(wanted, false).await {
                Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {}
                made => {
                    made?;
                    partitions = usize::try_from(wanted.partitions).unwrap_or(1);
                    tracing::info!(topic = wanted.name, partitions = wanted.partitions, "topic made");
                }
            }
        }
        found => {
            found?;
        }
    }
    let metadata = match client.topic(&wanted.name).await {
        Ok(metadata) if metadata.partitions.iter().all(|partition| partition.leader.is_some()) => metadata,
        _ => client.await_topic(&wanted.name, partitions, READY_WITHIN).await?,
    };
    let configs = client.describe_configs(&ConfigOwner::Topic(wanted.name.clone())).await?;
    let limit = configs.iter().find(|entry| entry.name == "max.message.bytes");
    let limit = limit.and_then(|entry| entry.value.as_deref()?.parse().ok());
    Ok(Topic {
        name: metadata.name.clone(),
        partitions: metadata.partitions.len(),
        batch_bytes_max: limit.unwrap_or(RECORD_BYTES_DEFAULT),
    })
}
