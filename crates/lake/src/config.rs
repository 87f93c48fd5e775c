//! The settings of a lake.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use naru_runtime::config::{ByteSize, HostPort, Mistake, Secret};
use naru_runtime::telemetry::TelemetryConfig;

use crate::sql::config::SqlConfig;

naru_runtime::choice! {
    /// How the lake authenticates at the log.
    pub enum LogMechanism {
        /// The password itself is sent: only inside TLS.
        Plain = "PLAIN",
        /// Challenge and response.
        Sha256 = "SCRAM-SHA-256",
        /// Challenge and response.
        Sha512 = "SCRAM-SHA-512",
    }
}

naru_runtime::config! {
    /// The lake's user at the log.
    pub struct LogSasl {
        /// How it authenticates.
        pub mechanism: LogMechanism = "SCRAM-SHA-512",
        /// The user.
        pub username: String,
        /// Its password.
        pub password: Secret,
    }
}

naru_runtime::config! {
    /// The log that is read: a cluster, or a relay in front of two.
    pub struct LogConfig {
        /// Brokers to learn the cluster from; one that answers is enough.
        #[check(some)]
        pub bootstrap: Vec<HostPort>,
        /// Authority of the brokers' certificates, in PEM; with it, connections are encrypted.
        pub authority: Option<PathBuf>,
        /// The lake's user there; without it, none.
        pub sasl: Option<LogSasl>,
        /// Longest wait for an answer.
        #[range("1s", "5m")]
        pub request_timeout: Duration = "30s",
        /// Whether topics may have other ids than the tables know: the same topics behind another address, such as a relay in
        /// front of their cluster. Without it, a topic that was made anew stops its table.
        pub other_topic_ids: bool = "false",
    }
}

naru_runtime::choice! {
    /// What the rows of a source's tables become.
    pub enum Shape {
        /// One row a key, as it stands now.
        Mirror = "mirror",
        /// Every change, one row each, in a table whose name ends with `_changes`.
        Changelog = "changelog",
        /// Both, as two tables.
        Both = "both",
    }
}

naru_runtime::config! {
    /// A database whose changes `naru capture` writes to the log.
    pub struct SourceConfig {
        /// Its name: its topics begin with it.
        pub name: String,
        /// Namespace of its tables; without it, the source's name.
        pub namespace: Option<String>,
        /// Tables to take in, as the topics name them behind the source: names, or patterns that end with *. None: all.
        pub tables: Vec<String>,
        /// What its rows become.
        pub shape: Shape = "mirror",
    }
}

naru_runtime::choice! {
    /// The type of a column of events.
    pub enum ColumnType {
        /// Text.
        String = "string",
        /// A whole number of 64 bits.
        Long = "long",
        /// A number of 64 bits with a floating point.
        Double = "double",
        /// True or false.
        Boolean = "boolean",
        /// A moment: RFC 3339 text, or a whole number of milliseconds since 1970.
        Timestamp = "timestamp",
        /// A day: text such as 2026-11-23.
        Date = "date",
    }
}

naru_runtime::config! {
    /// A column of events.
    pub struct ColumnConfig {
        /// Its name in the table.
        #[check(name)]
        pub name: String,
        /// Where it stands in the JSON, such as `amount.minor`; `$time` is the record's time, `$key` its key. Without it,
        /// the field of the column's name.
        pub from: Option<String>,
        /// Its type.
        #[key("type")]
        pub kind: ColumnType,
        /// Whether an event without it is a bad one.
        pub required: bool = "true",
    }
}

naru_runtime::config! {
    /// A topic of JSON events and the table of facts that they become.
    #[check(columns_differ)]
    pub struct EventsConfig {
        /// The topic.
        pub topic: String,
        /// The table: namespace and name, such as pay.payments.
        #[check(table)]
        pub table: String,
        /// Topic for events that do not fit, made if missing; without it, the topic's name and `.dead`.
        pub dead_letters: Option<String>,
        /// The columns, in their order.
        #[key("column")]
        pub columns: Vec<ColumnConfig>,
    }
}

naru_runtime::config! {
    /// Small files into large ones, old snapshots away.
    pub struct UpkeepConfig {
        /// How often a table is looked at.
        #[range("1s", "1d")]
        pub interval: Duration = "30s",
        /// Files below the size that is aimed at which are left alone; with more, they are made into larger ones.
        #[range("2", "10000")]
        pub small_files_max: u32 = "16",
        /// Size that files are made up to.
        #[range("64KiB", "4GiB")]
        pub file_bytes: ByteSize = "128MiB",
        /// Snapshots younger than this stay readable.
        #[range("1s", "1000d")]
        pub snapshots_kept: Duration = "1h",
        /// Most snapshots that stay readable; the oldest go first.
        #[range("2", "100000")]
        pub snapshots_max: u32 = "100",
        /// Files that no snapshot names go when they are older than this: longer than any query and any commit.
        #[range("1s", "1000d")]
        pub orphan_age: Duration = "15m",
    }
}

