//! The next minutes of a day under way: the day's forecast, corrected by how the day has gone, and how far it can be off.

use std::collections::VecDeque;

use super::{Calendar, DayAhead, MINUTES_PER_DAY};

/// What is chosen once for a kind of demand, on days that are not scored.
#[derive(Debug, Clone, PartialEq)]
pub struct SoonKnobs {
    /// How many standard deviations above the expected logarithm of demand must be ready.
    pub deviations: f64,
    /// After how many days what was learned about errors counts half.
    pub error_half_life_days: f64,
}

impl Default for SoonKnobs {
    fn default() -> Self {
        Self { deviations: 3.0, error_half_life_days: 16.0 }
    }
}

/// The share of the newest error in the error now: it follows within three minutes.
const NOW_SHARE: f64 = 0.3;
/// The share of the newest error in the error of quiet minutes: it follows within half an hour.
const QUIET_SHARE: f64 = 0.03;
/// The least share of the deviation one lead time ahead that is kept for the very next minutes.
const NEAREST: f64 = 0.3;
/// An event may run late by one lead time: capacity that was let go on the word of a forecast takes that long to come back.
/// It is looked for in steps of so many minutes.
const LATE_STEP: usize = 5;
/// Of the demand of now, so much stays ready one lead time ahead, whatever a forecast says.
const STAYS: f64 = 1.15;
/// Deviations of errors one lead time of 30 minutes ahead before any was seen, in quiet minutes and around events, as
/// logarithms, and by how many minutes of observations they weigh. Wide: a first event is met with them.
const PRIOR_SOON: (f64, f64, f64) = (0.12, 0.25, 60.0);
/// The same of errors of the day's forecast.
const PRIOR_DAY: (f64, f64, f64) = (0.2, 0.4, 120.0);
/// What of an error is found again, before any was seen, and by how many squares that weighs: from quiet and from event
/// minutes (rows) to quiet and to event minutes.
const PRIOR_CARRY: [[f64; 2]; 2] = [[1.0, 0.9], [0.5, 0.9]];
const PRIOR_CARRY_WEIGHT: f64 = 20.0;

/// Kinds of minutes whose errors differ: quiet ones, and the parts of an event.
const KINDS: usize = 6;

fn kind(calendar: &Calendar, minute: i64) -> usize {
    match calendar.phase(minute).map(|phase| phase.offset) {
        None => 0,
        Some(..=-1) => 1,
        Some(0..=44) => 2,
        Some(45..=69) => 3,
        Some(70..=139) => 4,
        Some(140..) => 5,
    }
}

/// A weighted mean square with a prior, that forgets.
#[derive(Debug, Clone)]
struct Spread {
    sum: f64,
    weights: f64,
}

impl Spread {
    fn add(&mut self, error: f64, forget: f64) {
        self.sum = self.sum * forget + error * error;
        self.weights = self.weights * forget + 1.0;
    }

    fn deviation(&self) -> f64 {
        (self.sum / self.weights).sqrt()
    }
}

/// How much of an error of one kind of minute is found again in another, by regression through the origin.
#[derive(Debug, Clone)]
struct Carry {
    products: f64,
    squares: f64,
}

impl Carry {
    fn add(&mut self, over: f64, found: f64, forget: f64) {
        self.products = self.products * forget + over * found;
        self.squares = self.squares * forget + over * over;
    }

    fn share(&self) -> f64 {
        self.products / self.squares
    }
}

/// The errors as they stood in a minute.
#[derive(Debug, Clone)]
struct Past {
    minute: i64,
    now: f64,
    quiet: f64,
}

/// What is known about the errors of forecasts one lead time ahead.
#[derive(Debug, Clone)]
pub struct Soon {
    lead: usize,
    knobs: SoonKnobs,
    spreads: [Spread; KINDS],
    day_spreads: [Spread; KINDS],
    carries: [[Carry; 2]; 2],
    /// The last minutes, at most one lead time of them, newest last.
    errors: VecDeque<Past>,
    /// The error of the last minutes against the day's forecast.
    now: f64,
    /// The error of quiet minutes, which outlasts an event.
    quiet: f64,
    /// The demand of the last minute.
    last: f64,
}

