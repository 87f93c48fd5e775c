//! The day ahead, from what is known at its midnight.

use super::{Calendar, MINUTES_PER_DAY, Minutes, Phase, day_of, is_weekend, minute_of_day, smoothed};

/// Steps of a quarter of an hour in a day.
const STEPS: usize = 96;
/// Minutes in a step.
const STEP_MINUTES: i64 = 15;
/// How many days back a forecast looks.
const DAYS_MAX: i64 = 42;
/// Rounds of fitting levels and profiles to each other; they settle within three.
const ROUNDS: usize = 4;

/// What is chosen once for a kind of demand, on days that are not scored.
#[derive(Debug, Clone, PartialEq)]
pub struct AheadKnobs {
    /// After how many days a day counts half in the profile.
    pub profile_half_life_days: f64,
    /// After how many days an event counts half in the response that is expected of the next.
    pub event_half_life_days: f64,
    /// The weight of an event of the other kind of day (working day, weekend), beside 1.
    pub other_kind_weight: f64,
    /// By how many minutes of difference in the time of day an event's weight falls to a third.
    pub time_of_day_minutes: f64,
    /// After how many hours what the last day showed of its level counts half for the next.
    pub level_half_life_hours: f64,
}

impl Default for AheadKnobs {
    fn default() -> Self {
        Self {
            profile_half_life_days: 7.0,
            event_half_life_days: 4.0,
            other_kind_weight: 0.05,
            time_of_day_minutes: 90.0,
            level_half_life_hours: 8.0,
        }
    }
}

/// A day as it was, in steps, without what events did.
struct PastDay {
    age_days: f64,
    weekend: bool,
    day: i64,
    /// Mean logarithm of demand by step; `None` where an event was felt or nothing was observed.
    quiet: Vec<Option<f64>>,
    level: f64,
}

/// The forecast of a day by the minute.
#[derive(Debug, Clone, PartialEq)]
pub struct DayAhead {
    from: i64,
    log_median: Vec<f64>,
}

impl DayAhead {
    /// Forecasts a day (counted from 1970-01-01) from a series that ends before it. Demand is taken to be at least `least`,
    /// so that its logarithm exists. `None` for a series without a day that was observed.
    pub fn fit(day: i64, series: &Minutes, calendar: &Calendar, knobs: &AheadKnobs, least: f64) -> Option<Self> {
        let (today, midnight) = (day, day * MINUTES_PER_DAY);
        let log = |minute: i64| series.at(minute).map(|value| value.max(least).ln());
        let mut days: Vec<PastDay> =
            (today - DAYS_MAX..today).filter_map(|day| PastDay::read(day, today, calendar, &log)).collect();
        if days.is_empty() {
            return None;
        }
        let profiles = profiles(&mut days, knobs);
        let base_of =
            |weekend: bool, minute: i64| profiles[usize::from(weekend)][minute_of_day(minute) / STEP_MINUTES as usize];
        let level = next_level(&days, &profiles, is_weekend(today), knobs);
        let responses = Responses::read(&days, calendar, &log, &base_of);
        let log_median = (midnight..midnight + MINUTES_PER_DAY)
            .map(|minute| {
                let response = calendar.phase(minute).map_or(0.0, |phase| responses.expected(phase, knobs));
                level + base_of(is_weekend(today), minute) + response
            })
            .collect();
        Some(Self { from: midnight, log_median })
    }

    /// The first minute of the day.
    pub fn from(&self) -> i64 {
        self.from
    }

    /// The median of demand in a minute of the day, as its logarithm; of the first or last minute outside of it.
    pub fn log_median(&self, minute: i64) -> f64 {
        let index = (minute - self.from).clamp(0, MINUTES_PER_DAY - 1);
        self.log_median[index as usize]
    }
}

impl PastDay {
    fn read(day: i64, today: i64, calendar: &Calendar, log: &impl Fn(i64) -> Option<f64>) -> Option<Self> {
        let first = day * MINUTES_PER_DAY;
        let quiet: Vec<Option<f64>> = (0..STEPS as i64)
            .map(|step| {
                let minutes = first + step * STEP_MINUTES..first + (step + 1) * STEP_MINUTES;
                let seen: Vec<f64> =
                    minutes.filter(|minute| calendar.phase(*minute).is_none()).filter_map(log).collect();
                median(seen)
            })
            .collect();
        let steps = quiet.iter().flatten().count();
        (steps * 8 >= STEPS).then(|| {
            let level = quiet.iter().flatten().sum::<f64>() / steps as f64;
            Self { age_days: (today - day) as f64, weekend: is_weekend(day), day, quiet, level }
        })
    }
}

/// The median, in any order.
fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

