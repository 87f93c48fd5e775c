//! The forecast of a campaign under way, from its first clicks.

use super::kernel::BINS;
use super::paths::{Path, Paths, dot};
use super::sending::Sending;

/// How far the clicks of one minute are from any kernel of the family, as a standard deviation of their logarithm.
const MISFIT: f64 = 0.08;
/// What a kernel cannot express lasts: minutes together never say more than so many independent ones.
const INDEPENDENT_MINUTES: f64 = 3.0;
/// Minutes with fewer clicks say too little to take a logarithm of.
const CLICKS_LEAST: f64 = 5.0;

/// Clicks seen so far, by the minute since the campaign's beginning.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Clicks of each minute that is over.
    pub clicks_by_minute: Vec<f64>,
}

/// Paths that know the clicks until now.
#[derive(Debug, Clone, PartialEq)]
pub struct Nowcast {
    /// The paths, by how well they fit.
    pub paths: Paths,
}

impl Nowcast {
    /// Weighs the paths of a forecast by the clicks that were seen, and sets each one's rate to what they say (importance
    /// sampling with the rate integrated out: log clicks = log rate + log of the path's curve + misfit).
    pub fn of(forecast: &Paths, sending: &Sending, observed: &Observed) -> Self {
        let minutes: Vec<(f64, [f64; BINS])> = observed
            .clicks_by_minute
            .iter()
            .enumerate()
            .filter(|(_, clicks)| **clicks >= CLICKS_LEAST)
            .map(|(minute, clicks)| {
                let (from, until) = (minute as f64, minute as f64 + 1.0);
                let in_bin = |bin| sending.clicks_until(until, bin) - sending.clicks_until(from, bin);
                (*clicks, std::array::from_fn(in_bin))
            })
            .collect();
        if minutes.is_empty() {
            return Self { paths: forecast.clone() };
        }
        let sharing = (INDEPENDENT_MINUTES / minutes.len() as f64).min(1.0);
        let prior = forecast.expected.log_rate;
        let mut logs = Vec::with_capacity(forecast.paths().len());
        let mut paths: Vec<Path> = Vec::with_capacity(forecast.paths().len());
        for path in forecast.paths() {
            let (mut precision, mut sum, mut squares) = (0.0, 0.0, 0.0);
            for (clicks, in_bin) in &minutes {
                let log_rate = (clicks / dot(&path.kernel.shares, in_bin).max(f64::MIN_POSITIVE)).ln();
                let weight = sharing / (MISFIT * MISFIT + 1.0 / clicks);
                precision += weight;
                sum += weight * log_rate;
                squares += weight * log_rate * log_rate;
            }
            let seen = sum / precision;
            let spread = prior.variance + 1.0 / precision;
            logs.push(-0.5 * (squares - precision * seen * seen + (seen - prior.mean).powi(2) / spread + spread.ln()));
            let variance = 1.0 / (1.0 / prior.variance + precision);
            let mean = variance * (prior.mean / prior.variance + precision * seen);
            let mut path = path.clone();
            path.kernel.click_rate = (mean + variance.sqrt() * path.rate_deviations).exp().min(1.0);
            paths.push(path);
        }
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for (path, log) in paths.iter_mut().zip(&logs) {
            path.weight *= (log - most).exp();
        }
        let all: f64 = paths.iter().map(|path| path.weight).sum();
        for path in &mut paths {
            path.weight /= all;
        }
        Self { paths: Paths::with(paths, forecast.expected.clone()) }
    }
}
