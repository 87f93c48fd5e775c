//! Messages by time, and what a click costs.

use serde::{Deserialize, Serialize};

use super::kernel::{BINS, bin_minutes};

/// A stretch of a sending curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendingStep {
    /// When it begins, in minutes since the campaign's beginning.
    pub from_minute: f64,
    /// How long it lasts, in minutes.
    pub minutes: f64,
    /// Messages a minute.
    pub per_minute: f64,
}

/// When messages go out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sending {
    /// Its stretches, in any order; they may overlap.
    pub steps: Vec<SendingStep>,
}

/// What a click does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Requests that a click makes.
    pub requests_per_click: f64,
    /// Over how many minutes it makes them.
    pub visit_minutes: f64,
    /// What a request costs, in units.
    pub units_per_request: f64,
}

impl Sending {
    /// One stretch: so many recipients from the beginning on at a rate.
    pub fn steady(recipients: f64, per_minute: f64) -> Self {
        let minutes = if per_minute > 0.0 { recipients / per_minute } else { 0.0 };
        Self { steps: vec![SendingStep { from_minute: 0.0, minutes, per_minute }] }
    }

    /// All messages.
    pub fn recipients(&self) -> f64 {
        self.steps.iter().map(|step| step.minutes * step.per_minute).sum()
    }

    /// When the last message has gone out, in minutes.
    pub fn ends(&self) -> f64 {
        self.steps.iter().map(|step| step.from_minute + step.minutes).fold(0.0, f64::max)
    }

    /// Messages sent until a minute.
    pub fn sent_until(&self, minute: f64) -> f64 {
        self.steps.iter().map(|step| step.per_minute * (minute - step.from_minute).clamp(0.0, step.minutes)).sum()
    }

    /// The same curve with every stretch at a rate `factor` times as high, and the same recipients.
    pub fn at_rate(&self, factor: f64) -> Self {
        let steps = self.steps.iter();
        let steps = steps.map(|step| SendingStep {
            per_minute: step.per_minute * factor,
            minutes: step.minutes / factor,
            ..*step
        });
        Self { steps: steps.collect() }
    }

    /// Clicks until a minute if everybody clicked in a bin of the kernel, the delay equally likely within it.
    pub fn clicks_until(&self, minute: f64, bin: usize) -> f64 {
        let (from, until) = bin_minutes(bin);
        // The integral of the share of people who have clicked `age` minutes after their message.
        let integral = |age: f64| {
            let within = (age - from).clamp(0.0, until - from);
            within * within / 2.0 / (until - from) + (age - until).max(0.0)
        };
        let of = |step: &SendingStep| {
            let age = minute - step.from_minute;
            step.per_minute * (integral(age) - integral(age - step.minutes))
        };
        self.steps.iter().map(of).sum()
    }

    /// The load in a minute, in units a second, by bin of the kernel, if everybody clicked in that bin.
    pub fn load(&self, minute: f64, offer: &Offer) -> [f64; BINS] {
        let units_per_click = offer.requests_per_click * offer.units_per_request;
        std::array::from_fn(|bin| {
            let clicks = self.clicks_until(minute, bin) - self.clicks_until(minute - offer.visit_minutes, bin);
            units_per_click * clicks / (offer.visit_minutes * 60.0)
        })
    }
}
