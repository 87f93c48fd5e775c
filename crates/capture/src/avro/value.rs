//! PostgreSQL's text forms as Avro values.

use super::{put_bytes, put_long};

/// Days from 0000-03-01 to 1970-01-01, in the proleptic Gregorian calendar.
const DAYS_TO_1970: i64 = 719_468;
const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// What a column's values are in Avro.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `boolean`.
    Boolean,
    /// `int`: int2 and int4.
    Int,
    /// `long`.
    Long,
    /// `float`.
    Float,
    /// `double`.
    Double,
    /// `bytes`.
    Bytes,
    /// `bytes` with the logical type `decimal`.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Of them behind the point.
        scale: u8,
    },
    /// `string`, as the server writes it.
    Text,
    /// `long` with the logical type `timestamp-micros`.
    Timestamp,
    /// `long` with the logical type `local-timestamp-micros`.
    LocalTimestamp,
    /// `int` with the logical type `date`.
    Date,
    /// `long` with the logical type `time-micros`.
    Time,
    /// `string` with the logical type `uuid`.
    Uuid,
}

/// A value that its type cannot hold. Says what is wrong, never the value: it may be personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// `infinity`, `NaN`, or a time beyond 64 bits of microseconds.
    #[error("is infinite, not a number, or beyond what {0} can hold")]
    Beyond(&'static str),
    /// The text is not what the server writes for this type.
    #[error("is no text form of {0}")]
    Malformed(&'static str),
    /// A plain value where a token must stand.
    #[error("is plain, and its column leaves as a token")]
    Plain,
    /// A column of the key without a value.
    #[error("belongs to the key and has no value")]
    Missing,
    /// The bytes are no UTF-8; a database with the encoding SQL_ASCII keeps such.
    #[error("is not UTF-8")]
    NotUtf8,
}

impl Kind {
    /// The type that PostgreSQL calls by this number, with a column's modifier (`atttypmod`).
    pub fn of(type_oid: u32, modifier: i32) -> Self {
        match type_oid {
            16 => Self::Boolean,
            21 | 23 => Self::Int,
            20 => Self::Long,
            700 => Self::Float,
            701 => Self::Double,
            17 => Self::Bytes,
            1700 => decimal(modifier),
            1184 => Self::Timestamp,
            1114 => Self::LocalTimestamp,
            1082 => Self::Date,
            1083 => Self::Time,
            2950 => Self::Uuid,
            _ => Self::Text,
        }
    }

    /// Its Avro schema, as JSON.
    pub(crate) fn schema(self) -> serde_json::Value {
        let logical = |of: &str, logical: &str| serde_json::json!({"type": of, "logicalType": logical});
        match self {
            Self::Decimal { precision, scale } => {
                serde_json::json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale})
            }
            Self::Timestamp => logical("long", "timestamp-micros"),
            Self::LocalTimestamp => logical("long", "local-timestamp-micros"),
            Self::Date => logical("int", "date"),
            Self::Time => logical("long", "time-micros"),
            Self::Uuid => logical("string", "uuid"),
            plain => serde_json::Value::from(plain.primitive()),
        }
    }

    /// The primitive type beneath.
    pub(crate) fn primitive(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Int | Self::Date => "int",
            Self::Long | Self::Timestamp | Self::LocalTimestamp | Self::Time => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes | Self::Decimal { .. } => "bytes",
            Self::Text | Self::Uuid => "string",
        }
    }

    /// Appends the Avro value of a text form.
    ///
    /// # Errors
    /// When the type cannot hold it; nothing useful was appended then.
    pub(crate) fn put(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Self::Boolean => out.push(match text {
                b"t" => 1,
                b"f" => 0,
                _ => return Err(Unfit::Malformed("a boolean")),
            }),
            Self::Int | Self::Long => put_long(out, integer(text).ok_or(Unfit::Malformed("an integer"))?),
            Self::Float => out.extend_from_slice(&float::<f32>(text)?.to_le_bytes()),
            Self::Double => out.extend_from_slice(&float::<f64>(text)?.to_le_bytes()),
            Self::Bytes => put_hex(text, out)?,
            Self::Decimal { precision, scale } => put_decimal(text, precision, scale, out)?,
            Self::Text | Self::Uuid => {
                std::str::from_utf8(text).map_err(|_| Unfit::NotUtf8)?;
                put_bytes(out, text);
            }
            Self::Timestamp | Self::LocalTimestamp => put_long(out, timestamp(text)?),
            Self::Date => put_long(out, date(text)?),
            Self::Time => put_long(out, time(text).ok_or(Unfit::Malformed("a time"))?.0),
        }
        Ok(())
    }
}

