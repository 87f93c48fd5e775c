//! From the history to figures: what each second looked like, and the run as a whole.
//!
//! Latency always counts from the planned time, so a stall shows in every request that was due during it.

use std::collections::{HashMap, HashSet};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::history::{History, Operation, Outcome};
use crate::observe::GROUP;
use crate::plan::Plan;
use crate::scenario::Scenario;

/// Highest latency that is told apart: ten minutes in microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Longest picture: a day of seconds. What comes later is counted in the last one.
const SECONDS_MAX: usize = 86_400;

/// Percentiles of one set of latencies, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many latencies there were.
    pub count: u64,
    /// Half of them were at most this.
    pub p50_us: u64,
    /// Nine of ten.
    pub p90_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Percentiles {
    /// Of these latencies, in microseconds; `None` of none.
    pub fn of(latencies_us: impl Iterator<Item = u64>) -> Option<Self> {
        let mut all = histogram();
        latencies_us.for_each(|latency_us| all.saturating_record(latency_us));
        percentiles(&all)
    }
}

/// One second of one service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    /// Requests that were due in it.
    pub planned: u64,
    /// Requests that were acknowledged in it.
    pub acknowledged: u64,
    /// Requests that failed for certain in it.
    pub failed: u64,
    /// Requests whose outcome became unknown in it.
    pub unknown: u64,
    /// Latency of the requests that were due in it.
    pub latency: Option<Percentiles>,
}

/// A service over the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFigures {
    /// Its name.
    pub name: String,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// Sums over the run; the latency is over those that did not fail for certain.
    pub whole: Second,
}

/// The way from a planned request to the consumer group, over the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerFigures {
    /// By the second in which the request was due: from then until a member was given its record.
    pub seconds: Vec<Option<Percentiles>>,
    /// Over the run.
    pub whole: Option<Percentiles>,
}

fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_max(LATENCY_US_MAX, 3).expect("the bounds are valid constants");
    histogram.auto(true);
    histogram
}

fn percentiles(histogram: &Histogram<u64>) -> Option<Percentiles> {
    (!histogram.is_empty()).then(|| Percentiles {
        count: histogram.len(),
        p50_us: histogram.value_at_quantile(0.5),
        p90_us: histogram.value_at_quantile(0.9),
        p99_us: histogram.value_at_quantile(0.99),
        max_us: histogram.max(),
    })
}

/// A latency histogram for each second, made when the second has one.
struct PerSecond {
    seconds: HashMap<usize, Histogram<u64>>,
    whole: Histogram<u64>,
}

impl PerSecond {
    fn new() -> Self {
        Self { seconds: HashMap::new(), whole: histogram() }
    }

    fn record(&mut self, second: usize, latency_us: u64) {
        self.seconds.entry(second).or_insert_with(histogram).saturating_record(latency_us);
        self.whole.saturating_record(latency_us);
    }
}

fn second_of(at_us: u64) -> usize {
    usize::try_from(at_us / 1_000_000).unwrap_or(usize::MAX).min(SECONDS_MAX - 1)
}

/// How many seconds the pictures have: the plan's, and whatever the last answer or observation took beyond it.
pub fn seconds(history: &History, plan: &Plan) -> usize {
    let ended = history.operations.iter().filter_map(|operation| operation.ended_us).max().unwrap_or(0);
    let observed = history.observations.iter().map(|seen| seen.at_us).max().unwrap_or(0);
    let planned = u64::try_from(plan.end().as_micros()).unwrap_or(u64::MAX);
    second_of(ended.max(observed).max(planned.saturating_sub(1))) + 1
}

