//! Forecast, learning and nowcast over classes of ten campaigns each.

use naru_planner::campaign::{Calibration, Kernel, Nowcast, Observed, Offer, OfferClass, PATHS_LEAST, Paths, Sending};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::world::{Truth, play};

/// Campaigns of a class: ten to learn from, and one to tell.
const PER_CLASS: usize = 11;
/// Campaigns that a test has time for, and that a verdict takes.
const CAMPAIGNS_OF_A_TEST: usize = 220;
const CAMPAIGNS_OF_A_VERDICT: usize = 500;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Minutes at which a load is looked at: each of the first two hours, then every tenth.
fn minutes() -> Vec<f64> {
    (1..=120).chain((130..=480).step_by(10)).map(f64::from).collect()
}

fn peaks(paths: &Paths, sending: &Sending, offer: &Offer) -> Vec<f64> {
    let loads = paths.loads(sending, offer, &minutes());
    loads.into_iter().map(|load| load.into_iter().fold(0.0, f64::max)).collect()
}

#[test]
fn forecasts_of_campaigns_outside_the_family_are_calibrated_learn_and_follow_the_first_clicks() {
    let wanted = campaigns();
    let offer = Offer { requests_per_click: 8.0, visit_minutes: 1.0, units_per_request: 1.0 };
    let guess = Kernel::exponential(0.06, &[(0.45, 3.0), (0.35, 25.0), (0.20, 180.0)]);
    let mut random = ChaCha8Rng::seed_from_u64(1111);
    let mut calibration = Calibration::default();
    let (mut covered, mut followed, mut played) = (0, 0, 0);
    let (mut first, mut last, mut nowcast_errors) = (Vec::new(), Vec::new(), Vec::new());
    // Classes of a company run side by side: the n-th campaign of each, then the next of each.
    let classes = wanted.div_ceil(PER_CLASS);
    let truths: Vec<Truth> = (0..classes).map(|class| Truth::class(&mut random, 0.06, class)).collect();
    let mut known: Vec<OfferClass> = truths.iter().map(|_| OfferClass::new(guess.clone())).collect();
    for round in 0..PER_CLASS {
        for (truth, class) in truths.iter().zip(&mut known) {
            if played == wanted {
                break;
            }
            played += 1;
            let sending = Sending::steady(10e6, 600e3);
            let outcome = play(&truth.campaign(&mut random), &sending, &offer, &mut random);
            let paths = Paths::draw(class, PATHS_LEAST, played as u64);
            let forecast = peaks(&paths, &sending, &offer);
            let at = |level| paths.quantile(&forecast, calibration.level(level));
            covered += usize::from((at(0.1)..=at(0.9)).contains(&outcome.peak));
            let error = (at(0.5) / outcome.peak - 1.0).abs();
            if round == 0 {
                first.push(error);
            } else if round == PER_CLASS - 1 {
                last.push(error);
            }
            let observed = Observed { clicks_by_minute: outcome.clicks_by_minute[..3].to_vec() };
            let nowcast = Nowcast::of(&paths, &sending, &observed).paths;
            let now = nowcast.quantile(&peaks(&nowcast, &sending, &offer), 0.5);
            followed += usize::from((now / outcome.peak - 1.0).abs() <= 0.25);
            nowcast_errors.push((now / outcome.peak - 1.0).abs());
            calibration = calibration.learned(paths.share_at_most(&forecast, outcome.peak));
            *class = class.learned(class.fitted(&sending, &outcome.clicks_by_minute));
        }
    }
    let share = |count: usize| count as f64 / played as f64;
    let (first, last) = (median(first), median(last));
    println!("{played} campaigns of {classes} classes");
    println!("80 % interval of the peak covers {:.1} %", 100.0 * share(covered));
    println!(
        "median error of the peak: first campaign {:.1} %, after {} {:.1} %",
        100.0 * first,
        PER_CLASS - 1,
        100.0 * last
    );
    println!(
        "nowcast after 3 minutes within 25 %: {:.1} %, median error {:.1} %",
        100.0 * share(followed),
        100.0 * median(nowcast_errors)
    );
    // Fewer campaigns than the simulation's say less, and are held to less.
    let (coverage, learned, followed_least) =
        if played >= CAMPAIGNS_OF_A_VERDICT { (0.75..=0.85, 0.5, 0.8) } else { (0.68..=0.92, 0.7, 0.75) };
    assert!(coverage.contains(&share(covered)), "coverage");
    assert!(last <= learned * first, "learning");
    assert!(share(followed) >= followed_least, "nowcast");
}

/// How many campaigns are played: `./x simulate campaigns` says so.
fn campaigns() -> usize {
    #[allow(clippy::disallowed_methods)] // a simulation's length, not an option of the product
    let count = std::env::var("NARU_SIMULATE_CAMPAIGNS");
    count.map_or(CAMPAIGNS_OF_A_TEST, |count| count.parse().expect("NARU_SIMULATE_CAMPAIGNS is a number"))
}
