//! The settings of a relay.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use naru_runtime::config::{ByteSize, HostPort, Mistake};
use naru_runtime::telemetry::TelemetryConfig;

use crate::security::config::{BrokerSasl, BrokerTls, SecurityConfig};
use crate::side::Side;
use crate::sides::Absence;

naru_runtime::choice! {
    /// What happens without the standby.
    pub enum AbsencePolicy {
        /// Goes on alone by a durable grant, with an alarm.
        Available = "available",
        /// Refuses writes retriably until both are there.
        Block = "block",
    }
}

impl From<AbsencePolicy> for Absence {
    fn from(policy: AbsencePolicy) -> Self {
        match policy {
            AbsencePolicy::Available => Self::Available,
            AbsencePolicy::Block => Self::Block,
        }
    }
}

naru_runtime::choice! {
    /// When a record is acknowledged.
    pub enum Mode {
        /// When both sides hold it.
        Duplex = "duplex",
        /// When the active side holds it; the other follows.
        Async = "async",
    }
}

naru_runtime::choice! {
    /// Which topics that are there already are taken in.
    pub enum Adopt {
        /// Those that both sides have.
        Both = "both",
        /// Those that one side has, too: they are made on the other and copied.
        Any = "any",
    }
}

naru_runtime::choice! {
    /// A side.
    pub enum SideName {
        /// The first.
        A = "a",
        /// The second.
        B = "b",
    }
}

impl From<SideName> for Side {
    fn from(name: SideName) -> Self {
        match name {
            SideName::A => Self::A,
            SideName::B => Self::B,
        }
    }
}

naru_runtime::config! {
    /// One of the two clusters.
    pub struct SideConfig {
        /// Brokers to learn the cluster from; one that answers is enough.
        #[check(some)]
        pub bootstrap: Vec<HostPort>,
        /// Identity that the cluster must show; without it, the one it shows at the first start.
        pub cluster_id: Option<String>,
        /// TLS to its brokers; without it, connections are not encrypted.
        pub tls: Option<BrokerTls>,
        /// The relay's user there; without it, none.
        pub sasl: Option<BrokerSasl>,
    }
}

naru_runtime::config! {
    /// Topics and consumer groups that fail over, switch and move together.
    pub struct GroupConfig {
        /// Name, as in commands and alarms.
        pub name: String,
        /// Topics that belong to it: names, or patterns that end with *. The first group that matches has it.
        pub topics: Vec<String>,
        /// Consumer groups that belong to it, likewise.
        pub consumers: Vec<String>,
        /// What happens without the standby.
        pub absence: AbsencePolicy = "available",
        /// When a record is acknowledged.
        pub mode: Mode = "duplex",
        /// Side that is active when the group is used for the first time.
        pub active: SideName = "a",
    }
}

