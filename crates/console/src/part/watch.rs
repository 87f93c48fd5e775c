//! The watch: `GET /v1/incidents`, `GET /v1/changes`, and of `GET /v1/status` what runs out.

use serde::Deserialize;

use crate::ask::{Asker, Unanswered};
use crate::config::WatchSource;

/// Incidents and changes that are shown; the watch has all of them.
const SHOWN_MAX: usize = 20;

/// An incident.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Incident {
    /// Its number.
    pub id: u64,
    /// `open`, `acknowledged`, `resolved`.
    pub phase: String,
    /// Its most likely cause.
    pub cause: String,
    /// Why.
    pub because: String,
    /// When the first sign was.
    pub began_unix_ms: i64,
    /// When it opened.
    pub opened_unix_ms: i64,
    /// When it was over.
    pub resolved_unix_ms: Option<i64>,
    /// Who has taken it on.
    pub acknowledged_by: Option<String>,
    /// Whether there is a draft of a postmortem.
    pub drafted: bool,
}

/// Something that runs out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Limit {
    /// Its name.
    pub name: String,
    /// `disk`, `lag`, `wal`, `quota`, `budget`, `tickets`.
    pub kind: String,
    /// The level now.
    pub level: Option<f64>,
    /// The level at which it has run out.
    pub full: f64,
    /// When it will have.
    pub forecast: Option<Forecast>,
}

/// When something will have run out, in seconds from now.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Forecast {
    /// At the soonest.
    pub early_s: f64,
    /// Most likely.
    pub likely_s: f64,
    /// At the latest; nothing if it may never.
    pub late_s: Option<f64>,
}

/// Something that somebody or something changed, as the watch was told or saw.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Change {
    /// When.
    pub at_unix_ms: i64,
    /// `plan`, `config`, `deploy`, `restart`, `other`.
    pub kind: String,
    /// In words.
    pub what: String,
    /// A role, a job or a handle.
    pub by: String,
}

/// What it says.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// The newest first.
    pub incidents: Vec<Incident>,
    /// What runs out.
    pub limits: Vec<Limit>,
    /// What was changed, the newest first.
    pub changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Incidents {
    incidents: Vec<Incident>,
}

#[derive(Deserialize)]
struct Changes {
    changes: Vec<Change>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Overview {
    limits: Vec<Limit>,
}

/// Asks it.
///
/// # Errors
/// When it does not answer.
pub async fn ask(asker: &Asker, source: &WatchSource) -> Result<Watch, Unanswered> {
    let (incidents, overview, changes) = tokio::try_join!(
        asker.json::<Incidents>(&source.address, "/v1/incidents", None),
        asker.json::<Overview>(&source.address, "/v1/status", None),
        asker.json::<Changes>(&source.address, "/v1/changes", None),
    )?;
    let mut incidents = incidents.incidents;
    incidents.truncate(SHOWN_MAX);
    let mut changes = changes.changes;
    changes.truncate(SHOWN_MAX);
    Ok(Watch { incidents, limits: overview.limits, changes })
}
