//! The audit as it runs: window after window of each source, read, compared, certified.
//!
//! A window ends at a mark that both clusters have. The clusters must be read for anything to be certified; the source
//! and the lake are waited for, up to a bound, and a certificate without them says so.

mod audited;
mod certify;
mod readings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use naru_runtime::clocks::WallClock;
use naru_runtime::durable::replace_file;
use naru_runtime::keys::{KeyError, MacKeys, SigningKeys};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use self::audited::{Audited, Stopped, Unresolved};
use self::certify::certify;
use self::readings::Readings;
use crate::certificate::{Certificate, Chain, ChainError, Verdict, Window};
use crate::config::{AuditConfig, ClusterError};
use crate::sketch::{Key, ShapeError, Unlike};
use crate::source::SourceError;

/// Differences for which a window is read again with larger sketches: 2.9 MB each.
const DIFFERENCES_MAX: usize = 30_000;

/// Windows of a source that are proved again until they are repaired; later ones that differ are in the chain all the same.
const UNRESOLVED_MAX: usize = 100;

/// Between two looks whether a reader has come as far.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The same, for a window that differs: each look reads all of it.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(2);

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
    /// The chain is not the one that was written: somebody must look.
    #[error("{path}: has {found} certificates, and there were {written}: it was cut, or replaced")]
    Cut {
        /// The chain.
        path: PathBuf,
        /// Certificates in it.
        found: u64,
        /// Certificates that the progress of a source tells of.
        written: u64,
    },
    /// Ours: a sketch of a shape that there is not.
    #[error("a sketch that there is not")]
    Shape(#[from] ShapeError),
    /// Ours: sketches that were not made for each other.
    #[error("sketches that were not made for each other")]
    Unlike(#[from] Unlike),
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
    /// Windows that differed and are not repaired yet.
    pub unresolved: u64,
    /// Certificates by verdict since the start: equal, incomplete, different, open.
    pub verdicts: [u64; 4],
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

impl Auditor {
    /// Opens state, keys and readers; makes keys and slots that are missing.
    ///
    /// # Errors
    /// What the audit cannot go on without. A source that cannot be reached is none of it.
    pub async fn open(config: AuditConfig, clock: Arc<dyn WallClock>) -> Result<Self, AuditError> {
        let chain = Chain::open(&config.state)?;
        let signing = SigningKeys::load_or_generate(&config.state.join(SIGNING_FILE), clock.unix_ms())?;
        let secret = MacKeys::load_or_generate(&config.state.join(SECRET_FILE), clock.unix_ms())?;
        let mut key = [0; 16];
        key.copy_from_slice(&secret.tag(SKETCH_KEY).bytes[..16]);
        let (a, b) = (config.a.client("a")?, config.b.as_ref().map(|b| b.client("b")).transpose()?);
        let mut sources = Vec::with_capacity(config.sources.len());
        for source in &config.sources {
            let source = Audited::open(&config, source, &a, b.as_ref()).await?;
            let (found, written) = (chain.next(), source.progress.certificates);
            if found < written {
                return Err(AuditError::Cut { path: chain.path().to_owned(), found, written });
            }
            sources.push(source);
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
        let now = self.clock.monotonic();
        let certificate = match self.sources[index].attempt(&self.config, &self.key, now).await {
            Ok(None) => None,
            Ok(Some((window, readings))) => {
                let why = readings.absences().into_iter().next().unwrap_or_default();
                let source = &mut self.sources[index];
                let since = if readings.waits { *source.waits_since.get_or_insert(now) } else { now };
                if readings.waits && now.saturating_sub(since) < self.config.hold_max {
                    source.waits(why);
                    None
                } else {
                    source.status.waiting_for = why;
                    Some(self.certify_next(index, window, readings).await?)
                }
            }
            Err(Stopped::Cluster(why)) => {
                self.sources[index].waits(why);
                None
            }
            Err(Stopped::Audit(error)) => return Err(error),
        };
        self.prove_again(index).await?;
        let source = &mut self.sources[index];
        if let Some(database) = &mut source.database {
            match database.hold_within_bound().await {
                Ok(held) => source.status.wal_held_bytes = held,
                Err(SourceError::Dropped { .. }) => {}
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the source was not asked"),
            }
        }
        source.status.unresolved = source.progress.unresolved.len() as u64;
        let statuses: BTreeMap<&str, &SourceStatus> =
            self.sources.iter().map(|source| (source.config.name.as_str(), &source.status)).collect();
        write_json(&self.config.state.join(STATUS_FILE), &statuses)?;
        Ok(certificate)
    }

    async fn certify_next(
        &mut self,
        index: usize,
        window: Window,
        readings: Readings,
    ) -> Result<Certificate, AuditError> {
        let Self { config, chain, signing, sources, clock, .. } = self;
        let source = &mut sources[index];
        let from = source.progress.span();
        let certificate = certify(source, chain, signing, &**clock, config, window, &from, &readings).await?;
        let until = readings.span();
        source.waits_since = None;
        source.progress.certified = certificate.window.to;
        source.progress.certificates = certificate.number + 1;
        (source.progress.a, source.progress.b) = (until.a.clone(), until.b.clone());
        if certificate.verdict >= Verdict::Different && source.progress.unresolved.len() < UNRESOLVED_MAX {
            let (number, window) = (certificate.number, certificate.window.clone());
            source.progress.unresolved.push(Unresolved { number, window, from, until });
        }
        write_json(&progress_file(&config.state, &source.config.name), &source.progress)?;
        if let Some(database) = &mut source.database {
            database.certified(certificate.window.to);
        }
        source.tell(&certificate);
        Ok(certificate)
    }

    /// Looks whether one of the windows that differed has been repaired, and certifies it anew if it says something else.
    async fn prove_again(&mut self, index: usize) -> Result<(), AuditError> {
        let Self { config, chain, signing, key, sources, clock } = self;
        let source = &mut sources[index];
        let (unresolved, readings) = match source.again(config, key).await {
            Ok(Some(again)) => again,
            Ok(None) => return Ok(()),
            Err(Stopped::Cluster(_)) => {
                source.progress.unresolved.rotate_left(1);
                return Ok(());
            }
            Err(Stopped::Audit(error)) => return Err(error),
        };
        if readings.waits || !readings.is_equal()? {
            // The next one may have been repaired, whatever becomes of this one.
            source.progress.unresolved.rotate_left(1);
            return Ok(());
        }
        let Unresolved { window, from, .. } = unresolved;
        let certificate = certify(source, chain, signing, &**clock, config, window, &from, &readings).await?;
        source.progress.unresolved.remove(0);
        // What came late was counted there, and is not of the next window.
        let came = readings.span();
        for (reached, came) in [(&mut source.progress.a, came.a), (&mut source.progress.b, came.b)] {
            for (partition, came) in came {
                let reached = reached.entry(partition).or_default();
                if came.next > reached.next {
                    *reached = came;
                }
            }
        }
        source.progress.certificates = certificate.number + 1;
        write_json(&progress_file(&config.state, &source.config.name), &source.progress)?;
        source.tell(&certificate);
        Ok(())
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
