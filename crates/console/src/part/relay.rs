//! The relay: `GET /status`.

use std::collections::BTreeMap;

use naru_runtime::exposition::{Sample, parse};
use serde::Deserialize;

use crate::ask::{Asker, Unanswered};
use crate::config::RelaySource;

/// What it says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Relay {
    /// Its epoch: a higher one is a later start.
    pub epoch: i64,
    /// Its lease, in milliseconds.
    pub lease_ms: u64,
    /// Service groups.
    pub groups: Vec<Group>,
    /// Its metrics, where they are read.
    #[serde(skip)]
    pub samples: Vec<Sample>,
}

/// A service group.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The active side.
    pub active: String,
    /// `duplex`, `solo`, `stopped`.
    pub mode: String,
    /// Why one side acknowledges alone.
    pub grant: Option<String>,
    /// A planned switch that is under way.
    pub switching: Option<String>,
    /// Whether it is in doubt which side is whole.
    pub in_doubt: bool,
    /// Both sides.
    pub sides: BTreeMap<String, Side>,
    /// A side that comes back.
    pub catch_up: Option<CatchUp>,
    /// The last change of sides.
    pub last_takeover: Option<Takeover>,
    /// What somebody must look at.
    pub alarms: Vec<Alarm>,
    /// Partitions.
    pub partitions: u64,
    /// Those that were not compared yet.
    pub partitions_opening: u64,
}

/// A side of a group.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Side {
    /// Whether it has everything that was acknowledged.
    pub in_sync: bool,
    /// For how long it has not answered.
    pub absent_seconds: Option<f64>,
    /// Records behind the other.
    pub lag_records: Option<i64>,
    /// Bytes behind the other.
    pub lag_bytes: Option<i64>,
    /// Seconds behind the other.
    pub lag_seconds: f64,
}

/// A side that comes back.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CatchUp {
    /// Which.
    pub side: String,
    /// How far it is.
    pub stage: String,
    /// How long it will take.
    pub ends_in_seconds: Option<f64>,
}

/// A change of sides.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Takeover {
    /// The side that was active.
    pub from: String,
    /// Why; nothing for a planned switch.
    pub cause: Option<String>,
    /// How long ago.
    pub ago_seconds: f64,
    /// How long it took.
    pub took_ms: f64,
}

/// What somebody must look at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Alarm {
    /// Its name.
    pub name: String,
    /// What it is.
    pub text: String,
}

/// Asks it.
///
/// # Errors
/// When it does not answer.
pub async fn ask(asker: &Asker, source: &RelaySource) -> Result<Relay, Unanswered> {
    let mut relay: Relay = asker.json(&source.status, "/status", None).await?;
    if let Some(metrics) = &source.metrics {
        relay.samples = parse(&asker.text(metrics, "/metrics").await?).samples;
    }
    Ok(relay)
}

impl Relay {
    /// The groups that carry something; all of them if none does.
    pub fn shown(&self) -> Vec<&Group> {
        let used: Vec<_> = self.groups.iter().filter(|group| group.partitions > 0).collect();
        if used.is_empty() { self.groups.iter().collect() } else { used }
    }
}