/// `numeric(p, s)` as it stands in a modifier: the precision in the upper half, the scale in the lower 11 bits, signed.
fn decimal(modifier: i32) -> Kind {
    let Some(packed) = modifier.checked_sub(4).filter(|_| modifier >= 4) else { return Kind::Text };
    let (precision, scale) = (packed >> 16, ((packed & 0x7ff) ^ 1024) - 1024);
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => Kind::Decimal { precision, scale },
        _ => Kind::Text,
    }
}

fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn float<F: std::str::FromStr>(text: &[u8]) -> Result<F, Unfit> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).ok_or(Unfit::Malformed("a floating-point number"))
}

fn put_hex(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
    let malformed = Unfit::Malformed("bytes");
    let digits = text.strip_prefix(b"\\x").ok_or(malformed)?;
    let (pairs, odd) = digits.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(malformed);
    }
    put_long(out, i64::try_from(pairs.len()).expect("a piece of memory is shorter than 2^63"));
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    for [high, low] in pairs {
        out.push((digit(*high).ok_or(malformed)? << 4) | digit(*low).ok_or(malformed)?);
    }
    Ok(())
}

/// The unscaled value, big-endian two's complement in as few bytes as hold it.
fn put_decimal(text: &[u8], precision: u8, scale: u8, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let malformed = Unfit::Malformed("a decimal");
    if matches!(text, b"NaN" | b"Infinity" | b"-Infinity") {
        return Err(Unfit::Beyond("a decimal"));
    }
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let (mut value, mut behind, mut point) = (0i128, 0u8, false);
    for byte in digits {
        match byte {
            b'.' if !point => point = true,
            b'0'..=b'9' => {
                behind += u8::from(point);
                let digit = i128::from(byte - b'0');
                value = value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or(Unfit::Beyond("a decimal"))?;
            }
            _ => return Err(malformed),
        }
        if behind > scale {
            return Err(malformed);
        }
    }
    for _ in behind..scale {
        value = value.checked_mul(10).ok_or(Unfit::Beyond("a decimal"))?;
    }
    if digits.is_empty() || value >= 10i128.pow(u32::from(precision)) {
        return Err(if digits.is_empty() { malformed } else { Unfit::Beyond("a decimal") });
    }
    let bytes = if negative { -value } else { value }.to_be_bytes();
    let sign = if negative && value != 0 { 0xff } else { 0x00 };
    // A leading byte says nothing if it is the sign only and the next one has the sign's bit, too.
    let spare = bytes.windows(2).take_while(|pair| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0).count();
    put_bytes(out, &bytes[spare..]);
    Ok(())
}

/// Microseconds since 1970 of `2026-11-23 17:00:00.25+00`, with or without the zone, which is UTC.
fn timestamp(text: &[u8]) -> Result<i64, Unfit> {
    let beyond = Unfit::Beyond("a timestamp");
    if matches!(text, b"infinity" | b"-infinity") {
        return Err(beyond);
    }
    let malformed = Unfit::Malformed("a timestamp");
    let (text, before_christ) = era(text);
    let (days, rest) = civil(text, before_christ).ok_or(malformed)?;
    let (micros, rest) = time_of_day(rest.strip_prefix(b" ").ok_or(malformed)?).ok_or(malformed)?;
    if !matches!(rest, b"" | b"+00") {
        return Err(malformed);
    }
    let whole = days.checked_mul(SECONDS_PER_DAY * MICROS_PER_SECOND).and_then(|day| day.checked_add(micros));
    whole.ok_or(beyond)
}