naru_runtime::config! {
    /// Records of the log as tables, and SQL over them.
    #[check(consistent)]
    pub struct LakeConfig for "lake" {
        /// Address for clients of PostgreSQL; port 0 takes a free one.
        pub listen: SocketAddr = "127.0.0.1:5440",
        /// The log.
        pub log: LogConfig,
        /// Folder of the tables and of their catalogue; made if missing.
        pub warehouse: PathBuf,
        /// Databases whose changes become tables.
        #[key("source")]
        pub sources: Vec<SourceConfig>,
        /// Topics of events that become tables.
        pub events: Vec<EventsConfig>,
        /// How long rows are kept in memory before they are committed. They can be queried before that.
        #[range("10ms", "10m")]
        pub commit_interval: Duration = "1s",
        /// Longest without a commit while nothing but positions moves.
        #[range("100ms", "1h")]
        pub idle_commit_interval: Duration = "30s",
        /// Most memory of a table's rows that are not committed; reading waits for the commit beyond it.
        #[range("1MiB", "16GiB")]
        pub hot_bytes_max: ByteSize = "128MiB",
        /// Most bytes that are read at once for one table; one larger record comes whole.
        #[range("64KiB", "64MiB")]
        pub fetch_bytes_max: ByteSize = "4MiB",
        /// How often the log is asked which topics of the sources there are.
        #[range("100ms", "1h")]
        pub discovery_interval: Duration = "1s",
        /// Compaction, expiry of snapshots, removal of files that nothing names.
        pub upkeep: UpkeepConfig,
        /// SQL over the tables.
        pub sql: SqlConfig,
        /// Address of the Iceberg REST catalogue, read only; port 0 takes a free one; without it, none. It has no
        /// authentication and no masks: leave it on loopback, or behind something that has.
        pub catalogue_listen: Option<SocketAddr>,
        /// Longest wait for the last commit when the lake is told to stop.
        pub drain_max: Duration = "10s",
        /// Logs, metrics and traces.
        pub telemetry: TelemetryConfig,
    }
}

/// The name of the schema that says how fresh and complete the tables are.
pub const OWN_NAMESPACE: &str = "naru";

// The configuration hands a check the field as it is declared.
#[allow(clippy::ptr_arg)]
fn some(brokers: &Vec<HostPort>) -> Result<(), Mistake> {
    if brokers.is_empty() {
        return Err(Mistake::new("is required and missing", "give the address of a broker, such as 127.0.0.1:9092"));
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|letter| letter.is_ascii_lowercase() || letter == '_');
    first && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

#[allow(clippy::ptr_arg)] // as declared
fn name(name: &String) -> Result<(), Mistake> {
    match is_name(name) && !name.starts_with("naru_") {
        true => Ok(()),
        false => Err(Mistake::new(
            format!("is {name:?}"),
            "use a-z, 0-9 and _, beginning with a letter; names that begin with naru_ are the lake's own",
        )),
    }
}

#[allow(clippy::ptr_arg)] // as declared
fn table(table: &String) -> Result<(), Mistake> {
    match table.split_once('.') {
        Some((namespace, name)) if is_name(namespace) && is_name(name) && namespace != OWN_NAMESPACE => Ok(()),
        _ => Err(Mistake::new(
            format!("is {table:?}"),
            "give namespace and name, each of a-z, 0-9 and _, such as pay.payments; the namespace naru is the lake's own",
        )),
    }
}

fn columns_differ(events: &EventsConfig) -> Result<(), Mistake> {
    if events.columns.is_empty() {
        return Err(Mistake::new("has no column", "declare each as [[events.column]] with name and type"));
    }
    for (index, column) in events.columns.iter().enumerate() {
        if events.columns[..index].iter().any(|other| other.name == column.name) {
            return Err(Mistake::new(format!("has two columns {:?}", column.name), "give each a name of its own"));
        }
    }
    Ok(())
}

fn consistent(config: &LakeConfig) -> Result<(), Mistake> {
    if config.sources.is_empty() && config.events.is_empty() {
        return Err(Mistake::new("takes nothing in", "name a database as [[source]], or a topic as [[events]]"));
    }
    if config.sql.users.is_empty() && !config.listen.ip().is_loopback() {
        return Err(Mistake::new(
            format!("listens on {} for everybody", config.listen),
            "name users as [[sql.user]], or listen on 127.0.0.1",
        ));
    }
    for (index, source) in config.sources.iter().enumerate() {
        let namespace = source.namespace();
        if !is_name(namespace) || namespace == OWN_NAMESPACE {
            return Err(Mistake::new(
                format!("has a source with the namespace {namespace:?}"),
                "give it a namespace of a-z, 0-9 and _; naru is the lake's own",
            ));
        }
        if config.sources[..index].iter().any(|other| other.name == source.name || other.namespace() == namespace) {
            return Err(Mistake::new(
                format!("has two sources {:?}, or two with one namespace", source.name),
                "give each a name and a namespace of its own",
            ));
        }
    }
    for (index, events) in config.events.iter().enumerate() {
        if config.events[..index].iter().any(|other| other.table == events.table) {
            return Err(Mistake::new(
                format!("has two topics for the table {:?}", events.table),
                "give each topic a table of its own",
            ));
        }
    }
    Ok(())
}

impl SourceConfig {
    /// The namespace of its tables.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(&self.name)
    }

    /// The table that a topic's records become; none if the topic is not one of this source's tables.
    pub fn table_of<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let table = topic.strip_prefix(&self.name)?.strip_prefix('.')?;
        let reserved = table.is_empty() || table == "schemas" || table == "marks";
        let wanted = self.tables.is_empty() || self.tables.iter().any(|pattern| matches(pattern, table));
        (!reserved && wanted).then_some(table)
    }
}

