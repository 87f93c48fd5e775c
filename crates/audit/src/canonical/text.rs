//! Values from PostgreSQL's text forms, with `DateStyle` ISO, `TimeZone` UTC and `bytea_output` hex.

use super::Decimal;

/// Days from 0000-03-01 to 1970-01-01 in the calendar that PostgreSQL uses throughout (proleptic Gregorian).
const DAYS_TO_1970: i64 = 719_468;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// `t` or `f`.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "t" => Some(true),
        "f" => Some(false),
        _ => None,
    }
}

/// A whole number.
pub fn integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// A double, also `NaN` and `Infinity`.
pub fn double(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// A single, made a double: the shortest text of a single is not the shortest of the double with its value.
pub fn single(text: &str) -> Option<f64> {
    text.parse::<f32>().ok().map(f64::from)
}

/// A number with a fixed count of places.
pub fn decimal(text: &str) -> Option<Decimal> {
    Decimal::from_text(text)
}

/// Days since 1970 of `2026-11-23`, also of `0044-03-15 BC`.
pub fn date(text: &str) -> Option<i64> {
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if year.len() < 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let (year, month, day) = (digits(year)?, digits(month)?, digits(day)?);
    // There is no year 0: 1 BC is what astronomers call 0.
    let year = if before_christ { 1 - year } else { year };
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then(|| days_since_1970(year, month, day))
}

/// Microseconds since midnight of `13:04:05.25`; `24:00:00` is a day's length.
pub fn time(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.splitn(3, ':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if [hour, minute, second].iter().any(|part| part.len() != 2) || fraction.len() > 6 {
        return None;
    }
    let micros = if fraction.is_empty() { 0 } else { digits(&format!("{fraction:0<6}"))? };
    let (hour, minute, second) = (digits(hour)?, digits(minute)?, digits(second)?);
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

/// Microseconds since 1970 of `2026-11-23 13:04:05.25`, as if it were UTC.
pub fn local(text: &str) -> Option<i64> {
    let (text, era) = match text.strip_suffix(" BC") {
        Some(text) => (text, " BC"),
        None => (text, ""),
    };
    let (day, clock) = text.split_once(' ')?;
    let days = if era.is_empty() { date(day)? } else { date(&format!("{day}{era}"))? };
    days.checked_mul(MICROS_PER_DAY)?.checked_add(time(clock)?)
}

/// Microseconds since 1970 of `2026-11-23 13:04:05.25+00`, whatever the offset.
pub fn moment(text: &str) -> Option<i64> {
    let (text, era) = match text.strip_suffix(" BC") {
        Some(text) => (text, " BC"),
        None => (text, ""),
    };
    let clock = text.find(' ')?;
    let sign = clock + text.get(clock..)?.find(['+', '-'])?;
    let (at, offset) = text.split_at(sign);
    let mut parts = offset.get(1..)?.split(':').map(digits);
    let mut part = || parts.next().unwrap_or(Some(0));
    let ahead = (part()? * 60 + part()?) * 60 + part()?;
    let ahead = if offset.starts_with('-') { -ahead } else { ahead };
    let at = if era.is_empty() { local(at)? } else { local(&format!("{at}{era}"))? };
    at.checked_sub(ahead * 1_000_000)
}

/// 16 bytes of `8-4-4-4-12` hexadecimal digits.
pub fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut value = [0; 16];
    let mut digits = text.bytes().filter(|byte| *byte != b'-');
    for byte in &mut value {
        *byte = hex(digits.next()?)? << 4 | hex(digits.next()?)?;
    }
    digits.next().is_none().then_some(value)
}

/// The bytes of `\x0aff`.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(hex(pair[0])? << 4 | hex(pair[1])?)).collect()
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|digit| digit as u8)
}

fn digits(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Years begin in March here, so that the leap day is the last one of a year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_1970
}
