//! One source as it is audited: its readers, how far they are, and the reading of its next window.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::Client;
use naru_kafka::client::reader::ReadOptions;
use naru_runtime::causes::with_causes;
use serde::{Deserialize, Serialize};

use super::readings::{Readings, read_lake};
use super::{AuditError, DIFFERENCES_MAX, LOOK_AGAIN, LOOK_AGAIN_MAX, SourceStatus, progress_file};
use crate::certificate::{Certificate, Verdict, Window};
use crate::config::{AuditConfig, SourceConfig};
use crate::gather::{Gathered, Rules, Want};
use crate::lake::{LakeError, LakeReader};
use crate::log::avro::Schema;
use crate::log::{LogError, LogReader, Progresses};
use crate::sketch::{Key, Shape};
use crate::source::{SourceError, SourceOptions, SourceReader};
use crate::verdict::compare;

/// How far a source is audited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    /// The end of the last certified window.
    pub(super) certified: u64,
    /// How many certificates the chain had then: one that has fewer was cut, or is another.
    #[serde(default)]
    pub(super) certificates: u64,
    pub(super) a: Progresses,
    pub(super) b: Progresses,
    /// Windows that differed: each is proved again until it does not.
    #[serde(default)]
    pub(super) unresolved: Vec<Unresolved>,
}

/// A window that differed, and what of the logs it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unresolved {
    /// The newest certificate of it.
    pub(super) number: u64,
    pub(super) window: Window,
    pub(super) from: Span,
    pub(super) until: Span,
}

/// How far both logs are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) a: Progresses,
    pub(super) b: Progresses,
}

/// One source.
#[derive(Debug)]
pub(super) struct Audited {
    pub(super) config: SourceConfig,
    pub(super) a: LogReader,
    pub(super) b: Option<LogReader>,
    pub(super) database: Option<SourceReader>,
    pub(super) lake: Option<LakeReader>,
    pub(super) progress: Progress,
    /// Since when the window in hand waits for the source or the lake, on the monotonic clock.
    pub(super) waits_since: Option<Duration>,
    pub(super) status: SourceStatus,
}

/// Why an attempt ended early.
pub(super) enum Stopped {
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

impl Progress {
    /// How far both logs are read.
    pub(super) fn span(&self) -> Span {
        Span { a: self.a.clone(), b: self.b.clone() }
    }
}

impl Audited {
    pub(super) async fn open(
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

    pub(super) async fn attempt(
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
        let from = self.progress.span();
        let mut readings = self.read_named(&topics, &window, &mut rules, &from, None, patience).await?;
        let settled = tokio::time::Instant::now() + config.settle_max;
        let mut pause = LOOK_AGAIN;
        while !readings.is_equal().map_err(AuditError::from)? && tokio::time::Instant::now() < settled {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_AGAIN_MAX);
            rules.shape = Shape::STANDARD;
            readings = self.read_named(&topics, &window, &mut rules, &from, None, patience).await?;
        }
        Ok(Some((window, readings)))
    }

    /// Reads the first window that differed once more, as far as it can be now.
    pub(super) async fn again(
        &mut self,
        config: &AuditConfig,
        key: &Key,
    ) -> Result<Option<(Unresolved, Readings)>, Stopped> {
        let Some(unresolved) = self.progress.unresolved.first().cloned() else { return Ok(None) };
        let mut rules = Rules { key: key.clone(), shape: Shape::STANDARD, ..self.rules().await? };
        let topics = self.topics().await?;
        let Unresolved { window, from, .. } = &unresolved;
        // Not only as far as the logs were read then: what was missing may have come behind that.
        let readings = self.read_named(&topics, window, &mut rules, from, None, config.interval).await?;
        Ok(Some((unresolved, readings)))
    }

    /// Reads a window, once more with larger sketches where there are more differences than the usual ones name.
    async fn read_named(
        &mut self,
        topics: &[String],
        window: &Window,
        rules: &mut Rules,
        from: &Span,
        until: Option<&Span>,
        patience: Duration,
    ) -> Result<Readings, Stopped> {
        let readings = self.read(topics, window, rules, &Want::Sums, from, until, patience).await?;
        if !self.is_stuck(&readings, rules)? {
            return Ok(readings);
        }
        rules.shape = Shape::for_differences(DIFFERENCES_MAX, 0).map_err(AuditError::from)?;
        let span = readings.span();
        self.read(topics, window, rules, &Want::Sums, from, Some(&span), patience).await
    }

    /// What the configuration and the schemas of both clusters say of columns; the key and shape are the caller's.
    pub(super) async fn rules(&mut self) -> Result<Rules, Stopped> {
        let mut rules = Rules {
            key: Key::new(&[0; 16]),
            shape: Shape::STANDARD,
            amounts: BTreeMap::new(),
            left_out: BTreeMap::new(),
            columns: BTreeMap::new(),
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
            let numbers = schema.columns.iter().map(|column| column.number);
            rules.columns.entry(schema.topic.clone()).or_default().extend(numbers);
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
    #[expect(clippy::too_many_arguments, reason = "what is read, from where to where, by which rules")]
    pub(super) async fn read(
        &mut self,
        topics: &[String],
        window: &Window,
        rules: &Rules,
        want: &Want,
        from: &Span,
        until: Option<&Span>,
        patience: Duration,
    ) -> Result<Readings, Stopped> {
        let schemas = self.schemas().await?;
        let mut a = Gathered::default();
        let to = until.map(|until| &until.a);
        let came = self.a.read(topics, window, &from.a, to, rules, want, &mut a).await;
        let a = (a, came.map_err(of_cluster("a"))?);
        let b = match &mut self.b {
            None => None,
            Some(reader) => {
                let mut b = Gathered::default();
                let to = until.map(|until| &until.b);
                let came = reader.read(topics, window, &from.b, to, rules, want, &mut b).await;
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
            (Some(_), Some(database)) if window.to <= database.certified_to() => {
                Some(Err("its changes were let go when the window was certified first".to_owned()))
            }
            (Some(_), Some(database)) if window.after + 1 < database.begins_at() => {
                Some(Err(format!("the audit's slot begins at {}, inside or behind this window", database.begins_at())))
            }
            (Some(_), Some(database)) => {
                let mut gathered = Gathered::default();
                let read = database.read(&self.config.except, window, rules, want, &mut gathered).await;
                waits |= matches!(
                    read,
                    Err(SourceError::Late { .. }
                        | SourceError::Database { .. }
                        | SourceError::Stream(_)
                        | SourceError::Ended)
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
        Ok(Readings { topics: topics.to_vec(), rules: rules.clone(), a, b, source, lake, waits })
    }

    fn is_stuck(&self, readings: &Readings, rules: &Rules) -> Result<bool, AuditError> {
        for (topic, part) in readings.parts() {
            if !compare(&readings.outcomes(&topic, part, rules), &BTreeSet::new())?.stuck.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The window in hand must wait.
    pub(super) fn waits(&mut self, why: String) {
        if self.status.waiting_for != why {
            tracing::warn!(source = self.config.name, why, "a window waits for its readers");
        }
        self.status.waiting_for = why;
    }

    pub(super) fn tell(&mut self, certificate: &Certificate) {
        self.status.certified = self.status.certified.max(certificate.window.to);
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
