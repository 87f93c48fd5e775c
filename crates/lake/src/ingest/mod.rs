//! From the log into tables: one task a table, which alone commits to it.
//!
//! A session begins from the table's newest snapshot and believes nothing else: not what the last session knew, no
//! committed offset of a group. Whatever goes wrong ends it, and the next one begins from the snapshot that then stands.

mod changes;
mod events;
mod session;
pub mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use iceberg::TableIdent;
use naru_kafka::client::{Backoff, Client};
use naru_runtime::causes::with_causes;
use naru_runtime::clocks::WallClock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::changes::ChangeInput;
pub use self::events::EventInput;
use self::status::{Stage, Status};
use crate::catalogue::Catalogue;
use crate::table::columns::Kind;
use crate::table::view::View;

/// Waits between sessions that end by themselves.
const SESSIONS: Backoff = Backoff { first: Duration::from_millis(200), max: Duration::from_secs(10) };

/// What comes in.
#[derive(Debug)]
pub enum Input {
    /// Change records of a source.
    Changes(ChangeInput),
    /// Events.
    Events(EventInput),
}

/// How often is committed, and how much is held.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Rows are committed this long after they came in.
    pub commit_interval: Duration,
    /// Positions alone are committed this often.
    pub idle_commit_interval: Duration,
    /// Memory of rows that are not committed.
    pub hot_bytes_max: usize,
    /// Bytes that are read at once.
    pub fetch_bytes_max: usize,
    /// Whether a topic may have another id than its table knows.
    pub other_topic_ids: bool,
}

/// The way of one topic into one table.
#[derive(Debug)]
pub struct Ingest {
    /// The table.
    pub table: TableIdent,
    /// What its rows are.
    pub kind: Kind,
    /// The topic.
    pub topic: String,
    /// What comes in.
    pub input: Input,
    /// The log.
    pub client: Client,
    /// The catalogue.
    pub catalogue: Catalogue,
    /// Bounds.
    pub limits: Limits,
    /// Compaction and expiry.
    pub upkeep: crate::upkeep::Upkeep,
    /// Dates of snapshots.
    pub clock: Arc<dyn WallClock>,
    /// Where readers find the table.
    pub published: watch::Sender<Option<Arc<View>>>,
    /// How the table is.
    pub status: Arc<Status>,
    /// Where a batch could not be read, by partition: it is asked for once more.
    pub damaged: BTreeMap<i32, i64>,
}

impl Ingest {
    /// Runs until it is told to stop, the last rows committed. A table that cannot go on stops alone, with its reason in
    /// its status; others go on.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut failures = 0;
        while !stop.is_cancelled() {
            self.status.is(Stage::Opening);
            self.upkeep.begin_anew();
            let began = tokio::time::Instant::now();
            match self.session(&stop).await {
                Ok(()) => return,
                Err(error) if error.retry_can_help() => {
                    // A session that did some work was no failure to begin.
                    failures = if began.elapsed() > SESSIONS.max { 1 } else { failures + 1 };
                    tracing::warn!(
                        table = %self.table,
                        error = &error as &dyn std::error::Error,
                        failures,
                        "a table begins anew from its snapshot"
                    );
                    self.status.fails(with_causes(&error));
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(SESSIONS.delay(failures, 0.5)) => {}
                    }
                }
                Err(error) => {
                    tracing::error!(table = %self.table, error = &error as &dyn std::error::Error, "a table stops");
                    self.status.stops(with_causes(&error));
                    stop.cancelled().await;
                    return;
                }
            }
        }
    }
}