/// The profiles of working days and of weekends by step, each around zero; sets the days' levels.
fn profiles(days: &mut [PastDay], knobs: &AheadKnobs) -> [Vec<f64>; 2] {
    let mut profiles = [vec![0.0; STEPS], vec![0.0; STEPS]];
    for _ in 0..ROUNDS {
        for (weekend, profile) in profiles.iter_mut().enumerate() {
            let weekend = weekend == 1;
            let curve: Vec<Option<f64>> = (0..STEPS)
                .map(|step| {
                    let (mut sum, mut weights) = (0.0, 0.0);
                    for day in days.iter() {
                        let Some(value) = day.quiet[step] else { continue };
                        // The other kind of day says little, but more than nothing.
                        let kind = if day.weekend == weekend { 1.0 } else { 0.02 };
                        let weight = kind * 0.5_f64.powf(day.age_days / knobs.profile_half_life_days);
                        sum += weight * (value - day.level);
                        weights += weight;
                    }
                    (weights > 0.0).then(|| sum / weights)
                })
                .collect();
            let curve = smoothed(&curve, 2, true);
            let mean = curve.iter().flatten().sum::<f64>() / curve.iter().flatten().count().max(1) as f64;
            *profile = curve.into_iter().map(|value| value.unwrap_or(mean) - mean).collect();
        }
        for day in days.iter_mut() {
            let profile = &profiles[usize::from(day.weekend)];
            let (mut sum, mut count) = (0.0, 0.0);
            for (value, usual) in day.quiet.iter().zip(profile) {
                if let Some(value) = value {
                    sum += value - usual;
                    count += 1.0;
                }
            }
            day.level = sum / f64::max(count, 1.0);
        }
    }
    profiles
}

/// The level of the next day: what the last one came to, and what a change between working days and weekends does to it.
fn next_level(days: &[PastDay], profiles: &[Vec<f64>; 2], weekend: bool, knobs: &AheadKnobs) -> f64 {
    let Some(last) = days.last() else { return 0.0 };
    let (mut sum, mut weights) = (0.0, 0.0);
    for (step, value) in last.quiet.iter().enumerate() {
        let Some(value) = value else { continue };
        let age_hours = (STEPS - step) as f64 * STEP_MINUTES as f64 / 60.0;
        let weight = 0.5_f64.powf(age_hours / knobs.level_half_life_hours);
        sum += weight * (value - profiles[usize::from(last.weekend)][step]);
        weights += weight;
    }
    let level = if weights > 0.0 { sum / weights } else { last.level };
    if last.weekend == weekend {
        return level;
    }
    let (mut sum, mut weights) = (0.0, 0.0);
    for pair in days.windows(2) {
        let [before, after] = pair else { continue };
        if before.weekend == last.weekend && after.weekend == weekend && before.day + 1 == after.day {
            let weight = 0.5_f64.powf(after.age_days / 14.0);
            sum += weight * (after.level - before.level);
            weights += weight;
        }
    }
    level + if weights > 0.0 { sum / weights } else { 0.0 }
}

/// What earlier events did, as the logarithm of the factor by which demand rose, by step.
struct Responses {
    events: Vec<Response>,
    today: i64,
}

struct Response {
    event: i64,
    by_step: Vec<Option<f64>>,
}

impl Responses {
    fn read(
        days: &[PastDay],
        calendar: &Calendar,
        log: &impl Fn(i64) -> Option<f64>,
        base_of: &impl Fn(bool, i64) -> f64,
    ) -> Self {
        let today = days.last().map_or(0, |day| day.day + 1);
        let mut events = Vec::new();
        for day in days {
            let first = day.day * MINUTES_PER_DAY;
            for &event in calendar.events().iter().filter(|event| (first..first + MINUTES_PER_DAY).contains(*event)) {
                let mut sums = vec![(0.0, 0.0); Phase::STEPS];
                for minute in event - 60..event + 300 {
                    let Some(phase) = calendar.phase(minute).filter(|phase| phase.event == event) else { continue };
                    let Some(value) = log(minute) else { continue };
                    let over = value - day.level - base_of(is_weekend(day_of(minute)), minute);
                    let (sum, count) = &mut sums[phase.step()];
                    *sum += over;
                    *count += 1.0;
                }
                let by_step: Vec<Option<f64>> =
                    sums.into_iter().map(|(sum, count)| (count > 0.0).then(|| sum / count)).collect();
                if by_step.iter().any(Option::is_some) {
                    events.push(Response { event, by_step });
                }
            }
        }
        Self { events, today }
    }

    /// What is expected of an event in a phase; nothing while no event has been seen.
    fn expected(&self, phase: Phase, knobs: &AheadKnobs) -> f64 {
        let kind = is_weekend(day_of(phase.event));
        let (mut sum, mut weights) = (0.0, 0.0);
        for response in &self.events {
            let Some(value) = response.by_step[phase.step()] else { continue };
            let age_days = (self.today - day_of(response.event)) as f64;
            let apart = (minute_of_day(response.event) as f64 - minute_of_day(phase.event) as f64).abs();
            let weight = 0.5_f64.powf(age_days / knobs.event_half_life_days)
                * if is_weekend(day_of(response.event)) == kind { 1.0 } else { knobs.other_kind_weight }
                * (-apart / knobs.time_of_day_minutes).exp();
            sum += weight * value;
            weights += weight;
        }
        if weights > 0.0 { sum / weights } else { 0.0 }
    }
}
