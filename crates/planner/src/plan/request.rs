//! What a plan is asked for.

use std::fmt;

use naru_model::{CampaignId, Money, Units};
use serde::{Deserialize, Serialize};

use crate::campaign::{Kernel, Offer, Sending, SendingStep};
use crate::day_time::{DayTime, Zone};

/// A price, written as `600 KRW`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Price(pub Money);

impl TryFrom<String> for Price {
    type Error = naru_model::MoneyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<Price> for String {
    fn from(price: Price) -> String {
        price.0.to_string()
    }
}

/// A campaign, the capacity that there is, and what may be had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The version of this format: 1.
    pub version: u32,
    /// The campaign's name.
    pub name: CampaignId,
    /// What it is, for people.
    pub title: String,
    /// All scenario paths come from it.
    pub seed: u64,
    /// Times are shown in it.
    pub zone: Zone,
    /// When the plan is made; lead times count from here.
    pub decided_at: DayTime,
    /// The plan is for this many hours from the hour of the first message.
    pub hours: u32,
    /// The highest risk of overload that is accepted, as a share of 1.
    pub overload_risk_max: f64,
    /// What owned sites take, in units a second.
    pub owned_units_per_second: Units,
    /// How much the load beside the campaign may differ from what is said, as a standard deviation of its logarithm.
    pub base_deviation: f64,
    /// What is sent.
    pub offer: OfferPart,
    /// When.
    pub send: Vec<Send>,
    /// The load beside the campaign.
    pub base: Vec<BaseLoad>,
    /// Nodes rented ahead.
    pub reserved: RentedSupply,
    /// Nodes on demand.
    pub on_demand: RentedSupply,
    /// Nodes bought for the owned sites.
    pub bought: BoughtSupply,
}

/// The offer, and what is guessed about people's response until campaigns of its class have been scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferPart {
    /// Offers that people respond to alike are of one class.
    pub class: String,
    /// The share of recipients who click.
    pub click_rate: f64,
    /// How long after the message.
    pub delays: Vec<Delay>,
    /// Requests of a click.
    pub requests_per_click: f64,
    /// Over how many seconds.
    pub visit_seconds: f64,
    /// What a request costs.
    pub units_per_request: Units,
}

/// A share of the clicks, with exponential delays.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// The share of the clicks.
    pub share: f64,
    /// The mean delay in minutes.
    pub mean_minutes: f64,
}

/// A stretch of the sending curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// When the first message goes out.
    pub at: DayTime,
    /// How many messages.
    pub recipients: u64,
    /// Messages a minute.
    pub per_minute: u64,
}

/// The load beside the campaign.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseLoad {
    /// From when.
    pub from: DayTime,
    /// Until when.
    pub until: DayTime,
    /// How much.
    pub units_per_second: Units,
}

/// Nodes of a cloud.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RentedSupply {
    /// What a node takes, in units a second.
    pub node_units_per_second: Units,
    /// For each hour begun.
    pub price_per_node_hour: Price,
    /// From asking to ready.
    pub lead_seconds: u32,
    /// More cannot be had.
    pub nodes_max: u64,
}

/// Machines of our own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoughtSupply {
    /// What a node takes, in units a second.
    pub node_units_per_second: Units,
    /// What a node costs, with all that it costs in its life.
    pub price_per_node: Price,
    /// From ordering to ready.
    pub lead_days: u32,
    /// How long it is used.
    pub years: u32,
    /// How many campaigns of this size there are in a year.
    pub campaigns_per_year: u32,
}

/// Something in a request that cannot be planned with. Whoever wrote it is at fault, and a retry does not help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field.
    pub field: &'static str,
    /// What is wrong, and what to write.
    pub fix: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.fix)
    }
}

/// Hours of a plan: a week, since a campaign's clicks are over by then.
const HOURS_MAX: u32 = 168;
/// Stretches of a curve, and of the load beside it: more is a mistake, and each costs time for every minute of the plan.
const STRETCHES_MAX: usize = 1000;

