//! The settings of an audit.

use std::path::PathBuf;
use std::time::Duration;

use naru_kafka::client::{Client, ClientConfig, ClientError, Sasl, ScramMechanism, Tls};
use naru_runtime::config::{ByteSize, HostPort, Mistake, Secret};
use naru_runtime::telemetry::TelemetryConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::sketch::SUMS_MAX;

naru_runtime::choice! {
    /// How the audit authenticates at a cluster.
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
    /// The audit's user at a cluster: one that may read, and nothing else.
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
    /// A cluster of the log. Name the cluster itself, never a relay: what a relay says is to be proved.
    pub struct ClusterConfig {
        /// Brokers to learn the cluster from; one that answers is enough.
        #[check(some)]
        pub bootstrap: Vec<HostPort>,
        /// Authority of the brokers' certificates, in PEM; with it, connections are encrypted.
        pub authority: Option<PathBuf>,
        /// The audit's user there; without it, none.
        pub sasl: Option<LogSasl>,
        /// Longest wait for an answer.
        #[range("200ms", "5m")]
        pub request_timeout: Duration = "30s",
    }
}

naru_runtime::config! {
    /// The tables.
    pub struct LakeConfig {
        /// Database of the catalogue: SQLite, catalogue.db in the warehouse.
        pub catalogue: PathBuf,
    }
}

naru_runtime::config! {
    /// The database behind a source.
    pub struct DatabaseConfig {
        /// Host.
        pub host: String = "127.0.0.1",
        /// Port.
        pub port: u16 = "5432",
        /// Database.
        pub database: String,
        /// User, with the right to replicate and to read the catalogue.
        pub user: String,
        /// Its password; without it, none is given.
        pub password: Option<Secret>,
        /// Authority of the server's certificate, in PEM; with it, connections are encrypted and the server is verified.
        pub authority: Option<PathBuf>,
        /// The publication: the one that capture reads, so that both count the same changes.
        pub publication: String,
        /// The audit's own slot; made if missing.
        pub slot: String = "naru_audit",
        /// Most WAL that the slot may hold back; beyond it the slot is dropped, with an alarm.
        #[range("16MiB", "1TiB")]
        pub wal_held_max: ByteSize = "4GiB",
        /// Most bytes of changes in one window; a larger one is certified without the source.
        #[range("1MiB", "16GiB")]
        pub window_bytes_max: ByteSize = "256MiB",
    }
}

naru_runtime::config! {
    /// A source: one database whose changes `naru capture` writes to the log.
    pub struct SourceConfig {
        /// Its name: its topics begin with it.
        pub name: String,
        /// The database; without it, only the logs and the tables are held against each other.
        pub database: Option<DatabaseConfig>,
        /// Namespace of its tables in the lake; without it, the source's name.
        pub namespace: Option<String>,
        /// Topics that are not audited.
        pub except: Vec<String>,
        /// Columns whose sums are certified, as topic and column: pay.payments.amount.
        pub amounts: Vec<String>,
        /// Columns that are compared nowhere, as topic and column. Columns with tokens need not be named.
        pub left_out: Vec<String>,
    }
}

naru_runtime::config! {
    /// Proves that source, both clusters and the lake hold the same, or names the rows that differ.
    #[check(consistent)]
    pub struct AuditConfig for "audit" {
        /// Directory of certificates, keys and progress; made if missing, for one process at a time.
        pub state: PathBuf,
        /// Shortest time between two windows of a source.
        #[range("100ms", "1d")]
        pub interval: Duration = "10s",
        /// Longest wait for a reader to come as far as a window's end.
        #[range("100ms", "1h")]
        pub wait_max: Duration = "30s",
        /// How long a window that differs is read again before that is certified: a cluster that catches up may have a mark
        /// before it has all that is in front of the mark.
        #[range("0s", "10m")]
        pub settle_max: Duration = "10s",
        /// How long a window waits for the source or the lake before it is certified without them. Without a cluster
        /// nothing is certified.
        #[range("0s", "7d")]
        pub hold_max: Duration = "10m",
        /// The first cluster.
        pub a: ClusterConfig,
        /// The second cluster; without it, there is one.
        pub b: Option<ClusterConfig>,
        /// The tables; without them, there are none.
        pub lake: Option<LakeConfig>,
        /// What is audited.
        #[key("source")]
        pub sources: Vec<SourceConfig>,
        /// Where orders of repair are written: the relay, or the cluster that the lake reads; without it, nowhere.
        pub orders: Option<ClusterConfig>,
        /// Bytes of a partition that are read at once.
        #[range("64KiB", "64MiB")]
        pub fetch_bytes_max: ByteSize = "4MiB",
        /// Longest wait for a window in hand when the audit is told to stop.
        pub drain_max: Duration = "10s",
        /// Logs, metrics and traces.
        pub telemetry: TelemetryConfig,
    }
}

impl SourceConfig {
    /// The namespace of its tables.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(&self.name)
    }
}

