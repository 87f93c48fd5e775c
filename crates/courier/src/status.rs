//! What can be asked of a running courier.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admit::{LineState, STATES};
use crate::state::{Campaign, State, UsageCounts};

/// What a courier says about itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The log's name, which keys and references carry.
    pub origin: String,
    /// Campaigns by name.
    pub campaigns: BTreeMap<String, CampaignReport>,
    /// Usage notifications.
    pub usage: UsageCounts,
    /// Batches that are not settled.
    pub open_batches: u64,
    /// Of these, batches whose outcome is in doubt.
    pub in_doubt: u64,
    /// Batches that were in doubt at some time.
    pub doubted: u64,
    /// Messages a minute that campaigns may go out with now, and why no more.
    pub campaign_per_minute: u64,
    /// Why no more: `plan`, `provider`, `headroom`, `backoff`, `stopped`.
    pub pace: String,
    /// What somebody must look at.
    pub alarms: Vec<String>,
}

/// One campaign.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignReport {
    /// `sending`, `stopped`, `settling` (all is sent), `over`.
    pub phase: String,
    /// Lines by state; those without any are left out.
    pub lines: BTreeMap<String, u64>,
    /// Readings of the file so far: recipients whose hours had not come are met again.
    pub passes: u32,
    /// Batches that are not settled.
    pub open_batches: u64,
}

/// The broken lines of a file, as a person counts them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenReport {
    /// Line numbers, the head being line 1, and what is broken.
    pub lines: Vec<(u32, String)>,
    /// Where to ask on from; none when that was all.
    pub next: Option<u32>,
}

impl CampaignReport {
    /// Of a campaign as it is now.
    pub fn of(campaign: &Campaign) -> Self {
        let phase = match campaign {
            campaign if campaign.is_over() => "over",
            Campaign { stopped: true, .. } => "stopped",
            Campaign { finished: true, .. } => "settling",
            _ => "sending",
        };
        let name = |state: usize| u8::try_from(state).ok().and_then(LineState::read).map_or("", LineState::name);
        let lines = (0..STATES).filter(|state| campaign.counts[*state] > 0);
        let lines = lines.map(|state| (name(state).to_owned(), campaign.counts[state])).collect();
        let (passes, open_batches) = (campaign.place.pass + 1, campaign.open_batches);
        Self { phase: phase.to_owned(), lines, passes, open_batches }
    }
}

impl Report {
    /// What the state says; rate, reason and alarms are the process's.
    pub fn of(state: &State) -> Self {
        Self {
            origin: state.origin.clone(),
            campaigns: { state.campaigns.values() }
                .map(|campaign| (campaign.spec.id.clone(), CampaignReport::of(campaign)))
                .collect(),
            usage: state.usage,
            open_batches: state.batches.len() as u64,
            in_doubt: state.in_doubt(),
            doubted: state.doubted,
            ..Self::default()
        }
    }
}
