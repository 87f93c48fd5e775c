//! The settings of a capture.

use std::net::SocketAddr;
use std::time::Duration;

use naru_runtime::config::{ByteSize, HostPort, Mistake, Secret};
use naru_runtime::telemetry::TelemetryConfig;

use crate::table::TokenKind;
use crate::tokens::VaultClientConfig;

naru_runtime::config! {
    /// The source: a PostgreSQL database, 14 or newer.
    pub struct DatabaseConfig {
        /// Its host, or the directory of its local socket.
        pub host: String = "127.0.0.1",
        /// Its port.
        pub port: u16 = "5432",
        /// The database.
        pub database: String,
        /// The user; it needs the attribute REPLICATION and may read the tables.
        pub user: String = "naru",
        /// Its password.
        pub password: Option<Secret>,
        /// The replication slot, made if missing; without it, naru_ and the source's name.
        #[check(identifiers)]
        pub slot: Option<String>,
        /// The publication, made if missing; without it, naru_ and the source's name.
        #[check(identifiers)]
        pub publication: Option<String>,
    }
}

naru_runtime::config! {
    /// The log that changes are written to: a relay, or any Kafka.
    pub struct LogConfig {
        /// Brokers to learn the cluster from; one that answers is enough.
        #[check(some)]
        pub bootstrap: Vec<HostPort>,
        /// Partitions of each table's topic, where capture makes it.
        #[range("1", "10000")]
        pub partitions: i32 = "6",
        /// Replicas of each partition; -1 leaves it to the brokers.
        #[range("-1", "100")]
        pub replication: i16 = "-1",
        /// Largest batch before compression; no larger than the topics' max.message.bytes.
        #[range("16KiB", "128MiB")]
        pub batch_bytes_max: ByteSize = "900KiB",
        /// Longest wait for an answer.
        #[range("200ms", "5m")]
        pub request_timeout: Duration = "10s",
        /// How long a write is repeated before the source is read again from the last mark.
        #[range("1s", "1h")]
        pub patience: Duration = "1m",
    }
}

naru_runtime::choice! {
    /// What stands on the log in place of a column's values.
    pub enum ColumnPolicy {
        /// The values themselves: somebody looked, and they are not personal.
        Plain = "plain",
        /// HMAC-SHA-256: equal values have equal tokens, nothing brings the value back.
        Hmac = "hmac",
        /// FF1: digits stay digits, letters letters.
        Ff1 = "ff1",
        /// AES-SIV: who may resolve gets the value back.
        Siv = "siv",
        /// Nothing: the column does not leave.
        Omit = "omit",
    }
}

impl ColumnPolicy {
    /// The kind of token, if it is one.
    pub fn token(self) -> Option<TokenKind> {
        match self {
            Self::Hmac => Some(TokenKind::Hmac),
            Self::Ff1 => Some(TokenKind::Ff1),
            Self::Siv => Some(TokenKind::Siv),
            Self::Plain | Self::Omit => None,
        }
    }
}

naru_runtime::config! {
    /// How a column leaves the database.
    #[check(named_field)]
    pub struct ColumnConfig {
        /// The column.
        pub name: String,
        /// What stands on the log in its place.
        pub policy: ColumnPolicy,
        /// The field whose key makes tokens, as the vault calls it: columns of one field can be joined.
        pub field: Option<String>,
        /// The version of that key; without it the newest. Needed for a column of the primary key, and for ff1, whose tokens
        /// do not say it.
        pub version: Option<u32>,
    }
}

naru_runtime::config! {
    /// A table to capture.
    pub struct TableConfig {
        /// Its name.
        pub name: String,
        /// Its schema.
        pub schema: String = "public",
        /// Columns that do not leave as they are, or look personal and may.
        #[key("column")]
        pub columns: Vec<ColumnConfig>,
    }
}

naru_runtime::config! {
    /// Captures the changes of a database.
    #[check(whole)]
    pub struct CaptureConfig for "capture" {
        /// The source's name: the beginning of its topics' names.
        #[check(topic_part)]
        pub source: String,
        /// The database.
        pub database: DatabaseConfig,
        /// The log.
        pub log: LogConfig,
        /// The vault that makes tokens; needed where a column has a policy that makes them.
        pub vault: Option<VaultClientConfig>,
        /// Tables to capture.
        #[key("table")]
        pub tables: Vec<TableConfig>,
        /// Address for status over HTTP; port 0 takes a free one. It has no authentication: leave it on loopback.
        pub status_listen: SocketAddr = "127.0.0.1:0",
        /// How often what is written is marked on the log and confirmed to the database.
        #[range("50ms", "1s")]
        pub mark_interval: Duration = "500ms",
        /// Most bytes of changes in memory that the log has not acknowledged.
        #[range("1MiB", "1GiB")]
        pub memory_max: ByteSize = "64MiB",
        /// Write-ahead log that the slot may hold before an alarm.
        #[range("1MiB", "10TiB")]
        pub held_wal_max: ByteSize = "4GiB",
        /// Longest wait for what is in hand when capture is told to stop.
        pub drain_max: Duration = "10s",
        /// Logs, metrics and traces.
        pub telemetry: TelemetryConfig,
    }
}

// The configuration hands a check the field as it is declared.
#[allow(clippy::ptr_arg)]
fn some(brokers: &Vec<HostPort>) -> Result<(), Mistake> {
    if brokers.is_empty() {
        return Err(Mistake::new("is required and missing", "give the address of a broker, such as 127.0.0.1:9092"));
    }
    Ok(())
}

