//! Durations and sizes as people write them.

use std::fmt;
use std::time::Duration;

use super::error::Mistake;

/// Units of a duration with their length in microseconds, longest first.
const DURATION_UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// Units of a size with their length in bytes; the binary ones first, so that formatting prefers them.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads `250ms`, `10s`, `1h30m`: whole numbers with the units d, h, m, s, ms and us.
///
/// # Errors
/// A [`Mistake`] for anything else, also for a bare number and for what does not fit 64 bits of microseconds.
pub fn parse_duration(text: &str) -> Result<Duration, Mistake> {
    let wrong = || {
        let fix = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            format!("write the unit: {text}ms, {text}s")
        } else {
            "use whole numbers with d, h, m, s, ms or us, such as 250ms or 1h30m".to_owned()
        };
        Mistake::new(format!("is {text:?}, not a duration"), fix)
    };
    let mut micros: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (digits, after) = split_while(rest, |c| c.is_ascii_digit());
        let (unit, after) = split_while(after, |c| c.is_ascii_alphabetic());
        let (_, unit_micros) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        micros = number.checked_mul(*unit_micros).and_then(|more| micros.checked_add(more)).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_micros(micros)) }
}

/// Writes a duration in its largest whole unit: `250ms`, `90s`. What is below a microsecond is cut.
pub fn format_duration(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let (unit, length) = DURATION_UNITS
        .into_iter()
        .filter(|_| micros != 0)
        .find(|(_, length)| micros.is_multiple_of(*length))
        .unwrap_or(("s", 1_000_000));
    format!("{}{unit}", micros / length)
}

/// A number of bytes, written with a unit: `64MiB`, `512B`, `1GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// A size of so many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The bytes as a length in memory; the largest length where the machine's is smaller.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Reads a whole number with a unit.
    ///
    /// # Errors
    /// A [`Mistake`] for anything else, also for a bare number and for what does not fit 64 bits.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let wrong = || {
            let fix = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
                format!("write the unit: {text}B, {text}MiB")
            } else {
                "use a whole number with B, KiB, MiB, GiB, TiB, kB, MB, GB or TB, such as 64MiB".to_owned()
            };
            Mistake::new(format!("is {text:?}, not a size"), fix)
        };
        let (digits, unit) = split_while(text, |c| c.is_ascii_digit());
        let (_, length) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        number.checked_mul(*length).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, length) = SIZE_UNITS
            .into_iter()
            .filter(|_| self.0 != 0)
            .find(|(_, length)| self.0.is_multiple_of(*length))
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / length)
    }
}

/// Splits at the first character that `holds` refuses.
fn split_while(text: &str, holds: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !holds(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        let check = |text: &str, micros: Option<u64>, shown: &str| {
            let read = parse_duration(text);
            assert_eq!(read.as_ref().ok(), micros.map(Duration::from_micros).as_ref(), "{text}");
            match read {
                Ok(duration) => assert_eq!(format_duration(duration), shown),
                Err(mistake) => assert!(mistake.fix.contains(shown), "{text}: {}", mistake.fix),
            }
        };
        check("250ms", Some(250_000), "250ms");
        check("10s", Some(10_000_000), "10s");
        check("90s", Some(90_000_000), "90s");
        check("1h30m", Some(5_400_000_000), "90m");
        check("0s", Some(0), "0s");
        check("7us", Some(7), "7us");
        check("", None, "250ms");
        check("250", None, "250ms, 250s");
        check("1.5s", None, "whole numbers");
        check("-1s", None, "whole numbers");
        check("1 s", None, "whole numbers");
        check("99999999999999999999s", None, "whole numbers");
        check("999999999999999d", None, "whole numbers");
    }

    #[test]
    fn sizes_are_read_and_written() {
        let check = |text: &str, bytes: Option<u64>, shown: &str| {
            let read = ByteSize::parse(text);
            assert_eq!(read.as_ref().ok().map(|size| size.bytes()), bytes, "{text}");
            match read {
                Ok(size) => assert_eq!(size.to_string(), shown),
                Err(mistake) => assert!(mistake.fix.contains(shown), "{text}: {}", mistake.fix),
            }
        };
        check("64MiB", Some(64 << 20), "64MiB");
        check("1024KiB", Some(1 << 20), "1MiB");
        check("1kB", Some(1000), "1kB");
        check("0B", Some(0), "0B");
        check("17B", Some(17), "17B");
        check("64", None, "64B, 64MiB");
        check("64mb", None, "whole number");
        check("MiB", None, "whole number");
        check("99999999999TiB", None, "whole number");
    }
}