impl Soon {
    /// Knows nothing yet but wide priors, for capacity that takes so many minutes to come.
    pub fn new(lead_minutes: usize, knobs: SoonKnobs) -> Self {
        let prior = |(quiet, event, weight): (f64, f64, f64), kind: usize, by: f64| {
            let deviation = if kind == 0 { quiet } else { event } * by;
            Spread { sum: deviation * deviation * weight, weights: weight }
        };
        // Errors grow with the root of the time ahead, as a random walk's do.
        let by = (lead_minutes as f64 / 30.0).sqrt().min(1.5);
        let carry = |share: f64| Carry { products: share * PRIOR_CARRY_WEIGHT, squares: PRIOR_CARRY_WEIGHT };
        Self {
            lead: lead_minutes,
            knobs,
            spreads: std::array::from_fn(|kind| prior(PRIOR_SOON, kind, by)),
            day_spreads: std::array::from_fn(|kind| prior(PRIOR_DAY, kind, 1.0)),
            carries: PRIOR_CARRY.map(|row| row.map(carry)),
            errors: VecDeque::new(),
            now: 0.0,
            quiet: 0.0,
            last: 0.0,
        }
    }

    /// Takes what a minute was, as the logarithm of its demand.
    pub fn observe(&mut self, minute: i64, log_value: f64, ahead: &DayAhead, calendar: &Calendar) {
        self.last = log_value.exp();
        let error = log_value - ahead.log_median(minute);
        let target = kind(calendar, minute);
        let forget = 0.5_f64.powf(1.0 / (self.knobs.error_half_life_days * MINUTES_PER_DAY as f64));
        // Spreads forget faster than shares do: a quiet week must not hide what an event did, nor the other way round.
        self.day_spreads[target].add(error, forget.powi(4));
        // What was expected of this minute one lead time ago.
        if self.errors.len() == self.lead
            && let Some(Past { minute: source, now, quiet }) = self.errors.pop_front()
        {
            let (over, found) = (now - quiet, error - quiet);
            let carry = &mut self.carries[usize::from(kind(calendar, source) > 0)][usize::from(target > 0)];
            let missed = found - carry.share() * over;
            carry.add(over, found, forget);
            self.spreads[target].add(missed, forget.powi(2));
        }
        self.now += NOW_SHARE * (error - self.now);
        if target == 0 {
            self.quiet += QUIET_SHARE * (error - self.quiet);
        }
        self.errors.push_back(Past { minute, now: self.now, quiet: self.quiet });
    }

    /// A new day's forecast is in force: errors against the last one say little about it.
    pub fn new_day(&mut self, before: &DayAhead, after: &DayAhead) {
        // The error against the new forecast, at the last minute known.
        let last = after.from() - 1;
        let shift = before.log_median(last) - after.log_median(last + 1);
        self.now += shift;
        self.quiet += shift;
        for past in &mut self.errors {
            past.now += shift;
            past.quiet += shift;
        }
    }

    /// The capacity that must be ready in a minute, as seen from now: the logarithm of demand is not expected above it.
    /// `next` is the forecast of the next day where there is one.
    pub fn need(&self, now: i64, minute: i64, ahead: &DayAhead, next: Option<&DayAhead>, calendar: &Calendar) -> f64 {
        let (source, target) = (kind(calendar, now - 1), kind(calendar, minute));
        let carry = &self.carries[usize::from(source > 0)][usize::from(target > 0)];
        let horizon = (minute - now + 1) as f64;
        let reach = (horizon / (self.lead as f64 + 1.0)).clamp(0.0, 1.0);
        let share = 1.0 + (carry.share() - 1.0) * reach;
        let median = |minute: i64| match next.filter(|next| minute >= next.from()) {
            Some(next) => next.log_median(minute) + ahead.log_median(next.from() - 1) - next.log_median(next.from()),
            None => ahead.log_median(minute),
        };
        let (median, kind) = self.late(minute, calendar, median);
        let deviation = self.spreads[kind].deviation() * reach.sqrt().max(NEAREST);
        let expected = median + self.quiet + share * (self.now - self.quiet);
        (expected + self.knobs.deviations * deviation).exp().max(STAYS * self.last)
    }

    /// What will have to be ready in a minute of the coming day, seen from its midnight, if the day's error is so many
    /// standard deviations.
    pub fn need_ahead(&self, minute: i64, ahead: &DayAhead, calendar: &Calendar, deviations: f64) -> f64 {
        let (median, kind) = self.late(minute, calendar, |minute| ahead.log_median(minute));
        let day = deviations * self.day_spreads[kind].deviation();
        (median + day + self.knobs.deviations * self.spreads[kind].deviation()).exp()
    }

    /// The highest median of a minute and of those by which it may be late, and the kind of the minute that has it.
    fn late(&self, minute: i64, calendar: &Calendar, median: impl Fn(i64) -> f64) -> (f64, usize) {
        let earlier = (0..=self.lead).step_by(LATE_STEP).map(|late| minute - late as i64);
        let highest = earlier.map(|minute| (median(minute), minute)).max_by(|a, b| a.0.total_cmp(&b.0));
        let (median, minute) = highest.unwrap_or((median(minute), minute));
        (median, kind(calendar, minute))
    }
}
