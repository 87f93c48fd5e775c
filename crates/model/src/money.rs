//! Amounts of money, exact, in a currency.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A currency of ISO 4217.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// Currencies in use, by their number of minor digits (ISO 4217, list one, without metals, funds and test codes).
const BY_MINOR_DIGITS: [(u32, &str); 4] = [
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
    (
        2,
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC \
         CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR \
         JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD \
         NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN \
         SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "CLF UYW"),
];

/// An amount, or an operation on amounts, that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a currency in use.
    #[error("{found:?} is not a currency: write a code of ISO 4217, such as KRW")]
    UnknownCurrency {
        /// What was given.
        found: String,
    },
    /// Not an amount.
    #[error("{found:?} is not an amount: write digits and a currency, such as `12.30 EUR`")]
    Malformed {
        /// What was given.
        found: String,
    },
    /// Decimals that the currency does not have.
    #[error("{currency} has {digits} minor digits, {found:?} gives another number")]
    MinorDigits {
        /// The currency.
        currency: Currency,
        /// How many it has.
        digits: u32,
        /// What was given.
        found: String,
    },
    /// Two amounts in different currencies.
    #[error("amounts in {left} and {right} cannot be taken together")]
    Currencies {
        /// The currency of the one.
        left: Currency,
        /// The currency of the other.
        right: Currency,
    },
    /// More than 64 bits of minor units.
    #[error("an amount in {currency} is out of range")]
    Overflow {
        /// The currency.
        currency: Currency,
    },
}

impl Currency {
    /// South Korean won, the currency of the examples.
    pub const KRW: Self = Self(*b"KRW");

    /// Takes a code such as `KRW`, in capitals.
    pub fn new(code: &str) -> Result<Self, MoneyError> {
        let unknown = || MoneyError::UnknownCurrency { found: code.to_owned() };
        let bytes: [u8; 3] = code.as_bytes().try_into().map_err(|_| unknown())?;
        BY_MINOR_DIGITS
            .iter()
            .any(|(_, codes)| codes.split(' ').any(|known| known == code))
            .then_some(Self(bytes))
            .ok_or_else(unknown)
    }

    /// The code.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a code was checked to be one of ISO 4217, which are ASCII")
    }

    /// How many decimals the currency has: 0 for KRW, 2 for EUR, 3 for KWD.
    pub fn minor_digits(&self) -> u32 {
        let known = BY_MINOR_DIGITS.iter().find(|(_, codes)| codes.split(' ').any(|known| known == self.code()));
        known.expect("a code was checked to be in the list").0
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(code: String) -> Result<Self, MoneyError> {
        Self::new(&code)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.code().to_owned()
    }
}

/// An exact amount of money: a whole number of the currency's minor units, of either sign.
///
/// Arithmetic never rounds and never mixes currencies. There is no default and no conversion from floating point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    currency: Currency,
    minor: i64,
}

impl Money {
    /// `minor` minor units of `currency`: `1230` of EUR are 12.30 euros, and of KRW 1230 won.
    pub const fn new(currency: Currency, minor: i64) -> Self {
        Self { currency, minor }
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The amount in minor units.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The sum.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.with(other, i64::checked_add)
    }

