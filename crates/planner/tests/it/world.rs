//! Campaigns as they could be in truth: kernels with heavy tails, two humps and late reminders, which are outside of the
//! planner's family, and people whose habits differ by class and vary by campaign.

use naru_planner::campaign::{Offer, Sending};
use naru_planner::normal;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

/// Steps of a quarter of a minute in which the truth is reckoned.
const STEPS_PER_MINUTE: usize = 4;
/// How long a campaign is watched, in minutes.
pub const WATCHED: usize = 480;

/// How people of a class respond, in truth.
#[derive(Debug, Clone)]
pub struct Truth {
    pub click_rate: f64,
    pub delays: Delays,
}

/// Delays from message to click, in minutes.
#[derive(Debug, Clone)]
pub enum Delays {
    /// Lomax: after `scale` minutes the rest falls off as a power.
    HeavyTail { scale: f64, power: f64 },
    /// A log-normal hump, and a normal one of the share `late`.
    TwoHumps { first: f64, width: f64, second: f64, spread: f64, late: f64 },
    /// Exponential, and a share `late` when a reminder comes.
    Reminder { mean: f64, at: f64, late: f64 },
}

pub fn uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

pub fn standard(random: &mut ChaCha8Rng) -> f64 {
    normal::quantile(uniform(random))
}

fn between(random: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * uniform(random)
}

/// The normal distribution function, from the complementary error function of Numerical Recipes, 6.2.
fn phi(x: f64) -> f64 {
    let z = (x / std::f64::consts::SQRT_2).abs();
    let t = 1.0 / (1.0 + 0.5 * z);
    let series = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let sum = series.iter().rev().fold(0.0, |sum, factor| sum * t + factor);
    let erfc = t * (-z * z + sum).exp();
    if x >= 0.0 { 1.0 - erfc / 2.0 } else { erfc / 2.0 }
}

impl Delays {
    fn until(&self, minute: f64) -> f64 {
        match *self {
            Self::HeavyTail { scale, power } => 1.0 - (1.0 + minute / scale).powf(-power),
            Self::TwoHumps { first, width, second, spread, late } => {
                let hump = if minute > 0.0 { phi((minute / first).ln() / width) } else { 0.0 };
                (1.0 - late) * hump + late * (phi((minute - second) / spread) - phi(-second / spread))
            }
            Self::Reminder { mean, at, late } => {
                (1.0 - late) * (1.0 - (-minute / mean).exp()) + late * (1.0 - (-(minute - at).max(0.0) / 10.0).exp())
            }
        }
    }
}

impl Truth {
    /// A class: its click rate is about `guess`, and its delays are of a kind that no planner was told.
    pub fn class(random: &mut ChaCha8Rng, guess: f64, kind: usize) -> Self {
        let click_rate = guess * (0.55 * standard(random)).exp();
        let delays = match kind % 3 {
            0 => Delays::HeavyTail { scale: between(random, 3.0, 10.0), power: between(random, 0.7, 1.3) },
            1 => Delays::TwoHumps {
                first: between(random, 2.0, 6.0),
                width: between(random, 0.5, 0.9),
                second: between(random, 30.0, 70.0),
                spread: between(random, 5.0, 12.0),
                late: between(random, 0.2, 0.5),
            },
            _ => Delays::Reminder {
                mean: between(random, 4.0, 15.0),
                at: between(random, 90.0, 240.0),
                late: between(random, 0.15, 0.35),
            },
        };
        Self { click_rate, delays }
    }

    /// A campaign of the class: nobody responds twice in the same way.
    pub fn campaign(&self, random: &mut ChaCha8Rng) -> Self {
        let mut vary = |value: f64, by: f64| value * (by * standard(random)).exp();
        let click_rate = vary(self.click_rate, 0.2).min(0.9);
        let delays = match self.delays {
            Delays::HeavyTail { scale, power } => {
                Delays::HeavyTail { scale: vary(scale, 0.15), power: vary(power, 0.1) }
            }
            Delays::TwoHumps { first, width, second, spread, late } => {
                let (first, second) = (vary(first, 0.15), vary(second, 0.1));
                Delays::TwoHumps { first, width, second, spread, late: vary(late, 0.15).min(0.8) }
            }
            Delays::Reminder { mean, at, late } => {
                Delays::Reminder { mean: vary(mean, 0.15), at: vary(at, 0.05), late: vary(late, 0.15).min(0.8) }
            }
        };
        Self { click_rate, delays }
    }

    /// Clicks that are expected, by step since the beginning, for messages by step.
    pub fn clicks(&self, sent: &[f64]) -> Vec<f64> {
        let step = 1.0 / STEPS_PER_MINUTE as f64;
        let after: Vec<f64> = (0..sent.len())
            .map(|age| self.delays.until((age + 1) as f64 * step) - self.delays.until(age as f64 * step))
            .collect();
        let mut clicks = vec![0.0; sent.len()];
        for (at, messages) in sent.iter().enumerate().filter(|(_, messages)| **messages > 0.0) {
            for (age, share) in after.iter().take(sent.len() - at).enumerate() {
                clicks[at + age] += self.click_rate * messages * share;
            }
        }
        clicks
    }
}

/// What a campaign came to.
pub struct Outcome {
    /// Clicks of each minute, as they were counted.
    pub clicks_by_minute: Vec<f64>,
    /// The highest load, in units a second.
    pub peak: f64,
}

/// Plays a campaign.
pub fn play(truth: &Truth, sending: &Sending, offer: &Offer, random: &mut ChaCha8Rng) -> Outcome {
    let step = 1.0 / STEPS_PER_MINUTE as f64;
    let sent: Vec<f64> = (0..WATCHED * STEPS_PER_MINUTE)
        .map(|at| sending.sent_until((at + 1) as f64 * step) - sending.sent_until(at as f64 * step))
        .collect();
    let clicks = truth.clicks(&sent);
    let units = offer.requests_per_click * offer.units_per_request / (offer.visit_minutes * 60.0);
    let visit = (offer.visit_minutes * STEPS_PER_MINUTE as f64) as usize;
    let peak = clicks.windows(visit).map(|window| units * window.iter().sum::<f64>()).fold(0.0, f64::max);
    let clicks_by_minute = clicks
        .chunks(STEPS_PER_MINUTE)
        .map(|minute| {
            let mean: f64 = minute.iter().sum();
            // Counted: Poisson, and three per cent of its own from minute to minute.
            (mean + (mean + (0.03 * mean).powi(2)).sqrt() * standard(random)).max(0.0)
        })
        .collect();
    Outcome { clicks_by_minute, peak }
}
