//! The plan beside what came.

use serde::{Deserialize, Serialize};

use super::request::core_units;
use super::scale::{RATE, TIME};
use super::{Planned, scale};
use crate::check::Verdict;
use crate::crowd::CrowdPlan;
use crate::scenario::{Campaign, Edge, Scenario};

/// A minute of the event day, in seconds of the rehearsal: over this the planner's peak is a mean, too.
const MINUTE: f64 = 60.0 / TIME;

/// A campaign over the run. People and loads are at the event day's size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignFigures {
    /// Messages.
    pub recipients: u64,
    /// The share of recipients who came, and the share that the planner was told.
    pub click_rate: f64,
    /// See [`CampaignFigures::click_rate`].
    pub click_rate_forecast: f64,
    /// The peak that came: units per second of core and promotion, in the minute in which most was wanted.
    pub peak: f64,
    /// The plan.
    pub plan: Planned,
}

impl CampaignFigures {
    /// From the scenario, the plan and what was drawn.
    pub fn of(scenario: &Scenario, campaign: &Campaign, edge: &Edge, plan: Planned, people: &CrowdPlan) -> Self {
        let between_us = edge.visit_lasts.as_micros() as u64 / u64::from(edge.visit_requests.max(1));
        let mut minutes: Vec<u64> = Vec::new();
        for came_us in &people.visitors_us {
            for page in 0..u64::from(edge.visit_requests) {
                let minute = ((came_us + page * between_us) as f64 / 1e6 / MINUTE) as usize;
                minutes.resize(minutes.len().max(minute + 1), 0);
                minutes[minute] += 1;
            }
        }
        let most = minutes.into_iter().max().unwrap_or(0) as f64 / MINUTE;
        Self {
            recipients: (f64::from(campaign.recipients) * scale::PEOPLE) as u64,
            click_rate: campaign.click_rate,
            click_rate_forecast: campaign.click_rate_forecast,
            peak: (most + core_units(scenario)) * RATE,
            plan,
        }
    }
}

/// What must hold of the plan: what it says was rented, and it costs less than keeping the peak all day.
pub fn judge(figures: &CampaignFigures, nodes_started: u32) -> Vec<Verdict> {
    let plan = &figures.plan;
    let mut rented = Verdict::open("plan-rented", "before the first message stood what the plan says to rent", "plans");
    rented.examined = 1;
    if nodes_started != plan.nodes {
        rented.find(
            || format!("plan {}", plan.hash),
            || format!("says {} nodes, and {nodes_started} were started", plan.nodes),
        );
    }
    let mut price = Verdict::open("plan-price", "the plan costs less than keeping its peak all day", "plans");
    price.examined = 1;
    if plan.committed_won >= plan.always_peak_won {
        let (own, other) = (plan.committed_won, plan.always_peak_won);
        price.find(|| format!("plan {}", plan.hash), || format!("{own} won beside {other}"));
    }
    vec![rented, price]
}
