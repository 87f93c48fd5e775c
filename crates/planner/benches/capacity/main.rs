//! The capacity benchmark: the planner beside the autoscaler's rule on a real trace with a calendar.
//!
//! `./x bench capacity --trace FILE --calendar FILE [--scored-from YYYY-MM-DD]`. One unit serves 1,000 requests a minute;
//! reserved units cost 1.0 a minute and are fixed by the hour before their day begins; units on demand cost 1.5 a minute
//! from the moment they are asked for and serve after the boot time.
//!
//! Two steps, in this order and in one run. CHOOSE is handed a trace that ends before the first scored day, and prints
//! the knobs it settles on; SCORE plays those knobs once on the whole trace. Nothing flows back. The rivals need no such
//! care: they are swept on the scored days themselves and their best is taken, which favours them.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a benchmark ends on bad input, and prints

mod choose;
mod play;
mod rivals;
mod trace;

use std::fs;
use std::time::Instant;

use naru_planner::demand::{Calendar, Keeper, KeeperKnobs, MINUTES_PER_DAY, Minutes, UnitPrices, day_of};
use naru_planner::plan::{HourNeed, Prices, Resource, fleet};

use crate::play::{ON_DEMAND, Policy, RESERVED, Score, play};
use crate::rivals::Autoscaler;

/// Boot times, in minutes, with the planner's targets: cost beside the autoscaler over a floor.
const BOOTS: [(u32, f64); 2] = [(30, 0.45), (5, 0.80)];
/// Per cent of requests that may go unserved.
const UNSERVED_MAX: f64 = 0.02;
/// Demand below this counts as this, in units: its logarithm must exist.
const LEAST: f64 = 0.05;

/// The planner, as a policy of the game.
pub struct Planned(Keeper);

impl Planned {
    /// A planner that has seen the trace before its first midnight is over.
    pub fn new(trace: &Minutes, calendar: &Calendar, boot: u32, knobs: &KeeperKnobs) -> (Self, i64) {
        let midnight = (day_of(trace.from()) + 1) * MINUTES_PER_DAY;
        let prices = UnitPrices { reserved: RESERVED, on_demand: ON_DEMAND };
        let keeper = Keeper::new(midnight, calendar.clone(), boot, prices, LEAST, knobs.clone());
        (Self(keeper), midnight)
    }
}

impl Policy for Planned {
    fn observe(&mut self, demand: f64) {
        self.0.observe(demand);
    }

    fn reserved(&self, minute: i64) -> u64 {
        self.0.reserved(minute)
    }

    fn standing(&mut self, existing: u64) -> u64 {
        self.0.standing(existing)
    }

    fn forecast(&self, minute: i64) -> Option<f64> {
        self.0.forecast(minute)
    }
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let (mut trace_file, mut calendar_file, mut scored_from) = (None, None, "1998-06-15".to_owned());
    let mut choose_only = false;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--trace" => trace_file = words.next(),
            "--calendar" => calendar_file = words.next(),
            "--scored-from" => scored_from = words.next().unwrap_or_default(),
            "--choose-only" => choose_only = true,
            other => {
                panic!("unknown word {other:?}: --trace FILE --calendar FILE [--scored-from DATE] [--choose-only]")
            }
        }
    }
    fleet_at_once();
    let (Some(trace_file), Some(calendar_file)) = (trace_file, calendar_file) else {
        println!("capacity: nothing to play; name --trace FILE and --calendar FILE");
        return;
    };
    let trace = trace::series(&fs::read_to_string(&trace_file).unwrap())
        .unwrap_or_else(|wrong| panic!("{trace_file}: {wrong}"));
    let calendar = trace::calendar(&fs::read_to_string(&calendar_file).unwrap())
        .unwrap_or_else(|wrong| panic!("{calendar_file}: {wrong}"));
    let first = trace::minute(&scored_from).unwrap_or_else(|| panic!("{scored_from:?} is no date"));

    println!("CHOOSE: on {} days before {scored_from}; the trace it is handed ends there", choose::DAYS);
    let known = trace.before(first);
    let chosen = BOOTS.map(|(boot, _)| choose::knobs(&known, &calendar, boot));
    if choose_only {
        return;
    }
    println!("SCORE: from {scored_from} to the end of the trace, {} days", (trace.until() - first) / MINUTES_PER_DAY);
    for ((boot, target), knobs) in BOOTS.into_iter().zip(chosen) {
        score(&trace, &calendar, first, boot, target, &knobs);
    }
}

