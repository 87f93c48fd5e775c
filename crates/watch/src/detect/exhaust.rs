//! When something runs out: a line through the past that a few wild readings cannot turn, and an interval for it.
//!
//! The slope is the median of the slopes of all pairs (Theil 1950; Sen 1968, "Estimates of the Regression Coefficient Based
//! on Kendall's Tau", Journal of the American Statistical Association 63, 1379-1389): up to 29 % of the readings may be
//! wild. Its interval is Sen's, two order statistics of the sorted slopes: with N pairs of n readings and
//! C = z sqrt(n (n-1) (2n+5) / 18), the (N-C)/2-th and the (N+C)/2-th. It holds for errors that are independent of one
//! another; where each hangs on the one before, it is too narrow.
//!
//! Many levels rise like a saw: a reader falls behind until its next batch is committed. No line through one tooth is believed
//! before the level is well above where it used to turn back.

use crate::series::Past;

/// Most readings of a fit: of 40 there are 780 pairs.
const READINGS_MAX: usize = 40;
/// Fewest readings of a fit: with fewer the interval is all there is.
const READINGS_MIN: usize = 6;
/// Of the normal distribution, for an interval that holds in 99 of 100 cases: a page is not sent for noise.
const Z: f64 = 2.576;
/// How far back is looked, shortest first: what turned seconds ago is seen in the first, what creeps in the last.
const WINDOWS_MS: [i64; 3] = [8_000, 60_000, 600_000];
/// What was seen for a while may speak of what comes within so many times that while, and no further.
const AHEAD_OF_WINDOW: f64 = 15.0;

/// How far back it is looked where a level used to turn back.
const HABIT_MS: i64 = 600_000;
/// A level is beyond its habits when it stands so many times as high above its floor as it ever turned back.
const BEYOND_HABIT: f64 = 1.5;
/// An end that is as near as this is told whatever the habits are: the same fault again is none.
const IMMINENT_S: f64 = 60.0;
/// A level turned back where it lost this share of its height afterwards.
const TURNED: f64 = 0.5;

/// A line, and how sure of it one can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// Change per second.
    pub slope: f64,
    /// The least slope of the interval.
    pub low: f64,
    /// The greatest.
    pub high: f64,
    /// The level now, by the line.
    pub now: f64,
}

