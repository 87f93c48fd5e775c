//! A lake as a process: its tables, its ports, its end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use iceberg::{NamespaceIdent, TableIdent};
use naru_kafka::client::config::{Sasl, ScramMechanism, Secret};
use naru_kafka::client::{Client, ClientConfig, ClientError, Tls};
use naru_runtime::clocks::{SystemClock, WallClock};
use naru_runtime::http::serve_until;
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Metrics, Observed, Reading};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::catalogue::Catalogue;
use crate::change::marks;
use crate::change::schemas::Schemas;
use crate::config::{CHANGES, EventsConfig, LakeConfig, LogConfig, LogMechanism, Shape, SourceConfig};
use crate::error::LakeError;
use crate::events::dead::DeadLetters;
use crate::events::plan::Plan;
use crate::ingest::status::{Stage, Status};
use crate::ingest::{ChangeInput, EventInput, Ingest, Input, Limits};
use crate::rest;
use crate::sql::server::{SqlError, SqlServer};
use crate::sql::tables::{Entry, Name, Tables};
use crate::table::columns::Kind;
use crate::table::progress::Complete;
use crate::upkeep::Upkeep;

/// What closing connections to the log may take.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Tables of one lake: each has a task, an index and a reader of the log.
const TABLES_MAX: usize = 1000;