/// How long a day of ten thousand resources takes.
fn fleet_at_once() {
    let hours: Vec<HourNeed> =
        (0..24).map(|hour| HourNeed::new((0..1000).map(|path| f64::from(path * hour)).collect(), 1000.0)).collect();
    let prices = Prices { reserved: 0.6, on_demand: 1.0 };
    let resources: Vec<Resource> = (1..=10_000)
        .map(|number| Resource { share: 1.0 / f64::from(number), owned: 10.0, node: 5.0, floor: 1, prices })
        .collect();
    let begun = Instant::now();
    let decided: usize = fleet(&resources, &hours).iter().map(Vec::len).sum();
    let took = begun.elapsed();
    let verdict = if took.as_secs() < 1 { "held" } else { "MISSED" };
    println!(
        "fleet: 10,000 resources, {decided} hours decided in {:.1} ms; below 1 s: {verdict}",
        took.as_secs_f64() * 1e3
    );
}

fn score(trace: &Minutes, calendar: &Calendar, first: i64, boot: u32, target: f64, knobs: &KeeperKnobs) {
    let scored = first..trace.until();
    let (mut planned, from) = Planned::new(trace, calendar, boot, knobs);
    let ours = play(&mut planned, trace, i64::from(boot), from, scored.clone());
    println!("\nboot {boot} min                    cost  reserved part  unserved %  target of it");
    println!(
        "planner                      {:>6.3}  {:>13.3}  {:>10.4}",
        ours.cost, ours.cost_reserved, ours.unserved_percent
    );
    for (name, with_floor) in [("autoscaler", false), ("autoscaler over a floor", true)] {
        for (start, from) in [("cold", first), ("warm", first - MINUTES_PER_DAY)] {
            let Some((sweep, best)) = best(trace, boot, with_floor, from, scored.clone()) else {
                println!("{name}, {start:5}: unserved above {UNSERVED_MAX} % at every target");
                continue;
            };
            println!(
                "{name:23} {start} {:>6.3}  {:>13.3}  {:>10.4}  {sweep:.2}",
                best.cost, best.cost_reserved, best.unserved_percent
            );
            if with_floor {
                let ratio = ours.cost / best.cost;
                let held = if ratio <= target && ours.unserved_percent <= UNSERVED_MAX { "held" } else { "MISSED" };
                println!("  planner <= {target} x autoscaler over a floor, {start} start: {ratio:.3}: {held}");
            }
        }
    }
    let verdict = |held: bool| if held { "held" } else { "MISSED" };
    println!(
        "  unserved <= {UNSERVED_MAX} %: {:.4}: {}",
        ours.unserved_percent,
        verdict(ours.unserved_percent <= UNSERVED_MAX)
    );
    println!("  WAPE of the day ahead <= 0.29: {:.3}: {}", ours.wape, verdict(ours.wape <= 0.29));
    println!(
        "  promised risk (at most {} % of an hour's requests unserved) in >= 95 % of hours: {:.1} %: {}",
        100.0 * play::PROMISED,
        100.0 * ours.hours_kept,
        verdict(ours.hours_kept >= 0.95)
    );
}

/// The cheapest target of the rule with no more unserved than allowed. `cold` starts with nothing at the first scored
/// minute, as the rules have it; `warm` has run for a day before.
fn best(trace: &Minutes, boot: u32, with_floor: bool, from: i64, scored: std::ops::Range<i64>) -> Option<(f64, Score)> {
    (10..=100)
        .map(|percent| {
            let target = f64::from(percent) / 100.0;
            let seen = (from - MINUTES_PER_DAY..from).map(|minute| trace.at(minute).unwrap_or(0.0));
            let mut rule = Autoscaler::new(target, with_floor, seen);
            (target, play(&mut rule, trace, i64::from(boot), from, scored.clone()))
        })
        .filter(|(_, score)| score.unserved_percent <= UNSERVED_MAX)
        .min_by(|(_, a), (_, b)| a.cost.total_cmp(&b.cost))
}
