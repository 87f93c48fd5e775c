//! What is known about the campaigns of one class of offers.

use serde::{Deserialize, Serialize};

use super::kernel::{BINS, Kernel};
use super::sending::Sending;
use crate::rent;

/// How far a class's click rate may be from what was guessed before its first campaign, as a standard deviation of its
/// logarithm. Published rates of first opens differ threefold between senders: ln 3 is 1.1, two of these.
const CLASS_RATE_DEVIATION: f64 = 0.55;
/// How far one campaign's click rate is from its class's, before any was seen, and how many campaigns that guess weighs.
const CAMPAIGN_RATE_DEVIATION: f64 = 0.25;
const CAMPAIGN_WEIGHT: f64 = 4.0;
/// The same of the logarithm of a bin's share.
const CLASS_SHARE_DEVIATION: f64 = 0.6;
const CAMPAIGN_SHARE_DEVIATION: f64 = 0.3;
/// What is kept of a class's history: the newest campaigns. Older ones say little about people's habits of today.
const PAST_MAX: usize = 50;
/// A share below this counts as this: its logarithm must not decide anything.
const SHARE_LEAST: f64 = 1e-4;
/// Rounds of fitting a kernel; the likelihood has long settled then.
const FIT_ROUNDS: usize = 200;
/// What is known before weighs like this share of the recipients.
const FIT_PRIOR: f64 = 0.002;

/// A campaign that is over, as far as the next one learns from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PastCampaign {
    /// How people responded.
    pub kernel: Kernel,
}

/// A class of offers: what was guessed about it, and what its campaigns showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferClass {
    guess: Kernel,
    past: Vec<PastCampaign>,
}

/// A normal distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Normal {
    pub mean: f64,
    pub variance: f64,
}

/// What is expected of the next campaign of a class: independent normal logarithms of the rate and of the shares.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expected {
    pub log_rate: Normal,
    pub log_shares: [Normal; BINS],
}

impl OfferClass {
    /// A class without campaigns, and what is guessed about it.
    pub fn new(guess: Kernel) -> Self {
        Self { guess, past: Vec::new() }
    }

    /// How many campaigns it has learned from.
    pub fn campaigns(&self) -> usize {
        self.past.len()
    }

    /// The class after one more campaign.
    pub fn learned(&self, campaign: PastCampaign) -> Self {
        let mut past = self.past.clone();
        past.push(campaign);
        let surplus = past.len().saturating_sub(PAST_MAX);
        past.drain(..surplus);
        Self { guess: self.guess.clone(), past }
    }

    /// The kernel that is expected of the next campaign, in the middle of what is possible.
    pub fn expected_kernel(&self) -> Kernel {
        let expected = self.expected();
        Kernel {
            click_rate: expected.log_rate.mean.exp(),
            shares: shares(&expected.log_shares.map(|share| share.mean)),
        }
    }

    /// Partial pooling: the guess and the campaigns' mean, each by how much it is worth (Gelman et al., "Bayesian Data
    /// Analysis", 5.4, with the variance between campaigns estimated from them and a guess).
    pub(super) fn expected(&self) -> Expected {
        let pooled = |guess: f64, class: f64, between: f64, seen: &[f64]| -> Normal {
            let count = seen.len() as f64;
            let (guess_precision, seen_precision) = (1.0 / (class * class), count / between);
            let mean = if seen.is_empty() { 0.0 } else { seen.iter().sum::<f64>() / count };
            let variance = 1.0 / (guess_precision + seen_precision);
            Normal { mean: variance * (guess * guess_precision + mean * seen_precision), variance: variance + between }
        };
        let log_rates: Vec<f64> = self.past.iter().map(|past| past.kernel.click_rate.ln()).collect();
        let by_bin: [Vec<f64>; BINS] = std::array::from_fn(|bin| {
            self.past.iter().map(|past| past.kernel.shares[bin].max(SHARE_LEAST).ln()).collect()
        });
        let rate_between = between(CAMPAIGN_RATE_DEVIATION, std::slice::from_ref(&log_rates));
        let share_between = between(CAMPAIGN_SHARE_DEVIATION, &by_bin);
        Expected {
            log_rate: pooled(self.guess.click_rate.ln(), CLASS_RATE_DEVIATION, rate_between, &log_rates),
            log_shares: std::array::from_fn(|bin| {
                let guess = self.guess.shares[bin].max(SHARE_LEAST).ln();
                pooled(guess, CLASS_SHARE_DEVIATION, share_between, &by_bin[bin])
            }),
        }
    }

