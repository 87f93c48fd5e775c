//! Series in memory: one value a second for a quarter of an hour, one a minute for six hours, of a bounded number of series.

use std::collections::{HashMap, VecDeque};

use naru_runtime::exposition::{Sample, series_id};

use crate::selector::Selector;

/// How long every second is kept: what a person looks at while something happens.
pub const FINE_MS: i64 = 15 * 60_000;
/// How long a value a minute is kept: the longest window of a burn rate.
pub const COARSE_MS: i64 = 6 * 3_600_000;
/// Readings closer than this are one: scrapes come once a second, give or take.
const FINE_STEP_MS: i64 = 500;
const COARSE_STEP_MS: i64 = 60_000;
/// A value older than this is none any more.
pub const STALE_MS: i64 = 5_000;

/// A value, and when it was read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// When, in milliseconds since 1970, UTC.
    pub at_ms: i64,
    /// The value.
    pub value: f64,
}

/// A series as a detector sees it: from now backwards, as far as the detector asks. It cannot tell how long the series is,
/// when it began, what its least or greatest value is, or what comes next; so that no detector can rest on what only a
/// recording of the past would give it.
///
/// ```compile_fail
/// fn peek(past: naru_watch::series::Past<'_>) -> usize { past.len() }
/// ```
/// ```compile_fail
/// fn peek(past: naru_watch::series::Past<'_>) { past.first(); }
/// ```
/// ```compile_fail
/// fn peek(past: naru_watch::series::Past<'_>) -> usize { past.back(1_000).len() }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Past<'s> {
    series: &'s Series,
    now_ms: i64,
}

impl<'s> Past<'s> {
    /// The value of now: the newest one, unless it is stale.
    pub fn now(&self) -> Option<f64> {
        self.back(STALE_MS).next().map(|reading| reading.value)
    }

    /// What was read since `window_ms` ago, the newest first: every second within a quarter of an hour, else every minute.
    pub fn back(&self, window_ms: i64) -> impl Iterator<Item = Reading> + use<'s> {
        let (now, from) = (self.now_ms, self.now_ms.saturating_sub(window_ms));
        let readings = if window_ms <= FINE_MS { &self.series.fine } else { &self.series.coarse };
        let later = readings.iter().rev().skip_while(move |reading| reading.at_ms > now);
        later.copied().take_while(move |reading| reading.at_ms >= from)
    }

    /// By how much a counter rose since `window_ms` ago; one that fell began again at zero.
    pub fn increase(&self, window_ms: i64) -> Option<f64> {
        let mut later: Option<f64> = None;
        let mut rise = 0.0;
        let mut pairs = 0;
        for reading in self.back(window_ms) {
            if let Some(later) = later {
                rise += if later >= reading.value { later - reading.value } else { later };
                pairs += 1;
            }
            later = Some(reading.value);
        }
        (pairs > 0).then_some(rise)
    }
}

/// One series.
#[derive(Debug, Clone)]
pub struct Series {
    /// Whose it is.
    pub target: String,
    /// The metric.
    pub name: String,
    /// Its labels, sorted.
    pub labels: Vec<(String, String)>,
    fine: VecDeque<Reading>,
    coarse: VecDeque<Reading>,
}

impl Series {
    /// `TARGET/NAME{LABELS}`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.target, series_id(&self.name, &self.labels))
    }

    fn newest_ms(&self) -> i64 {
        self.fine.back().map_or(i64::MIN, |reading| reading.at_ms)
    }

    fn push(&mut self, reading: Reading) {
        put(&mut self.fine, reading, FINE_STEP_MS, FINE_MS);
        put(&mut self.coarse, reading, COARSE_STEP_MS, COARSE_MS);
    }
}

/// Keeps the latest reading of each step, and those that are not too old.
fn put(readings: &mut VecDeque<Reading>, reading: Reading, step_ms: i64, keep_ms: i64) {
    match readings.back_mut() {
        Some(last) if last.at_ms > reading.at_ms => return,
        Some(last) if last.at_ms.div_euclid(step_ms) == reading.at_ms.div_euclid(step_ms) => *last = reading,
        _ => readings.push_back(reading),
    }
    while readings.front().is_some_and(|first| first.at_ms < reading.at_ms - keep_ms) {
        readings.pop_front();
    }
}

/// Every series of every target.
#[derive(Debug)]
pub struct Book {
    series: Vec<Series>,
    by_id: HashMap<String, usize>,
    series_max: usize,
    refused: u64,
    /// Changes whenever a series comes or goes: what was looked up before is void then.
    generation: u64,
}

impl Book {
    /// Without a series, and for at most so many.
    pub fn new(series_max: usize) -> Self {
        Self { series: Vec::new(), by_id: HashMap::new(), series_max, refused: 0, generation: 0 }
    }

