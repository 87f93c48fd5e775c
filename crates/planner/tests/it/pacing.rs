//! Pacing when the forecast was wrong: no overload, and hardly longer than with hindsight.

use naru_planner::campaign::{Kernel, Offer};
use naru_planner::pacing::{History, PaceReason, Pacer, STEP_MINUTES, Situation};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::world::standard;

const RECIPIENTS: f64 = 10e6;
const PLAN: f64 = 600e3;
/// What the owned sites have left, and 1,500 rented.
const CAPACITY: f64 = 4000.0;
const OFFER: Offer = Offer { requests_per_click: 8.0, visit_minutes: 1.0, units_per_request: 1.0 };
/// A campaign that has not ended by then, in steps, never does.
const STEPS_MAX: usize = 6 * 60 * 24;

fn mixture(click_rate: f64, slower: f64) -> Kernel {
    Kernel::exponential(click_rate, &[(0.45, 3.0 * slower), (0.35, 25.0 * slower), (0.20, 180.0 * slower)])
}

/// The share of clicks until a minute after the message, in truth: smooth, where the planner's kernel has bins.
fn until(minute: f64, slower: f64) -> f64 {
    let parts = [(0.45, 3.0), (0.35, 25.0), (0.20, 180.0)];
    parts.iter().map(|(share, mean)| share * (1.0 - (-minute.max(0.0) / (mean * slower)).exp())).sum()
}

struct Played {
    minutes: f64,
    load_max: f64,
}

/// Sends a campaign to people of whom `click_rate` click, `slower` than forecast, paced by what `known` says of them.
fn play(known: &Kernel, click_rate: f64, slower: f64, noise: f64, stop_at: Option<usize>) -> (Played, Vec<PaceReason>) {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let at = |step: usize| step as f64 * STEP_MINUTES;
    let clicks: Vec<f64> =
        (0..STEPS_MAX).map(|step| click_rate * (until(at(step + 1), slower) - until(at(step), slower))).collect();
    let mut pacer = Pacer::new(known, &OFFER);
    let mut history = History::default();
    let (mut left, mut load, mut load_max) = (RECIPIENTS, 0.0_f64, 0.0_f64);
    let mut reasons = Vec::new();
    let visit = (OFFER.visit_minutes / STEP_MINUTES).round() as usize;
    let mut ended = None;
    // Goes on for half an hour after the last message, when load must not rise above the capacity either.
    for step in 0..STEPS_MAX {
        if ended.is_some_and(|end| step > end + 180) {
            break;
        }
        let situation = Situation {
            plan_per_minute: PLAN,
            provider_per_minute: 800e3,
            capacity: CAPACITY,
            load,
            stopped: stop_at.is_some_and(|stop| step >= stop),
        };
        let (next, pace) = pacer.pace(&history, &situation);
        pacer = next;
        reasons.push(pace.reason);
        let sent = (pace.per_minute * STEP_MINUTES).min(left);
        left -= sent;
        if left < 1.0 && ended.is_none() {
            ended = Some(step);
        }
        history.sent.push(sent);
        let mean: f64 = history.sent.iter().enumerate().map(|(at, sent)| sent * clicks[step - at]).sum();
        history.clicks.push((mean + noise * (mean + (0.02 * mean).powi(2)).sqrt() * standard(&mut random)).max(0.0));
        let recent: f64 = history.clicks.iter().rev().take(visit).sum();
        load = recent * OFFER.requests_per_click / (OFFER.visit_minutes * 60.0);
        load_max = load_max.max(load);
        if stop_at.is_some_and(|stop| step >= stop) {
            assert_eq!(sent, 0.0, "sent after a stop");
            if step >= stop_at.unwrap() + 6 {
                break;
            }
        }
    }
    let minutes = at(ended.unwrap_or(STEPS_MAX));
    (Played { minutes, load_max }, reasons)
}

/// The shortest campaign possible: the highest rate of each step that keeps every later step below the capacity, with the
/// truth known and nothing left to chance.
fn hindsight(click_rate: f64, slower: f64) -> f64 {
    let at = |step: usize| step as f64 * STEP_MINUTES;
    let units = OFFER.requests_per_click / (OFFER.visit_minutes * 60.0);
    let response: Vec<f64> = (0..6 * 60 * 10)
        .map(|step| {
            units * click_rate * (until(at(step + 1), slower) - until(at(step + 1) - OFFER.visit_minutes, slower))
        })
        .collect();
    // Responses rise for a visit's length and fall from then on, so that only the next steps can be too high.
    let mut load = vec![0.0; response.len() * 2];
    let (mut left, mut step) = (RECIPIENTS, 0);
    while left >= 1.0 {
        let most = (0..12)
            .map(|ahead| (CAPACITY - load[step + ahead]).max(0.0) / response[ahead])
            .fold(f64::INFINITY, f64::min);
        let sent = most.min(PLAN * STEP_MINUTES).min(left);
        left -= sent;
        for (ahead, each) in response.iter().enumerate().take(load.len() - step) {
            load[step + ahead] += sent * each;
        }
        step += 1;
        assert!(step < response.len(), "does not end");
    }
    at(step)
}

#[test]
fn a_forecast_wrong_by_two_or_four_overloads_nothing_and_takes_hardly_longer() {
    let check = |factor: f64, slower: f64| {
        let known = mixture(0.06, 1.0);
        let (played, _) = play(&known, 0.06 * factor, slower, 1.0, None);
        let best = hindsight(0.06 * factor, slower);
        let (load, longer) = (played.load_max / CAPACITY, played.minutes / best - 1.0);
        println!(
            "clicks x{factor}, delays x{slower}: {:.1} min, best {best:.1} ({:+.1} %), highest load {:.1} % of the capacity",
            played.minutes,
            100.0 * longer,
            100.0 * load
        );
        assert!(load <= 1.0, "overload");
        assert!(longer <= 0.05, "too long");
    };
    check(1.0, 1.0);
    check(2.0, 1.0);
    check(4.0, 1.0);
    check(0.5, 1.0);
    check(2.0, 1.3);
}

#[test]
fn a_stop_stops_at_once() {
    let known = mixture(0.06, 1.0);
    let (_, reasons) = play(&known, 0.06, 1.0, 1.0, Some(30));
    assert_eq!(reasons[29], PaceReason::Plan);
    assert!(reasons[30..].iter().all(|reason| *reason == PaceReason::Stopped));
}

#[test]
fn a_load_that_no_kernel_explains_is_backed_off_from() {
    let situation = Situation {
        plan_per_minute: PLAN,
        provider_per_minute: PLAN,
        capacity: CAPACITY,
        load: CAPACITY,
        stopped: false,
    };
    let (pacer, first) = Pacer::new(&mixture(0.06, 1.0), &OFFER).pace(&History::default(), &situation);
    let (pacer, second) = pacer.pace(&History::default(), &situation);
    let (_, calm) = pacer.pace(&History::default(), &Situation { load: 0.0, ..situation });
    assert_eq!(first.reason, PaceReason::Backoff);
    assert!(second.per_minute < first.per_minute && first.per_minute < PLAN);
    assert!(calm.per_minute > second.per_minute);
}
