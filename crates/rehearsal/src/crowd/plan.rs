//! Who comes when, drawn before anything is started.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::plan::Plan;
use crate::scenario::{OPERATIONS_MAX, Phase, Scenario};

/// Streams of the seeded generator, beside those of [`Plan`].
const STREAM_VISITORS: u64 = 1;
const STREAM_GIFTS: u64 = 2;

/// When visitors come and gifts are claimed, in microseconds on the run's clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CrowdPlan {
    /// When each visitor opens the promotion.
    pub visitors_us: Vec<u64>,
    /// When each gift is claimed.
    pub gifts_us: Vec<u64>,
}

impl CrowdPlan {
    /// Draws it: Poisson arrivals at the rate of each phase.
    pub fn draw(scenario: &Scenario, plan: &Plan) -> Self {
        let arrivals = |number: u64, rate: fn(&Phase) -> f64| {
            let mut clock = ChaCha8Rng::seed_from_u64(plan.seed);
            clock.set_stream(number);
            let mut all = Vec::new();
            for (phase, (start, _)) in scenario.phases.iter().zip(&plan.phases) {
                let (rate, lasts, mut at) = (rate(phase), phase.lasts.as_secs_f64(), 0.0);
                while rate > 0.0 && all.len() < OPERATIONS_MAX {
                    // 1 - u lies in (0, 1], so the logarithm is finite.
                    at -= (1.0 - clock.random::<f64>()).ln() / rate;
                    if at >= lasts {
                        break;
                    }
                    all.push(start.as_micros() as u64 + (at * 1e6) as u64);
                }
            }
            all
        };
        Self {
            visitors_us: arrivals(STREAM_VISITORS, |phase| phase.crowd.visitors),
            gifts_us: arrivals(STREAM_GIFTS, |phase| phase.crowd.gifts),
        }
    }
}

/// The personal data that every request carries: a text that stands nowhere else.
pub fn planted(seed: u64) -> String {
    format!("gildong-hong-{seed:016x}")
}