    /// The difference.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.with(other, i64::checked_sub)
    }

    /// `count` times the amount.
    pub fn checked_mul(self, count: i64) -> Result<Self, MoneyError> {
        self.or_overflow(self.minor.checked_mul(count))
    }

    /// The amount with the other sign.
    pub fn checked_neg(self) -> Result<Self, MoneyError> {
        self.or_overflow(self.minor.checked_neg())
    }

    /// The order of two amounts in one currency.
    pub fn compare(self, other: Self) -> Result<std::cmp::Ordering, MoneyError> {
        self.same_currency(other)?;
        Ok(self.minor.cmp(&other.minor))
    }

    fn with(self, other: Self, operation: fn(i64, i64) -> Option<i64>) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        self.or_overflow(operation(self.minor, other.minor))
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::Currencies { left: self.currency, right: other.currency })
        }
    }

    fn or_overflow(self, minor: Option<i64>) -> Result<Self, MoneyError> {
        let currency = self.currency;
        minor.map(|minor| Self { currency, minor }).ok_or(MoneyError::Overflow { currency })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minor < 0 { "-" } else { "" };
        let digits = self.currency.minor_digits();
        let scale = 10_u64.pow(digits);
        let (major, minor) = (self.minor.unsigned_abs() / scale, self.minor.unsigned_abs() % scale);
        if digits == 0 {
            write!(f, "{sign}{major} {}", self.currency)
        } else {
            write!(f, "{sign}{major}.{minor:0width$} {}", self.currency, width = digits as usize)
        }
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    /// Reads what `Display` writes: all minor digits of the currency, no separators of thousands.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let malformed = || MoneyError::Malformed { found: text.to_owned() };
        let (number, code) = text.split_once(' ').ok_or_else(malformed)?;
        let currency = Currency::new(code)?;
        let unsigned = number.strip_prefix('-').unwrap_or(number);
        let (major, minor) = unsigned.split_once('.').map_or((unsigned, None), |(major, minor)| (major, Some(minor)));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(major) || minor.is_some_and(|minor| !all_digits(minor)) {
            return Err(malformed());
        }
        let digits = currency.minor_digits();
        if minor.map_or(0, str::len) != digits as usize {
            return Err(MoneyError::MinorDigits { currency, digits, found: number.to_owned() });
        }
        // Parsed with its sign, so that the smallest amount is read as well.
        let sign = if number.starts_with('-') { "-" } else { "" };
        let minor = format!("{sign}{major}{}", minor.unwrap_or_default()).parse();
        minor.map(|minor| Self { currency, minor }).map_err(|_| MoneyError::Overflow { currency })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use proptest::prelude::*;

    use super::*;

    fn check(input: &str, expect: &str) {
        let got = match input.parse::<Money>() {
            Ok(money) => format!("{} {:?}", money.minor(), money.currency()),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "{input:?}");
    }

    fn krw(minor: i64) -> Money {
        Money::new(Currency::KRW, minor)
    }

    #[test]
    fn text_has_the_currencys_minor_digits() {
        check("1230 KRW", "1230 KRW");
        check("12.30 EUR", "1230 EUR");
        check("-0.01 EUR", "-1 EUR");
        check("1.005 KWD", "1005 KWD");
        check("-92233720368547758.08 EUR", "-9223372036854775808 EUR");
        check("12.3 EUR", "EUR has 2 minor digits, \"12.3\" gives another number");
        check("12.00 KRW", "KRW has 0 minor digits, \"12.00\" gives another number");
        check("92233720368547758.08 EUR", "an amount in EUR is out of range");
        check("1 XXX", "\"XXX\" is not a currency: write a code of ISO 4217, such as KRW");
        check("1 krw", "\"krw\" is not a currency: write a code of ISO 4217, such as KRW");
        for input in ["", "1", "1,000 KRW", "--1 KRW", "+1 KRW", ".50 EUR", "1. EUR", "1e3 KRW"] {
            let text = "is not an amount: write digits and a currency, such as `12.30 EUR`";
            check(input, &format!("{input:?} {text}"));
        }
    }

    #[test]
    fn arithmetic_neither_mixes_currencies_nor_wraps() {
        let euro = Money::new(Currency::new("EUR").unwrap(), 1);
        let mixed = MoneyError::Currencies { left: Currency::KRW, right: euro.currency() };
        let overflow = MoneyError::Overflow { currency: Currency::KRW };
        assert_eq!(krw(2).checked_add(krw(3)), Ok(krw(5)));
        assert_eq!(krw(2).checked_sub(krw(3)), Ok(krw(-1)));
        assert_eq!(krw(2).checked_mul(-3), Ok(krw(-6)));
        assert_eq!(krw(1).checked_add(euro), Err(mixed.clone()));
        assert_eq!(krw(1).compare(euro), Err(mixed));
        assert_eq!(krw(i64::MAX).checked_add(krw(1)), Err(overflow.clone()));
        assert_eq!(krw(i64::MIN).checked_neg(), Err(overflow.clone()));
        assert_eq!(krw(i64::MIN).checked_mul(-1), Err(overflow));
        assert_eq!(krw(1).compare(krw(2)), Ok(std::cmp::Ordering::Less));
    }

    #[test]
    fn json_refuses_floating_point_and_unknown_fields() {
        let check = |input: &str, expect: Option<Money>| {
            assert_eq!(serde_json::from_str::<Money>(input).ok(), expect, "{input}");
        };
        check(r#"{"currency":"KRW","minor":1230}"#, Some(krw(1230)));
        check(r#"{"currency":"KRW","minor":1230.0}"#, None);
        check(r#"{"currency":"KRW","minor":"1230"}"#, None);
        check(r#"{"currency":"KRW","minor":1,"major":2}"#, None);
        check(r#"{"currency":"ABC","minor":1}"#, None);
    }

    #[test]
    fn no_currency_is_listed_twice() {
        let mut codes: Vec<_> = BY_MINOR_DIGITS.iter().flat_map(|(_, codes)| codes.split(' ')).collect();
        let listed = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), listed);
        assert!(codes.iter().all(|code| Currency::new(code).is_ok()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(minor in any::<i64>(), code in "KRW|EUR|KWD|CLF") {
            let money = Money::new(Currency::new(&code).unwrap(), minor);
            prop_assert_eq!(money.to_string().parse::<Money>().unwrap(), money);
        }
    }
}
