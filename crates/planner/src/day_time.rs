//! Times of the day clock: the calendar's, which a rehearsal may run faster than the clock on the wall.

use std::fmt;
use std::str::FromStr;

use naru_model::written;
use serde::{Deserialize, Serialize};

const SECONDS_PER_DAY: i64 = 86_400;

/// A time of the day clock, in seconds since 1970-01-01 00:00 UTC. Written as `2026-11-11T10:00:00+09:00`, or with a space
/// and without seconds; an offset is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DayTime(i64);

/// Text that is no time. Whoever wrote it is at fault, and a retry does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a time: write it as 2026-11-11 10:00 +09:00")]
pub struct InvalidTime {
    found: String,
}

impl DayTime {
    /// A time by its seconds since 1970-01-01 00:00 UTC.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970-01-01 00:00 UTC.
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// The time so many seconds later, or earlier.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// The time as people in a zone read it.
    pub fn in_zone(self, zone: Zone) -> Local {
        Local { time: self, zone }
    }
}

/// A time zone by its fixed offset. Korea has had one since 1988; a zone with summer time is named by the offset of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    offset_minutes: i16,
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self { offset_minutes: 0 };
}

/// A time as people in a zone read it: `2026-11-11 10:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    time: DayTime,
    zone: Zone,
}

impl Local {
    /// The first moment of its hour.
    pub fn hour_begins(self) -> DayTime {
        let local = self.time.0 + i64::from(self.zone.offset_minutes) * 60;
        DayTime(self.time.0 - local.rem_euclid(3600))
    }

    /// Minutes since 1970-01-01 as the zone's clocks show them.
    pub fn minute(self) -> i64 {
        self.time.0.div_euclid(60) + i64::from(self.zone.offset_minutes)
    }

    /// Seconds since its midnight.
    pub fn second_of_day(self) -> i64 {
        (self.time.0 + i64::from(self.zone.offset_minutes) * 60).rem_euclid(SECONDS_PER_DAY)
    }

    /// Hour and minute alone: `10:00`.
    pub fn clock(self) -> String {
        let second = self.second_of_day();
        format!("{:02}:{:02}", second / 3600, second / 60 % 60)
    }

    fn date(self) -> (i64, i64, i64) {
        written::date((self.time.0 + i64::from(self.zone.offset_minutes) * 60).div_euclid(SECONDS_PER_DAY))
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        f.pad(&format!("{year:04}-{month:02}-{day:02} {}", self.clock()))
    }
}

impl FromStr for DayTime {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        parse(text).ok_or_else(|| InvalidTime { found: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<DayTime> {
    let (date, rest) = text.split_once(['T', ' '])?;
    let (clock, zone) = match rest.strip_suffix('Z') {
        Some(clock) => (clock, Zone::UTC),
        None => {
            let at = rest.find(['+', '-'])?;
            (rest[..at].trim_end(), rest[at..].parse().ok()?)
        }
    };
    let mut date_parts = date.split('-').map(digits);
    let (year, month, day) = (date_parts.next()??, date_parts.next()??, date_parts.next()??);
    let mut clock_parts = clock.split(':').map(digits);
    let (hour, minute) = (clock_parts.next()??, clock_parts.next()??);
    let second = clock_parts.next().unwrap_or(Some(0))?;
    let whole = date_parts.next().is_none() && clock_parts.next().is_none();
    let number = written::days(year, month, day);
    let exists = (1..=12).contains(&month)
        && written::date(number) == (year, month, day)
        && hour < 24
        && minute < 60
        && second < 60;
    (whole && exists).then(|| {
        let local = number * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
        DayTime(local - i64::from(zone.offset_minutes) * 60)
    })
}

/// A number of at most four digits.
fn digits(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

impl FromStr for Zone {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let invalid = || InvalidTime { found: text.to_owned() };
        if text == "Z" {
            return Ok(Self::UTC);
        }
        let (sign, clock) = match text.split_at_checked(1) {
            Some(("+", clock)) => (1, clock),
            Some(("-", clock)) => (-1, clock),
            _ => return Err(invalid()),
        };
        let (hours, minutes) = clock.split_once(':').ok_or_else(invalid)?;
        let (hours, minutes) = (digits(hours).ok_or_else(invalid)?, digits(minutes).ok_or_else(invalid)?);
        if hours > 14 || minutes > 59 {
            return Err(invalid());
        }
        let offset_minutes = sign * (hours * 60 + minutes) as i16;
        Ok(Self { offset_minutes })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, minutes) = (if self.offset_minutes < 0 { '-' } else { '+' }, self.offset_minutes.abs());
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl fmt::Display for DayTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.in_zone(Zone::UTC);
        let (year, month, day) = local.date();
        write!(f, "{year:04}-{month:02}-{day:02}T{}:{:02}Z", local.clock(), self.0.rem_euclid(60))
    }
}

impl TryFrom<String> for DayTime {
    type Error = InvalidTime;

    fn try_from(text: String) -> Result<Self, InvalidTime> {
        text.parse()
    }
}

impl From<DayTime> for String {
    fn from(time: DayTime) -> String {
        time.to_string()
    }
}

impl TryFrom<String> for Zone {
    type Error = InvalidTime;

    fn try_from(text: String) -> Result<Self, InvalidTime> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let check = |input: &str, expect: Option<&str>| {
            let got = input.parse::<DayTime>().ok().map(|time| time.to_string());
            assert_eq!(got.as_deref(), expect, "{input:?}");
        };
        check("2026-11-11 10:00 +09:00", Some("2026-11-11T01:00:00Z"));
        check("2026-11-11T10:00:30+09:00", Some("2026-11-11T01:00:30Z"));
        check("2024-02-29T00:00:00Z", Some("2024-02-29T00:00:00Z"));
        check("1970-01-01 00:00 -01:30", Some("1970-01-01T01:30:00Z"));
        for wrong in [
            "2026-11-11 10:00",
            "2025-02-29 00:00Z",
            "2026-13-01 00:00Z",
            "2026-11-11 24:00Z",
            "",
            "tomorrow",
            "2026-11-11 10:00 +15:00",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn people_read_times_of_their_zone() {
        let time: DayTime = "2026-11-10T15:30:00Z".parse().unwrap();
        let seoul: Zone = "+09:00".parse().unwrap();
        assert_eq!(time.in_zone(seoul).to_string(), "2026-11-11 00:30");
        assert_eq!(time.in_zone(seoul).second_of_day(), 1800);
        let india: Zone = "+05:30".parse().unwrap();
        assert_eq!(time.in_zone(india).hour_begins().in_zone(india).clock(), "21:00");
    }
}