#[allow(clippy::ptr_arg)] // as above
fn topic_part(name: &String) -> Result<(), Mistake> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || name.len() > 40 || !name.bytes().all(legal) {
        return Err(Mistake::new(format!("is {name:?}"), "use 1 to 40 of a-z, 0-9 and _, such as pay"));
    }
    Ok(())
}

fn identifiers(name: &Option<String>) -> Result<(), Mistake> {
    // What PostgreSQL takes as the name of a slot.
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    match name {
        Some(name) if name.is_empty() || name.len() > 63 || !name.bytes().all(legal) => {
            Err(Mistake::new(format!("is {name:?}"), "use 1 to 63 of a-z, 0-9 and _"))
        }
        _ => Ok(()),
    }
}

fn named_field(column: &ColumnConfig) -> Result<(), Mistake> {
    match (column.policy.token(), &column.field) {
        (Some(_), None) => {
            Err(Mistake::new("makes tokens of no field", "name the vault's field, such as field = \"phone\""))
        }
        (None, Some(_)) => {
            Err(Mistake::new("has a field and makes no token", "remove field, or choose hmac, ff1 or siv"))
        }
        (Some(TokenKind::Ff1), _) if column.version.is_none() => {
            let what = "makes tokens that do not say which key made them";
            Err(Mistake::new(what, "name the version of the key, such as version = 1"))
        }
        _ => Ok(()),
    }
}

fn whole(config: &CaptureConfig) -> Result<(), Mistake> {
    if config.tables.is_empty() {
        return Err(Mistake::new("has no table", "name at least one: [[table]] with name = \"payments\""));
    }
    let makes_tokens =
        config.tables.iter().flat_map(|table| &table.columns).any(|column| column.policy.token().is_some());
    if makes_tokens && config.vault.is_none() {
        let fix = "add [vault] with address and [vault.tls]; see docs/operating/vault.md";
        return Err(Mistake::new("has columns that leave as tokens, and no vault", fix));
    }
    for (index, table) in config.tables.iter().enumerate() {
        let same = |other: &TableConfig| (&other.schema, &other.name) == (&table.schema, &table.name);
        if config.tables[..index].iter().any(same) {
            return Err(Mistake::new(
                format!("has the table {}.{} twice", table.schema, table.name),
                "put its columns under one [[table]]",
            ));
        }
        let topic = topic(&config.source, &table.schema, &table.name);
        let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
        if topic.len() > 249 || !topic.chars().all(legal) {
            return Err(Mistake::new(
                format!("has the table {}.{}, whose name cannot be a topic's", table.schema, table.name),
                "give the table a name of letters, digits, . _ and -: ALTER TABLE ... RENAME TO ...",
            ));
        }
        if ["schemas", "marks"].map(|own| format!("{}.{own}", config.source)).contains(&topic) {
            return Err(Mistake::new(
                format!("has a table whose topic {topic} is capture's own"),
                "give the table another name: ALTER TABLE ... RENAME TO ...",
            ));
        }
    }
    Ok(())
}

/// The topic of a table.
pub fn topic(source: &str, schema: &str, table: &str) -> String {
    if schema == "public" { format!("{source}.{table}") } else { format!("{source}.{schema}.{table}") }
}

impl CaptureConfig {
    /// The replication slot's name.
    pub fn slot(&self) -> String {
        self.database.slot.clone().unwrap_or_else(|| format!("naru_{}", self.source))
    }

    /// The publication's name.
    pub fn publication(&self) -> String {
        self.database.publication.clone().unwrap_or_else(|| format!("naru_{}", self.source))
    }

    /// What is said about a table.
    pub fn table(&self, schema: &str, name: &str) -> Option<&TableConfig> {
        self.tables.iter().find(|table| table.schema == schema && table.name == name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_runtime::config::Sources;

    use super::*;

    fn load(more: &str) -> Result<CaptureConfig, String> {
        let text = format!("source = 'pay'\n[database]\ndatabase = 'pay'\n[log]\nbootstrap = ['a:1']\n{more}");
        Sources::default().document("capture.toml", text).load().map_err(|errors| errors.to_string())
    }

    #[test]
    fn names_come_from_the_source_unless_they_are_given() {
        let config = load("[[table]]\nname = 'payments'\n[[table.column]]\nname = 'phone'\npolicy = 'omit'").unwrap();
        assert_eq!((config.slot().as_str(), config.publication().as_str()), ("naru_pay", "naru_pay"));
        assert_eq!(topic("pay", "public", "payments"), "pay.payments");
        assert_eq!(topic("pay", "ledger", "entries"), "pay.ledger.entries");
        assert_eq!(config.table("public", "payments").unwrap().columns[0].policy, ColumnPolicy::Omit);
    }

    #[test]
    fn what_cannot_be_captured_is_refused_before_a_socket_opens() {
        let check = |more: &str, expect: &str| {
            let said = load(more).unwrap_err();
            assert!(said.contains(expect), "{said}");
        };
        check("", "has no table");
        check("[[table]]\nname = 'a'\n[[table]]\nname = 'a'", "twice");
        check("[[table]]\nname = 'marks'", "capture's own");
        check("[[table]]\nname = '결제'", "cannot be a topic's");
        check("[[table]]\nname = 'a'\n[[table.column]]\nname = 'x'\npolicy = 'siv'", "no field");
        let column = "[[table]]\nname = 'a'\n[[table.column]]\nname = 'x'\nfield = 'x'\n";
        check(&format!("{column}policy = 'siv'"), "no vault");
        check(&format!("{column}policy = 'ff1'"), "which key made them");
        check("[[table]]\nname = 'a'\n[[table.column]]\nname = 'x'\npolicy = 'plain'\nfield = 'x'", "makes no token");
    }
}
