//! A series by the minute.

/// Minutes of a day.
pub const MINUTES_PER_DAY: i64 = 1440;

/// The number of a day since 1970-01-01, of a time in minutes since then.
pub fn day_of(minute: i64) -> i64 {
    minute.div_euclid(MINUTES_PER_DAY)
}

/// The minute of the day, of a time in minutes since 1970-01-01.
pub fn minute_of_day(minute: i64) -> usize {
    minute.rem_euclid(MINUTES_PER_DAY) as usize
}

/// Whether a day (counted from 1970-01-01, a Thursday) is a Saturday or a Sunday.
pub fn is_weekend(day: i64) -> bool {
    matches!(day.rem_euclid(7), 2 | 3)
}

/// Amounts by the minute from some minute on; a minute in which nothing was observed is `NaN`.
#[derive(Debug, Clone, PartialEq)]
pub struct Minutes {
    from: i64,
    values: Vec<f64>,
}

impl Minutes {
    /// A series that begins at a minute since 1970-01-01.
    pub fn new(from: i64, values: Vec<f64>) -> Self {
        Self { from, values }
    }

    /// Its first minute.
    pub fn from(&self) -> i64 {
        self.from
    }

    /// The minute after its last.
    pub fn until(&self) -> i64 {
        self.from + self.values.len() as i64
    }

    /// What was observed in a minute; `None` outside of the series and where nothing was.
    pub fn at(&self, minute: i64) -> Option<f64> {
        let index = usize::try_from(minute - self.from).ok()?;
        self.values.get(index).copied().filter(|value| !value.is_nan())
    }

    /// The part before a minute: what somebody knows who decides then.
    pub fn before(&self, minute: i64) -> Self {
        let length = usize::try_from(minute - self.from).unwrap_or(0).min(self.values.len());
        Self { from: self.from, values: self.values[..length].to_vec() }
    }

    /// Adds the next minute.
    pub fn push(&mut self, value: f64) {
        self.values.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_a_thursday() {
        let check = |day: i64, expect: bool| assert_eq!(is_weekend(day), expect, "{day}");
        // 1998-06-13 was a Saturday, and day 10_390.
        check(10_389, false);
        check(10_390, true);
        check(10_391, true);
        check(10_392, false);
        check(-5, true);
    }

    #[test]
    fn what_was_not_observed_is_nothing() {
        let series = Minutes::new(10, vec![1.0, f64::NAN, 3.0]);
        let check = |minute, expect| assert_eq!(series.at(minute), expect, "{minute}");
        check(9, None);
        check(10, Some(1.0));
        check(11, None);
        check(12, Some(3.0));
        check(13, None);
        assert_eq!(series.before(11).until(), 11);
        assert_eq!(series.before(5).until(), 10);
    }
}
