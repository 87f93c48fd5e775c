//! Decimals of any precision, as text of one form only.

use std::fmt;

/// Decimal places in which amounts are summed up: more than any currency has.
pub const AMOUNT_PLACES: u32 = 9;

/// A decimal in its plain notation: no exponent, no plus sign, no needless zeros; zero is `0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal(String);

impl Decimal {
    /// From a plain notation such as PostgreSQL's: `-012.500`. Nothing for anything else, `NaN` included.
    pub fn from_text(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() && part.is_empty() || !is_digits(whole) || !is_digits(part) {
            return None;
        }
        Some(Self::made(negative, whole.trim_start_matches('0'), part.trim_end_matches('0')))
    }

    /// `unscaled` × 10^-`scale`.
    pub fn from_unscaled(unscaled: i128, scale: u32) -> Self {
        let scale = scale as usize;
        let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
        let (whole, part) = digits.split_at(digits.len() - scale);
        Self::made(unscaled < 0, whole.trim_start_matches('0'), part.trim_end_matches('0'))
    }

    /// From a big-endian two's complement number, as Avro and Parquet have it; nothing if it is longer than 16 bytes.
    pub fn from_be_bytes(bytes: &[u8], scale: u32) -> Option<Self> {
        let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xFF } else { 0 }; 16];
        wide.get_mut(16_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
        Some(Self::from_unscaled(i128::from_be_bytes(wide), scale))
    }

    fn made(negative: bool, whole: &str, part: &str) -> Self {
        if whole.is_empty() && part.is_empty() {
            return Self("0".to_owned());
        }
        let whole = if whole.is_empty() { "0" } else { whole };
        let (sign, point) = (if negative { "-" } else { "" }, if part.is_empty() { "" } else { "." });
        Self(format!("{sign}{whole}{point}{part}"))
    }

    /// The notation.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In units of 10^-9, for sums; modulo 2^128, and cut behind the ninth place.
    pub fn nanos(&self) -> i128 {
        let (negative, digits) = match self.0.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, self.0.as_str()),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let padded = part.bytes().chain(std::iter::repeat(b'0')).take(AMOUNT_PLACES as usize);
        let add = |sum: i128, digit: u8| sum.wrapping_mul(10).wrapping_add(i128::from(digit - b'0'));
        let nanos = whole.bytes().chain(padded).fold(0, add);
        if negative { nanos.wrapping_neg() } else { nanos }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