    /// The kernel that a campaign showed: clicks by the minute since its beginning, by expectation and maximisation for a
    /// Poisson mixture (Shepp and Vardi, 1982), held to what the class expects where the clicks say nothing.
    pub fn fitted(&self, sending: &Sending, clicks_by_minute: &[f64]) -> PastCampaign {
        let expected = self.expected_kernel();
        let in_bin: Vec<[f64; BINS]> = (0..clicks_by_minute.len())
            .map(|minute| {
                let (from, until) = (minute as f64, minute as f64 + 1.0);
                std::array::from_fn(|bin| sending.clicks_until(until, bin) - sending.clicks_until(from, bin))
            })
            .collect();
        let exposed: [f64; BINS] = std::array::from_fn(|bin| in_bin.iter().map(|minute| minute[bin]).sum());
        let weight = FIT_PRIOR * sending.recipients().max(1.0);
        let prior: [f64; BINS] = std::array::from_fn(|bin| expected.click_rate * expected.shares[bin]);
        let mut rates = prior;
        for _ in 0..FIT_ROUNDS {
            let mut sums = [0.0; BINS];
            for (clicks, of_bin) in clicks_by_minute.iter().zip(&in_bin) {
                let predicted: f64 = rates.iter().zip(of_bin).map(|(rate, clicks)| rate * clicks).sum();
                if predicted > 0.0 {
                    for bin in 0..BINS {
                        sums[bin] += clicks / predicted * rates[bin] * of_bin[bin];
                    }
                }
            }
            rates = std::array::from_fn(|bin| (sums[bin] + weight * prior[bin]) / (exposed[bin] + weight));
        }
        let click_rate = rates.iter().sum::<f64>().clamp(SHARE_LEAST * SHARE_LEAST, 1.0);
        PastCampaign { kernel: Kernel { click_rate, shares: rates.map(|rate| rate / click_rate) } }
    }
}

/// The variance between campaigns, over groups of their values, with a guess that weighs as some campaigns do.
fn between(guess: f64, groups: &[Vec<f64>]) -> f64 {
    let (mut sum, mut freedom) = (CAMPAIGN_WEIGHT * guess * guess, CAMPAIGN_WEIGHT);
    for group in groups.iter().filter(|group| group.len() > 1) {
        let mean = group.iter().sum::<f64>() / group.len() as f64;
        sum += group.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / groups.len() as f64;
        freedom += (group.len() - 1) as f64 / groups.len() as f64;
    }
    sum / freedom
}

/// Shares that add up to 1, from their logarithms but for a constant.
pub(super) fn shares(logs: &[f64; BINS]) -> [f64; BINS] {
    let exps = logs.map(f64::exp);
    let sum: f64 = exps.iter().sum();
    exps.map(|exp| exp / sum)
}

/// How earlier forecasts did: where in its forecast distribution each outcome fell. Quantiles are read through it, so that a
/// forecaster who was too sure becomes less so (Kuleshov et al., "Accurate uncertainties", 2018).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    outcomes: Vec<f64>,
}

/// As many equally spread outcomes stand in for the forecasts that were not made yet.
const CALIBRATION_PRIOR: usize = 40;
/// The newest outcomes that are kept.
const OUTCOMES_MAX: usize = 400;

impl Calibration {
    /// The calibration after one more outcome: the share of the forecast's paths that stayed below it.
    pub fn learned(&self, below: f64) -> Self {
        let mut outcomes = self.outcomes.clone();
        outcomes.push(below.clamp(0.0, 1.0));
        let surplus = outcomes.len().saturating_sub(OUTCOMES_MAX);
        outcomes.drain(..surplus);
        Self { outcomes }
    }

    /// The level at which to read a forecast so that a share `level` of outcomes stays below.
    pub fn level(&self, level: f64) -> f64 {
        if self.outcomes.is_empty() {
            return level;
        }
        let prior = (0..CALIBRATION_PRIOR).map(|slice| (slice as f64 + 0.5) / CALIBRATION_PRIOR as f64);
        let mut all: Vec<f64> = self.outcomes.iter().copied().chain(prior).collect();
        rent::quantile(&mut all, level)
    }
}