/// Days since 1970.
fn date(text: &[u8]) -> Result<i64, Unfit> {
    if matches!(text, b"infinity" | b"-infinity") {
        return Err(Unfit::Beyond("a date"));
    }
    let (text, before_christ) = era(text);
    match civil(text, before_christ) {
        Some((days, b"")) => Ok(days),
        _ => Err(Unfit::Malformed("a date")),
    }
}

fn time(text: &[u8]) -> Option<(i64, ())> {
    let (micros, rest) = time_of_day(text)?;
    rest.is_empty().then_some((micros, ()))
}

fn era(text: &[u8]) -> (&[u8], bool) {
    text.strip_suffix(b" BC").map_or((text, false), |text| (text, true))
}

/// The digits of the last year that a date of PostgreSQL can hold, 5874897; a timestamp's has fewer.
const YEAR_DIGITS_MAX: usize = 7;
/// Digits of a second's fraction.
const FRACTION_DIGITS_MAX: usize = 6;

/// A number of so many digits, and what follows.
fn number(text: &[u8], digits_min: usize, digits_max: usize) -> Option<(i64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits < digits_min || digits > digits_max {
        return None;
    }
    let value = text[..digits].iter().fold(0, |value, byte| value * 10 + i64::from(byte - b'0'));
    Some((value, &text[digits..]))
}

/// Days since 1970 of `year-month-day`, and what follows; the algorithm counts eras of 400 years from 1 March.
fn civil(text: &[u8], before_christ: bool) -> Option<(i64, &[u8])> {
    let (year, rest) = number(text, 4, YEAR_DIGITS_MAX)?;
    let (month, rest) = number(rest.strip_prefix(b"-")?, 2, 2)?;
    let (day, rest) = number(rest.strip_prefix(b"-")?, 2, 2)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // There is no year 0: 1 BC is followed by 1 AD.
    let year = if before_christ { 1 - year } else { year };
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    Some((era * 146_097 + days - DAYS_TO_1970, rest))
}

