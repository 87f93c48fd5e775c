//! The rules: units boot, serve and are billed.

use std::collections::VecDeque;

use naru_planner::demand::Minutes;

/// The price of a reserved unit for a minute.
pub const RESERVED: f64 = 1.0;
/// The price of a unit on demand for a minute, from the moment it is asked for.
pub const ON_DEMAND: f64 = 1.5;

/// Who decides. It is told each minute only after the minute is over.
pub trait Policy {
    /// What the last minute was.
    fn observe(&mut self, demand: f64);
    /// The reserved units of this minute; they were fixed before its day began.
    fn reserved(&self, minute: i64) -> u64;
    /// How many units on demand are to stand now, ready or booting, when so many do.
    fn standing(&mut self, existing: u64) -> u64;
    /// What had been forecast for a minute of this day before the day began.
    fn forecast(&self, minute: i64) -> Option<f64>;
}

/// What a policy came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Score {
    /// What was paid, by unit of demand.
    pub cost: f64,
    /// The part of it for reserved units.
    pub cost_reserved: f64,
    /// Per cent of requests that were not served.
    pub unserved_percent: f64,
    /// The share of hours in which no more than the promised share of the hour's requests was not served.
    pub hours_kept: f64,
    /// The weighted absolute error of the day-ahead forecast, by the minute.
    pub wape: f64,
}

/// The share of an hour's requests that a plan promises not to leave unserved more than: the benchmark's own bound.
pub const PROMISED: f64 = 0.0002;

/// Plays a policy from `from` on, and scores the minutes of `scored`.
pub fn play(policy: &mut dyn Policy, trace: &Minutes, boot: i64, from: i64, scored: std::ops::Range<i64>) -> Score {
    let mut ready = 0;
    let mut booting: VecDeque<(i64, u64)> = VecDeque::new();
    let (mut reserved_paid, mut on_demand_paid, mut unserved, mut demanded, mut missed) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let (mut hours, mut hours_kept) = (0_u32, 0_u32);
    let mut hour = (0.0, 0.0);
    for minute in from..scored.end {
        while let Some((_, units)) = booting.pop_front_if(|(at, _)| *at <= minute) {
            ready += units;
        }
        let existing = ready + booting.iter().map(|(_, units)| units).sum::<u64>();
        let standing = policy.standing(existing);
        if standing > existing {
            booting.push_back((minute + boot, standing - existing));
        }
        let mut excess = existing.saturating_sub(standing);
        while let (true, Some((_, units))) = (excess > 0, booting.back_mut()) {
            let gone = excess.min(*units);
            *units -= gone;
            excess -= gone;
            if *units == 0 {
                booting.pop_back();
            }
        }
        ready -= excess;
        let reserved = policy.reserved(minute);
        let demand = trace.at(minute);
        if scored.contains(&minute) {
            reserved_paid += RESERVED * reserved as f64;
            on_demand_paid += ON_DEMAND * standing as f64;
            let demand = demand.unwrap_or(0.0);
            let short = (demand - (reserved + ready) as f64).max(0.0);
            unserved += short;
            demanded += demand;
            missed += policy.forecast(minute).map_or(0.0, |forecast| (forecast - demand).abs());
            hour = (hour.0 + short, hour.1 + demand);
            if (minute + 1) % 60 == 0 {
                hours += 1;
                hours_kept += u32::from(hour.0 <= PROMISED * hour.1);
                hour = (0.0, 0.0);
            }
        }
        policy.observe(demand.unwrap_or(f64::NAN));
    }
    Score {
        cost: (reserved_paid + on_demand_paid) / demanded,
        cost_reserved: reserved_paid / demanded,
        unserved_percent: 100.0 * unserved / demanded,
        hours_kept: f64::from(hours_kept) / f64::from(hours.max(1)),
        wape: missed / demanded,
    }
}