/// Why a lake did not begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The catalogue cannot be opened.
    #[error("opening the catalogue")]
    Catalogue(#[from] LakeError),
    /// The SQL port cannot be served.
    #[error("opening the sql port")]
    Sql(#[from] SqlError),
    /// The catalogue's port cannot be served.
    #[error("serving the catalogue on {listen}")]
    Rest {
        /// The address.
        listen: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The settings of the log cannot be used.
    #[error("the log's settings")]
    Log(#[from] ClientError),
    /// The authority of the log's certificates cannot be read.
    #[error("the log's authority {path} cannot be read as PEM")]
    Authority {
        /// The file.
        path: String,
        /// What the reader says.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
}

/// A lake that runs.
#[derive(Debug)]
pub struct Lake {
    sql: SqlServer,
    rest: Option<SocketAddr>,
    client: Client,
}

/// What every table is made of.
#[derive(Debug, Clone)]
struct Shared {
    client: Client,
    catalogue: Catalogue,
    tables: Tables,
    limits: Limits,
    config: Arc<LakeConfig>,
    clock: Arc<dyn WallClock>,
    tasks: Tasks,
}

impl Lake {
    /// Opens the catalogue and the ports, and begins to take in.
    ///
    /// # Errors
    /// When catalogue, ports or settings cannot be used. That the log is away is none: tables wait for it.
    pub async fn open(config: LakeConfig, tasks: &Tasks, metrics: &Metrics) -> Result<Self, OpenError> {
        let client = client(&config.log)?;
        let catalogue = Catalogue::open(&config.warehouse).await?;
        let tables = Tables::default();
        observe(metrics, &tables);
        let size = |size: naru_runtime::config::ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        let limits = Limits {
            commit_interval: config.commit_interval,
            idle_commit_interval: config.idle_commit_interval,
            hot_bytes_max: size(config.hot_bytes_max),
            fetch_bytes_max: size(config.fetch_bytes_max),
            other_topic_ids: config.log.other_topic_ids,
        };
        let sql = SqlServer::open(config.listen, config.sql.clone(), tables.clone())?;
        let shared = Shared {
            client: client.clone(),
            catalogue,
            tables,
            limits,
            config: Arc::new(config),
            clock: Arc::new(SystemClock::new()),
            tasks: tasks.clone(),
        };
        let rest = shared.serve_catalogue().await?;
        for events in &shared.config.events {
            shared.take_in_events(events);
        }
        for source in shared.config.sources.clone() {
            let shared = shared.clone();
            tasks.spawn("topics of a source", async move { shared.discover(source).await });
        }
        Ok(Self { sql, rest, client })
    }

    /// Where SQL is.
    pub fn sql_address(&self) -> SocketAddr {
        self.sql.address()
    }

    /// Where the catalogue is, if it is served.
    pub fn catalogue_address(&self) -> Option<SocketAddr> {
        self.rest
    }

    /// Closes the ports and the connections, behind the tables' last commits.
    pub async fn close(mut self) {
        self.sql.close();
        self.client.shutdown(CLOSE_MAX).await;
    }
}

impl Shared {
    async fn serve_catalogue(&self) -> Result<Option<SocketAddr>, OpenError> {
        let Some(listen) = self.config.catalogue_listen else { return Ok(None) };
        let refused = |source| OpenError::Rest { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let router = rest::router(self.catalogue.clone());
        self.tasks.spawn_fallible("catalogue", serve_until(listener, router, self.tasks.stop_token()));
        Ok(Some(address))
    }

    fn take_in_events(&self, events: &EventsConfig) {
        let (namespace, name) = events.namespace_and_name();
        let dead = DeadLetters::new(self.client.clone(), &events.topic, &events.dead_letters());
        let input = Input::Events(EventInput::new(Plan::new(&events.columns), dead));
        self.begin(namespace, name, Kind::Facts, &events.topic, input);
    }

    /// Looks for topics of a source until told to stop.
    async fn discover(self, source: SourceConfig) {
        let stop = self.tasks.stop_token();
        let schemas = Schemas::new(self.client.clone(), &source.name);
        let (newest, marks) = watch::channel(None);
        let follow = marks::follow(self.client.clone(), source.name.clone(), newest, stop.clone());
        self.tasks.spawn("marks of a source", follow);
        let mut known = BTreeSet::new();
        loop {
            match self.client.metadata(None).await {
                Err(error) => {
                    tracing::warn!(
                        source = source.name,
                        error = &error as &dyn std::error::Error,
                        "topics are not known"
                    );
                }
                Ok(metadata) => {
                    for topic in metadata.topics {
                        let Some(table) = source.table_of(&topic.name) else { continue };
                        if self.is_of_events(&topic.name) {
                            continue;
                        }
                        if known.len() < TABLES_MAX && known.insert(topic.name.to_string()) {
                            self.take_in_changes(&source, &schemas, &marks, &topic.name, table);
                        }
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.config.discovery_interval) => {}
            }
        }
    }

    /// Whether a topic has events, or dead letters of events: neither holds changes of a source.
    fn is_of_events(&self, topic: &str) -> bool {
        self.config.events.iter().any(|events| events.topic == topic || events.dead_letters() == topic)
    }

    fn take_in_changes(
        &self,
        source: &SourceConfig,
        schemas: &Schemas,
        marks: &watch::Receiver<Option<Complete>>,
        topic: &str,
        table: &str,
    ) {
        let name = table.replace('.', "_").to_lowercase();
        let input = || Input::Changes(ChangeInput::new(topic.to_owned(), schemas.clone(), marks.clone()));
        if matches!(source.shape, Shape::Mirror | Shape::Both) {
            self.begin(source.namespace(), &name, Kind::Mirror, topic, input());
        }
        if matches!(source.shape, Shape::Changelog | Shape::Both) {
            self.begin(source.namespace(), &format!("{name}{CHANGES}"), Kind::Changelog, topic, input());
        }
    }

    fn begin(&self, namespace: &str, name: &str, kind: Kind, topic: &str, input: Input) {
        let (published, reader) = watch::channel(None);
        let status = Arc::default();
        let entry = Entry { kind, topic: topic.to_owned(), published: reader, status: Arc::clone(&status) };
        if let Err(other) = self.tables.add((namespace.to_owned(), name.to_owned()), entry) {
            // Two committers of one table would end each other for ever.
            let reason = format!("the topics {} and {topic} would both be the table {namespace}.{name}", other.topic);
            tracing::error!(topic, reason, "a topic becomes no table");
            let status: Arc<Status> = Arc::default();
            status.stops(reason);
            let entry = Entry { kind, topic: topic.to_owned(), published: watch::channel(None).1, status };
            // Its topic tells it apart; no table of SQL can have such a name.
            let taken = self.tables.add((namespace.to_owned(), format!("{name} of {topic}")), entry);
            taken.unwrap_or_else(|_| tracing::error!(topic, "and was so before"));
            return;
        }
        let ingest = Ingest {
            table: TableIdent::new(NamespaceIdent::new(namespace.to_owned()), name.to_owned()),
            kind,
            topic: topic.to_owned(),
            input,
            client: self.client.clone(),
            catalogue: self.catalogue.clone(),
            limits: self.limits,
            upkeep: Upkeep::new(self.config.upkeep.clone()),
            clock: Arc::clone(&self.clock),
            published,
            status,
            damaged: BTreeMap::new(),
        };
        let stop: CancellationToken = self.tasks.stop_token();
        self.tasks.spawn("table", ingest.run(stop));
    }
}

/// A client of the log.
///
/// # Errors
/// When the settings cannot be used.
pub fn client(log: &LogConfig) -> Result<Client, OpenError> {
    let mut config = ClientConfig::new(log.bootstrap.iter().map(ToString::to_string));
    config.connection.client_id = "naru-lake".to_owned();
    config.connection.request_timeout = log.request_timeout;
    if let Some(path) = &log.authority {
        let refused = |source| OpenError::Authority { path: path.display().to_string(), source };
        let authority = CertificateDer::pem_file_iter(path).map_err(refused)?;
        let authority = authority.collect::<Result<Vec<_>, _>>().map_err(refused)?;
        config.connection.tls = Some(Tls::new(authority, None)?);
    }
    config.connection.sasl = log.sasl.as_ref().map(|sasl| {
        let (username, password) = (sasl.username.clone(), Secret::new(sasl.password.reveal()));
        let scram = |mechanism| Sasl::Scram { mechanism, username: username.clone(), password: password.clone() };
        match sasl.mechanism {
            LogMechanism::Plain => Sasl::Plain { username, password },
            LogMechanism::Sha256 => scram(ScramMechanism::Sha256),
            LogMechanism::Sha512 => scram(ScramMechanism::Sha512),
        }
    });
    Ok(Client::new(config)?)
}

/// Numbers of each table, read when they are asked for.
fn observe(metrics: &Metrics, tables: &Tables) {
    type Number = fn(&Entry) -> u64;
    let numbers: [(&str, &str, Observed, Number); 6] = [
        ("lake_rows", "Rows that can be queried", Observed::Gauge, |entry| {
            entry.published.borrow().as_ref().map_or(0, |view| view.rows()) as u64
        }),
        ("lake_rows_in_memory", "Rows that are not committed", Observed::Gauge, |entry| {
            entry.published.borrow().as_ref().map_or(0, |view| view.hot_rows()) as u64
        }),
        ("lake_files", "Data files in the newest snapshot", Observed::Gauge, |entry| {
            entry.published.borrow().as_ref().map_or(0, |view| view.files.len()) as u64
        }),
        ("lake_commits", "Commits", Observed::Counter, |entry| entry.status.read().commits),
        ("lake_dead_letters", "Events that did not fit", Observed::Counter, |entry| entry.status.read().dead),
        ("lake_stopped", "1 where a table cannot go on until somebody changes something", Observed::Gauge, |entry| {
            u64::from(entry.status.read().stage == Stage::Stopped)
        }),
    ];
    for (name, help, kind, number) in numbers {
        let tables = tables.clone();
        metrics.observe(name, help, kind, move || {
            let reading = |(name, entry): (Name, Entry)| Reading {
                labels: vec![("table", format!("{}.{}", name.0, name.1).into())],
                value: number(&entry),
            };
            tables.all().into_iter().map(reading).collect()
        });
    }
}