/// Why a cluster's client could not be made. The configuration is at fault.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Its settings cannot work.
    #[error("the settings of cluster {cluster} cannot work")]
    Client {
        /// `a` or `b`.
        cluster: &'static str,
        /// What is wrong.
        #[source]
        source: ClientError,
    },
    /// The authority's file.
    #[error("{path}: holds no certificates")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
}

impl ClusterConfig {
    /// A client of the cluster.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub fn client(&self, cluster: &'static str) -> Result<Client, ClusterError> {
        let refused = |source| ClusterError::Client { cluster, source };
        let mut config = ClientConfig::new(self.bootstrap.iter().map(ToString::to_string));
        config.connection.client_id = "naru-audit".to_owned();
        config.connection.request_timeout = self.request_timeout;
        if let Some(path) = &self.authority {
            let pem = |source| ClusterError::Authority { path: path.clone(), source };
            let roots: Vec<_> = CertificateDer::pem_file_iter(path)
                .map_err(pem)?
                .collect::<Result<_, _>>()
                .map_err(|source| ClusterError::Authority { path: path.clone(), source })?;
            config.connection.tls = Some(Tls::new(roots, None).map_err(refused)?);
        }
        config.connection.sasl = self.sasl.as_ref().map(|sasl| {
            let (username, password) = (sasl.username.clone(), naru_kafka::client::Secret::new(sasl.password.reveal()));
            match sasl.mechanism {
                LogMechanism::Plain => Sasl::Plain { username, password },
                LogMechanism::Sha256 => Sasl::Scram { mechanism: ScramMechanism::Sha256, username, password },
                LogMechanism::Sha512 => Sasl::Scram { mechanism: ScramMechanism::Sha512, username, password },
            }
        });
        Client::new(config).map_err(refused)
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

fn consistent(config: &AuditConfig) -> Result<(), Mistake> {
    if config.sources.is_empty() {
        return Err(Mistake::new("audits nothing", "name a source as [[source]]"));
    }
    for (index, source) in config.sources.iter().enumerate() {
        if config.sources[..index].iter().any(|other| other.name == source.name) {
            let what = format!("has two sources {:?}", source.name);
            return Err(Mistake::new(what, "give each source a name of its own"));
        }
        for named in source.amounts.iter().chain(&source.left_out) {
            let of_source = named.strip_prefix(&source.name).and_then(|rest| rest.strip_prefix('.'));
            if of_source.is_none_or(|rest| !rest.contains('.')) {
                let what = format!("names {named:?}, which is no column of {}", source.name);
                return Err(Mistake::new(what, format!("write topic and column: {}.table.column", source.name)));
            }
        }
        let of = |named: &String| named.rsplit_once('.').map(|(topic, _)| topic.to_owned());
        for topic in source.amounts.iter().filter_map(of) {
            if source.amounts.iter().filter(|named| of(named).as_ref() == Some(&topic)).count() > SUMS_MAX {
                let what = format!("has more than {SUMS_MAX} amounts of {topic}");
                return Err(Mistake::new(what, "name those that matter most"));
            }
        }
        if config.b.is_none() && config.lake.is_none() && source.database.is_none() {
            let what = format!("has nothing to hold {} against", source.name);
            return Err(Mistake::new(what, "name [b], [lake], or the source's database"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use naru_runtime::config::Sources;

    use super::*;

    const BASE: &str = "state = 's'\n[a]\nbootstrap = ['h:1']\n[b]\nbootstrap = ['h:2']\n";

    #[test]
    fn mistakes_are_told_with_their_fix() {
        let check = |text: String, expect: &str| {
            let loaded: Result<AuditConfig, _> = Sources::default().document("audit.toml", text).load();
            let said = loaded.map(drop).map_err(|errors| errors.to_string());
            assert!(said.as_ref().is_err_and(|said| said.contains(expect)), "{said:?}");
        };
        let source = "[[source]]\nname = 'pay'\n";
        check(BASE.to_owned(), "audits nothing");
        check(format!("{BASE}{source}{source}"), "two sources");
        check(format!("{BASE}{source}amounts = ['payments.amount']\n"), "no column of pay");
        check(format!("state = 's'\n[a]\nbootstrap = ['h:1']\n{source}"), "nothing to hold pay against");
        let nine: String = (0..9).map(|number| format!("'pay.t.c{number}',")).collect();
        check(format!("{BASE}{source}amounts = [{nine}]\n"), "more than 8 amounts");
    }

    #[test]
    fn every_default_is_one_that_the_audit_takes() {
        assert_eq!(naru_runtime::config::RoleReference::of::<AuditConfig>().wrong_defaults(), []);
    }

    #[test]
    fn a_small_configuration_is_enough() {
        let text = format!("{BASE}[[source]]\nname = 'pay'\namounts = ['pay.t.amount']\n");
        let loaded: Result<AuditConfig, _> = Sources::default().document("audit.toml", text).load();
        assert_eq!(loaded.map(|config| config.sources[0].namespace().to_owned()).ok().as_deref(), Some("pay"));
    }
}