impl EventsConfig {
    /// Namespace and name of the table.
    pub fn namespace_and_name(&self) -> (&str, &str) {
        self.table.split_once('.').unwrap_or(("public", &self.table))
    }

    /// The topic of events that do not fit.
    pub fn dead_letters(&self) -> String {
        self.dead_letters.clone().unwrap_or_else(|| format!("{}.dead", self.topic))
    }
}

/// What the name of a table of changes ends with, behind the table's own.
pub(crate) const CHANGES: &str = "_changes";

/// A name, or the beginning of one before a `*`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
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

    const BASE: &str = "warehouse = 'w'\n[log]\nbootstrap = ['a:1']\n";

    fn load(rest: &str) -> Result<LakeConfig, String> {
        Sources::default().document("lake.toml", format!("{BASE}{rest}")).load().map_err(|errors| errors.to_string())
    }

    #[test]
    fn topics_of_a_source_are_its_tables_but_for_its_own_two() {
        let config = load("[[source]]\nname = 'pay'\ntables = ['pay*', 'ledger.entries']\n").unwrap();
        let check =
            |topic: &str, expect: Option<&str>| assert_eq!(config.sources[0].table_of(topic), expect, "{topic}");
        check("pay.payments", Some("payments"));
        check("pay.ledger.entries", Some("ledger.entries"));
        check("pay.users", None);
        check("pay.schemas", None);
        check("pay.marks", None);
        check("payments", None);
        check("other.payments", None);
    }

    #[test]
    fn mistakes_are_told_with_their_fix() {
        let check = |rest: &str, expect: &str| {
            let said = load(rest).unwrap_err();
            assert!(said.contains(expect), "{said}");
        };
        check("", "takes nothing in");
        check("[[source]]\nname = 'naru'\n", "the lake's own");
        check("[[source]]\nname = 'a'\n[[source]]\nname = 'a'\n", "two sources");
        check("[[events]]\ntopic = 't'\ntable = 'pay'\n", "namespace and name");
        check("[[events]]\ntopic = 't'\ntable = 'pay.x'\n", "has no column");
        let source = "[[source]]\nname = 'pay'\n";
        let role = |mask: &str| {
            format!(
                "{source}[[sql.user]]\nname = 'a'\npassword = 'p'\nrole = 'r'\n[[sql.role]]\nname = 'r'\ntables = ['*']\n[[sql.role.mask]]\ntable = '{mask}'\ncolumn = 'phone'\n"
            )
        };
        check(&role("payments"), "no table is called");
        check(&role("pay.Payments"), "no table is called");
        check(&format!("{source}[[sql.role]]\nname = 'r'\ntables = ['*']\n"), "everybody sees everything");
        let column = "[[events.column]]\nname = 'id'\ntype = 'string'\n";
        check(&format!("[[events]]\ntopic = 't'\ntable = 'pay.x'\n{column}{column}"), "two columns");
        check(&format!("[[events]]\ntopic = 't'\ntable = 'pay.x'\n{}", column.replace("'id'", "'naru_id'")), "own");
    }
}
