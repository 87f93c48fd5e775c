//! Identifiers. Each is a type of its own, so that a site cannot be passed for a lease.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An identifier that was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Nothing was given.
    #[error("a {what} must not be empty")]
    Empty {
        /// What it was to name.
        what: &'static str,
    },
    /// More characters than the kind allows.
    #[error("a {what} has at most {chars_max} characters, this has {chars}")]
    TooLong {
        /// What it was to name.
        what: &'static str,
        /// How many characters it has.
        chars: usize,
        /// How many it may have.
        chars_max: usize,
    },
    /// A character that the kind does not allow.
    #[error("a {what} consists of {allowed}, not {found:?}")]
    Character {
        /// What it was to name.
        what: &'static str,
        /// What it may consist of.
        allowed: &'static str,
        /// The first character that is not allowed.
        found: char,
    },
    /// `.` and `..` would name directories.
    #[error("a {what} must not be `.` or `..`")]
    Directory {
        /// What it was to name.
        what: &'static str,
    },
    /// A number below zero.
    #[error("a {what} is 0 or more, not {found}")]
    Negative {
        /// What it was to number.
        what: &'static str,
        /// The number.
        found: i32,
    },
}

/// Names of ours become DNS labels, so a DNS label bounds them (RFC 1035, section 2.3.4).
const NAME_CHARS_MAX: usize = 63;
/// Kafka's bound: a topic's directory, `<topic>-<partition>.<uuid>-delete`, must fit into a file name.
const TOPIC_CHARS_MAX: usize = 249;

fn check_name(what: &'static str, name: &str) -> Result<(), InvalidId> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    check(what, name, NAME_CHARS_MAX, "a-z, 0-9 and `-`", allowed)
}

fn check_topic(what: &'static str, name: &str) -> Result<(), InvalidId> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    check(what, name, TOPIC_CHARS_MAX, "a-z, A-Z, 0-9, `.`, `_` and `-`", allowed)?;
    if matches!(name, "." | "..") { Err(InvalidId::Directory { what }) } else { Ok(()) }
}

fn check(
    what: &'static str,
    name: &str,
    chars_max: usize,
    allowed: &'static str,
    is_allowed: impl Fn(char) -> bool,
) -> Result<(), InvalidId> {
    if name.is_empty() {
        return Err(InvalidId::Empty { what });
    }
    if let Some(found) = name.chars().find(|c| !is_allowed(*c)) {
        return Err(InvalidId::Character { what, allowed, found });
    }
    if name.len() > chars_max {
        return Err(InvalidId::TooLong { what, chars: name.len(), chars_max });
    }
    Ok(())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident $what:literal $check:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes a name, or says why it cannot be one.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidId> {
                let name = name.into();
                $check($what, &name)?;
                Ok(Self(name))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(name: String) -> Result<Self, InvalidId> {
                Self::new(name)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(name: &str) -> Result<Self, InvalidId> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )+};
}

names! {
    /// A site: a place that runs capacity.
    SiteId "site" check_name;
    /// Topics and consumer groups that fail over, switch and move together.
    ServiceGroup "service group" check_name;
    /// A campaign: an audience, an offer and a sending curve.
    CampaignId "campaign" check_name;
    /// Capacity or a resource that is held until a time.
    LeaseId "lease" check_name;
    /// The name of a topic, by Kafka's rules.
    TopicName "topic" check_topic;
}

/// The number of a partition within its topic, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct PartitionId(i32);

impl PartitionId {
    /// Takes a number, which must not be negative.
    pub fn new(number: i32) -> Result<Self, InvalidId> {
        if number < 0 { Err(InvalidId::Negative { what: "partition", found: number }) } else { Ok(Self(number)) }
    }

    /// The number, as the wire carries it.
    pub fn get(self) -> i32 {
        self.0
    }
}

impl TryFrom<i32> for PartitionId {
    type Error = InvalidId;

    fn try_from(number: i32) -> Result<Self, InvalidId> {
        Self::new(number)
    }
}

impl From<PartitionId> for i32 {
    fn from(partition: PartitionId) -> i32 {
        partition.0
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of one topic; written `payments-3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition within it.
    pub partition: PartitionId,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    fn check<T: FromStr<Err = InvalidId> + fmt::Display>(input: &str, expect: &str) {
        let got = match input.parse::<T>() {
            Ok(id) => id.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "{input:?}");
    }

    #[test]
    fn a_name_of_ours_is_a_dns_label() {
        check::<SiteId>("seoul-1", "seoul-1");
        check::<LeaseId>("", "a lease must not be empty");
        check::<SiteId>("Seoul", "a site consists of a-z, 0-9 and `-`, not 'S'");
        check::<CampaignId>("추석", "a campaign consists of a-z, 0-9 and `-`, not '추'");
        check::<ServiceGroup>(&"a".repeat(63), &"a".repeat(63));
        check::<ServiceGroup>(&"a".repeat(64), "a service group has at most 63 characters, this has 64");
    }

    #[test]
    fn a_topic_follows_kafkas_rules() {
        check::<TopicName>("Payments.v1_a-b", "Payments.v1_a-b");
        check::<TopicName>("a/b", "a topic consists of a-z, A-Z, 0-9, `.`, `_` and `-`, not '/'");
        check::<TopicName>("..", "a topic must not be `.` or `..`");
        check::<TopicName>("...", "...");
        check::<TopicName>(&"t".repeat(249), &"t".repeat(249));
        check::<TopicName>(&"t".repeat(250), "a topic has at most 249 characters, this has 250");
    }

    #[test]
    fn deserialising_refuses_what_the_constructor_refuses() {
        assert!(serde_json::from_str::<TopicName>("\"a b\"").is_err());
        assert!(serde_json::from_str::<PartitionId>("-1").is_err());
        let partition: TopicPartition = serde_json::from_str(r#"{"topic":"payments","partition":3}"#).unwrap();
        assert_eq!(partition.to_string(), "payments-3");
        assert_eq!(serde_json::to_string(&partition).unwrap(), r#"{"topic":"payments","partition":3}"#);
    }
}
