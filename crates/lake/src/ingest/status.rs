//! How a table is, for `naru.freshness` and for metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a table is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// Reads its snapshot.
    #[default]
    Opening,
    /// Waits for its topic, or for the topic's first schema.
    Waiting,
    /// Takes in.
    Running,
    /// Cannot go on until somebody changes something.
    Stopped,
}

impl Stage {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }
}

/// What is known beside the rows.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// What it is doing.
    pub stage: Stage,
    /// Why it does not get on, or did not the last time.
    pub reason: Option<String>,
    /// The log's end by partition, as last seen.
    pub ends: BTreeMap<i32, i64>,
    /// Events that did not fit since the process began.
    pub dead: u64,
    /// Commits since the process began.
    pub commits: u64,
    /// Sessions that another committer ended since the process began.
    pub fenced: u64,
    /// When everything that the log had then was last in, milliseconds since 1970.
    pub caught_up_ms: i64,
}

/// How a table is.
#[derive(Debug, Default)]
pub struct Status(Mutex<Known>);

impl Status {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it.
    pub fn read(&self) -> Known {
        self.known().clone()
    }

    /// Does something else now.
    pub fn is(&self, stage: Stage) {
        self.known().stage = stage;
    }

    /// Works: what went wrong before is over.
    pub fn runs(&self) {
        let mut known = self.known();
        (known.stage, known.reason) = (Stage::Running, None);
    }

    /// Tries again.
    pub fn fails(&self, reason: String) {
        self.known().reason = Some(reason);
    }

    /// Cannot go on.
    pub fn stops(&self, reason: String) {
        let mut known = self.known();
        (known.stage, known.reason) = (Stage::Stopped, Some(reason));
    }

    /// Changes a number.
    pub fn note(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known());
    }
}
