//! The control's copier: what follows a cluster where no relay keeps two alike.
//!
//! It reads one cluster from behind and writes what it found to the other, record by record and without the producers'
//! identities, as MirrorMaker does, and the group's committed offsets after them. Whoever was told "acknowledged" was
//! told so before the copier had even looked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::offsets::OffsetAt;
use naru_kafka::client::produce::ProduceOptions;
use naru_kafka::client::reader::ReadOptions;
use naru_kafka::client::{Client, ClientConfig, ClientError, TopicPartition};
use naru_kafka::wire::record::Record;
use naru_kafka::wire::{BatchBuilder, Compression, RecordData};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::services::Services;
use super::{PARTITIONS, RehearsalError};
use crate::recorder::topics;

/// Between two looks of the copier. MirrorMaker's lag is of this size without load: a poll of its consumer, the linger of
/// its producer, and the scheduling of both.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After this long without the cluster its clients are pointed at the other: as long as a relay waits by default.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(1);
/// Records of one copied batch: some 300 KB of payments.
const BATCH_RECORDS_MAX: usize = 1_000;
/// How long the copier's connections may take to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The control's failover: one way, once.
#[derive(Debug)]
pub(super) struct Failover {
    /// Ends the copier.
    pub(super) copying: CancellationToken,
    /// Where consumers read.
    pub(super) readers: Arc<watch::Sender<String>>,
    /// Where the other cluster is.
    pub(super) to: String,
    /// A second loss moves nobody.
    pub(super) done: Mutex<bool>,
}

impl Failover {
    /// Gives the lost cluster up: the copier ends, services are started again with the other cluster's address, and the
    /// consumers are told it. False if that has happened before.
    pub(super) async fn give_up(&self, services: &Services) -> Result<bool, RehearsalError> {
        let mut done = self.done.lock().await;
        if std::mem::replace(&mut *done, true) {
            return Ok(false);
        }
        tokio::time::sleep(GIVEN_UP_AFTER).await;
        self.copying.cancel();
        super::services::point_at(services, &self.to).await?;
        self.readers.send_replace(self.to.clone());
        Ok(true)
    }
}

/// Copies until told to stop. What goes wrong on the way is tried again: the lag grows meanwhile, and that is the point.
pub(super) async fn run(from: String, to: String, group: String, stop: CancellationToken) -> Result<(), ClientError> {
    let (from, to) = (Client::new(ClientConfig::new([from]))?, Client::new(ClientConfig::new([to]))?);
    let mut copied = HashMap::new();
    let copying = async {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            every.tick().await;
            if let Err(error) = copy(&from, &to, &group, &mut copied).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "the copier tries again");
            }
        }
    };
    tokio::select! {
        () = copying => {}
        () = stop.cancelled() => {}
    }
    for client in [from, to] {
        if !client.shutdown(CLOSE_WITHIN).await {
            tracing::debug!("connections of the copier were cut");
        }
    }
    Ok(())
}

/// Brings the other cluster to where this one is now. `copied` is the next offset of each partition.
async fn copy(
    from: &Client,
    to: &Client,
    group: &str,
    copied: &mut HashMap<TopicPartition, i64>,
) -> Result<(), ClientError> {
    for topic in topics() {
        for partition in 0..PARTITIONS {
            let at = TopicPartition::new(topic.as_str(), partition);
            let end = from.list_offset(&at, OffsetAt::Latest).await?.offset.unwrap_or(0);
            let next = copied.entry(at.clone()).or_insert(0);
            while *next < end {
                let mut batch = Vec::new();
                let until = end.min(*next + BATCH_RECORDS_MAX as i64);
                let keep = |record| {
                    batch.push(record);
                    Ok(())
                };
                from.read_records(&at, *next, until, &ReadOptions::default(), keep).await?;
                let Some(last) = batch.last().map(|record: &Record| record.offset) else { break };
                to.produce(&at, rebuilt(&batch), &ProduceOptions::default()).await?;
                *next = last + 1;
            }
        }
    }
    let committed = from.committed_offsets(group, None).await?;
    if !committed.is_empty() {
        to.commit_offsets(group, &committed, None).await?;
    }
    Ok(())
}

fn rebuilt(records: &[Record]) -> RecordData {
    let mut builder = BatchBuilder::new(Compression::None);
    for record in records {
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (name.as_ref(), value.as_deref())).collect();
        let pushed = builder.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
        pushed.expect("what was one batch fits into one again");
    }
    builder.build().expect("an uncompressed batch of a few hundred kilobytes can be built").into()
}
