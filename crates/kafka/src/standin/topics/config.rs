//! What a topic may be configured to: names, kinds, defaults and bounds, as Kafka has them.

use std::collections::BTreeMap;

use super::Refusal;
use crate::standin::log::{LogConfig, TimestampType};
use crate::wire::error_code::ErrorCode;

/// What kind of value a setting has; the numbers of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    /// `true` or `false`.
    Boolean = 1,
    /// One of a set.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 64 bits.
    Long = 5,
    /// A fraction.
    Double = 6,
    /// Separated by commas.
    List = 7,
}

/// What a value is held to.
#[derive(Debug, Clone, Copy)]
enum Rule {
    Boolean,
    /// At least, at most.
    Range(i64, i64),
    Fraction,
    OneOf(&'static [&'static str]),
    SomeOf(&'static [&'static str]),
    /// Only the default is served; the words say why.
    Only(&'static str),
}

/// One setting of a topic.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Kafka's name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The value when nobody sets it.
    pub default: &'static str,
    rule: Rule,
}

const fn def(name: &'static str, kind: Kind, default: &'static str, rule: Rule) -> Definition {
    Definition { name, kind, default, rule }
}

const I32: Rule = Rule::Range(0, i32::MAX as i64);
const I64: Rule = Rule::Range(0, i64::MAX);
const OFF_OR_I64: Rule = Rule::Range(-1, i64::MAX);
const MAX: &str = "9223372036854775807";

/// The settings of a topic that this broker knows, by name. Those that mean nothing to one node without tiers (flush,
/// index, throttle and clean settings) are held to Kafka's bounds, shown, and otherwise without effect.
pub const DEFINITIONS: &[Definition] = &[
    def("cleanup.policy", Kind::List, "delete", Rule::SomeOf(&["compact", "delete"])),
    def("compression.gzip.level", Kind::Int, "-1", Rule::Range(-1, 9)),
    def("compression.lz4.level", Kind::Int, "9", Rule::Range(1, 17)),
    def(
        "compression.type",
        Kind::String,
        "producer",
        Rule::Only("batches are passed through as the producer sent them"),
    ),
    def("compression.zstd.level", Kind::Int, "3", Rule::Range(-131_072, 22)),
    def("delete.retention.ms", Kind::Long, "86400000", I64),
    def("file.delete.delay.ms", Kind::Long, "60000", I64),
    def("flush.messages", Kind::Long, MAX, Rule::Range(1, i64::MAX)),
    def("flush.ms", Kind::Long, MAX, I64),
    def("index.interval.bytes", Kind::Int, "4096", I32),
    def("max.compaction.lag.ms", Kind::Long, MAX, Rule::Range(1, i64::MAX)),
    def("max.message.bytes", Kind::Int, "1048588", I32),
    def("message.timestamp.after.max.ms", Kind::Long, "3600000", I64),
    def("message.timestamp.before.max.ms", Kind::Long, MAX, I64),
    def("message.timestamp.type", Kind::String, "CreateTime", Rule::OneOf(&["CreateTime", "LogAppendTime"])),
    def("min.cleanable.dirty.ratio", Kind::Double, "0.5", Rule::Fraction),
    def("min.compaction.lag.ms", Kind::Long, "0", Rule::Only("compaction keeps no record back for its age")),
    def("min.insync.replicas", Kind::Int, "1", Rule::Only("there is one node, so every record has one replica")),
    def("preallocate", Kind::Boolean, "false", Rule::Boolean),
    def("remote.storage.enable", Kind::Boolean, "false", Rule::Only("there is no remote tier")),
    def("retention.bytes", Kind::Long, "-1", OFF_OR_I64),
    def("retention.ms", Kind::Long, "604800000", OFF_OR_I64),
    def("segment.bytes", Kind::Int, "1073741824", Rule::Range(1_048_576, i32::MAX as i64)),
    def("segment.index.bytes", Kind::Int, "10485760", Rule::Range(4, i32::MAX as i64)),
    def("segment.jitter.ms", Kind::Long, "0", I64),
    def("segment.ms", Kind::Long, "604800000", Rule::Range(1, i64::MAX)),
    def("unclean.leader.election.enable", Kind::Boolean, "false", Rule::Boolean),
];

/// The definition of a setting.
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|d| d.name == name)
}