/// Microseconds since midnight of `17:00:00.25`, and what follows.
fn time_of_day(text: &[u8]) -> Option<(i64, &[u8])> {
    let (hours, rest) = number(text, 2, 2)?;
    let (minutes, rest) = number(rest.strip_prefix(b":")?, 2, 2)?;
    let (seconds, rest) = number(rest.strip_prefix(b":")?, 2, 2)?;
    let (micros, rest) = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let (value, after) = number(fraction, 1, FRACTION_DIGITS_MAX)?;
            let digits = u32::try_from(fraction.len() - after.len()).ok()?;
            (value * 10i64.pow(6 - digits), after)
        }
        None => (0, rest),
    };
    Some((((hours * 60 + minutes) * 60 + seconds) * MICROS_PER_SECOND + micros, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use proptest::prelude::*;

    use super::super::take_long;
    use super::*;

    fn long(kind: Kind, text: &str) -> Result<i64, Unfit> {
        let mut out = Vec::new();
        kind.put(text.as_bytes(), &mut out)?;
        Ok(take_long(&out).unwrap().0)
    }

    #[test]
    fn times_are_counted_from_1970() {
        let check = |kind, text, expect| assert_eq!(long(kind, text), Ok(expect), "{text}");
        check(Kind::Date, "1970-01-01", 0);
        check(Kind::Date, "2000-02-29", 11_016);
        check(Kind::Date, "1969-12-31", -1);
        check(Kind::Date, "0001-01-01", -719_162);
        check(Kind::Date, "0001-12-31 BC", -719_163);
        check(Kind::Date, "10000-01-01", 2_932_897);
        check(Kind::Date, "5874897-12-31", 2_145_042_905);
        check(Kind::Timestamp, "1970-01-01 00:00:01.5+00", 1_500_000);
        check(Kind::Timestamp, "2026-11-23 17:00:00+00", 1_795_453_200_000_000);
        check(Kind::LocalTimestamp, "1969-12-31 23:59:59.999999", -1);
        check(Kind::Time, "24:00:00", 86_400_000_000);
        check(Kind::Time, "00:00:00.000001", 1);
    }

    #[test]
    fn what_a_type_cannot_hold_is_refused() {
        let check = |kind: Kind, text: &str, expect| {
            assert_eq!(kind.put(text.as_bytes(), &mut Vec::new()), Err(expect), "{text}");
        };
        check(Kind::Timestamp, "infinity", Unfit::Beyond("a timestamp"));
        check(Kind::Timestamp, "294276-12-31 23:59:59+00", Unfit::Beyond("a timestamp"));
        check(Kind::Date, "-infinity", Unfit::Beyond("a date"));
        let money = Kind::Decimal { precision: 5, scale: 2 };
        check(money, "NaN", Unfit::Beyond("a decimal"));
        check(money, "1000.00", Unfit::Beyond("a decimal"));
        check(money, "1.234", Unfit::Malformed("a decimal"));
        check(money, "", Unfit::Malformed("a decimal"));
        check(Kind::Boolean, "true", Unfit::Malformed("a boolean"));
        check(Kind::Bytes, "\\x0", Unfit::Malformed("bytes"));
        assert_eq!(Kind::Text.put(b"\xff", &mut Vec::new()), Err(Unfit::NotUtf8));
    }

    #[test]
    fn a_numeric_is_a_decimal_where_it_can_be() {
        let numeric = |precision: i32, scale: i32| Kind::of(1700, ((precision << 16) | (scale & 0x7ff)) + 4);
        assert_eq!(numeric(12, 2), Kind::Decimal { precision: 12, scale: 2 });
        assert_eq!(numeric(38, 38), Kind::Decimal { precision: 38, scale: 38 });
        for other in [numeric(39, 2), numeric(3, -2), numeric(2, 3), Kind::of(1700, -1)] {
            assert_eq!(other, Kind::Text);
        }
    }

    proptest! {
        #[test]
        fn a_decimal_is_its_unscaled_value(value in -(10i128.pow(38) - 1)..10i128.pow(38), scale in 0u8..=38) {
            let digits = format!("{:0>width$}", value.unsigned_abs(), width = usize::from(scale) + 1);
            let (whole, behind) = digits.split_at(digits.len() - usize::from(scale));
            let text = format!("{}{whole}{}{behind}", if value < 0 { "-" } else { "" }, if scale > 0 { "." } else { "" });
            let mut out = Vec::new();
            Kind::Decimal { precision: 38, scale }.put(text.as_bytes(), &mut out).unwrap();
            let (length, bytes) = take_long(&out).unwrap();
            prop_assert_eq!(i64::try_from(bytes.len()).unwrap(), length);
            let mut wide = [if bytes[0] & 0x80 == 0 { 0 } else { 0xff }; 16];
            wide[16 - bytes.len()..].copy_from_slice(bytes);
            prop_assert_eq!(i128::from_be_bytes(wide), value);
        }

        #[test]
        fn no_text_breaks_anything(text: Vec<u8>, kind in 0usize..13) {
            let kinds = [
                Kind::Boolean, Kind::Int, Kind::Long, Kind::Float, Kind::Double, Kind::Bytes, Kind::Text, Kind::Timestamp,
                Kind::LocalTimestamp, Kind::Date, Kind::Time, Kind::Uuid, Kind::Decimal { precision: 38, scale: 38 },
            ];
            // Whatever is said, it is said without a panic.
            prop_assert!(kinds[kind].put(&text, &mut Vec::new()).is_ok() || !text.is_empty() || kind != 6);
        }
    }
}
