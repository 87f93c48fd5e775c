//! What is asked of the watch over HTTP, and what it answers: docs/api/watch.json.

use serde::{Deserialize, Serialize};

use crate::engine::{LimitView, TargetView};
use crate::incident::{Incident, Phase};

/// The document of the API.
pub const OPENAPI: &str = include_str!("../../../docs/api/watch.json");

/// `GET /v1/status`, and the event `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// Now, in milliseconds since 1970, UTC.
    pub now_unix_ms: i64,
    /// Everybody who is looked at.
    pub targets: Vec<TargetView>,
    /// Everything that runs out.
    pub limits: Vec<LimitView>,
    /// Incidents that are not over, the newest first.
    pub open: Vec<Summary>,
    /// Series in memory.
    pub series: usize,
    /// Values that were refused, since there were too many series.
    pub series_refused: u64,
    /// Entries of the ledger that wait for the disk.
    pub ledger_waiting: usize,
}

/// An incident in a list, and the event `incident`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its number.
    pub id: u64,
    /// `open`, `acknowledged` or `resolved`.
    pub phase: Phase,
    /// Its most likely cause.
    pub cause: String,
    /// Why.
    pub because: String,
    /// When the first sign was.
    pub began_unix_ms: i64,
    /// When it opened.
    pub opened_unix_ms: i64,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_unix_ms: Option<i64>,
    /// Who has taken it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// Whether there is a draft of a postmortem.
    pub drafted: bool,
}

impl Summary {
    /// Of an incident.
    pub fn of(incident: &Incident) -> Self {
        Self {
            id: incident.id,
            phase: incident.phase,
            cause: incident.cause.clone(),
            because: incident.because.clone(),
            began_unix_ms: incident.began_unix_ms,
            opened_unix_ms: incident.opened_unix_ms,
            resolved_unix_ms: incident.resolved_unix_ms,
            acknowledged_by: incident.acknowledged_by.clone(),
            drafted: incident.drafted,
        }
    }
}

/// `GET /v1/incidents`, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    /// Those in memory.
    pub incidents: Vec<Summary>,
}

/// What is asked of `GET /v1/series`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SeriesAsked {
    /// Selectors, separated by `;`. Without any every series is listed, with its newest value.
    #[serde(default, rename = "match")]
    pub selectors: Option<String>,
    /// How far back, in seconds.
    #[serde(default)]
    pub seconds: Option<u32>,
}

/// `GET /v1/series`, and the event `series`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesAnswer {
    /// Now, in milliseconds since 1970, UTC.
    pub now_unix_ms: i64,
    /// The series that were meant.
    pub series: Vec<SeriesView>,
    /// Whether there are more, left out for the answer's bound.
    pub more: bool,
}

/// One series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesView {
    /// `TARGET/NAME{LABELS}`.
    pub id: String,
    /// Whose it is.
    pub target: String,
    /// The metric.
    pub name: String,
    /// Its labels, sorted.
    pub labels: Vec<(String, String)>,
    /// `[milliseconds since 1970, value]`, the oldest first.
    pub points: Vec<(i64, f64)>,
}

/// `POST /v1/incidents/{id}/acknowledge`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeAsked {
    /// Who takes it on: a handle.
    pub by: String,
}

/// `POST /v1/incidents/{id}/actions`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionAsked {
    /// What is to be done.
    pub what: String,
    /// Who does it: a handle.
    pub owner: String,
    /// The rehearsal that must pass before it is closed.
    pub rehearsal: String,
}

/// Something was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Its number: of an action, or of the entry of the ledger.
    pub id: u64,
    /// Whether it is on the disk; if not, it waits for the disk in memory.
    pub durable: bool,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// In words.
    pub error: String,
}
