//! How fast a campaign goes out: the least of the plan's curve, the provider's rate and what the sites have room for.

use std::collections::BTreeMap;
use std::time::Duration;

use naru_planner::campaign::{Kernel, Offer};
use naru_planner::pacing::{History, PaceReason, Pacer, STEP_MINUTES, Situation};

use crate::log::{CurveStep, Forecast};

/// How long after a message people click, where nothing else is known: a mixture of exponential delays, `(share, mean in
/// minutes)`, an assumption of the event day.
const DELAYS: [(f64, f64); 3] = [(0.45, 3.0), (0.35, 25.0), (0.20, 180.0)];
/// Stands for sites without a gateway to ask: room for everything, and still a number that can be divided by.
const NO_LIMIT: f64 = 1e15;
/// A bucket holds this much sending, so that a batch can be whole and a new rate is felt at once.
pub const BURST: Duration = Duration::from_millis(250);

/// The room that gateways have measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Headroom {
    /// Units a second that open requests could have at all.
    pub capacity: f64,
    /// Units a second that they have now.
    pub load: f64,
    /// A gateway says stop.
    pub stop: bool,
}

impl Headroom {
    /// Without a gateway.
    pub const UNBOUNDED: Self = Self { capacity: NO_LIMIT, load: 0.0, stop: false };
    /// Of a gateway that does not answer: nothing is known, so nothing is sent.
    pub const UNKNOWN: Self = Self { capacity: 0.0, load: 0.0, stop: true };
}

/// The rate of one campaign, step by step.
#[derive(Debug)]
pub struct Pacing {
    pacer: Pacer,
    curve: Vec<CurveStep>,
    provider_per_minute: f64,
    history: History,
    in_step: f64,
    /// Messages a minute.
    pub per_minute: f64,
    /// Why no more.
    pub reason: PaceReason,
}

impl Pacing {
    /// Of a campaign that begins.
    pub fn new(curve: &[CurveStep], forecast: Option<Forecast>, provider_per_minute: f64) -> Self {
        let (rate, offer) = match forecast {
            Some(forecast) => {
                let Forecast { click_rate, requests_per_click, visit_minutes, units_per_request } = forecast;
                (click_rate, Offer { requests_per_click, visit_minutes, units_per_request })
            }
            // Nobody clicks: only what is measured holds it back.
            None => (0.0, Offer { requests_per_click: 0.0, visit_minutes: 1.0, units_per_request: 0.0 }),
        };
        Self {
            pacer: Pacer::new(&Kernel::exponential(rate, &DELAYS), &offer),
            curve: curve.to_vec(),
            provider_per_minute,
            history: History::default(),
            in_step: 0.0,
            per_minute: 0.0,
            reason: PaceReason::Plan,
        }
    }

    /// Counts what was sent.
    pub fn sent(&mut self, messages: usize) {
        self.in_step += messages as f64;
    }

    /// Decides anew; called at the campaign's beginning and every ten seconds after it.
    pub fn step(&mut self, since_begin: Duration, headroom: Headroom) {
        let minutes = since_begin.as_secs_f64() / 60.0;
        let steps = (minutes / STEP_MINUTES) as usize;
        if self.history.sent.len() < steps {
            self.history.sent.push(std::mem::take(&mut self.in_step));
            // What a pause left out.
            self.history.sent.resize(steps, 0.0);
        }
        let situation = Situation {
            plan_per_minute: planned(&self.curve, minutes),
            provider_per_minute: self.provider_per_minute,
            capacity: headroom.capacity,
            load: headroom.load,
            stopped: headroom.stop,
        };
        let (pacer, pace) = self.pacer.pace(&self.history, &situation);
        (self.pacer, self.per_minute, self.reason) = (pacer, pace.per_minute, pace.reason);
    }
}

/// The plan's rate at a minute: the stretch that began last.
fn planned(curve: &[CurveStep], minutes: f64) -> f64 {
    if curve.is_empty() {
        return NO_LIMIT;
    }
    let begun: BTreeMap<u64, f64> = { curve.iter() }
        .filter(|step| step.from_minute <= minutes)
        .map(|step| ((step.from_minute * 1000.0) as u64, step.per_minute))
        .collect();
    begun.last_key_value().map_or(0.0, |(_, rate)| *rate)
}

/// Tokens by time, at a rate that changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    level: f64,
    at: Duration,
}

impl Bucket {
    /// An empty one, at a monotonic time.
    pub fn new(at: Duration) -> Self {
        Self { level: 0.0, at }
    }

    /// How many may go now; at least one is saved up for, whatever the rate.
    pub fn ready(&mut self, now: Duration, per_minute: f64) -> usize {
        let per_second = per_minute / 60.0;
        let most = (per_second * BURST.as_secs_f64()).max(1.0);
        self.level = (self.level + per_second * now.saturating_sub(self.at).as_secs_f64()).min(most);
        self.at = now;
        self.level as usize
    }

    /// Takes what goes.
    pub fn take(&mut self, count: usize) {
        self.level -= count as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_least_of_plan_provider_and_room() {
        let curve =
            [CurveStep { from_minute: 0.0, per_minute: 600.0 }, CurveStep { from_minute: 1.0, per_minute: 60.0 }];
        let check = |curve: &[CurveStep], provider, seconds, headroom, rate, reason| {
            let mut pacing = Pacing::new(curve, None, provider);
            pacing.step(Duration::from_secs(seconds), headroom);
            assert_eq!((pacing.per_minute, pacing.reason), (rate, reason));
        };
        check(&curve, 1e6, 0, Headroom::UNBOUNDED, 600.0, PaceReason::Plan);
        check(&curve, 1e6, 61, Headroom::UNBOUNDED, 60.0, PaceReason::Plan);
        check(&curve, 100.0, 0, Headroom::UNBOUNDED, 100.0, PaceReason::Provider);
        check(&[], 100.0, 0, Headroom::UNBOUNDED, 100.0, PaceReason::Provider);
        check(&curve, 1e6, 0, Headroom::UNKNOWN, 0.0, PaceReason::Stopped);
        let full = Headroom { capacity: 100.0, load: 99.0, stop: false };
        check(&curve, 1e6, 0, full, 420.0, PaceReason::Backoff);
    }

    #[test]
    fn a_bucket_gives_its_rate_and_saves_little() {
        let mut bucket = Bucket::new(Duration::ZERO);
        let mut sent = 0;
        for ms in (0..10_000).step_by(10) {
            let ready = bucket.ready(Duration::from_millis(ms), 6000.0);
            bucket.take(ready);
            sent += ready;
        }
        assert!((990..=1000).contains(&sent), "{sent}");
        assert_eq!(bucket.ready(Duration::from_secs(1000), 6000.0), 25);
        assert_eq!(Bucket::new(Duration::ZERO).ready(Duration::from_secs(60), 1.0), 1);
    }
}
