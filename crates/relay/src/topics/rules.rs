//! Which configurations of a topic keep both sides equal, and the command that mends one that does not.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::plan::Present;
use super::record::Change;
use crate::side::{Side, SideMap};

/// "No limit", as Kafka writes it.
pub const UNLIMITED: &str = "9223372036854775807";

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It works; somebody should know.
    Warning,
    /// The relay does not serve it like this.
    Refusal,
}

/// Something about a topic, a group or a cluster that stands in the way, or should be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// The topic, if it is about one.
    pub topic: Option<String>,
    /// The side, if it is about one.
    pub side: Option<Side>,
    /// What it is.
    pub what: String,
    /// The command that mends it, if one does.
    pub command: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity {
            Severity::Warning => "warning",
            Severity::Refusal => "refused",
        })?;
        if let Some(topic) = &self.topic {
            write!(f, " topic {topic}")?;
        }
        if let Some(side) = self.side {
            write!(f, " side {side}")?;
        }
        write!(f, ": {}", self.what)?;
        match &self.command {
            Some(command) => write!(f, "\n    {command}"),
            None => Ok(()),
        }
    }
}

/// What a topic must be for the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Whether both sides must hold a record before it is acknowledged.
    pub duplex: bool,
    /// Whether the relay sets the limits on times itself when it adopts a topic, so that they are only worth a warning.
    pub mends_times: bool,
}

/// What is wrong with one configuration by itself, on whatever side.
struct Rule {
    name: &'static str,
    /// The value that mends it.
    wanted: &'static str,
    why: &'static str,
    breaks: fn(&str, Needs) -> bool,
    severity: fn(Needs) -> Severity,
}

fn refuses(_: Needs) -> Severity {
    Severity::Refusal
}

fn about_times(needs: Needs) -> Severity {
    if needs.mends_times { Severity::Warning } else { Severity::Refusal }
}

const TIMES: &str =
    "this side refuses times that the other takes; the relay keeps a limit of its own before the first write";

/// Each broken rule alone would make the sides differ or lose what was acknowledged.
const RULES: &[Rule] = &[
    Rule {
        name: "message.timestamp.type",
        wanted: "CreateTime",
        why: "each side would write its own time into the records",
        breaks: |value, _| value != "CreateTime",
        severity: refuses,
    },
    Rule {
        name: "compression.type",
        wanted: "producer",
        why: "a side that compresses anew changes the bytes of the batches",
        breaks: |value, _| value != "producer",
        severity: refuses,
    },
    Rule {
        name: "cleanup.policy",
        wanted: "delete",
        why: "each side would compact on its own, and the logs would differ",
        breaks: |value, needs| needs.duplex && value.split(',').any(|policy| policy.trim() == "compact"),
        severity: refuses,
    },
    Rule {
        name: "message.timestamp.after.max.ms",
        wanted: UNLIMITED,
        why: TIMES,
        breaks: |value, _| value != UNLIMITED,
        severity: about_times,
    },
    Rule {
        name: "message.timestamp.before.max.ms",
        wanted: UNLIMITED,
        why: TIMES,
        breaks: |value, _| value != UNLIMITED,
        severity: about_times,
    },
    Rule {
        name: "message.timestamp.difference.max.ms",
        wanted: UNLIMITED,
        why: TIMES,
        breaks: |value, _| value != UNLIMITED,
        severity: about_times,
    },
    Rule {
        name: "unclean.leader.election.enable",
        wanted: "false",
        why: "an election could drop acknowledged records",
        breaks: |value, _| value == "true",
        severity: refuses,
    },
];

/// A name as a shell takes it: topics have no characters beyond letters, digits, dot, underscore and hyphen.
fn alter(bootstrap: &str, topic: &str, setting: &str) -> String {
    format!(
        "kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics --entity-name {topic} --add-config {setting}"
    )
}

