//! The last hour, second by second, for the charts.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// Lines that are kept; what comes beyond is left out. A site, a class, a side and a lane have a line each.
const SERIES_MAX: usize = 96;

/// Numbers of one moment, by the name of their line.
pub type Points = BTreeMap<String, f64>;

/// Moments in order, and for each line a number, or none, at each of them.
#[derive(Debug)]
pub struct History {
    capacity: usize,
    times: VecDeque<f64>,
    series: BTreeMap<String, VecDeque<Option<f64>>>,
}

/// What a chart is drawn from: columns of the same length.
#[derive(Debug, PartialEq, Serialize)]
pub struct Columns<'h> {
    /// Seconds since 1970.
    t: Vec<f64>,
    series: BTreeMap<&'h str, Vec<Option<f64>>>,
}

impl History {
    /// Keeps so many moments.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), times: VecDeque::new(), series: BTreeMap::new() }
    }

    /// Adds a moment. A line without a number has a gap there.
    pub fn push(&mut self, unix_s: f64, points: &Points) {
        if self.times.len() == self.capacity {
            self.times.pop_front();
            for line in self.series.values_mut() {
                line.pop_front();
            }
            self.series.retain(|_, line| line.iter().any(Option::is_some));
        }
        for name in points.keys() {
            if self.series.len() < SERIES_MAX && !self.series.contains_key(name) {
                let gap = std::iter::repeat_n(None, self.times.len()).collect();
                self.series.insert(name.clone(), gap);
            }
        }
        self.times.push_back(unix_s);
        for (name, line) in &mut self.series {
            line.push_back(points.get(name).copied().filter(|value| value.is_finite()));
        }
    }

    /// Everything since a moment.
    pub fn since(&self, unix_s: f64) -> Columns<'_> {
        let skip = self.times.partition_point(|time| *time <= unix_s);
        let series = self.series.iter();
        Columns {
            t: self.times.iter().skip(skip).copied().collect(),
            series: series.map(|(name, line)| (name.as_str(), line.iter().skip(skip).copied().collect())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(all: &[(&str, f64)]) -> Points {
        all.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn lines_stay_in_step_whatever_comes_and_goes() {
        let mut history = History::new(3);
        history.push(1.0, &points(&[("a", 1.0)]));
        history.push(2.0, &points(&[("b", 2.0)]));
        history.push(3.0, &points(&[("a", f64::NAN), ("b", 3.0)]));
        let columns = history.since(0.0);
        assert_eq!(columns.t, [1.0, 2.0, 3.0]);
        assert_eq!(columns.series["a"], [Some(1.0), None, None]);
        assert_eq!(columns.series["b"], [None, Some(2.0), Some(3.0)]);
        history.push(4.0, &points(&[("b", 4.0)]));
        let columns = history.since(2.0);
        assert_eq!(columns.t, [3.0, 4.0]);
        assert_eq!(columns.series.keys().copied().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn lines_are_bounded() {
        let mut history = History::new(2);
        let many: Points = (0..SERIES_MAX * 2).map(|line| (line.to_string(), 1.0)).collect();
        history.push(1.0, &many);
        assert_eq!(history.since(0.0).series.len(), SERIES_MAX);
    }
}
