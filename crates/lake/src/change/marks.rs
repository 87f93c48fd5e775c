//! How far a source is written, as it says once a second.

use std::time::Duration;

use naru_kafka::client::fetch::{FetchFrom, FetchOptions};
use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::{Client, TopicPartition};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::LakeError;
use crate::table::progress::Complete;

/// How long a broker may wait for the next mark.
const WAIT: Duration = Duration::from_millis(500);
/// The pause behind a refusal, such as that the topic is not there yet.
const PAUSE: Duration = Duration::from_secs(1);
/// What a batch of marks may decompress to.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// A mark, as far as the lake reads it.
#[derive(Debug, Deserialize)]
struct Mark {
    position: i64,
    at: i64,
}

/// Follows the marks of a source until told to stop; shows the newest.
pub async fn follow(client: Client, source: String, newest: watch::Sender<Option<Complete>>, stop: CancellationToken) {
    let at = TopicPartition::new(format!("{source}.marks"), 0);
    let mut next = None;
    loop {
        let step = tokio::select! {
            () = stop.cancelled() => return,
            step = step(&client, &at, &mut next, &newest) => step,
        };
        if let Err(error) = step {
            tracing::debug!(source, error = &error as &dyn std::error::Error, "marks are not read");
            // The log may have been made anew.
            next = None;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

async fn step(
    client: &Client,
    at: &TopicPartition,
    next: &mut Option<i64>,
    newest: &watch::Sender<Option<Complete>>,
) -> Result<(), LakeError> {
    let from = match *next {
        Some(from) => from,
        // The last one says it all.
        None => client.list_offset(at, OffsetAt::Latest).await?.offset.unwrap_or(0).saturating_sub(1).max(0),
    };
    *next = Some(from);
    let options = FetchOptions { max_wait: WAIT, ..FetchOptions::default() };
    let fetched = client.fetch_one(&FetchFrom::new(at.clone(), from), &options).await?;
    for batch in fetched.batches {
        let damaged = |source| LakeError::Batch { at: at.to_string(), source };
        batch.verify_crc().map_err(damaged)?;
        for record in batch.records(BATCH_BYTES_MAX) {
            let record = record.map_err(damaged)?;
            let mark = record.value.as_deref().and_then(|value| serde_json::from_slice::<Mark>(value).ok());
            if let Some(Mark { position, at }) = mark {
                newest.send_replace(Some(Complete { position, at }));
            }
        }
        *next = Some(batch.header().next_offset());
    }
    Ok(())
}