/// Fits a line to readings as `(seconds before now, value)`.
pub fn fit(readings: &[(f64, f64)]) -> Option<Fit> {
    let readings = thinned(readings);
    let count = readings.len();
    if count < READINGS_MIN {
        return None;
    }
    let mut slopes = Vec::with_capacity(count * (count - 1) / 2);
    for (index, (ago, value)) in readings.iter().enumerate() {
        for (other_ago, other) in &readings[index + 1..] {
            if other_ago != ago {
                slopes.push((other - value) / (ago - other_ago));
            }
        }
    }
    if slopes.is_empty() {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let (n, pairs) = (count as f64, slopes.len() as f64);
    let spread = Z * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let last = slopes.len() - 1;
    // Sen's ranks count from one.
    let low = (((pairs - spread) / 2.0).floor().max(1.0) as usize - 1).min(last);
    let high = (((pairs + spread) / 2.0).ceil() as usize).min(last);
    let slope = median(&slopes);
    let mut levels: Vec<f64> = readings.iter().map(|(ago, value)| value + slope * ago).collect();
    levels.sort_by(f64::total_cmp);
    Some(Fit { slope, low: slopes[low], high: slopes[high], now: median(&levels) })
}

fn thinned(readings: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let step = readings.len().div_ceil(READINGS_MAX).max(1);
    readings.iter().step_by(step).copied().collect()
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// When something will have run out, in seconds from now.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Forecast {
    /// By the steepest slope of the interval.
    pub early_s: f64,
    /// By the slope.
    pub likely_s: f64,
    /// By the flattest slope of the interval; none if it might never.
    pub late_s: Option<f64>,
    /// Change per second.
    pub slope: f64,
}

/// Estimates when one level runs out.
#[derive(Debug, Clone)]
pub struct Exhaustion {
    full: f64,
    falls: bool,
}

impl Exhaustion {
    /// A level that has run out at `full`.
    pub fn new(full: f64, falls: bool) -> Self {
        Self { full, falls }
    }

    /// What of the level is left, negative beyond the end.
    fn left(&self, level: f64) -> f64 {
        if self.falls { level - self.full } else { self.full - level }
    }

    /// The soonest end that any window shows for sure: its interval does not hold a standstill, and the end is near enough
    /// for the window's length. What has run out has a forecast of nothing.
    pub fn forecast(&self, past: Past<'_>, now_ms: i64) -> Option<Forecast> {
        let level = past.now()?;
        if self.left(level) <= 0.0 {
            return Some(Forecast { early_s: 0.0, likely_s: 0.0, late_s: Some(0.0), slope: 0.0 });
        }
        let believed_s = if self.beyond_habit(past, level) { f64::INFINITY } else { IMMINENT_S };
        let of_window = |window_ms: i64| {
            let ago = |at_ms: i64| (now_ms - at_ms) as f64 / 1000.0;
            let readings: Vec<(f64, f64)> =
                past.back(window_ms).map(|reading| (ago(reading.at_ms), reading.value)).collect();
            let forecast = self.of_fit(&fit(&readings)?)?;
            // As far ahead as was seen, of a window that is not full yet.
            let seen_s = readings.last().map_or(0.0, |(ago, _)| *ago);
            (forecast.likely_s <= (AHEAD_OF_WINDOW * seen_s).min(believed_s)).then_some(forecast)
        };
        WINDOWS_MS.into_iter().filter_map(of_window).min_by(|one, other| one.likely_s.total_cmp(&other.likely_s))
    }

    /// Whether the level is where it did not turn back of late.
    fn beyond_habit(&self, past: Past<'_>, level: f64) -> bool {
        let height = |level: f64| if self.falls { -level } else { level };
        let heights = || past.back(HABIT_MS).map(|reading| height(reading.value));
        let floor = heights().fold(f64::INFINITY, f64::min);
        let (mut lowest_later, mut turned) = (f64::INFINITY, floor);
        for one in heights() {
            if lowest_later < floor + (1.0 - TURNED) * (one - floor) {
                turned = turned.max(one);
            }
            lowest_later = lowest_later.min(one);
        }
        height(level) - floor > BEYOND_HABIT * (turned - floor)
    }

    fn of_fit(&self, fit: &Fit) -> Option<Forecast> {
        let towards = |slope: f64| if self.falls { -slope } else { slope };
        let (slow, fast) =
            if self.falls { (towards(fit.high), towards(fit.low)) } else { (towards(fit.low), towards(fit.high)) };
        let left = self.left(fit.now).max(0.0);
        let likely = towards(fit.slope);
        (slow > 0.0).then(|| Forecast {
            early_s: left / fast,
            likely_s: left / likely,
            late_s: Some(left / slow),
            slope: fit.slope,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

    use super::*;
    use crate::series::Book;
    use naru_runtime::exposition::Sample;

    /// From -1 to 1, and more often near 0: the mean of three.
    fn noise(random: &mut ChaCha8Rng) -> f64 {
        (0..3).map(|_| f64::from(random.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0).sum::<f64>() / 3.0
    }

    #[test]
    fn wild_readings_do_not_turn_the_line() {
        let check = |wild: &[usize], expect: f64| {
            let mut readings: Vec<(f64, f64)> =
                (0..20).map(|ago| (f64::from(ago), 100.0 - 2.0 * f64::from(ago))).collect();
            wild.iter().for_each(|at| readings[*at].1 = 1e9);
            let fit = fit(&readings).unwrap();
            assert!((fit.slope - expect).abs() < 0.5 && (fit.now - 100.0).abs() < 5.0, "{fit:?}");
        };
        check(&[], 2.0);
        check(&[3], 2.0);
        check(&[0, 7, 15], 2.0);
        assert_eq!(fit(&[(0.0, 1.0), (1.0, 2.0)]), None);
    }

    #[test]
    fn the_interval_holds_the_slope_in_99_of_100_cases() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let rounds = 1000;
        let held = (0..rounds).filter(|_| {
            let readings: Vec<(f64, f64)> =
                (0..20).map(|ago| (f64::from(ago), 50.0 - 0.3 * f64::from(ago) + 5.0 * noise(&mut random))).collect();
            let fit = fit(&readings).unwrap();
            fit.low <= 0.3 && 0.3 <= fit.high
        });
        let held = held.count();
        assert!((970..=1000).contains(&held), "{held} of {rounds}");
    }

    fn forecast(full: f64, falls: bool, level: impl Fn(i64) -> f64) -> Option<Forecast> {
        let mut book = Book::new(1);
        for second in 0..=60 {
            let sample = Sample { name: "level".to_owned(), labels: Vec::new(), value: level(second) };
            book.put("t", sample, second * 1000);
        }
        Exhaustion::new(full, falls).forecast(book.past(0, 60_000), 60_000)
    }

    #[test]
    fn the_end_is_told_in_both_directions_and_only_where_it_is_sure() {
        let check = |full: f64, falls: bool, level: &dyn Fn(i64) -> f64, expect: Option<f64>| {
            let likely = forecast(full, falls, level).map(|forecast| forecast.likely_s.round());
            assert_eq!(likely, expect);
        };
        check(100.0, false, &|second| second as f64, Some(40.0));
        check(0.0, true, &|second| 200.0 - second as f64, Some(140.0));
        check(100.0, false, &|_| 50.0, None);
        check(100.0, false, &|second| 90.0 - second as f64, None);
        check(100.0, false, &|second| second as f64 * 2.0, Some(0.0));
        // Turned six seconds ago, which a minute does not show yet.
        check(100.0, false, &|second| if second < 53 { 10.0 } else { 10.0 + 5.0 * (second - 53) as f64 }, Some(11.0));
        // A saw, and the same saw when nobody commits any more.
        check(1000.0, false, &|second| (second % 12) as f64 * 10.0, None);
        check(
            1000.0,
            false,
            &|second| if second < 40 { (second % 12) as f64 * 10.0 } else { (second - 36) as f64 * 10.0 },
            Some(76.0),
        );
        // Too far away for what was seen.
        check(1e6, false, &|second| second as f64, None);
    }
}
