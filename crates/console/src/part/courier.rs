//! The courier: `GET /v1/status`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::ask::{Asker, Unanswered};
use crate::config::CourierSource;

/// What it says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Courier {
    /// Campaigns by name.
    pub campaigns: BTreeMap<String, Campaign>,
    /// Notifications by what became of them.
    pub usage: BTreeMap<String, u64>,
    /// Batches whose outcome is in doubt.
    pub in_doubt: u64,
    /// Messages a minute that campaigns may go out with now.
    pub campaign_per_minute: u64,
    /// Why no more.
    pub pace: String,
    /// What somebody must look at.
    pub alarms: Vec<String>,
}

/// A campaign.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Campaign {
    /// `sending`, `stopped`, `settling`, `over`.
    pub phase: String,
    /// Its lines by state.
    pub lines: BTreeMap<String, u64>,
}

impl Campaign {
    /// Lines in some of the states.
    pub fn count(&self, states: &[&str]) -> u64 {
        states.iter().filter_map(|state| self.lines.get(*state)).sum()
    }

    /// All lines that were read.
    pub fn total(&self) -> u64 {
        self.lines.values().sum()
    }
}

/// Asks it.
///
/// # Errors
/// When it does not answer.
pub async fn ask(asker: &Asker, source: &CourierSource) -> Result<Courier, Unanswered> {
    asker.json(&source.address, "/v1/status", None).await
}
