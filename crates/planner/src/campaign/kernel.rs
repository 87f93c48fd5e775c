//! From a message to a click.

use serde::{Deserialize, Serialize};

/// How many bins a kernel has.
pub const BINS: usize = 20;

/// Where bins begin, in minutes, and where the last one ends: each about half as long again as the one before, so that a few
/// numbers tell any shape from seconds to a day and a half. A mixture of uniform delays needs no shape to be assumed, which
/// a mixture of exponentials does.
const EDGES: [f64; BINS + 1] = [
    0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 18.0, 27.0, 40.0, 60.0, 90.0, 135.0, 200.0, 300.0, 450.0, 680.0, 1000.0,
    1500.0, 2200.0,
];

/// The first and the last minute of a bin.
pub fn bin_minutes(bin: usize) -> (f64, f64) {
    (EDGES[bin], EDGES[bin + 1])
}

/// How many people click, and after how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The share of recipients who click.
    pub click_rate: f64,
    /// The share of the clicks in each bin; they add up to 1.
    pub shares: [f64; BINS],
}

impl Kernel {
    /// A kernel whose delays are a mixture of exponential ones: `(share, mean in minutes)`.
    pub fn exponential(click_rate: f64, mixture: &[(f64, f64)]) -> Self {
        let until =
            |minute: f64| -> f64 { mixture.iter().map(|(share, mean)| share * (1.0 - (-minute / mean).exp())).sum() };
        Self::by_distribution(click_rate, until)
    }

    /// A kernel from the share of clicks until a minute; what comes after the last bin counts for it.
    pub fn by_distribution(click_rate: f64, until: impl Fn(f64) -> f64) -> Self {
        let mut shares: [f64; BINS] = std::array::from_fn(|bin| until(EDGES[bin + 1]) - until(EDGES[bin]));
        shares[BINS - 1] += 1.0 - until(EDGES[BINS]);
        Self { click_rate, shares }
    }
}
