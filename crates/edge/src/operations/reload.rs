//! Another configuration, another certificate, while requests go on.
//!
//! On SIGHUP, and when a file has changed, everything is read again. A configuration takes the place of the one before
//! whole, or not at all: then every mistake is in the log and in the state, and the one before stays.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use naru_runtime::causes::with_causes;
use naru_runtime::config::ConfigErrors;
use naru_runtime::tasks::Tasks;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::adapter::Front;
use crate::config::EdgeConfig;
use crate::gateway::{Gateway, GatewayError};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What became of changes since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct ReloadState {
    /// Times that configuration and certificate were read again and are in force.
    pub taken: u64,
    /// Times that they were refused.
    pub refused: u64,
    /// What is wrong with what was read last; empty when it is in force.
    pub problems: Vec<String>,
}

/// Where [`ReloadState`] is kept.
#[derive(Debug, Default)]
pub struct Reloads(Mutex<ReloadState>);

impl Reloads {
    /// As it is now.
    pub fn state(&self) -> ReloadState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, problems: Vec<String>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *if problems.is_empty() { &mut state.taken } else { &mut state.refused } += 1;
        state.problems = problems;
    }
}

/// What tells a file from the one that stood there before.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stamp {
    Is { inode: u64, bytes: u64, changed: (i64, i64) },
    Missing(io::ErrorKind),
}

impl Stamp {
    fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(of) => Self::Is { inode: of.ino(), bytes: of.len(), changed: (of.mtime(), of.mtime_nsec()) },
            Err(error) => Self::Missing(error.kind()),
        }
    }
}

/// What is read again, and how.
pub struct Reload<L> {
    gateway: Arc<Gateway>,
    front: Arc<Front>,
    load: L,
    file: Option<PathBuf>,
    /// Every file that is looked at, as it was when it was read.
    stamps: BTreeMap<PathBuf, Stamp>,
    hangups: Signal,
}

impl<L: Fn() -> Result<EdgeConfig, ConfigErrors> + Send + Sync + Clone + 'static> Reload<L> {
    /// Begins to catch SIGHUP. `file` is the configuration's, and `load` reads it with everything that lies over it.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub fn new(gateway: &Arc<Gateway>, front: &Arc<Front>, file: Option<&Path>, load: L) -> io::Result<Self> {
        let (gateway, front, file) = (gateway.clone(), front.clone(), file.map(Path::to_owned));
        let mut reload =
            Self { gateway, front, load, file, stamps: BTreeMap::new(), hangups: signal(SignalKind::hangup())? };
        reload.stamps = reload.look();
        Ok(reload)
    }

    /// The configuration, the certificate with its key, and the authorities of the pools in force.
    fn look(&self) -> BTreeMap<PathBuf, Stamp> {
        let in_force = self.gateway.in_force();
        let config = &in_force.config;
        let tls = config.tls.iter().flat_map(|tls| [tls.certificate.clone(), tls.key.clone()]);
        let authorities = config.pools.iter().filter_map(|pool| Some(pool.tls.as_ref()?.authority.clone()));
        let files = self.file.clone().into_iter().chain(tls).chain(authorities);
        files.map(|path| (path.clone(), Stamp::of(&path))).collect()
    }

    /// Goes on until the tasks are told to stop.
    pub fn keep_reading(self, tasks: &Tasks) {
        let stop = tasks.stop_token();
        tasks.spawn("reload", async move {
            stop.run_until_cancelled(self.run()).await;
        });
    }

    async fn run(mut self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                hangup = self.hangups.recv() => hangup.is_some(),
                _ = looks.tick() => false,
            };
            if asked && let Some(log) = &self.gateway.access {
                log.reopen();
            }
            // Read in front of what they hold, so that a change in between is seen at the next look.
            let stamps = self.look();
            if asked || stamps != self.stamps {
                self.stamps = stamps;
                let (gateway, front, load) = (self.gateway.clone(), self.front.clone(), self.load.clone());
                let read = tokio::task::spawn_blocking(move || read_again(&gateway, &front, &load));
                if let Err(panicked) = read.await {
                    std::panic::resume_unwind(panicked.into_panic());
                }
                // What came into force may name other files: those it has just read.
                let now = self.look();
                self.stamps = now
                    .into_iter()
                    .map(|(path, now)| (path.clone(), self.stamps.remove(&path).unwrap_or(now)))
                    .collect();
            }
        }
    }
}

fn read_again(gateway: &Gateway, front: &Front, load: &impl Fn() -> Result<EdgeConfig, ConfigErrors>) {
    let mut problems = match load() {
        Ok(config) => gateway.configure(config).map_or_else(|error| each(&error), |()| Vec::new()),
        Err(errors) => errors.problems().iter().map(ToString::to_string).collect(),
    };
    if let Err(error) = front.reload_certificate() {
        problems.push(with_causes(&error as &dyn Error));
    }
    for problem in &problems {
        tracing::warn!(problem, "a change is refused, what was before stays in force");
    }
    if problems.is_empty() {
        tracing::info!("configuration and certificate were read again");
    }
    gateway.reloads.keep(problems);
}

fn each(error: &GatewayError) -> Vec<String> {
    match error {
        GatewayError::Unfit { problems } => problems.iter().map(ToString::to_string).collect(),
        GatewayError::PlanDoesNotFit { flaws } => {
            flaws.iter().map(|flaw| format!("the plan in force does not fit it: {flaw}")).collect()
        }
        other => vec![with_causes(other)],
    }
}
