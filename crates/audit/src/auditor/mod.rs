//! The audit as it runs: window after window of each source, read, compared, certified.
//!
//! A window ends at a mark that both clusters have. The clusters must be read for anything to be certified; the source
//! and the lake are waited for, up to a bound, and a certificate without them says so.

mod certify;
mod readings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::Client;
use naru_kafka::client::reader::ReadOptions;
use naru_runtime::causes::with_causes;
use naru_runtime::clocks::WallClock;
use naru_runtime::durable::replace_file;
use naru_runtime::keys::{KeyError, MacKeys, SigningKeys};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use self::certify::certify;
use self::readings::{Readings, read_lake};
use crate::certificate::{Certificate, Chain, ChainError, Verdict, Window};
use crate::config::{AuditConfig, ClusterError, SourceConfig};
use crate::gather::{Gathered, Rules, Want};
use crate::lake::{LakeError, LakeReader};
use crate::log::avro::Schema;
use crate::log::{LogError, LogReader, Progresses};
use crate::sketch::{Key, Shape, ShapeError, Unlike};
use crate::source::{SourceError, SourceOptions, SourceReader};
use crate::verdict::compare;

/// Differences for which a window is read again with larger sketches: 2.9 MB each.
const DIFFERENCES_MAX: usize = 30_000;

/// Between two looks whether a reader has come as far.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Derives the key of sketches from the audit's secret.
const SKETCH_KEY: &[u8] = b"naru audit sketch 1";

/// The audit's secret, from which the key of sketches is derived.
pub const SECRET_FILE: &str = "sketch-key.json";
/// The key that signs certificates.
pub const SIGNING_FILE: &str = "signing-key.json";
/// How the audit is doing, for `naru audit status`.
pub const STATUS_FILE: &str = "status.json";

