//! The plan of one run: every operation and every fault with its time, decided before anything is started.
//!
//! A pure function of scenario and seed. Each service's arrivals, its users and the faults draw from ChaCha streams of
//! their own, so that adding a service or a fault does not change what the others do.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::scenario::{FaultKind, OPERATIONS_MAX, Scenario};

/// A few users make most of the payments: the user's rank is `users * u^SKEW` for uniform `u`, so with 3 the busiest
/// thousandth of users sends a tenth of the requests. Keys that repeat quickly are what puts the order to the test.
const SKEW: i32 = 3;
/// Smallest and largest amount in KRW, drawn log-uniformly: a coffee to a month's rent.
const AMOUNT_MINOR: (f64, f64) = (1_000.0, 1_000_000.0);

/// Streams of the seeded generator.
const STREAM_FAULTS: u64 = 0;
/// The first of two streams per service.
const STREAM_SERVICES: u64 = 16;

/// Everything that will be done, in the order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Where all randomness came from.
    pub seed: u64,
    /// The operations, by planned time.
    pub operations: Vec<PlannedOperation>,
    /// The faults, by planned time.
    pub faults: Vec<PlannedFault>,
    /// Start and end of each phase, on the run's clock.
    pub phases: Vec<(Duration, Duration)>,
}

/// One request to be sent at its time, whatever became of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedOperation {
    /// When, in microseconds on the run's clock.
    pub at_us: u64,
    /// Index into [`Scenario::services`].
    pub service: u16,
    /// The user, from 0.
    pub user: u32,
    /// The other user of a transfer; differs from `user` unless there is only one.
    pub peer: u32,
    /// Amount in minor units of KRW (which has none: one minor unit is one won).
    pub amount_minor: i64,
}

/// One fault to be injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedFault {
    /// When, on the run's clock.
    pub at: Duration,
    /// For how long.
    pub lasts: Duration,
    /// What happens.
    pub kind: FaultKind,
}

impl Plan {
    /// Draws the plan of `scenario` from `seed`.
    pub fn draw(scenario: &Scenario, seed: u64) -> Self {
        let mut phases = Vec::with_capacity(scenario.phases.len());
        let mut start = Duration::ZERO;
        for phase in &scenario.phases {
            phases.push((start, start + phase.lasts));
            start += phase.lasts;
        }
        let mut operations = Vec::new();
        for service in 0..scenario.services.len() {
            arrivals(scenario, &phases, service, seed, &mut operations);
        }
        operations.sort_by_key(|operation: &PlannedOperation| (operation.at_us, operation.service));
        operations.truncate(OPERATIONS_MAX);

        let mut rng = stream(seed, STREAM_FAULTS);
        let mut faults: Vec<PlannedFault> = scenario
            .faults
            .iter()
            .map(|fault| PlannedFault {
                at: phases[fault.phase].0 + fault.at + fault.jitter.mul_f64(rng.random::<f64>()),
                lasts: fault.lasts,
                kind: fault.kind,
            })
            .collect();
        faults.sort_by_key(|fault| fault.at);
        Self { seed, operations, faults, phases }
    }

    /// The index of the phase at `at`; the last one after the end.
    pub fn phase_at(&self, at: Duration) -> usize {
        self.phases.iter().position(|(_, end)| at < *end).unwrap_or(self.phases.len().saturating_sub(1))
    }

    /// When the last phase ends.
    pub fn end(&self) -> Duration {
        self.phases.last().map_or(Duration::ZERO, |(_, end)| *end)
    }
}

fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// Poisson arrivals whose rate follows the phases, by thinning: draw at the phase's highest rate, keep each arrival with
/// the probability that the rate of its moment has of it.
fn arrivals(
    scenario: &Scenario,
    phases: &[(Duration, Duration)],
    service: usize,
    seed: u64,
    operations: &mut Vec<PlannedOperation>,
) {
    let number = service as u64;
    let mut clock = stream(seed, STREAM_SERVICES + 2 * number);
    let mut people = stream(seed, STREAM_SERVICES + 2 * number + 1);
    let users = scenario.services[service].users;
    let mut rate_before = 0.0;
    for (phase, (start, _)) in scenario.phases.iter().zip(phases) {
        let (rate_end, lasts, ramp) = (phase.rates[service], phase.lasts.as_secs_f64(), phase.ramp.as_secs_f64());
        let rate_start = rate_before;
        let rate_most = if ramp > 0.0 { rate_end.max(rate_start) } else { rate_end };
        rate_before = rate_end;
        if rate_most == 0.0 {
            continue;
        }
        let mut at = 0.0;
        loop {
            // 1 - u lies in (0, 1], so the logarithm is finite.
            at -= (1.0 - clock.random::<f64>()).ln() / rate_most;
            if at >= lasts {
                break;
            }
            let rate = if at < ramp { rate_start + (rate_end - rate_start) * at / ramp } else { rate_end };
            if clock.random::<f64>() * rate_most >= rate {
                continue;
            }
            let user = rank(&mut people, users);
            let mut peer = rank(&mut people, users);
            if peer == user {
                peer = (user + 1) % users;
            }
            let (low, high) = (AMOUNT_MINOR.0.ln(), AMOUNT_MINOR.1.ln());
            let amount = (low + (high - low) * people.random::<f64>()).exp();
            operations.push(PlannedOperation {
                at_us: start.as_micros() as u64 + (at * 1e6) as u64,
                service: service as u16,
                user,
                peer,
                // Prices end in two zeros.
                amount_minor: (amount / 100.0) as i64 * 100,
            });
        }
    }
}

fn rank(rng: &mut ChaCha8Rng, users: u32) -> u32 {
    ((rng.random::<f64>().powi(SKEW) * f64::from(users)) as u32).min(users - 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test panics on failure")]

    use super::*;
    use crate::scenario::tests::first;

    #[test]
    fn the_same_seed_gives_the_same_operations_and_faults() {
        let scenario = first();
        assert_eq!(Plan::draw(&scenario, 5), Plan::draw(&scenario, 5));
        let other = Plan::draw(&scenario, 6);
        assert_ne!(Plan::draw(&scenario, 5).operations, other.operations);
        assert_ne!(Plan::draw(&scenario, 5).faults, other.faults);
    }

    #[test]
    fn a_further_service_leaves_the_first_ones_plan_alone() {
        let mut scenario = first();
        let both = Plan::draw(&scenario, 5);
        scenario.services.truncate(1);
        let one = Plan::draw(&scenario, 5);
        let kept: Vec<_> = both.operations.into_iter().filter(|operation| operation.service == 0).collect();
        assert_eq!(one.operations, kept);
    }

    #[test]
    fn arrivals_follow_the_rates_of_the_phases() {
        let scenario = first();
        let plan = Plan::draw(&scenario, 11);
        for (index, (phase, (start, end))) in scenario.phases.iter().zip(&plan.phases).enumerate() {
            let within = |at: u64| (start.as_micros() as u64..end.as_micros() as u64).contains(&at);
            let found = plan.operations.iter().filter(|o| o.service == 0 && within(o.at_us)).count() as f64;
            let before = index.checked_sub(1).map_or(0.0, |before| scenario.phases[before].rates[0]);
            let ramp = phase.ramp.as_secs_f64();
            let wanted = phase.rates[0] * (phase.lasts.as_secs_f64() - ramp) + (phase.rates[0] + before) / 2.0 * ramp;
            // Five standard deviations of a Poisson count.
            assert!((found - wanted).abs() < 5.0 * wanted.sqrt(), "{}: {found} beside {wanted}", phase.name);
        }
    }

    #[test]
    fn faults_stay_within_their_jitter() {
        let scenario = first();
        for seed in 0..50 {
            for fault in Plan::draw(&scenario, seed).faults {
                let planned = scenario.faults.iter().find(|planned| planned.kind == fault.kind).unwrap();
                let earliest = Plan::draw(&scenario, seed).phases[planned.phase].0 + planned.at;
                assert!(fault.at >= earliest && fault.at <= earliest + planned.jitter);
            }
        }
    }
}
