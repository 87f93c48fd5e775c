//! Upkeep of a table beside its commits: small files into large ones, and files that nothing names away.

mod orphans;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::UpkeepConfig;
use crate::error::LakeError;
use crate::ingest::Ingest;
use crate::table::rewrite::Rewritten;
use crate::table::state::{Retention, State};
use naru_runtime::clocks::millis;

/// How often, in upkeeps, is looked for files that nothing names.
const ORPHANS_EVERY: u32 = 4;

/// What is under way; at most one thing of each kind.
#[derive(Debug)]
pub struct Upkeep {
    config: UpkeepConfig,
    due: Instant,
    turn: u32,
    rewriting: JoinSet<Result<Rewritten, LakeError>>,
    removing: JoinSet<Result<usize, LakeError>>,
}

impl Upkeep {
    /// As configured.
    pub fn new(config: UpkeepConfig) -> Self {
        let due = Instant::now() + config.interval;
        Self { config, due, turn: 0, rewriting: JoinSet::new(), removing: JoinSet::new() }
    }

    /// How long snapshots stay.
    pub fn retention(&self) -> Retention {
        Retention {
            age_ms: millis(self.config.snapshots_kept),
            snapshots_max: usize::try_from(self.config.snapshots_max).unwrap_or(usize::MAX),
        }
    }

    /// Forgets what was under way for a state that is no longer the table's.
    pub fn begin_anew(&mut self) {
        self.rewriting.abort_all();
        self.rewriting = JoinSet::new();
    }
}

impl Ingest {
    /// A step of upkeep, if one is due; whether readers see other files now.
    pub(crate) async fn keep_up(&mut self, state: &mut State) -> Result<bool, LakeError> {
        if let Some(removed) = self.upkeep.removing.try_join_next() {
            match removed {
                Ok(Ok(0)) => {}
                Ok(Ok(files)) => tracing::info!(table = %self.table, files, "files that nothing names are removed"),
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(table = %self.table, error, "files that nothing names are not removed");
                }
                Err(error) => tracing::warn!(table = %self.table, %error, "files that nothing names are not removed"),
            }
        }
        if let Some(rewritten) = self.upkeep.rewriting.try_join_next() {
            match rewritten {
                Ok(Ok(done)) => {
                    state.replace(&self.catalogue, done, self.clock.unix_ms()).await?;
                    return Ok(true);
                }
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(table = %self.table, error, "small files are not made into large ones");
                }
                Err(error) => tracing::warn!(table = %self.table, %error, "small files are not made into large ones"),
            }
        }
        if Instant::now() < self.upkeep.due {
            return Ok(false);
        }
        self.upkeep.due = Instant::now() + self.upkeep.config.interval;
        self.upkeep.turn = self.upkeep.turn.wrapping_add(1);
        if self.upkeep.rewriting.is_empty() {
            let small = usize::try_from(self.upkeep.config.small_files_max).unwrap_or(usize::MAX);
            if let Some(rewrite) = state.worth_rewriting(small, self.upkeep.config.file_bytes.bytes()) {
                self.upkeep.rewriting.spawn(rewrite.run());
            }
        }
        // What is being rewritten is named by nothing yet, and its first file may be older than that.
        let is_idle = self.upkeep.removing.is_empty() && self.upkeep.rewriting.is_empty();
        if is_idle && self.upkeep.turn.is_multiple_of(ORPHANS_EVERY) {
            let oldest = self.upkeep.config.orphan_age;
            self.upkeep.removing.spawn(orphans::remove(self.catalogue.clone(), self.table.clone(), oldest));
        }
        Ok(false)
    }
}