/// Why the audit cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A key file.
    #[error("a key of the audit cannot be used")]
    Key(#[from] KeyError),
    /// A cluster's settings.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The chain of certificates.
    #[error("the chain of certificates cannot be continued")]
    Chain(#[from] ChainError),
    /// The state directory.
    #[error("{path}: cannot be {action}")]
    State {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Progress that is none.
    #[error("{path}: is no progress of an audit")]
    Progress {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Ours: a sketch of a shape that there is not.
    #[error("a sketch that there is not")]
    Shape(#[from] ShapeError),
    /// Ours: sketches that were not made for each other.
    #[error("sketches that were not made for each other")]
    Unlike(#[from] Unlike),
}

/// How far a source is audited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    /// The end of the last certified window.
    certified: u64,
    a: Progresses,
    b: Progresses,
}

/// How a source is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// The end of the last certified window.
    pub certified: u64,
    /// The newest mark seen.
    pub newest_mark: u64,
    /// WAL that the audit's slot holds back, bytes.
    pub wal_held_bytes: u64,
    /// Why the last window is not certified yet, or lacks a reader; empty when all is well.
    pub waiting_for: String,
    /// Certificates by verdict since the start: equal, incomplete, different, open.
    pub verdicts: [u64; 4],
}

/// One source.
#[derive(Debug)]
struct Audited {
    config: SourceConfig,
    a: LogReader,
    b: Option<LogReader>,
    database: Option<SourceReader>,
    lake: Option<LakeReader>,
    progress: Progress,
    /// Since when the window in hand waits for the source or the lake, on the monotonic clock.
    waits_since: Option<Duration>,
    status: SourceStatus,
}

/// The audit.
#[derive(Debug)]
pub struct Auditor {
    config: AuditConfig,
    chain: Chain,
    signing: SigningKeys,
    key: Key,
    sources: Vec<Audited>,
    clock: Arc<dyn WallClock>,
}

/// What one attempt at a window came to.
#[derive(Debug)]
enum Attempt {
    /// There is no new mark.
    Nothing,
    /// It must wait.
    Waits(String),
    /// It is certified.
    Certified(Box<Certificate>),
}

impl Auditor {
    /// Opens state, keys and readers; makes keys and slots that are missing.
    ///
    /// # Errors
    /// What the audit cannot go on without. A source that cannot be reached is none of it.
    pub async fn open(config: AuditConfig, clock: Arc<dyn WallClock>) -> Result<Self, AuditError> {
        let chain = Chain::open(&config.state)?;
        let signing =
            load_or_make(&config.state.join(SIGNING_FILE), SigningKeys::load, SigningKeys::generate, &*clock)?;
        let secret = load_or_make(&config.state.join(SECRET_FILE), MacKeys::load, MacKeys::generate, &*clock)?;
        let mut key = [0; 16];
        key.copy_from_slice(&secret.tag(SKETCH_KEY).bytes[..16]);
        let (a, b) = (config.a.client("a")?, config.b.as_ref().map(|b| b.client("b")).transpose()?);
        let mut sources = Vec::with_capacity(config.sources.len());
        for source in &config.sources {
            sources.push(Audited::open(&config, source, &a, b.as_ref()).await?);
        }
        Ok(Self { config, chain, signing, key: Key::new(&key), sources, clock })
    }

    /// Audits until it is told to stop.
    ///
    /// # Errors
    /// What the audit cannot go on without.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), AuditError> {
        loop {
            for index in 0..self.sources.len() {
                tokio::select! {
                    () = stop.cancelled() => break,
                    tried = self.window(index) => { tried?; }
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.config.interval) => {}
            }
        }
        for source in &mut self.sources {
            if let Some(database) = &mut source.database {
                database.end().await;
            }
        }
        Ok(())
    }

    /// Tries to certify the next window of a source.
    ///
    /// # Errors
    /// What the audit cannot go on without.
    pub async fn window(&mut self, index: usize) -> Result<Option<Certificate>, AuditError> {
        let (config, now) = (&self.config, self.clock.monotonic());
        let source = &mut self.sources[index];
        let attempt = match source.attempt(config, &self.key, now).await {
            Ok(None) => Attempt::Nothing,
            Ok(Some((window, readings))) if readings.waits => {
                let why = readings.absences().into_iter().next().unwrap_or_default();
                let since = *source.waits_since.get_or_insert(now);
                if now.saturating_sub(since) < config.hold_max {
                    Attempt::Waits(why)
                } else {
                    source.status.waiting_for = why;
                    let certified = certify(
                        source,
                        &mut self.chain,
                        &self.signing,
                        &*self.clock,
                        &self.key,
                        config,
                        window,
                        readings,
                    );
                    Attempt::Certified(Box::new(certified.await?))
                }
            }
            Ok(Some((window, readings))) => {
                source.status.waiting_for = readings.absences().into_iter().next().unwrap_or_default();
                let certified =
                    certify(source, &mut self.chain, &self.signing, &*self.clock, &self.key, config, window, readings);
                Attempt::Certified(Box::new(certified.await?))
            }
            Err(Stopped::Cluster(why)) => Attempt::Waits(why),
            Err(Stopped::Audit(error)) => return Err(error),
        };
        let certificate = match attempt {
            Attempt::Nothing => None,
            Attempt::Waits(why) => {
                if source.status.waiting_for != why {
                    tracing::warn!(source = source.config.name, why, "a window waits for its readers");
                }
                source.status.waiting_for = why;
                None
            }
            Attempt::Certified(certificate) => {
                source.waits_since = None;
                let to = certificate.window.to;
                write_json(&progress_file(&self.config.state, &source.config.name), &source.progress)?;
                if let Some(database) = &mut source.database {
                    database.certified(to);
                }
                source.tell(&certificate);
                Some(*certificate)
            }
        };
        if let Some(database) = &mut source.database {
            match database.hold_within_bound().await {
                Ok(held) => source.status.wal_held_bytes = held,
                Err(SourceError::Dropped { .. }) => {}
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the source was not asked"),
            }
        }
        let statuses: BTreeMap<&str, &SourceStatus> =
            self.sources.iter().map(|source| (source.config.name.as_str(), &source.status)).collect();
        write_json(&self.config.state.join(STATUS_FILE), &statuses)?;
        Ok(certificate)
    }

    /// The public key that certificates are verified with.
    pub fn public_key(&self) -> [u8; 32] {
        self.signing.verifying().public().next().unwrap_or_default()
    }

    /// The file of the certificates.
    pub fn certificates(&self) -> &Path {
        self.chain.path()
    }
}

/// Why an attempt ended early.
enum Stopped {
    /// A cluster could not be read: the window waits.
    Cluster(String),
    /// The audit cannot go on.
    Audit(AuditError),
}

impl From<AuditError> for Stopped {
    fn from(error: AuditError) -> Self {
        Self::Audit(error)
    }
}

fn of_cluster(cluster: &'static str) -> impl Fn(LogError) -> Stopped {
    move |error| Stopped::Cluster(format!("cluster {cluster}: {}", with_causes(&error)))
}

impl Audited {
    async fn open(
        config: &AuditConfig,
        source: &SourceConfig,
        a: &Client,
        b: Option<&Client>,
    ) -> Result<Self, AuditError> {
        let path = progress_file(&config.state, &source.name);
        let progress = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| AuditError::Progress { path, source })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Progress::default(),
            Err(source) => return Err(AuditError::State { path, action: "read", source }),
        };
        let mut options = ReadOptions::default();
        options.fetch.bytes_max = i32::try_from(config.fetch_bytes_max.bytes()).unwrap_or(i32::MAX);
        let reader = |client: &Client| LogReader::new(client.clone(), &source.name, options);
        let lake = config.lake.as_ref().map(|lake| LakeReader::new(&lake.catalogue, &source.name, source.namespace()));
        let mut audited = Self {
            config: source.clone(),
            a: reader(a),
            b: b.map(reader),
            database: None,
            lake,
            status: SourceStatus { certified: progress.certified, ..SourceStatus::default() },
            progress,
            waits_since: None,
        };
        if let Err(error) = audited.open_database(config.wait_max).await {
            tracing::warn!(
                source = source.name,
                error = &error as &dyn std::error::Error,
                "the source cannot be read yet"
            );
        }
        Ok(audited)
    }

    async fn open_database(&mut self, wait_max: Duration) -> Result<(), SourceError> {
        let Some(database) = self.config.database.as_ref().filter(|_| self.database.is_none()) else { return Ok(()) };
        let options = SourceOptions {
            name: self.config.name.clone(),
            host: database.host.clone(),
            port: database.port,
            database: database.database.clone(),
            user: database.user.clone(),
            password: database.password.as_ref().map(|password| password.reveal().to_owned()).unwrap_or_default(),
            authority: database.authority.clone(),
            publication: database.publication.clone(),
            slot: database.slot.clone(),
            wal_held_max: database.wal_held_max.bytes(),
            window_bytes_max: usize::try_from(database.window_bytes_max.bytes()).unwrap_or(usize::MAX),
            wait_max,
        };
        self.database = Some(SourceReader::open(options).await?);
        Ok(())
    }

    async fn attempt(
        &mut self,
        config: &AuditConfig,
        key: &Key,
        now: Duration,
    ) -> Result<Option<(Window, Readings)>, Stopped> {
        if let Err(error) = self.open_database(config.wait_max).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "the source cannot be read yet");
        }
        let after = self.progress.certified;
        let marks = self.a.marks(after).await.map_err(of_cluster("a"))?;
        let Some(mark) = marks.last() else { return Ok(None) };
        self.status.newest_mark = mark.position;
        let window = Window { source: self.config.name.clone(), after, to: mark.position };
        if let Some(b) = &mut self.b {
            let deadline = tokio::time::Instant::now() + config.wait_max;
            loop {
                let marks = b.marks(after).await.map_err(of_cluster("b"))?;
                if marks.last().is_some_and(|mark| mark.position >= window.to) {
                    break;
                }
                if tokio::time::Instant::now() >= deadline {
                    return Err(Stopped::Cluster(format!("cluster b has no mark at or behind {}", window.to)));
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        let mut rules = Rules { key: key.clone(), shape: Shape::STANDARD, ..self.rules().await? };
        let topics = self.topics().await?;
        let patience = match self.waits_since {
            // It has waited long enough: what is not there now is left out.
            Some(since) if now.saturating_sub(since) >= config.hold_max => Duration::ZERO,
            _ => config.wait_max,
        };
        let mut readings = self.read(&topics, &window, &rules, &Want::Sums, None, patience).await?;
        if self.is_stuck(&readings, &rules)? {
            rules.shape = Shape::for_differences(DIFFERENCES_MAX, 0).map_err(AuditError::from)?;
            readings = self.read(&topics, &window, &rules, &Want::Sums, Some(&readings), patience).await?;
        }
        Ok(Some((window, readings)))
    }

    /// What the configuration and the schemas of both clusters say of columns; the key and shape are the caller's.
    async fn rules(&mut self) -> Result<Rules, Stopped> {
        let mut rules = Rules {
            key: Key::new(&[0; 16]),
            shape: Shape::STANDARD,
            amounts: BTreeMap::new(),
            left_out: BTreeMap::new(),
        };
        for named in &self.config.amounts {
            if let Some((topic, column)) = named.rsplit_once('.') {
                rules.amounts.entry(topic.to_owned()).or_default().push(column.to_owned());
            }
        }
        for named in &self.config.left_out {
            if let Some((topic, column)) = named.rsplit_once('.') {
                rules.left_out.entry(topic.to_owned()).or_default().insert(column.to_owned());
            }
        }
        for schema in self.schemas().await? {
            let tokens = schema.tokens().into_iter().map(str::to_owned);
            rules.left_out.entry(schema.topic.clone()).or_default().extend(tokens);
        }
        Ok(rules)
    }

    async fn schemas(&mut self) -> Result<Vec<Arc<Schema>>, Stopped> {
        let mut schemas: Vec<Arc<Schema>> =
            self.a.schemas().await.map_err(of_cluster("a"))?.values().cloned().collect();
        if let Some(b) = &mut self.b {
            schemas.extend(b.schemas().await.map_err(of_cluster("b"))?.values().cloned());
        }
        Ok(schemas)
    }

    async fn topics(&mut self) -> Result<Vec<String>, Stopped> {
        let topics: BTreeSet<String> = self.schemas().await?.iter().map(|schema| schema.topic.clone()).collect();
        Ok(topics.into_iter().filter(|topic| !self.config.except.contains(topic)).collect())
    }

    /// Reads a window at every reader; once more exactly what `before` came to.
    async fn read(
        &mut self,
        topics: &[String],
        window: &Window,
        rules: &Rules,
        want: &Want,
        before: Option<&Readings>,
        patience: Duration,
    ) -> Result<Readings, Stopped> {
        let schemas = self.schemas().await?;
        let mut a = Gathered::default();
        let until = before.map(|before| &before.a.1);
        let came = self.a.read(topics, window, &self.progress.a, until, rules, want, &mut a).await;
        let a = (a, came.map_err(of_cluster("a"))?);
        let b = match &mut self.b {
            None => None,
            Some(reader) => {
                let mut b = Gathered::default();
                let until = before.and_then(|before| before.b.as_ref()).map(|(_, came)| came);
                let came = reader.read(topics, window, &self.progress.b, until, rules, want, &mut b).await;
                Some((b, came.map_err(of_cluster("b"))?))
            }
        };
        let mut waits = false;
        let source = match (&self.config.database, &mut self.database) {
            (None, _) => None,
            (Some(_), None) => {
                waits = true;
                Some(Err("the source cannot be reached".to_owned()))
            }
            (Some(_), Some(database)) if window.after < database.begins_at() => {
                Some(Err(format!("the audit's slot begins at {}, inside or behind this window", database.begins_at())))
            }
            (Some(_), Some(database)) => {
                let mut gathered = Gathered::default();
                let read = database.read(topics, window, rules, want, &mut gathered).await;
                waits |= matches!(
                    read,
                    Err(SourceError::Late { .. } | SourceError::Database { .. } | SourceError::Stream(_))
                );
                Some(read.map(|()| gathered).map_err(|error| with_causes(&error)))
            }
        };
        let lake = match &self.lake {
            None => None,
            Some(lake) => {
                let mut by_topic = BTreeMap::new();
                let deadline = tokio::time::Instant::now() + patience;
                for topic in topics {
                    let read = read_lake(lake, topic, window, &schemas, rules, want, deadline).await;
                    waits |=
                        matches!(&read, Err(LakeError::Behind { .. } | LakeError::Catalogue(_) | LakeError::Io { .. }));
                    by_topic.insert(topic.clone(), read.map_err(|error| with_causes(&error)));
                }
                Some(by_topic)
            }
        };
        Ok(Readings { topics: topics.to_vec(), a, b, source, lake, waits })
    }

    fn is_stuck(&self, readings: &Readings, rules: &Rules) -> Result<bool, AuditError> {
        for (topic, part) in readings.parts() {
            if !compare(&readings.outcomes(&topic, part, rules))?.stuck.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn tell(&mut self, certificate: &Certificate) {
        self.status.certified = certificate.window.to;
        self.status.verdicts[certificate.verdict as usize] += 1;
        let differences: usize = certificate.parts.iter().map(|part| part.differences.len()).sum();
        let (source, number, verdict) = (&self.config.name, certificate.number, certificate.verdict);
        match verdict {
            Verdict::Equal | Verdict::Incomplete => {
                tracing::info!(source, number, %verdict, to = certificate.window.to, "window certified");
            }
            Verdict::Different | Verdict::Open => {
                tracing::error!(source, number, %verdict, differences, "a window differs: naru audit show {number}");
            }
        }
    }
}

fn progress_file(state: &Path, source: &str) -> PathBuf {
    state.join(format!("progress-{source}.json"))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), AuditError> {
    let bytes = serde_json::to_vec_pretty(value).expect("numbers and text");
    replace_file(path, &bytes, 0o640).map_err(|source| AuditError::State {
        path: path.to_owned(),
        action: "written",
        source,
    })
}

fn load_or_make<K>(
    path: &Path,
    load: impl FnOnce(&Path) -> Result<K, KeyError>,
    make: impl FnOnce(&Path, i64) -> Result<K, KeyError>,
    clock: &dyn WallClock,
) -> Result<K, KeyError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => load(path),
        Err(_) => make(path, clock.unix_ms()),
    }
}