naru_runtime::config! {
    /// A relay between clients and two clusters of the log.
    #[check(groups_differ)]
    pub struct RelayConfig for "relay" {
        /// Address on which clients connect; port 0 takes a free one.
        pub listen: SocketAddr = "127.0.0.1:9092",
        /// Host and port that clients are told to connect to; without it, the address over which they came.
        pub advertised: Option<HostPort>,
        /// Number of the node that clients see.
        #[range("0", "1000000")]
        pub node_id: i32 = "1",
        /// Address for status and commands over HTTP; port 0 takes a free one. It has no authentication: leave it on
        /// loopback.
        pub status_listen: SocketAddr = "127.0.0.1:0",
        /// Directory of what must survive the relay; made if missing, for one process at a time.
        pub state: PathBuf,
        /// The first cluster.
        pub a: SideConfig,
        /// The second cluster.
        pub b: SideConfig,
        /// Who may connect, and what each may do.
        pub security: SecurityConfig,
        /// Service groups. What no group names belongs to the group `default`.
        #[key("group")]
        pub groups: Vec<GroupConfig>,
        /// What happens without the standby in the group `default`.
        pub default_absence: AbsencePolicy = "available",
        /// Side without an answer for this long is suspected.
        #[range("100ms", "1m")]
        pub suspect_after: Duration = "1s",
        /// Side that is absent for this long is given up: the other takes over, or goes on alone.
        #[range("200ms", "1m")]
        pub takeover_after: Duration = "1s",
        /// Longest wait for an answer of a cluster.
        #[range("200ms", "5m")]
        pub request_timeout: Duration = "5s",
        /// Connections to each broker for batches; partitions are spread over them.
        #[range("1", "64")]
        pub produce_connections: u32 = "4",
        /// Batches of a partition in flight to the active side.
        #[range("1", "5")]
        pub active_in_flight_max: u32 = "5",
        /// Batches of a partition that wait or are in flight; beyond it clients are told to come again.
        #[range("1", "10000")]
        pub pending_max: u32 = "256",
        /// How far ahead of the relay's clock a record's time may be.
        pub timestamp_ahead_max: Duration = "1h",
        /// Longest that a client waits for its batch, whatever it asks for.
        #[range("1s", "5m")]
        pub produce_wait_max: Duration = "30s",
        /// How often the clusters are asked which topics they have.
        #[range("100ms", "1h")]
        pub discovery_interval: Duration = "5s",
        /// Whether a topic that clients ask for is made on both sides.
        pub auto_create_topics: bool = "false",
        /// Partitions of a topic when nobody says how many.
        #[range("1", "10000")]
        pub default_partitions: i32 = "1",
        /// Replicas of each partition, on both sides, when nobody says how many; -1 leaves it to the brokers.
        #[range("-1", "100")]
        pub default_replication: i32 = "-1",
        /// Which topics that are there already are taken in.
        pub adopt: Adopt = "any",
        /// Whether topics that are there already get unlimited message.timestamp limits when the relay begins to serve
        /// them; otherwise those with limits are not served.
        pub adopt_mends_times: bool = "true",
        /// About how much is read at once while comparing or copying a partition.
        #[range("64KiB", "64MiB")]
        pub copy_bytes_max: ByteSize = "4MiB",
        /// Most bytes written per second, of all partitions together, to a side that comes back; 0B: as fast as it goes.
        #[range("0B", "1TiB")]
        pub catch_up_per_second: ByteSize = "512MiB",
        /// Most bytes read per second, from both sides together, to compare them below the gate; 0B compares nothing.
        #[range("0B", "1TiB")]
        pub compare_per_second: ByteSize = "4MiB",
        /// Newest batches of one partition that are kept for its readers.
        #[range("0B", "1GiB")]
        pub cache_partition_max: ByteSize = "16MiB",
        /// The same of all partitions. Batches that came in one request with others may hold up to twice their size.
        #[range("0B", "64GiB")]
        pub cache_memory_max: ByteSize = "256MiB",
        /// Most connections of clients at once.
        #[range("1", "100000")]
        pub connections_max: u32 = "5000",
        /// How long a connection may ask for nothing.
        pub idle_timeout: Duration = "10m",
        /// How long a request may take to arrive once it has begun, and an answer to be taken.
        #[range("1s", "10m")]
        pub transfer_timeout: Duration = "30s",
        /// Largest request.
        #[range("1KiB", "1GiB")]
        pub request_bytes_max: ByteSize = "100MiB",
        /// Most memory of all batches in flight; never less than one largest request.
        #[range("1MiB", "64GiB")]
        pub request_memory_max: ByteSize = "256MiB",
        /// Most memory of all records on their way out.
        #[range("1MiB", "64GiB")]
        pub answer_memory_max: ByteSize = "256MiB",
        /// Longest wait for requests in hand when the relay is told to stop.
        pub drain_max: Duration = "10s",
        /// Logs, metrics and traces.
        pub telemetry: TelemetryConfig,
    }
}

/// The group of whatever no configured group names.
pub const DEFAULT_GROUP: &str = "default";

// The configuration hands a check the field as it is declared.
#[allow(clippy::ptr_arg)]
fn some(brokers: &Vec<HostPort>) -> Result<(), Mistake> {
    if brokers.is_empty() {
        return Err(Mistake::new("is required and missing", "give the address of a broker, such as 127.0.0.1:9092"));
    }
    Ok(())
}

fn groups_differ(config: &RelayConfig) -> Result<(), Mistake> {
    for (index, group) in config.groups.iter().enumerate() {
        if config.groups[..index].iter().any(|other| other.name == group.name) {
            let name = &group.name;
            return Err(Mistake::new(format!("has two groups {name:?}"), "give each group a name of its own"));
        }
        if group.name == DEFAULT_GROUP && (group.topics.is_empty() && group.consumers.is_empty()) {
            return Err(Mistake::new(
                "has a group \"default\" without patterns",
                "leave it out: it takes whatever no group names; its policy is default_absence",
            ));
        }
        if group.name.is_empty() || group.name.contains('/') {
            return Err(Mistake::new(format!("has a group {:?}", group.name), "use letters, digits and hyphens"));
        }
        for (of, patterns, is_legal) in [
            ("topics", &group.topics, is_in_topics as fn(char) -> bool),
            // A consumer group may be named by anything.
            ("consumers", &group.consumers, |_| true),
        ] {
            let never = |pattern: &&String| {
                let name = pattern.strip_suffix('*').unwrap_or(pattern);
                pattern.is_empty() || name.contains('*') || !name.chars().all(is_legal)
            };
            if let Some(pattern) = patterns.iter().find(never) {
                let what = format!(
                    "has a group {:?} with the pattern {pattern:?} in `{of}`, which no name matches",
                    group.name
                );
                return Err(Mistake::new(
                    what,
                    "give whole names, or the beginning of names before one `*`, such as pay*",
                ));
            }
        }
    }
    Ok(())
}

