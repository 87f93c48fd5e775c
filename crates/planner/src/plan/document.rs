//! The plan as it is shown, approved and kept.

use std::fmt;

use naru_model::{CampaignId, Money, Units};
use ring::digest;
use serde::{Deserialize, Serialize};

use super::request::Price;
use crate::day_time::{DayTime, Zone};

/// SHA-256 of a plan's canonical bytes: what is approved and applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlanHash([u8; 32]);

impl fmt::Display for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a line of a plan asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// Rent nodes ahead.
    Rent,
    /// Ask for nodes on demand before the load comes.
    Order,
    /// Have money and quota for nodes on demand, which only the day itself asks for.
    Allow,
    /// Send messages.
    Send,
    /// Buy machines: advice, since it serves later campaigns.
    Buy,
}

/// A line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// What it asks for.
    pub kind: LineKind,
    /// From when it holds.
    pub from: DayTime,
    /// Until when.
    pub until: DayTime,
    /// The latest time to ask for it, by its lead time.
    pub ask_by: DayTime,
    /// Nodes, or messages a minute.
    pub count: u64,
    /// What it costs; for `allow` what it is expected to cost.
    pub price: Price,
    /// Why, in plain language.
    pub reason: String,
}

/// An hour of a plan. Loads are of everything, in units a second, at their highest within the hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HourRow {
    /// When it begins.
    pub from: DayTime,
    /// One path in ten stays below.
    pub load_q10: Units,
    /// Half of the paths do.
    pub load_q50: Units,
    /// Nine in ten do.
    pub load_q90: Units,
    /// 99 in a hundred do.
    pub load_q99: Units,
    /// Nodes rented ahead or ordered before the hour.
    pub ready_nodes: u64,
    /// The risk, in millionths, that the load is above what is ready and what can still be had.
    pub risk_ppm: u64,
}

/// What a plan costs, and what the two other ways would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// What is paid for sure.
    pub committed: Price,
    /// What is expected in all.
    pub expected: Price,
    /// Nine in ten paths cost at most this.
    pub q90: Price,
    /// Nodes for the peak, all day.
    pub always_peak: Price,
    /// All nodes on demand, when they are needed.
    pub autoscale_only: Price,
    /// The risk of overload then, in millionths: nodes come too late.
    pub autoscale_only_risk_ppm: u64,
}

/// Everything that a plan says. Numbers are whole or decimal text, so that its bytes are the same everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanBody {
    /// The version of this format.
    pub version: u32,
    /// Its number in the line of the campaign's plans, from 1.
    pub generation: u64,
    /// The hash of the plan that it was made from; none for the first.
    pub parent: Option<String>,
    /// The campaign.
    pub campaign: CampaignId,
    /// What it is.
    pub title: String,
    /// Times are shown in it.
    pub zone: Zone,
    /// When it was made.
    pub decided_at: DayTime,
    /// What owned sites take, in units a second.
    pub owned: Units,
    /// What a rented node takes, in units a second.
    pub node: Units,
    /// The price of a node rented ahead, for each hour begun.
    pub reserved_price: Price,
    /// The price of a node on demand, for each hour begun.
    pub on_demand_price: Price,
    /// What is to be done.
    pub lines: Vec<Line>,
    /// The forecast by the hour.
    pub hours: Vec<HourRow>,
    /// The highest load of all: one path in ten, half, nine in ten and 99 in a hundred stay below.
    pub peak: [Units; 4],
    /// What it costs.
    pub cost: Cost,
    /// The risk of overload, in millionths.
    pub risk_ppm: u64,
    /// The highest that is accepted.
    pub risk_ppm_max: u64,
    /// What it rests on.
    pub assumptions: Vec<String>,
}

/// A plan: it never changes, and its hash says which one it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignPlan {
    body: PlanBody,
    canonical: Vec<u8>,
    hash: PlanHash,
}

impl CampaignPlan {
    /// Seals what a plan says.
    pub fn seal(body: PlanBody) -> Self {
        let canonical = serde_json::to_vec(&body).expect("a plan is plain data with text as keys");
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, &canonical).as_ref());
        Self { body, canonical, hash: PlanHash(hash) }
    }

    /// What it says.
    pub fn body(&self) -> &PlanBody {
        &self.body
    }

    /// Its bytes, as they are hashed and kept: JSON, fields in their order, no space.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// Its hash.
    pub fn hash(&self) -> PlanHash {
        self.hash
    }

    /// Reads a plan back from its canonical bytes.
    ///
    /// # Errors
    /// For bytes that are not those of a plan.
    pub fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes).map(Self::seal)
    }
}

/// An amount of units, rounded up to thousandths.
pub(super) fn rounded(units: f64) -> Units {
    Units::from_thousandths((units.max(0.0) * 1000.0).ceil() as u64)
}

/// An amount of money in the currency of another, rounded up.
pub(super) fn money(minor: f64, like: Price) -> Price {
    Price(Money::new(like.0.currency(), minor.ceil() as i64))
}

/// A share in millionths, rounded up.
pub(super) fn ppm(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * 1e6).ceil() as u64
}
