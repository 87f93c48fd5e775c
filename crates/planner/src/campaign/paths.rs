//! Scenario paths: what could happen, each as likely as its weight.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::class::{Expected, OfferClass, shares};
use super::kernel::{BINS, Kernel};
use super::sending::{Offer, Sending};
use crate::normal;

/// A forecast has at least this many paths, so that its 99 % quantile rests on ten or more.
pub const PATHS_LEAST: usize = 1000;
/// How alike neighbouring bins of a kernel vary.
const NEIGHBOURS: f64 = 0.75;
/// More people than these do not click.
const RATE_MAX: f64 = 0.95;

/// One way the campaign could go.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// How people respond.
    pub kernel: Kernel,
    /// Its weight; all weights add up to 1.
    pub weight: f64,
    /// Where its rate lies in what was expected, in standard deviations.
    pub(super) rate_deviations: f64,
}

/// The paths of a forecast.
#[derive(Debug, Clone, PartialEq)]
pub struct Paths {
    paths: Vec<Path>,
    pub(super) expected: Expected,
}

impl Paths {
    /// Draws paths for the next campaign of a class; at least [`PATHS_LEAST`]. The same seed draws the same paths.
    pub fn draw(class: &OfferClass, count: usize, seed: u64) -> Self {
        let count = count.max(PATHS_LEAST);
        let expected = class.expected();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let paths = (0..count)
            .map(|_| {
                let rate_deviations = standard(&mut random);
                let mut last = standard(&mut random);
                let logs: [f64; BINS] = std::array::from_fn(|bin| {
                    last = NEIGHBOURS * last + (1.0 - NEIGHBOURS * NEIGHBOURS).sqrt() * standard(&mut random);
                    expected.log_shares[bin].mean + expected.log_shares[bin].variance.sqrt() * last
                });
                let log_rate = expected.log_rate.mean + expected.log_rate.variance.sqrt() * rate_deviations;
                let kernel = Kernel { click_rate: log_rate.exp().min(RATE_MAX), shares: shares(&logs) };
                Path { kernel, weight: 1.0 / count as f64, rate_deviations }
            })
            .collect();
        Self { paths, expected }
    }

    pub(super) fn with(paths: Vec<Path>, expected: Expected) -> Self {
        Self { paths, expected }
    }

    /// The paths.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// The load of every path at each of the minutes, in units a second.
    pub fn loads(&self, sending: &Sending, offer: &Offer, minutes: &[f64]) -> Vec<Vec<f64>> {
        let by_bin: Vec<[f64; BINS]> = minutes.iter().map(|minute| sending.load(*minute, offer)).collect();
        self.paths
            .iter()
            .map(|path| by_bin.iter().map(|load| path.kernel.click_rate * dot(&path.kernel.shares, load)).collect())
            .collect()
    }

    /// The value that a share of the paths does not exceed, when each path has one.
    pub fn quantile(&self, values: &[f64], level: f64) -> f64 {
        let mut order: Vec<(f64, f64)> =
            values.iter().copied().zip(self.paths.iter().map(|path| path.weight)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut sum = 0.0;
        let found = order.iter().find(|(_, weight)| {
            sum += weight;
            sum >= level
        });
        found.or(order.last()).map_or(0.0, |(value, _)| *value)
    }

    /// The mean of the paths' values.
    pub fn mean(&self, values: &[f64]) -> f64 {
        values.iter().zip(&self.paths).map(|(value, path)| value * path.weight).sum()
    }

    /// The share of the paths whose value is at most this.
    pub fn share_at_most(&self, values: &[f64], most: f64) -> f64 {
        let at_most = values.iter().zip(&self.paths).filter(|(value, _)| **value <= most);
        at_most.map(|(_, path)| path.weight).sum()
    }
}

pub(super) fn dot(a: &[f64; BINS], b: &[f64; BINS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A standard normal number.
fn standard(random: &mut ChaCha8Rng) -> f64 {
    normal::quantile((random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64)
}
