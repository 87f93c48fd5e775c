//! A record of the log, written once more: for an event that the table's declaration has learnt to take since.

use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::reader::ReadOptions;
use naru_kafka::client::{Client, TopicPartition};
use naru_kafka::wire::{BatchBuilder, Compression, Record};

use super::dead::DeadError;

/// Writes the record at a place to the end of its partition; answers where it is now. None if there is none.
///
/// # Errors
/// When the log does not give it, or does not take it.
pub async fn replay(client: &Client, at: &TopicPartition, offset: i64) -> Result<Option<i64>, DeadError> {
    let mut found: Option<Record> = None;
    let take = |record: Record| {
        found = Some(record);
        Ok(())
    };
    client.read_records(at, offset, offset + 1, &ReadOptions::default(), take).await?;
    let Some(record) = found else { return Ok(None) };
    let headers: Vec<(&[u8], Option<&[u8]>)> =
        record.headers.iter().map(|(name, value)| (name.as_ref(), value.as_deref())).collect();
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers)?;
    let appended = client.produce(at, batch.build()?, &ProduceOptions::default()).await?;
    Ok(Some(appended.base_offset))
}
