//! Who comes when, drawn before anything is started.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::plan::Plan;
use crate::scenario::{Campaign, OPERATIONS_MAX, Phase, Scenario};

/// Streams of the seeded generator, beside those of [`Plan`].
const STREAM_VISITORS: u64 = 1;
const STREAM_GIFTS: u64 = 2;
const STREAM_CAMPAIGN: u64 = 3;

/// When visitors come and gifts are claimed, in microseconds on the run's clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CrowdPlan {
    /// When each visitor opens the promotion.
    pub visitors_us: Vec<u64>,
    /// When each gift is claimed.
    pub gifts_us: Vec<u64>,
}

impl CrowdPlan {
    /// Draws it: Poisson arrivals at the rate of each phase, and those whom a campaign brings.
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
        let mut visitors_us = arrivals(STREAM_VISITORS, |phase| phase.crowd.visitors);
        visitors_us.extend(scenario.campaign.iter().flat_map(|campaign| responses(campaign, plan)));
        visitors_us.sort_unstable();
        visitors_us.truncate(OPERATIONS_MAX);
        Self { visitors_us, gifts_us: arrivals(STREAM_GIFTS, |phase| phase.crowd.gifts) }
    }
}

/// When those come whom a campaign brings: each recipient with the probability of the click rate, after a delay of one of
/// the parts. Who would come after the run's end does not.
fn responses(campaign: &Campaign, plan: &Plan) -> Vec<u64> {
    let mut people = ChaCha8Rng::seed_from_u64(plan.seed);
    people.set_stream(STREAM_CAMPAIGN);
    let begins = plan.phases[campaign.phase].0.as_secs_f64();
    let between = campaign.lasts.as_secs_f64() / f64::from(campaign.recipients);
    let mut all = Vec::new();
    for recipient in 0..campaign.recipients {
        let [comes, part, delay] = [people.random::<f64>(), people.random::<f64>(), people.random::<f64>()];
        if comes >= campaign.click_rate {
            continue;
        }
        let mut rest = part;
        let own = campaign.delays.iter().find(|delay| {
            rest -= delay.share;
            rest < 0.0
        });
        let mean = own.or(campaign.delays.last()).map_or(0.0, |delay| delay.mean.as_secs_f64());
        // 1 - u lies in (0, 1], so the logarithm is finite.
        let at = begins + f64::from(recipient) * between - mean * (1.0 - delay).ln();
        if at < plan.end().as_secs_f64() {
            all.push((at * 1e6) as u64);
        }
    }
    all
}

/// The personal data that every request carries: a text that stands nowhere else.
pub fn planted(seed: u64) -> String {
    format!("gildong-hong-{seed:016x}")
}
