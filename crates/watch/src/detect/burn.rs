//! Burn rates: how many times faster than it may a promise is being used up. "The Site Reliability Workbook" (Beyer and
//! others, 2018), chapter 5, "Alerting on SLOs", section "Multiwindow, Multi-Burn-Rate Alerts": an alert needs both a long window,
//! so that it is worth waking somebody, and a short one, so that it ends when the burning does.

use crate::series::Past;

/// A long window with its short one, and the rate at which both alert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// For significance, milliseconds.
    pub long_ms: i64,
    /// For an end, milliseconds.
    pub short_ms: i64,
    /// Times the rate that the promise allows.
    pub rate: f64,
}

/// The workbook's two pairs that page (2 % of a month's budget in an hour, 5 % in six), and in front of them one of our own:
/// on an event day everything happens within minutes, and a cluster that is lost burns a thousand times too fast.
pub const PAIRS: [Pair; 3] = [
    Pair { long_ms: 10_000, short_ms: 3_000, rate: 50.0 },
    Pair { long_ms: 3_600_000, short_ms: 300_000, rate: 14.4 },
    Pair { long_ms: 6 * 3_600_000, short_ms: 1_800_000, rate: 6.0 },
];

/// What burnt must still burn within this: a fault of seconds must not hold an incident open for the minutes of a short
/// window. Ours, not the workbook's.
const STILL_MS: i64 = 30_000;

/// Fewest events in a long window: one failure of three requests is no rate.
const EVENTS_MIN: f64 = 20.0;

/// Holds one promise against what happens.
#[derive(Debug, Clone)]
pub struct Burn {
    /// Share that may be bad.
    allowed: f64,
    since_ms: Option<i64>,
}

impl Burn {
    /// A promise that this share is good.
    pub fn new(objective: f64) -> Self {
        Self { allowed: 1.0 - objective, since_ms: None }
    }

    /// The rate in a window, if enough has happened in it.
    fn rate(&self, bad: &[Past<'_>], all: &[Past<'_>], window_ms: i64, events_min: f64) -> Option<f64> {
        let rise = |series: &[Past<'_>]| series.iter().filter_map(|past| past.increase(window_ms)).sum::<f64>();
        let all = rise(all);
        (all >= events_min.max(1.0)).then(|| rise(bad) / all / self.allowed)
    }

    /// The pair that alerts, with the rate of its long window, and since when.
    pub fn judge(&mut self, bad: &[Past<'_>], all: &[Past<'_>], now_ms: i64) -> Option<(Pair, f64, i64)> {
        let burning = PAIRS.into_iter().find_map(|pair| {
            let long = self.rate(bad, all, pair.long_ms, EVENTS_MIN)?;
            let short = self.rate(bad, all, pair.short_ms, 0.0)?;
            let still = self.rate(bad, all, pair.short_ms.min(STILL_MS), 0.0)?;
            (long >= pair.rate && short >= pair.rate && still >= pair.rate).then_some((pair, long))
        });
        let Some((pair, rate)) = burning else {
            self.since_ms = None;
            return None;
        };
        let since = *self.since_ms.get_or_insert_with(|| first_bad(bad, now_ms));
        Some((pair, rate, since))
    }
}

/// Of the steepest rise of a window: a second that rose by less is one from before the burning.
const SAME_FIRE: f64 = 0.2;

/// When the rise of what is bad began, as far as [`STILL_MS`] shows: of a longer burning nobody can say. What went wrong now and then
/// before is not its beginning.
fn first_bad(bad: &[Past<'_>], now_ms: i64) -> i64 {
    let rises = |past: &Past<'_>| {
        let readings: Vec<_> = past.back(STILL_MS).collect();
        readings.windows(2).map(|pair| (pair[0].at_ms, pair[0].value - pair[1].value)).collect::<Vec<_>>()
    };
    let all: Vec<Vec<(i64, f64)>> = bad.iter().map(rises).collect();
    let enough = SAME_FIRE * all.iter().flatten().map(|(_, rise)| *rise).fold(0.0, f64::max);
    let burns = |(_, rise): &&(i64, f64)| *rise > 0.0 && *rise >= enough;
    let began = |rises: &Vec<(i64, f64)>| {
        let fire = rises.iter().skip_while(|one| !burns(one)).take_while(burns);
        fire.map(|(at_ms, _)| *at_ms).last()
    };
    all.iter().filter_map(began).min().unwrap_or(now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Book;
    use naru_runtime::exposition::Sample;

    #[test]
    fn a_promise_burns_only_while_both_windows_say_so() {
        let check = |bad_share: &dyn Fn(i64) -> f64, per_second: f64, expect: Option<i64>| {
            let mut book = Book::new(2);
            let (mut bad, mut all) = (0.0, 0.0);
            for second in 0..=120 {
                all += per_second;
                bad += per_second * bad_share(second);
                for (name, value) in [("bad", bad), ("all", all)] {
                    let sample = Sample { name: name.to_owned(), labels: Vec::new(), value };
                    book.put("t", sample, second * 1000);
                }
            }
            let (bad, all) = ([book.past(0, 120_000)], [book.past(1, 120_000)]);
            let judged = Burn::new(0.999).judge(&bad, &all, 120_000).map(|(.., since)| since);
            assert_eq!(judged, expect);
        };
        check(&|_| 0.0, 100.0, None);
        check(&|_| 0.0005, 100.0, None);
        check(&|second| if second > 116 { 0.5 } else { 0.0 }, 100.0, Some(117_000));
        // One failed two seconds before, as one does now and then.
        check(
            &|second| if second > 116 { 0.5 } else { f64::from(u8::from(second == 114)) * 0.01 },
            100.0,
            Some(117_000),
        );
        // Over for half a minute: nothing burns still.
        check(&|second| if (70..85).contains(&second) { 0.5 } else { 0.0 }, 100.0, None);
        // Hardly anybody there.
        check(&|_| 0.5, 0.1, None);
    }
}
