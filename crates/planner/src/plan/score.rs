//! After the event: forecast against what happened, plan against bill, and what was learned.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::forecast::Forecast;
use super::history::Known;
use super::request::{Price, Request};
use crate::campaign::{Calibration, Kernel, OfferClass};

/// What is remembered of scored campaigns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    classes: BTreeMap<String, OfferClass>,
    /// How earlier forecasts did.
    pub calibration: Calibration,
}

impl Memory {
    /// What is known about a class; a class that was never seen begins with a guess.
    pub fn class(&self, name: &str, guess: Kernel) -> OfferClass {
        self.classes.get(name).cloned().unwrap_or_else(|| OfferClass::new(guess))
    }
}

/// What happened, by the minute since the first message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Clicks of each minute.
    pub clicks: Vec<f64>,
    /// The highest load of each minute, of everything, in units a second.
    pub load: Vec<f64>,
    /// What was billed, where that is known.
    pub billed: Option<Price>,
}

/// An hour: what was forecast and what was.
#[derive(Debug, Clone, PartialEq)]
pub struct HourScore {
    /// The hour's number since the first.
    pub hour: usize,
    /// The forecast's 10 %, 50 % and 90 % quantiles of the highest load.
    pub forecast: [f64; 3],
    /// The highest load.
    pub actual: f64,
}

/// A campaign's score.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The forecast's 10 %, 50 % and 90 % quantiles of the peak.
    pub peak_forecast: [f64; 3],
    /// The peak.
    pub peak: f64,
    /// The share of the forecast's paths that stayed below it.
    pub below: f64,
    /// Every hour of which something was observed.
    pub hours: Vec<HourScore>,
    /// The absolute error of the medians over the hours' sum.
    pub wape: f64,
    /// The response that was expected, and the one that was seen.
    pub expected: Kernel,
    /// What was seen.
    pub seen: Kernel,
    /// What was billed.
    pub billed: Option<Price>,
    /// What is remembered from now on.
    pub memory: Memory,
}

/// Scores a campaign by what its forecast was made from.
pub fn score(request: &Request, known: Known<'_>, outcome: &Outcome) -> Score {
    let memory = known.memory;
    let forecast = Forecast::of(request, known, 1.0);
    let quantiles =
        |values: &[f64]| [0.1, 0.5, 0.9].map(|level| forecast.paths.quantile(values, memory.calibration.level(level)));
    let first = ((request.begins().seconds() - forecast.from.seconds()) / 60).max(0) as usize;
    let until = first + outcome.load.len();
    let peaks = forecast.highest(first..until);
    let peak = outcome.load.iter().copied().fold(0.0, f64::max);
    let below = forecast.paths.share_at_most(&peaks, peak);
    let hours: Vec<HourScore> = (0..request.hours as usize)
        .filter_map(|hour| {
            let steps = Forecast::hour(hour);
            let steps = steps.start.max(first)..steps.end.min(until);
            (steps.start < steps.end).then(|| {
                let actual = outcome.load[steps.start - first..steps.end - first].iter().copied().fold(0.0, f64::max);
                HourScore { hour, forecast: quantiles(&forecast.highest(steps)), actual }
            })
        })
        .collect();
    let missed: f64 = hours.iter().map(|hour| (hour.forecast[1] - hour.actual).abs()).sum();
    let all: f64 = hours.iter().map(|hour| hour.actual).sum();
    let class = memory.class(&request.offer.class, request.guess());
    let campaign = class.fitted(&forecast.sending, &outcome.clicks);
    let seen = campaign.kernel.clone();
    let mut learned = memory.clone();
    learned.calibration = memory.calibration.learned(below);
    learned.classes.insert(request.offer.class.clone(), class.learned(campaign));
    Score {
        peak_forecast: quantiles(&peaks),
        peak,
        below,
        hours,
        wape: if all > 0.0 { missed / all } else { 0.0 },
        expected: class.expected_kernel(),
        seen,
        billed: outcome.billed,
        memory: learned,
    }
}