impl Request {
    /// Everything that is wrong with it.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut check = |holds: bool, field, fix| {
            if !holds {
                faults.push(Fault { field, fix });
            }
        };
        let share = |value: f64| value > 0.0 && value < 1.0;
        let size = |value: f64, most: f64| value > 0.0 && value <= most;
        check(self.version == 1, "version", "only version 1 is known");
        check((1..=HOURS_MAX).contains(&self.hours), "hours", "write 1 to 168");
        check(share(self.overload_risk_max), "overload_risk_max", "write a share between 0 and 1, such as 0.01");
        check((0.0..=2.0).contains(&self.base_deviation), "base_deviation", "write 0 to 2, such as 0.1");
        check(share(self.offer.click_rate), "offer.click_rate", "write a share between 0 and 1, such as 0.06");
        check(size(self.offer.requests_per_click, 1e6), "offer.requests_per_click", "write a number above 0");
        check(size(self.offer.visit_seconds, 86_400.0), "offer.visit_seconds", "write 1 to 86400");
        let delays = &self.offer.delays;
        let whole: f64 = delays.iter().map(|delay| delay.share).sum();
        check((whole - 1.0).abs() < 1e-6, "offer.delays", "the shares must add up to 1");
        let sound = delays.iter().all(|delay| delay.share > 0.0 && size(delay.mean_minutes, 1e5));
        check(sound, "offer.delays", "write shares and means above 0");
        let count = |length: usize| (1..=STRETCHES_MAX).contains(&length);
        check(count(self.send.len()), "send", "write 1 to 1000 stretches");
        let sends = self.send.iter().all(|send| send.recipients > 0 && send.per_minute > 0);
        check(sends, "send", "recipients and per_minute must be above 0");
        check(self.base.len() <= STRETCHES_MAX, "base", "write at most 1000 stretches");
        check(self.base.iter().all(|base| base.from < base.until), "base", "each must end after it begins");
        for (supply, field) in [(&self.reserved, "reserved"), (&self.on_demand, "on_demand")] {
            check(supply.node_units_per_second > Units::ZERO, field, "node_units_per_second must be above 0");
            check(supply.price_per_node_hour.0.minor() > 0, field, "price_per_node_hour must be above 0");
        }
        let same = self.reserved.node_units_per_second == self.on_demand.node_units_per_second;
        check(same, "on_demand.node_units_per_second", "nodes rented ahead and on demand must be of one size");
        let currency = self.reserved.price_per_node_hour.0.currency();
        let prices = [self.on_demand.price_per_node_hour, self.bought.price_per_node];
        let one = prices.iter().all(|price| price.0.currency() == currency);
        check(one, "price_per_node_hour", "all prices must be in one currency");
        check(self.bought.years > 0, "bought.years", "write at least 1");
        check(self.bought.node_units_per_second > Units::ZERO, "bought.node_units_per_second", "write more than 0");
        check(self.send.iter().all(|send| send.at > self.decided_at), "decided_at", "must be before the first message");
        faults
    }

    /// When the first message goes out.
    pub fn begins(&self) -> DayTime {
        self.send.iter().map(|send| send.at).min().unwrap_or(self.decided_at)
    }

    /// The sending curve, in minutes since the first message.
    pub fn sending(&self) -> Sending {
        let begins = self.begins();
        let steps = self.send.iter().map(|send| SendingStep {
            from_minute: (send.at.seconds() - begins.seconds()) as f64 / 60.0,
            minutes: send.recipients as f64 / send.per_minute as f64,
            per_minute: send.per_minute as f64,
        });
        Sending { steps: steps.collect() }
    }

    /// What a click does.
    pub fn offer(&self) -> Offer {
        Offer {
            requests_per_click: self.offer.requests_per_click,
            visit_minutes: self.offer.visit_seconds / 60.0,
            units_per_request: units(self.offer.units_per_request),
        }
    }

    /// What is guessed about the response.
    pub fn guess(&self) -> Kernel {
        let delays: Vec<(f64, f64)> = self.offer.delays.iter().map(|delay| (delay.share, delay.mean_minutes)).collect();
        Kernel::exponential(self.offer.click_rate, &delays)
    }

    /// The load beside the campaign at a time, in units a second.
    pub fn base_at(&self, at: DayTime) -> f64 {
        let of = |base: &&BaseLoad| (base.from..base.until).contains(&at);
        self.base.iter().filter(of).map(|base| units(base.units_per_second)).sum()
    }
}

/// Units as a number to reckon with.
pub(super) fn units(units: Units) -> f64 {
    units.thousandths() as f64 / 1000.0
}