/// What a topic's name may hold.
fn is_in_topics(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-')
}

impl RelayConfig {
    /// The settings of a side.
    pub fn side(&self, side: Side) -> &SideConfig {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }

    /// Every service group, the default one last.
    pub fn all_groups(&self) -> Vec<GroupConfig> {
        let mut groups = self.groups.clone();
        if !groups.iter().any(|group| group.name == DEFAULT_GROUP) {
            groups.push(GroupConfig {
                name: DEFAULT_GROUP.to_owned(),
                topics: Vec::new(),
                consumers: Vec::new(),
                absence: self.default_absence,
                mode: Mode::Duplex,
                active: SideName::A,
            });
        }
        groups
    }

    /// The group that a topic belongs to.
    pub fn group_of_topic(&self, topic: &str) -> &str {
        let found = self.groups.iter().find(|group| group.topics.iter().any(|pattern| matches(pattern, topic)));
        found.map_or(DEFAULT_GROUP, |group| &group.name)
    }

    /// The group that a consumer group belongs to.
    pub fn group_of_consumers(&self, consumers: &str) -> &str {
        let found = self.groups.iter().find(|group| group.consumers.iter().any(|pattern| matches(pattern, consumers)));
        found.map_or(DEFAULT_GROUP, |group| &group.name)
    }
}

/// A name, or the beginning of one before a `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_runtime::config::Sources;

    use super::*;

    fn load(groups: &str) -> Result<RelayConfig, String> {
        let text = format!("state = 's'\n[a]\nbootstrap = ['a:1']\n[b]\nbootstrap = ['b:1']\n{groups}");
        Sources::default().document("relay.toml", text).load().map_err(|errors| errors.to_string())
    }

    #[test]
    fn the_first_group_that_matches_has_a_topic_and_the_default_group_has_the_rest() {
        let config = load(
            "[[group]]\nname = 'pay'\ntopics = ['payments', 'pay.*']\nconsumers = ['ledger*']\n\
             [[group]]\nname = 'rest'\ntopics = ['*']\nabsence = 'block'\nmode = 'async'\nactive = 'b'",
        )
        .unwrap();
        let check = |topic: &str, expect: &str| assert_eq!(config.group_of_topic(topic), expect, "{topic}");
        check("payments", "pay");
        check("payments2", "rest");
        check("pay.x", "pay");
        let check = |group: &str, expect: &str| assert_eq!(config.group_of_consumers(group), expect, "{group}");
        check("ledger-1", "pay");
        check("other", DEFAULT_GROUP);
        let names: Vec<_> = config.all_groups().into_iter().map(|group| group.name).collect();
        assert_eq!(names, ["pay", "rest", DEFAULT_GROUP]);
    }

    #[test]
    fn the_complete_example_is_a_configuration() {
        let text = include_str!("../../../docs/operating/relay.toml");
        // The files that it names are a site's own.
        let password = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&password, "secret").unwrap();
        let named = format!("\"{}\"", password.path().display());
        let text = ["\"/etc/naru/cluster-a.password\"", "\"/etc/naru/cluster-b.password\""]
            .iter()
            .fold(text.to_owned(), |text, file| text.replace(file, &named));
        let config: RelayConfig = Sources::default().document("relay.toml", &text).load().unwrap();
        assert_eq!(config.group_of_topic("ledger-7"), "pay");
        assert!(config.security.authenticates() && config.b.sasl.is_some());
    }

    #[test]
    fn groups_that_cannot_be_told_apart_are_refused() {
        let check = |groups: &str, expect: &str| {
            let said = load(groups).unwrap_err();
            assert!(said.contains(expect), "{said}");
        };
        check("[[group]]\nname = 'x'\n[[group]]\nname = 'x'", "two groups");
        check("[[group]]\nname = 'default'", "without patterns");
        check("[[group]]\nname = 'a/b'", "letters");
        for pattern in ["*ments", "le.*er", "^pay.*$", "a**", "pay[0-9]", ""] {
            check(&format!("[[group]]\nname = 'pay'\ntopics = ['payments', '{pattern}']"), "which no name matches");
        }
        check("[[group]]\nname = 'pay'\nconsumers = ['*x']", "`consumers`");
        for pattern in ["*", "pay*", "pay.*", "A_b-c.9"] {
            assert!(load(&format!("[[group]]\nname = 'pay'\ntopics = ['{pattern}']")).is_ok(), "{pattern}");
        }
    }
}
