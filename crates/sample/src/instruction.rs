//! What a client asks for: strict to read, exact to repeat.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

/// Which service this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A user pays a merchant.
    Payment,
    /// A user sends money to another user.
    Transfer,
}

impl Kind {
    /// The name of the service, and of what one of its records is.
    pub fn name(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Transfer => "transfer",
        }
    }

    /// The topic it publishes to, and the collection of its HTTP interface.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Payment => "payments",
            Self::Transfer => "transfers",
        }
    }

    /// The field that names who gets the money.
    pub fn counterparty_field(self) -> &'static str {
        match self {
            Self::Payment => "merchant",
            Self::Transfer => "to",
        }
    }
}

/// An exact amount: a whole number of the currency's minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "`amount` as an object of `currency` and `minor`")]
pub struct Amount {
    /// Three capital letters, such as `KRW`.
    #[serde(deserialize_with = "checked::<_, CurrencyField>")]
    pub currency: String,
    /// Minor units, more than zero.
    #[serde(deserialize_with = "checked::<_, MinorField>")]
    pub minor: i64,
}

/// A payment or a transfer, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Who pays.
    pub user: String,
    /// Who gets it: a merchant or another user.
    pub counterparty: String,
    /// How much.
    pub amount: Amount,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object of `user`, `merchant` and `amount`")]
struct PaymentBody {
    #[serde(deserialize_with = "checked::<_, UserField>")]
    user: String,
    #[serde(deserialize_with = "checked::<_, MerchantField>")]
    merchant: String,
    amount: Amount,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object of `user`, `to` and `amount`")]
struct TransferBody {
    #[serde(deserialize_with = "checked::<_, UserField>")]
    user: String,
    #[serde(deserialize_with = "checked::<_, ToField>")]
    to: String,
    amount: Amount,
}

/// A name has at most this many bytes; it is stored in every posting.
pub const NAME_BYTES_MAX: usize = 64;
/// One instruction moves at most this much: a million of them cannot leave 64 bits.
pub const MINOR_MAX: i64 = 1_000_000_000_000;

impl Instruction {
    /// Reads a body. The error names the field and says what it should be; it never repeats a user's name.
    pub fn read(kind: Kind, body: &[u8]) -> Result<Self, serde_json::Error> {
        match kind {
            Kind::Payment => {
                let PaymentBody { user, merchant, amount } = serde_json::from_slice(body)?;
                Ok(Self { user, counterparty: merchant, amount })
            }
            Kind::Transfer => {
                let TransferBody { user, to, amount } = serde_json::from_slice(body)?;
                if user == to {
                    return Err(de::Error::custom("`to` is the sender: name another user"));
                }
                Ok(Self { user, counterparty: to, amount })
            }
        }
    }

    /// The instruction as one text, equal for equal instructions however their bodies were written. No part can hold
    /// a space, so two different instructions never meet.
    pub fn canonical(&self) -> String {
        format!("{} {} {} {}", self.user, self.counterparty, self.amount.currency, self.amount.minor)
    }

    /// The account that pays.
    pub fn from_account(&self) -> String {
        format!("user:{}", self.user)
    }

