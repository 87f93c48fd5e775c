//! The watch: `GET /v1/incidents`.

use serde::Deserialize;

use crate::ask::{Asker, Unanswered};
use crate::config::WatchSource;

/// Incidents that are shown; the watch has all of them.
const SHOWN_MAX: usize = 50;

/// An incident.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Incident {
    /// What it is known by.
    pub id: serde_json::Value,
    /// What it is, in a line.
    pub title: String,
    /// When it began.
    pub opened_unix_ms: i64,
    /// When it was over.
    pub closed_unix_ms: Option<i64>,
    /// Who has seen it.
    pub acknowledged_by: Option<String>,
}

/// What it says.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// The newest first.
    pub incidents: Vec<Incident>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Named {
        #[serde(default)]
        incidents: Vec<Incident>,
    },
    Plain(Vec<Incident>),
}

/// Asks it.
///
/// # Errors
/// When it does not answer.
pub async fn ask(asker: &Asker, source: &WatchSource) -> Result<Watch, Unanswered> {
    let mut incidents = match asker.json(&source.address, "/v1/incidents", None).await? {
        Answer::Named { incidents } | Answer::Plain(incidents) => incidents,
    };
    incidents.sort_by_key(|incident| std::cmp::Reverse(incident.opened_unix_ms));
    incidents.truncate(SHOWN_MAX);
    Ok(Watch { incidents })
}
