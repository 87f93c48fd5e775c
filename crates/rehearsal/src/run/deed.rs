//! Sabotages that act on the running system: see [`crate::sabotage::Deed`].

use std::time::Duration;

use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::reader::ReadOptions;
use naru_kafka::client::{Client, ClientConfig, TopicPartition};
use naru_kafka::wire::record::Record;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::{ANSWER_WITHIN, PARTITIONS, RehearsalError};
use crate::sabotage::{Chosen, Deed};

/// How long the log may take for one record.
const SEND_WITHIN: Duration = Duration::from_secs(20);
/// Who is made up: a key and an idempotency key of nobody.
const NOBODY: &str = "nobody";

/// The deed of a run, if it has one.
pub(super) fn of(chosen: Option<Chosen>) -> Option<Deed> {
    match chosen {
        Some(Chosen::One(sabotage)) => sabotage.deed(),
        Some(Chosen::Every) | None => None,
    }
}

/// Does to the log what a deed does to it; nothing for a deed of another kind.
pub(super) async fn to_log(deed: Deed, bootstrap: &str, topic: &str) -> Result<(), RehearsalError> {
    if !matches!(deed, Deed::RecordAgain | Deed::RecordOfNobody) {
        return Ok(());
    }
    let (partition, record) = some_record(bootstrap, topic).await?;
    let (mut key, mut value) = (record.key.unwrap_or_default().to_vec(), record.value.unwrap_or_default().to_vec());
    if deed == Deed::RecordOfNobody {
        let mut made_up: serde_json::Value = serde_json::from_slice(&value).map_err(failed)?;
        for field in ["user", "idempotency_key", "id"] {
            made_up[field] = NOBODY.into();
        }
        (key, value) = (NOBODY.as_bytes().to_vec(), made_up.to_string().into_bytes());
    }
    let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
    let send = move || -> Result<(), rdkafka::error::KafkaError> {
        let mut config = rdkafka::config::ClientConfig::new();
        config.set("bootstrap.servers", &bootstrap).set("client.id", "rehearsal-sabotage").set("acks", "all");
        let producer: BaseProducer = config.create()?;
        let record = BaseRecord::to(&topic).partition(partition).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
        producer.flush(SEND_WITHIN)
    };
    tokio::task::spawn_blocking(send).await.map_err(RehearsalError::Part)?.map_err(failed)
}

/// The first record of a topic, with its partition.
async fn some_record(bootstrap: &str, topic: &str) -> Result<(i32, Record), RehearsalError> {
    let client = Client::new(ClientConfig::new([bootstrap])).map_err(failed)?;
    let mut found = None;
    for partition in 0..PARTITIONS {
        let at = TopicPartition::new(topic, partition);
        let start = client.list_offset(&at, OffsetAt::Earliest).await.map_err(failed)?.offset.unwrap_or(0);
        let end = client.list_offset(&at, OffsetAt::Latest).await.map_err(failed)?.offset.unwrap_or(start);
        let keep = |record| {
            found.get_or_insert((partition, record));
            Ok(())
        };
        client.read_records(&at, start, end.min(start + 1), &ReadOptions::default(), keep).await.map_err(failed)?;
        if found.is_some() {
            break;
        }
    }
    if !client.shutdown(ANSWER_WITHIN).await {
        tracing::debug!("connections of the sabotage were cut");
    }
    found.ok_or_else(|| RehearsalError::Unfit(format!("topic {topic} holds no record to sabotage")))
}

/// Asks a rented node for a gift, past the edge. What it answers is of no interest: it is asked.
pub(super) async fn gift_to_node(node: std::net::SocketAddr) -> Result<(), RehearsalError> {
    let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?;
    let status = http.get(format!("http://{node}{}", crate::crowd::Gift::path(0))).send().await?.status();
    tracing::debug!(%status, "a rented node was asked for a gift");
    Ok(())
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> RehearsalError {
    RehearsalError::Sabotage(Box::new(error))
}