/// Everything about a topic that both sides have.
pub fn check(topic: &str, on: &SideMap<&Present>, bootstrap: &SideMap<String>, needs: Needs) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |severity, side, what: String, command: Option<String>| {
        findings.push(Finding { severity, topic: Some(topic.to_owned()), side, what, command });
    };
    for (side, there) in on.iter() {
        for rule in RULES {
            let Some(setting) = there.configs.get(rule.name) else { continue };
            if (rule.breaks)(&setting.value, needs) {
                let what = format!("{} is {}: {}", rule.name, setting.value, rule.why);
                let command = alter(&bootstrap[side], topic, &format!("{}={}", rule.name, rule.wanted));
                find((rule.severity)(needs), Some(side), what, Some(command));
            }
        }
        let in_sync_min = there.configs.get("min.insync.replicas").and_then(|setting| setting.value.parse().ok());
        match (there.replication, in_sync_min.unwrap_or(1)) {
            (..=1, _) => {
                let what = "one replica: a lost disk loses what this side acknowledged".to_owned();
                find(Severity::Warning, Some(side), what, None);
            }
            (replicas, ..=1) => {
                let what = format!("min.insync.replicas is 1 of {replicas}: one broker alone acknowledges records");
                find(
                    Severity::Refusal,
                    Some(side),
                    what,
                    Some(alter(&bootstrap[side], topic, "min.insync.replicas=2")),
                );
            }
            _ => {}
        }
    }
    if on.a.partitions != on.b.partitions {
        let (less, count) =
            if on.a.partitions < on.b.partitions { (Side::A, on.b.partitions) } else { (Side::B, on.a.partitions) };
        let what = format!("{} partitions, the other side has {count}", on[less].partitions);
        let command = format!(
            "kafka-topics.sh --bootstrap-server {} --alter --topic {topic} --partitions {count}",
            bootstrap[less]
        );
        find(Severity::Refusal, Some(less), what, Some(command));
    }
    let largest = SideMap::from_fn(|side| number(&on[side].configs, BATCH_BYTES_MAX_CONFIG));
    if let SideMap { a: Some(a), b: Some(b) } = largest
        && a != b
    {
        let (less, bytes) = if a < b { (Side::A, b) } else { (Side::B, a) };
        let what = format!("max.message.bytes is {}, the other side takes {bytes}", a.min(b));
        let command = alter(&bootstrap[less], topic, &format!("max.message.bytes={bytes}"));
        find(Severity::Refusal, Some(less), what, Some(command));
    }
    findings
}

fn number(configs: &BTreeMap<String, super::plan::Setting>, name: &str) -> Option<i64> {
    configs.get(name).and_then(|setting| setting.value.parse().ok())
}

/// Why a change of configuration is not made: it would make the sides differ.
pub fn refused(change: &Change, needs: Needs) -> Option<String> {
    let needs = Needs { mends_times: false, ..needs };
    let rule = RULES.iter().find(|rule| rule.name == change.name)?;
    match &change.value {
        Some(value) if (rule.breaks)(value, needs) => {
            Some(format!("{}={value} cannot be set through the relay: {}", rule.name, rule.why))
        }
        // Back to a default that may be a broken one.
        None if is_pinned(rule.name) => {
            Some(format!("{} stays {} on a topic of the relay: {}", rule.name, rule.wanted, rule.why))
        }
        _ => None,
    }
}

fn is_pinned(name: &str) -> bool {
    pinned().any(|(pinned, _)| pinned == name)
}

/// What is set explicitly on every topic that the relay makes, because brokers' defaults differ or may be changed.
pub fn pinned() -> impl Iterator<Item = (&'static str, &'static str)> {
    // The last is the older name of two that are here, and newer brokers do not know it.
    let known = RULES.iter().filter(|rule| rule.name != "message.timestamp.difference.max.ms");
    known.map(|rule| (rule.name, rule.wanted))
}

/// Kafka's own default of `max.message.bytes`: set explicitly where the client asks for nothing, since the defaults of
/// the two sides may differ.
pub const BATCH_BYTES_MAX: &str = "1048588";
/// The largest batch of a topic, bytes.
pub const BATCH_BYTES_MAX_CONFIG: &str = "max.message.bytes";

/// What the relay, as the broker that clients see, has for a setting that nobody asks for.
pub fn default_of(config: &str) -> Option<&'static str> {
    let mut all = pinned().chain([(BATCH_BYTES_MAX_CONFIG, BATCH_BYTES_MAX)]);
    all.find_map(|(name, value)| (name == config).then_some(value))
}