/// Figures of every service of the scenario.
pub fn services(history: &History, scenario: &Scenario, plan: &Plan) -> Vec<ServiceFigures> {
    let length = seconds(history, plan);
    let figures = |index: usize| {
        let mut list = vec![Second::default(); length];
        let mut latencies = PerSecond::new();
        let own = plan.operations.iter().zip(&history.operations).filter(|(o, _)| usize::from(o.service) == index);
        for (_, operation) in own {
            list[second_of(operation.planned_us)].planned += 1;
            let Some(ended_us) = operation.ended_us else { continue };
            let second = &mut list[second_of(ended_us)];
            match &operation.outcome {
                Outcome::Acknowledged { .. } => second.acknowledged += 1,
                Outcome::Failed { .. } => second.failed += 1,
                Outcome::Unknown { .. } | Outcome::Invoked => second.unknown += 1,
            }
            if waited(operation) {
                latencies.record(second_of(operation.planned_us), ended_us.saturating_sub(operation.planned_us));
            }
        }
        for (second, histogram) in &latencies.seconds {
            list[*second].latency = percentiles(histogram);
        }
        let mut whole = Second { latency: percentiles(&latencies.whole), ..Second::default() };
        for second in &list {
            whole.planned += second.planned;
            whole.acknowledged += second.acknowledged;
            whole.failed += second.failed;
            whole.unknown += second.unknown;
        }
        ServiceFigures { name: scenario.services[index].kind.name().to_owned(), seconds: list, whole }
    };
    (0..scenario.services.len()).map(figures).collect()
}

/// Whether somebody waited for it. One that timed out has its time-out. One that failed for certain has none: refusals
/// come at once, and many of them would make a service look quick that does nothing.
fn waited(operation: &Operation) -> bool {
    !matches!(operation.outcome, Outcome::Failed { .. })
}

/// How long after their planned times requests were sent; `None` if none was.
pub fn lateness(history: &History) -> Option<Percentiles> {
    let mut late = histogram();
    for operation in &history.operations {
        if let Some(sent_us) = operation.sent_us {
            late.saturating_record(sent_us.saturating_sub(operation.planned_us));
        }
    }
    percentiles(&late)
}

/// Figures of the consumer group.
pub fn consumers(history: &History, plan: &Plan) -> ConsumerFigures {
    let mut first_seen: Vec<Option<u64>> = vec![None; history.operations.len()];
    for seen in &history.observations {
        let in_group = history.observers.get(usize::from(seen.observer)).is_some_and(|o| o.group == GROUP);
        let Some(slot) = seen.operation.and_then(|number| first_seen.get_mut(number as usize)) else { continue };
        if in_group {
            *slot = Some(slot.map_or(seen.at_us, |before: u64| before.min(seen.at_us)));
        }
    }
    let mut latencies = PerSecond::new();
    for (operation, seen) in history.operations.iter().zip(&first_seen) {
        if let Some(at_us) = seen {
            latencies.record(second_of(operation.planned_us), at_us.saturating_sub(operation.planned_us));
        }
    }
    let list = (0..seconds(history, plan)).map(|second| latencies.seconds.get(&second).and_then(percentiles));
    ConsumerFigures { seconds: list.collect(), whole: percentiles(&latencies.whole) }
}

/// Deliveries to the group of what it had been given before: after a rebalance, members go on from the last commit.
pub fn read_again(history: &History) -> u64 {
    let mut given = HashSet::new();
    let again = history.observations.iter().filter(|seen| {
        let in_group = history.observers.get(usize::from(seen.observer)).is_some_and(|o| o.group == GROUP);
        in_group && !given.insert(seen.place)
    });
    again.count() as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test panics on failure")]

    use super::*;

    #[test]
    fn a_stall_shows_in_every_request_that_was_due_during_it() {
        let scenario = Scenario::parse("first.toml", include_str!("../../../scenarios/first.toml")).unwrap();
        let plan = Plan::draw(&scenario, 1);
        let end_us = plan.end().as_micros() as u64;
        let acknowledged = || Outcome::Acknowledged { id: "x".into(), sequence: 1 };
        let operations = plan.operations.iter().map(|planned| Operation {
            topic: 0,
            user: planned.user,
            peer: "m1".into(),
            amount_minor: 1,
            planned_us: planned.at_us,
            sent_us: Some(planned.at_us),
            attempts: 1,
            // Nothing is answered before the end.
            ended_us: Some(end_us),
            outcome: acknowledged(),
        });
        let history = History { operations: operations.collect(), ..History::default() };
        for service in services(&history, &scenario, &plan) {
            assert_eq!(service.whole.planned, service.whole.acknowledged);
            for (second, figures) in service.seconds.iter().enumerate().filter(|(_, s)| s.planned > 0) {
                let waited_us = end_us - (second as u64 + 1) * 1_000_000;
                assert!(figures.latency.unwrap().p50_us >= waited_us);
            }
        }
    }
}
