//! At what rate a campaign may be sent now.
//!
//! The rate is the least of three: the plan's, the provider's, and what the sites' headroom allows. Headroom is looked for ahead,
//! since clicks come minutes after their messages: whatever is sent now must leave every later minute below the
//! capacity even if nothing were sent any more. How many people click is read from the clicks themselves. Beside that
//! works additive increase and multiplicative decrease (Chiu and Jain, 1989) on the load that is really measured, for
//! everything that the kernel does not know.

use crate::campaign::{Kernel, Offer, bin_minutes};

/// The length of a step, in minutes: rates are decided, and history is kept, in steps of ten seconds.
pub const STEP_MINUTES: f64 = 1.0 / 6.0;
/// The share of the capacity that is aimed for: the rest takes what counts differ by from step to step.
const FILL: f64 = 0.965;
/// Above this share of the capacity a measured load is too much, and the rate is cut.
const TOO_MUCH: f64 = 0.985;
/// What a cut leaves of the rate, and by how much of the full rate each step gives back.
const DECREASE: f64 = 0.7;
const INCREASE: f64 = 0.05;
/// Steps of clicks that tell how many people click: three minutes.
const RECENT_STEPS: usize = 18;
/// What the forecast weighs beside them, in clicks.
const FORECAST_CLICKS: f64 = 50.0;
/// Steps for which a rate is taken to hold when its consequences are reckoned: a minute.
const HELD_STEPS: usize = 6;
/// Minutes ahead at which the load is looked at, beyond each of the next five minutes' steps.
const LATER_MINUTES: [f64; 12] = [6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0];

/// What has happened since the first message, by step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Messages sent in each step.
    pub sent: Vec<f64>,
    /// Clicks counted in each step.
    pub clicks: Vec<f64>,
}

/// What is known at a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Situation {
    /// Messages a minute that the plan has for now.
    pub plan_per_minute: f64,
    /// Messages a minute that the provider takes.
    pub provider_per_minute: f64,
    /// The capacity that is there for the campaign, owned and rented, less what everything else uses, in units a second.
    pub capacity: f64,
    /// The campaign's load as the edge measures it, in units a second.
    pub load: f64,
    /// Somebody has said stop.
    pub stopped: bool,
}

/// Why a rate is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaceReason {
    /// Somebody has said stop.
    Stopped,
    /// The plan's rate fits.
    Plan,
    /// The provider takes no more.
    Provider,
    /// More would bring more load than there is capacity, now or later.
    Headroom,
    /// The measured load was too high a moment ago.
    Backoff,
}

/// The rate of now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Messages a minute.
    pub per_minute: f64,
    /// Why no more.
    pub reason: PaceReason,
    /// How many times as many people click as was forecast.
    pub click_factor: f64,
}

/// What is carried from step to step, and what never changes during a campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct Pacer {
    /// Clicks of a message by the step after it.
    clicks: Vec<f64>,
    /// Load of a message by the step after it, in units a second.
    load: Vec<f64>,
    /// The share of the rate that backing off has left.
    trim: f64,
}

impl Pacer {
    /// A pacer for people who are forecast to respond by a kernel.
    pub fn new(kernel: &Kernel, offer: &Offer) -> Self {
        let until = |minute: f64| -> f64 {
            let within = |bin: usize| {
                let (from, to) = bin_minutes(bin);
                ((minute - from) / (to - from)).clamp(0.0, 1.0)
            };
            kernel.click_rate * kernel.shares.iter().enumerate().map(|(bin, share)| share * within(bin)).sum::<f64>()
        };
        let steps = (LATER_MINUTES[LATER_MINUTES.len() - 1] / STEP_MINUTES) as usize * 4;
        let at = |step: usize| step as f64 * STEP_MINUTES;
        let units = offer.requests_per_click * offer.units_per_request / (offer.visit_minutes * 60.0);
        Self {
            clicks: (0..steps).map(|step| until(at(step + 1)) - until(at(step))).collect(),
            load: (0..steps)
                .map(|step| units * (until(at(step + 1)) - until(at(step + 1) - offer.visit_minutes)))
                .collect(),
            trim: 1.0,
        }
    }

    /// The rate for the next step, and the pacer for the one after it.
    pub fn pace(&self, history: &History, situation: &Situation) -> (Self, Pace) {
        let click_factor = self.click_factor(history);
        let trim = if situation.load > TOO_MUCH * situation.capacity {
            self.trim * DECREASE
        } else {
            (self.trim + INCREASE).min(1.0)
        };
        let after = Self { trim, ..self.clone() };
        let rate = |per_minute: f64, reason| Pace { per_minute: per_minute.max(0.0), reason, click_factor };
        if situation.stopped {
            return (after, rate(0.0, PaceReason::Stopped));
        }
        let headroom = self.headroom(history, situation.capacity * FILL, click_factor);
        let wish = situation.plan_per_minute.min(situation.provider_per_minute);
        let backed_off = trim * wish;
        let pace = if headroom <= backed_off.min(wish) {
            rate(headroom, PaceReason::Headroom)
        } else if trim < 1.0 {
            rate(backed_off, PaceReason::Backoff)
        } else if situation.provider_per_minute < situation.plan_per_minute {
            rate(situation.provider_per_minute, PaceReason::Provider)
        } else {
            rate(situation.plan_per_minute, PaceReason::Plan)
        };
        (after, pace)
    }

    /// How many times as many people have clicked lately as was forecast.
    fn click_factor(&self, history: &History) -> f64 {
        let until = history.clicks.len();
        let recent = until.saturating_sub(RECENT_STEPS)..until;
        let counted: f64 = history.clicks[recent.clone()].iter().sum();
        let forecast: f64 = recent.map(|step| after(&self.clicks, &history.sent, step)).sum();
        (counted + FORECAST_CLICKS) / (forecast + FORECAST_CLICKS)
    }

    /// The highest rate for the next minute that leaves every later minute below a load if nothing is sent after it.
    fn headroom(&self, history: &History, load_max: f64, click_factor: f64) -> f64 {
        let now = history.sent.len();
        let soon = 0..(5.0 / STEP_MINUTES) as usize;
        let later = LATER_MINUTES.iter().map(|minutes| (minutes / STEP_MINUTES) as usize);
        soon.chain(later).fold(f64::INFINITY, |least, ahead| {
            let there = click_factor * after(&self.load, &history.sent, now + ahead);
            let held = (0..HELD_STEPS.min(ahead + 1)).map(|step| self.load.get(ahead - step).copied().unwrap_or(0.0));
            let each = click_factor * STEP_MINUTES * held.sum::<f64>();
            least.min((load_max - there).max(0.0) / each.max(f64::MIN_POSITIVE))
        })
    }
}

/// What messages sent by step bring in a step, when each brings `response` by the step after it.
fn after(response: &[f64], sent: &[f64], step: usize) -> f64 {
    let last = sent.len().min(step + 1);
    let first = (step + 1).saturating_sub(response.len()).min(last);
    (first..last).map(|at| sent[at] * response[step - at]).sum()
}
