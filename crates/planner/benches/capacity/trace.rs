//! A trace and a calendar, from files.

use naru_model::written;
use naru_planner::demand::{Calendar, Minutes};

/// Requests by the minute that one unit serves, by the benchmark's rules.
const REQUESTS_PER_UNIT: f64 = 1000.0;

/// Reads `period,count` lines into units by the minute; the first line is a heading.
pub fn series(text: &str) -> Result<Minutes, String> {
    let mut values = Vec::new();
    let mut from = None;
    for (number, line) in text.lines().enumerate().skip(1) {
        let wrong = || format!("line {}: expected `YYYY-MM-DD hh:mm:ss,count`, found {line:?}", number + 1);
        let (time, count) = line.split_once(',').ok_or_else(wrong)?;
        let (minute, count) = (minute(time).ok_or_else(wrong)?, count.trim().parse::<f64>().map_err(|_| wrong())?);
        let first = *from.get_or_insert(minute);
        let index = usize::try_from(minute - first).map_err(|_| wrong())?;
        if index < values.len() {
            return Err(format!("line {}: {time} comes twice or too late", number + 1));
        }
        values.resize(index, f64::NAN);
        values.push(count / REQUESTS_PER_UNIT);
    }
    from.map(|from| Minutes::new(from, values)).ok_or_else(|| "there is no line behind the heading".to_owned())
}

/// Reads a time per line; the first line is a heading.
pub fn calendar(text: &str) -> Result<Calendar, String> {
    let mut events = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let event = minute(line).ok_or_else(|| format!("line {}: expected `YYYY-MM-DD hh:mm:ss`", number + 1))?;
        events.push(event);
    }
    Ok(Calendar::new(events))
}

/// Minutes since 1970-01-01 of `YYYY-MM-DD hh:mm...` or `YYYY-MM-DD`.
pub fn minute(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute) = if text.len() > 10 { (number(11..13)?, number(14..16)?) } else { (0, 0) };
    Some(written::days(year, month, day) * 1440 + hour * 60 + minute)
}