    /// Takes a value in. One of a series beyond the bound is refused, unless another has been silent for a quarter of an
    /// hour.
    pub fn put(&mut self, target: &str, sample: Sample, at_ms: i64) {
        let id = format!("{target}/{}", series_id(&sample.name, &sample.labels));
        let reading = Reading { at_ms, value: sample.value };
        if let Some(&index) = self.by_id.get(&id) {
            self.series[index].push(reading);
            return;
        }
        let mut series = Series {
            target: target.to_owned(),
            name: sample.name,
            labels: sample.labels,
            fine: VecDeque::new(),
            coarse: VecDeque::new(),
        };
        series.push(reading);
        if self.series.len() < self.series_max {
            self.by_id.insert(id, self.series.len());
            self.series.push(series);
        } else if let Some(silent) = self.series.iter().position(|one| one.newest_ms() < at_ms - FINE_MS) {
            self.by_id.remove(&self.series[silent].id());
            self.by_id.insert(id, silent);
            self.series[silent] = series;
        } else {
            self.refused += 1;
            return;
        }
        self.generation += 1;
    }

    /// Values that were refused for the bound.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Every series.
    pub fn series(&self) -> impl ExactSizeIterator<Item = &Series> {
        self.series.iter()
    }

    /// What a detector may see of a series.
    pub fn past(&self, index: usize, now_ms: i64) -> Past<'_> {
        Past { series: &self.series[index], now_ms }
    }

    /// What a detector may see of this one.
    pub fn past_of<'s>(&self, series: &'s Series, now_ms: i64) -> Past<'s> {
        Past { series, now_ms }
    }

    /// The places of those that are meant.
    fn find(&self, selector: &Selector) -> Vec<usize> {
        let meant = |one: &Series| selector.matches(&one.target, &one.name, &one.labels);
        self.series.iter().enumerate().filter(|(_, one)| meant(one)).map(|(index, _)| index).collect()
    }
}

/// A selector with what it means now.
#[derive(Debug, Clone)]
pub struct Chosen {
    selector: Selector,
    found: Vec<usize>,
    generation: u64,
}

impl Chosen {
    /// Nothing yet.
    pub fn new(selector: Selector) -> Self {
        Self { selector, found: Vec::new(), generation: u64::MAX }
    }

    /// What was asked for.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The series that are meant.
    pub fn of<'b>(&mut self, book: &'b Book, now_ms: i64) -> Vec<Past<'b>> {
        if self.generation != book.generation {
            (self.found, self.generation) = (book.find(&self.selector), book.generation);
        }
        self.found.iter().map(|index| book.past(*index, now_ms)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    fn sample(name: &str, value: f64) -> Sample {
        Sample { name: name.to_owned(), labels: Vec::new(), value }
    }

    #[test]
    fn a_window_is_read_back_from_now_and_counters_may_begin_again() {
        let mut book = Book::new(8);
        for (second, value) in [10.0, 12.0, 15.0, 1.0, 4.0].into_iter().enumerate() {
            book.put("t", sample("c", value), second as i64 * 1000);
        }
        let check = |now_ms: i64, window_ms: i64, now: Option<f64>, increase: Option<f64>| {
            let past = book.past(0, now_ms);
            assert_eq!((past.now(), past.increase(window_ms)), (now, increase), "{now_ms} {window_ms}");
        };
        check(4_000, 10_000, Some(4.0), Some(9.0));
        check(4_000, 1_000, Some(4.0), Some(3.0));
        check(4_000, 500, Some(4.0), None);
        // What comes behind now is not seen.
        check(2_000, 10_000, Some(15.0), Some(5.0));
        check(20_000, 10_000, None, None);
    }

    #[test]
    fn a_book_is_bounded_in_series_and_in_time() {
        let mut book = Book::new(2);
        for second in 0..20_000 {
            book.put("t", sample("a", 1.0), second * 1000);
        }
        book.put("t", sample("b", 1.0), 0);
        book.put("t", sample("c", 1.0), 1_000);
        assert_eq!((book.series().len(), book.refused()), (2, 1));
        // "b" is silent by then.
        book.put("t", sample("c", 1.0), 2_000_000);
        assert_eq!((book.series().len(), book.refused()), (2, 1));
        let first = book.series().next().unwrap();
        assert!(first.fine.len() <= 1 + (FINE_MS / 1000) as usize, "{}", first.fine.len());
        assert!(first.coarse.len() <= 1 + (COARSE_MS / 60_000) as usize, "{}", first.coarse.len());
        let mut chosen = Chosen::new("t/c".parse().unwrap());
        assert_eq!(chosen.of(&book, 2_000_000).len(), 1);
    }
}
