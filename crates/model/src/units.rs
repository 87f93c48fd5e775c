//! The cost of work, in units.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount of work, relative to one view of a promotion page, which costs 1. Fixed point with three decimals, so
/// that sums over a day are exact and the same on every machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Units {
    thousandths: u64,
}

/// An amount of units that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitsError {
    /// Not a decimal number with at most three decimals.
    #[error("{found:?} is not an amount of units: write digits, and at most three decimals after a point")]
    Malformed {
        /// What was given.
        found: String,
    },
    /// More than 64 bits of thousandths.
    #[error("an amount of units is out of range")]
    Overflow,
}

const THOUSAND: u64 = 1000;
const DECIMALS: usize = 3;

impl Units {
    /// Nothing.
    pub const ZERO: Self = Self { thousandths: 0 };
    /// One view of a promotion page.
    pub const ONE: Self = Self { thousandths: THOUSAND };

    /// An amount in thousandths of a unit.
    pub const fn from_thousandths(thousandths: u64) -> Self {
        Self { thousandths }
    }

    /// The amount in thousandths of a unit.
    pub const fn thousandths(self) -> u64 {
        self.thousandths
    }

    /// The sum, unless it is out of range.
    pub fn checked_add(self, other: Self) -> Result<Self, UnitsError> {
        self.thousandths.checked_add(other.thousandths).map(Self::from_thousandths).ok_or(UnitsError::Overflow)
    }

    /// What is left after taking `other`, or nothing when `other` is more.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self::from_thousandths(self.thousandths.saturating_sub(other.thousandths))
    }

    /// The cost of `count` pieces of this work, unless it is out of range.
    pub fn checked_mul(self, count: u64) -> Result<Self, UnitsError> {
        self.thousandths.checked_mul(count).map(Self::from_thousandths).ok_or(UnitsError::Overflow)
    }
}

impl Sum for Units {
    /// The sum; saturates at the largest amount, which no plan can hold.
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts
            .fold(Self::ZERO, |sum, amount| Self::from_thousandths(sum.thousandths.saturating_add(amount.thousandths)))
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.thousandths / THOUSAND, self.thousandths % THOUSAND);
        if rest == 0 { write!(f, "{whole}") } else { f.write_str(format!("{whole}.{rest:03}").trim_end_matches('0')) }
    }
}

impl FromStr for Units {
    type Err = UnitsError;

    fn from_str(text: &str) -> Result<Self, UnitsError> {
        let malformed = || UnitsError::Malformed { found: text.to_owned() };
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > DECIMALS {
            return Err(malformed());
        }
        let rest: u64 = format!("{decimals:0<DECIMALS$}").parse().map_err(|_| malformed())?;
        let whole: u64 = whole.parse().map_err(|_| UnitsError::Overflow)?;
        Self::from_thousandths(whole).checked_mul(THOUSAND)?.checked_add(Self::from_thousandths(rest))
    }
}

impl TryFrom<String> for Units {
    type Error = UnitsError;

    fn try_from(text: String) -> Result<Self, UnitsError> {
        text.parse()
    }
}

impl From<Units> for String {
    fn from(units: Units) -> String {
        units.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use proptest::prelude::*;

    use super::*;

    fn check(input: &str, expect: &str) {
        let got = match input.parse::<Units>() {
            Ok(units) => units.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "{input:?}");
    }

    #[test]
    fn text_is_exact() {
        check("1", "1");
        check("1.50", "1.5");
        check("0.025", "0.025");
        check("18446744073709551.615", "18446744073709551.615");
        check("18446744073709551.616", "an amount of units is out of range");
        check("99999999999999999999", "an amount of units is out of range");
        for input in ["", ".5", "1.", "-1", "1.0001", "1e3", "1,5", " 1"] {
            let text = "is not an amount of units: write digits, and at most three decimals after a point";
            check(input, &format!("{input:?} {text}"));
        }
    }

    #[test]
    fn arithmetic_says_when_it_leaves_the_range() {
        let most = Units::from_thousandths(u64::MAX);
        assert_eq!(most.checked_add(Units::ONE), Err(UnitsError::Overflow));
        assert_eq!(most.checked_mul(2), Err(UnitsError::Overflow));
        assert_eq!(Units::ONE.saturating_sub(most), Units::ZERO);
        assert_eq!([Units::ONE, most].into_iter().sum::<Units>(), most);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(thousandths in any::<u64>()) {
            let units = Units::from_thousandths(thousandths);
            prop_assert_eq!(units.to_string().parse::<Units>().unwrap(), units);
        }
    }
}