/// Checks one setting and gives the value as it is stored.
pub fn validate(name: &str, value: &str) -> Result<String, Refusal> {
    let Some(definition) = definition(name) else {
        return Err(Refusal::new(ErrorCode::INVALID_CONFIG, format!("Unknown topic config name: {name}")));
    };
    let value = value.trim();
    let refuse = |why: String| {
        let message = format!("Invalid value {value} for configuration {name}: {why}");
        Err(Refusal::new(ErrorCode::INVALID_CONFIG, message))
    };
    match definition.rule {
        Rule::Boolean => match value.to_ascii_lowercase().as_str() {
            lower @ ("true" | "false") => Ok(lower.to_owned()),
            _ => refuse("Expected value to be either true or false".into()),
        },
        Rule::Range(min, max) => match value.parse::<i64>() {
            Ok(n) if n < min => refuse(format!("Value must be at least {min}")),
            Ok(n) if n > max => refuse(format!("Value must be at most {max}")),
            Ok(n) => Ok(n.to_string()),
            Err(_) => refuse(format!("Not a number of type {:?}", definition.kind)),
        },
        Rule::Fraction => match value.parse::<f64>() {
            Ok(n) if (0.0..=1.0).contains(&n) => Ok(value.to_owned()),
            _ => refuse("Value must be between 0 and 1".into()),
        },
        Rule::OneOf(values) if values.contains(&value) => Ok(value.to_owned()),
        Rule::OneOf(values) => refuse(format!("String must be one of: {}", values.join(", "))),
        Rule::SomeOf(values) => {
            let given: Vec<&str> = value.split(',').map(str::trim).filter(|v| !v.is_empty()).collect();
            match given.iter().find(|v| !values.contains(v)) {
                _ if given.is_empty() => refuse(format!("At least one of: {}", values.join(", "))),
                Some(_) => refuse(format!("String must be one of: {}", values.join(", "))),
                None => Ok(given.join(",")),
            }
        }
        Rule::Only(_) if value == definition.default => Ok(value.to_owned()),
        Rule::Only(why) => refuse(format!("this broker serves {} only: {why}", definition.default)),
    }
}

/// The value of a setting: the topic's own or the default. `None` for a name that is not defined.
pub fn value<'a>(configs: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    match configs.get(name) {
        Some(own) => Some(own),
        None => definition(name).map(|d| d.default),
    }
}

fn number(configs: &BTreeMap<String, String>, name: &str) -> i64 {
    // Stored values were validated; a file edited by hand falls back to the default.
    let parsed = value(configs, name).and_then(|v| v.parse().ok());
    parsed.or_else(|| definition(name).and_then(|d| d.default.parse().ok())).unwrap_or(0)
}

/// What the settings mean for the log of each of the topic's partitions.
pub fn log_config(configs: &BTreeMap<String, String>, producer_expiry_ms: i64) -> LogConfig {
    let policy = value(configs, "cleanup.policy").unwrap_or("delete");
    let stamped = value(configs, "message.timestamp.type") == Some("LogAppendTime");
    LogConfig {
        batch_bytes_max: number(configs, "max.message.bytes") as usize,
        timestamp_type: if stamped { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
        timestamp_before_max_ms: number(configs, "message.timestamp.before.max.ms"),
        timestamp_after_max_ms: number(configs, "message.timestamp.after.max.ms"),
        producer_expiry_ms,
        segment_bytes: number(configs, "segment.bytes") as u64,
        segment_ms: number(configs, "segment.ms"),
        retention_ms: number(configs, "retention.ms"),
        retention_bytes: number(configs, "retention.bytes"),
        cleanup_delete: policy.contains("delete"),
        cleanup_compact: policy.contains("compact"),
        delete_retention_ms: number(configs, "delete.retention.ms"),
        ..LogConfig::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure
    use super::*;

    #[test]
    fn every_default_is_a_value_that_its_own_rule_takes() {
        for definition in DEFINITIONS {
            assert_eq!(validate(definition.name, definition.default).as_deref(), Ok(definition.default));
        }
        assert!(DEFINITIONS.is_sorted_by_key(|d| d.name));
    }

    #[test]
    fn values_are_held_to_kafkas_bounds() {
        let check = |name: &str, value: &str, expect: Option<&str>| {
            let got = validate(name, value);
            assert_eq!(got.as_deref().ok(), expect, "{name}={value}: {got:?}");
            assert!(got.is_ok() || got.is_err_and(|e| e.code == ErrorCode::INVALID_CONFIG));
        };
        check("retention.ms", "-1", Some("-1"));
        check("retention.ms", "-2", None);
        check("retention.ms", "x", None);
        check("max.message.bytes", "2147483648", None);
        check("cleanup.policy", "compact, delete", Some("compact,delete"));
        check("cleanup.policy", "", None);
        check("cleanup.policy", "shred", None);
        check("preallocate", "TRUE", Some("true"));
        check("message.timestamp.type", "LogAppendTime", Some("LogAppendTime"));
        check("compression.type", "zstd", None);
        check("min.insync.replicas", "1", Some("1"));
        check("min.insync.replicas", "2", None);
        check("min.compaction.lag.ms", "1", None);
        check("no.such.thing", "1", None);
        check("min.cleanable.dirty.ratio", "1.5", None);
    }

    #[test]
    fn defaults_mean_the_logs_own_defaults() {
        assert_eq!(log_config(&BTreeMap::new(), LogConfig::default().producer_expiry_ms), LogConfig::default());
    }
}
