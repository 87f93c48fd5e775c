//! The load that a request brings, path by path.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::history::{History, Known};
use super::request::{RentedSupply, Request, units};
use crate::campaign::{PATHS_LEAST, Paths, Sending};
use crate::day_time::DayTime;
use crate::demand::{AheadKnobs, Calendar, DayAhead, day_of};
use crate::normal;

/// Seconds of an hour, which is billed whole.
pub(super) const HOUR: i64 = 3600;
/// Steps in which a load is looked at, in seconds.
pub(super) const STEP: i64 = 60;
/// A load below this counts as this, in units a second: a profile is made of logarithms.
const LOAD_LEAST: f64 = 0.001;

/// The load of every path, by step.
pub(super) struct Forecast {
    pub paths: Paths,
    pub sending: Sending,
    /// When the first hour begins.
    pub from: DayTime,
    /// By path, then by step of [`STEP`] seconds from the first hour on: everything, in units a second.
    pub loads: Vec<Vec<f64>>,
}

impl Forecast {
    /// Forecasts a request's load with what is known of the offer's class and of the load beside it. `factor` changes the
    /// rate of sending.
    pub fn of(request: &Request, known: Known<'_>, factor: f64) -> Self {
        let memory = known.memory;
        let class = memory.class(&request.offer.class, request.guess());
        let paths = Paths::draw(&class, PATHS_LEAST, request.seed);
        let sending = request.sending().at_rate(factor);
        let begins = request.begins();
        let from = begins.in_zone(request.zone).hour_begins();
        let steps: Vec<DayTime> =
            (1..=i64::from(request.hours) * HOUR / STEP).map(|step| from.plus_seconds(step * STEP)).collect();
        let minutes: Vec<f64> = steps.iter().map(|at| (at.seconds() - begins.seconds()) as f64 / 60.0).collect();
        let beside = known.history.and_then(|history| seasonal(history, request, &steps));
        let beside = beside.unwrap_or_else(|| vec![0.0; steps.len()]);
        let base: Vec<f64> =
            steps.iter().zip(beside).map(|(at, beside)| request.base_at(at.plus_seconds(-1)) + beside).collect();
        let mut loads = paths.loads(&sending, &request.offer(), &minutes);
        // Another stream than the one that paths are drawn from.
        let mut random = ChaCha8Rng::seed_from_u64(request.seed);
        random.set_stream(1);
        for path in &mut loads {
            let share = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
            let factor = (request.base_deviation * normal::quantile(share)).exp();
            path.iter_mut().zip(&base).for_each(|(load, base)| *load += base * factor);
        }
        Self { paths, sending, from, loads }
    }

    /// The highest load of each path in a range of steps.
    pub fn highest(&self, steps: std::ops::Range<usize>) -> Vec<f64> {
        let of = |path: &Vec<f64>| {
            let end = steps.end.min(path.len());
            path[steps.start.min(end)..end].iter().copied().fold(0.0, f64::max)
        };
        self.loads.iter().map(of).collect()
    }

    /// The steps of an hour.
    pub fn hour(hour: usize) -> std::ops::Range<usize> {
        let length = (HOUR / STEP) as usize;
        hour * length..(hour + 1) * length
    }
}

/// The load that the history of days before lets expect, by step: the median of each day's forecast.
fn seasonal(history: &History, request: &Request, steps: &[DayTime]) -> Option<Vec<f64>> {
    let local = |at: DayTime| at.in_zone(request.zone).minute();
    // What came after the decision was not known then.
    let series = history.local(request.zone).before(local(request.decided_at));
    let events = Calendar::new(Vec::new());
    let mut days: BTreeMap<i64, DayAhead> = BTreeMap::new();
    for at in steps {
        let day = day_of(local(at.plus_seconds(-1)));
        if let Entry::Vacant(vacant) = days.entry(day) {
            vacant.insert(DayAhead::fit(day, &series, &events, &AheadKnobs::default(), LOAD_LEAST)?);
        }
    }
    let median = |at: &DayTime| {
        let minute = local(at.plus_seconds(-1));
        days.get(&day_of(minute)).map(|ahead| ahead.log_median(minute).exp())
    };
    steps.iter().map(median).collect()
}

/// The capacity that a request could have at most for its peak, in units a second.
pub(super) fn obtainable(request: &Request) -> f64 {
    let node = units(request.reserved.node_units_per_second);
    let begins = request.begins().in_zone(request.zone).hour_begins();
    let in_time = |lead: u32, by: DayTime| request.decided_at.plus_seconds(i64::from(lead)) <= by;
    let nodes = |supply: &RentedSupply, by| {
        if in_time(supply.lead_seconds, by) { supply.nodes_max as f64 } else { 0.0 }
    };
    units(request.owned_units_per_second)
        + node * (nodes(&request.reserved, begins) + nodes(&request.on_demand, request.begins()))
}