    /// The account that is paid.
    pub fn to_account(&self, kind: Kind) -> String {
        match kind {
            Kind::Payment => format!("merchant:{}", self.counterparty),
            Kind::Transfer => format!("user:{}", self.counterparty),
        }
    }
}

/// A field of a body: its name, what it should be, and whether a value is that.
trait Field {
    type Value;
    const EXPECTED: &'static str;
    fn text(_: &str) -> Option<Self::Value> {
        None
    }
    fn integer(_: i64) -> Option<Self::Value> {
        None
    }
}

macro_rules! name_fields {
    ($($field:ident $name:literal;)+) => {$(
        struct $field;
        impl Field for $field {
            type Value = String;
            const EXPECTED: &'static str =
                concat!("`", $name, "` as 1 to 64 characters of a-z, A-Z, 0-9, `.`, `_` and `-`");
            fn text(text: &str) -> Option<String> {
                is_name(text).then(|| text.to_owned())
            }
        }
    )+};
}

name_fields! {
    UserField "user";
    MerchantField "merchant";
    ToField "to";
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

struct CurrencyField;

impl Field for CurrencyField {
    type Value = String;
    const EXPECTED: &'static str = "`amount.currency` as three capital letters, such as \"KRW\"";
    fn text(text: &str) -> Option<String> {
        (text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())).then(|| text.to_owned())
    }
}

struct MinorField;

impl Field for MinorField {
    type Value = i64;
    const EXPECTED: &'static str = "`amount.minor` as a whole number of minor units from 1 to 1000000000000";
    fn integer(minor: i64) -> Option<i64> {
        (1..=MINOR_MAX).contains(&minor).then_some(minor)
    }
}

fn checked<'de, D: Deserializer<'de>, F: Field>(deserializer: D) -> Result<F::Value, D::Error> {
    deserializer.deserialize_any(FieldVisitor::<F>(PhantomData))
}

struct FieldVisitor<F>(PhantomData<F>);

impl<F: Field> Visitor<'_> for FieldVisitor<F> {
    type Value = F::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(F::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<F::Value, E> {
        // The text itself may be a user's name, which belongs neither into an answer nor into a log.
        F::text(text).ok_or_else(|| E::invalid_value(Unexpected::Other("that text"), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<F::Value, E> {
        F::integer(number).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<F::Value, E> {
        let value = i64::try_from(number).ok().and_then(F::integer);
        value.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    fn check(kind: Kind, body: &str, expect: &str) {
        let got = match Instruction::read(kind, body.as_bytes()) {
            Ok(instruction) => instruction.canonical(),
            Err(error) => error.to_string(),
        };
        assert!(got.starts_with(expect), "{body}\n     got {got}\nexpected {expect}");
    }

    #[test]
    fn a_good_body_is_read_whatever_the_order_of_its_fields() {
        let body = r#"{"user":"u1","merchant":"shop.1","amount":{"currency":"KRW","minor":1200}}"#;
        check(Kind::Payment, body, "u1 shop.1 KRW 1200");
        let body = r#" {"amount":{"minor":1,"currency":"EUR"}, "to":"u2", "user":"u1"} "#;
        check(Kind::Transfer, body, "u1 u2 EUR 1");
    }

    #[test]
    fn a_refusal_names_the_field_and_the_fix() {
        let payment = |user: &str, amount: &str| format!(r#"{{"user":{user},"merchant":"m","amount":{amount}}}"#);
        let good = r#"{"currency":"KRW","minor":1}"#;
        let name = "expected `user` as 1 to 64 characters of a-z, A-Z, 0-9, `.`, `_` and `-`";
        let long = format!("\"{}\"", "u".repeat(65));
        for (user, what) in [("\"\"", "value: that text"), ("\"a b\"", "value: that text"), (&long, "value: that text")]
        {
            check(Kind::Payment, &payment(user, good), &format!("invalid {what}, {name}"));
        }
        check(Kind::Payment, &payment("null", good), &format!("invalid type: null, {name}"));
        check(Kind::Payment, &payment("7", good), &format!("invalid value: integer `7`, {name}"));
        let minor = "expected `amount.minor` as a whole number of minor units from 1 to 1000000000000";
        for (number, what) in [
            ("0", "value: integer `0`"),
            ("-1", "value: integer `-1`"),
            ("1.5", "type: floating point `1.5`"),
            ("1000000000001", "value: integer `1000000000001`"),
            ("18446744073709551615", "value: integer `18446744073709551615`"),
        ] {
            let amount = format!(r#"{{"currency":"KRW","minor":{number}}}"#);
            check(Kind::Payment, &payment("\"u\"", &amount), &format!("invalid {what}, {minor}"));
        }
        let amount = r#"{"currency":"won","minor":1}"#;
        let text = "invalid value: that text, expected `amount.currency` as three capital letters, such as \"KRW\"";
        check(Kind::Payment, &payment("\"u\"", amount), text);
        check(Kind::Payment, &payment("\"u\"", "5"), "invalid type: integer `5`, expected `amount` as an object");
        check(Kind::Payment, r#"{"user":"u","merchant":"m"}"#, "missing field `amount`");
        check(Kind::Payment, r#"{"user":"u","user":"v"}"#, "duplicate field `user`");
        check(
            Kind::Payment,
            r#"{"user":"u","to":"v"}"#,
            "unknown field `to`, expected one of `user`, `merchant`, `amount`",
        );
        check(Kind::Payment, "{} {}", "missing field `user`");
        check(Kind::Payment, "[]", "invalid length 0, expected an object of `user`, `merchant` and `amount`");
        let to_self = format!(r#"{{"user":"u","to":"u","amount":{good}}}"#);
        check(Kind::Transfer, &to_self, "`to` is the sender: name another user");
    }
}