/// The limits on times that a topic which is adopted still lacks on a side.
pub fn mended(there: &Present) -> Vec<Change> {
    let open = RULES.iter().filter(|rule| rule.why == TIMES).filter(|rule| {
        let is_old = rule.name == "message.timestamp.difference.max.ms";
        there.configs.get(rule.name).is_some_and(|setting| setting.value != UNLIMITED && !is_old)
    });
    open.map(|rule| Change { name: rule.name.to_owned(), value: Some(rule.wanted.to_owned()) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::plan::Setting;

    fn present(partitions: i32, replication: i32, configs: &[(&str, &str)]) -> Present {
        let sound = pinned().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let given = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let setting = |(name, value)| (name, Setting { value, is_default: false });
        let configs = sound.chain(given).map(setting).collect();
        Present { id: naru_kafka::wire::TopicId([1; 16]), partitions, replication, configs }
    }

    fn check_both(a: &Present, b: &Present, expect: &[(Severity, Option<Side>, &str)]) {
        let bootstrap = SideMap { a: "a:9092".to_owned(), b: "b:9092".to_owned() };
        let needs = Needs { duplex: true, mends_times: false };
        let found = check("orders", &SideMap { a, b }, &bootstrap, needs);
        let short: Vec<_> = found
            .iter()
            .map(|finding| (finding.severity, finding.side, finding.command.as_deref().unwrap_or_default()))
            .map(|(severity, side, command)| (severity, side, command.rsplit("orders ").next().unwrap_or_default()))
            .collect();
        assert_eq!(short, expect, "{found:#?}");
    }

    #[test]
    fn what_makes_the_sides_differ_is_refused_with_the_command_that_mends_it() {
        use Severity::{Refusal, Warning};
        let sound = present(3, 3, &[("min.insync.replicas", "2"), ("max.message.bytes", "1000")]);
        check_both(&sound, &sound, &[]);
        let broken =
            |name, value| present(3, 3, &[("min.insync.replicas", "2"), ("max.message.bytes", "1000"), (name, value)]);
        for (name, value, wanted) in [
            ("message.timestamp.type", "LogAppendTime", "CreateTime"),
            ("compression.type", "zstd", "producer"),
            ("cleanup.policy", "compact", "delete"),
            ("cleanup.policy", "compact,delete", "delete"),
            ("message.timestamp.after.max.ms", "3600000", UNLIMITED),
            ("message.timestamp.before.max.ms", "1", UNLIMITED),
            ("message.timestamp.difference.max.ms", "1", UNLIMITED),
            ("unclean.leader.election.enable", "true", "false"),
            ("min.insync.replicas", "1", "2"),
            ("max.message.bytes", "999", "1000"),
        ] {
            let command = format!("--add-config {name}={wanted}");
            check_both(&sound, &broken(name, value), &[(Refusal, Some(Side::B), &command)]);
        }
        let grown = Present { partitions: 5, ..sound.clone() };
        check_both(&sound, &grown, &[(Refusal, Some(Side::A), "--partitions 5")]);
        let single = Present { replication: 1, ..sound.clone() };
        check_both(&single, &sound, &[(Warning, Some(Side::A), "")]);
    }

    #[test]
    fn changes_that_break_equality_are_refused_with_the_reason() {
        let check = |name: &str, value: Option<&str>, duplex, expect: bool| {
            let change = Change { name: name.to_owned(), value: value.map(str::to_owned) };
            let needs = Needs { duplex, mends_times: true };
            assert_eq!(refused(&change, needs).is_some(), expect, "{name}={value:?}, duplex {duplex}");
        };
        check("message.timestamp.type", Some("LogAppendTime"), true, true);
        check("message.timestamp.type", Some("CreateTime"), true, false);
        check("compression.type", Some("lz4"), true, true);
        check("compression.type", None, true, true);
        check("cleanup.policy", Some("delete,compact"), true, true);
        check("cleanup.policy", Some("compact"), false, false);
        check("message.timestamp.after.max.ms", Some("3600000"), true, true);
        check("retention.ms", Some("1000"), true, false);
        check("retention.ms", None, true, false);
    }
}
