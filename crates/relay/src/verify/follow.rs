//! The comparer behind a running relay: follows the gate, and looks at the history in its spare time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use naru_kafka::client::{Client, TopicPartition};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::commits::{Apart, apart};
use super::lockstep::Compared;
use super::read::{Pace, Reader};
use super::{Difference, Options, VerifyError};
use crate::side::SideMap;

/// Rest between two rounds in which nothing was left to compare.
const IDLE: Duration = Duration::from_millis(500);

/// Between two comparisons of the committed offsets: a commit is compared soon, and the groups of two clusters are not
/// listed without a pause.
const COMMITS_EVERY: Duration = Duration::from_secs(10);
/// Groups that are looked at then, beside those that were apart: two requests each, so that twenty thousand groups cost
/// each side some ten a second and are all seen in half an hour.
const GROUPS_ROUND_MAX: usize = 100;

/// Offsets compared of one partition before the next one's turn, so that a busy one does not hide the others.
const TURN_RECORDS_MAX: i64 = 100_000;

/// A partition that both sides should hold equally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// The partition.
    pub at: TopicPartition,
    /// The log start shown to clients.
    pub log_start: i64,
    /// Everything below is on both sides.
    pub gate: i64,
    /// Whether both sides are in sync; otherwise the partition waits, and is caught up on later.
    pub in_sync: bool,
}

/// Told every difference, as it is found. It is the owner's to count it under [`Difference::rule`] and to raise the
/// alarm; it must not block.
pub type Mismatch = Arc<dyn Fn(&Difference) + Send + Sync>;

/// What the comparer did so far, for metrics.
#[derive(Debug, Default)]
pub struct Followed {
    /// Pairs of batches compared.
    pub batches: AtomicU64,
    /// Those of them under a copier's stamp.
    pub restamped: AtomicU64,
    /// Bytes of both sides.
    pub bytes: AtomicU64,
    /// Rounds over all committed offsets.
    pub commit_rounds: AtomicU64,
    /// Differences found.
    pub differences: AtomicU64,
    /// Reads that failed, and were begun again later.
    pub failures: AtomicU64,
    /// Offsets below the gates that were not compared yet.
    pub behind_records: AtomicU64,
}

/// How far a partition is compared.
#[derive(Debug)]
struct Cursor {
    /// From where the gate was first seen: compared first.
    live: i64,
    /// Below it, down to the log start of then.
    history: Range<i64>,
    /// One side is shifted: everything would differ, which helps nobody. Until it was out of sync, and made again.
    given_up: bool,
}

/// The continuous comparer.
pub struct Follower {
    reader: Reader,
    options: Options,
    watched: Box<dyn Fn() -> Vec<Watch> + Send + Sync>,
    mismatch: Mismatch,
    followed: Arc<Followed>,
    commits_every: Duration,
}

impl Follower {
    /// Compares what `watched` names, by clients that nothing else uses. Set [`Options::bytes_per_second`]: the
    /// comparer reads everything that is written once more from both sides.
    pub fn new(
        clients: SideMap<Client>,
        options: Options,
        watched: impl Fn() -> Vec<Watch> + Send + Sync + 'static,
        mismatch: Mismatch,
    ) -> Self {
        let followed = Arc::default();
        Self {
            reader: Reader::new(clients),
            options,
            watched: Box::new(watched),
            mismatch,
            followed,
            commits_every: COMMITS_EVERY,
        }
    }

    /// Counts there instead.
    #[must_use]
    pub fn counting_in(mut self, followed: Arc<Followed>) -> Self {
        self.followed = followed;
        self
    }

    /// Compares committed offsets so often instead of every 10 s.
    #[must_use]
    pub fn commits_every(mut self, interval: Duration) -> Self {
        self.commits_every = interval;
        self
    }

    /// What it did so far.
    pub fn followed(&self) -> Arc<Followed> {
        Arc::clone(&self.followed)
    }

    /// Compares until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        // Only the token ends it: a comparer that gives up is one that nobody misses.
        stop.run_until_cancelled(self.rounds()).await;
    }

    async fn rounds(&self) {
        let mut pace = Pace::new(self.options.bytes_per_second);
        let mut cursors: BTreeMap<TopicPartition, Cursor> = BTreeMap::new();
        let mut suspects = Suspects::default();
        let mut commits_at = Instant::now();
        loop {
            let watched = (self.watched)();
            cursors.retain(|at, _| watched.iter().any(|watch| watch.at == *at));
            let mut worked = false;
            for watch in &watched {
                let cursor = cursors.entry(watch.at.clone()).or_insert_with(|| Cursor {
                    live: watch.gate,
                    history: watch.log_start..watch.gate,
                    given_up: false,
                });
                worked |= self.turn(watch, cursor, &mut pace).await;
            }
            self.note_behind(&watched, &cursors);
            if self.options.commits && Instant::now() >= commits_at {
                self.commits(&watched, &mut suspects).await;
                commits_at = Instant::now() + self.commits_every;
            }
            if !worked {
                sleep(IDLE.min(self.commits_every)).await;
            }
        }
    }

    /// One bounded step in one partition. False if there was nothing to do or it failed.
    async fn turn(&self, watch: &Watch, cursor: &mut Cursor, pace: &mut Pace) -> bool {
        if !watch.in_sync || cursor.given_up {
            cursor.given_up &= watch.in_sync;
            return false;
        }
        cursor.live = cursor.live.max(watch.log_start);
        cursor.history.start = cursor.history.start.max(watch.log_start);
        let live = cursor.live < watch.gate;
        let from = if live { cursor.live..watch.gate } else { cursor.history.clone() };
        if from.is_empty() {
            return false;
        }
        let range = from.start..from.end.min(from.start.saturating_add(TURN_RECORDS_MAX));
        let (mut differences, differences_max) = (Vec::new(), self.options.differences_max);
        let mut found = |difference: Difference| {
            if differences.len() < differences_max {
                differences.push(difference);
            }
        };
        match self.reader.compare(&watch.at, range.clone(), &self.options, pace, &mut found).await {
            Ok(compared) => {
                // A side that went out of sync meanwhile is being repaired: what was read of it says nothing.
                if !differences.is_empty() && !self.still_in_sync(watch) {
                    return false;
                }
                for difference in &differences {
                    cursor.given_up |= matches!(difference, Difference::MissingBatch { shifts: true, .. });
                    self.found(difference);
                }
                self.note(compared);
                if live {
                    cursor.live = range.end
                } else {
                    cursor.history.start = range.end
                }
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    fn still_in_sync(&self, before: &Watch) -> bool {
        (self.watched)().iter().any(|now| now.at == before.at && now.in_sync && now.gate >= before.gate)
    }

    /// Committed offsets: a difference that stands in two rounds.
    async fn commits(&self, watched: &[Watch], suspects: &mut Suspects) {
        let in_sync = |at: &TopicPartition| watched.iter().any(|watch| watch.in_sync && watch.at == *at);
        let groups = match self.reader.groups().await {
            Ok(groups) => groups,
            Err(error) => return self.failed(&error),
        };
        // Those that were apart, and of the others as many as a round may cost, in turn.
        let is_suspect = |group: &String| {
            let of = |apart: &[Apart]| apart.iter().any(|apart| apart.group == *group);
            of(&suspects.waiting) || of(&suspects.told)
        };
        let (mut looked_at, mut others): (Vec<_>, Vec<_>) = groups.into_iter().partition(is_suspect);
        others.sort_unstable();
        let count = others.len();
        let turn = others.into_iter().cycle().skip(suspects.next.checked_rem(count).unwrap_or(0));
        looked_at.extend(turn.take(count.min(GROUPS_ROUND_MAX)));
        suspects.next = suspects.next.wrapping_add(GROUPS_ROUND_MAX);
        let mut standing = Vec::new();
        for group in looked_at {
            let now = match self.reader.committed(&group, &in_sync).await {
                Ok(now) => now,
                Err(error) => return self.failed(&error),
            };
            for suspect in suspects.waiting.iter().filter(|suspect| suspect.group == group) {
                if !suspect.settled_by(&now) && !suspects.told.contains(suspect) {
                    self.found(&suspect.difference());
                    suspects.told.push(suspect.clone());
                }
            }
            standing.extend(apart(&group, &now));
        }
        suspects.told.retain(|told| standing.contains(told));
        suspects.waiting = standing;
        self.followed.commit_rounds.fetch_add(1, Ordering::Relaxed);
    }

    fn found(&self, difference: &Difference) {
        self.followed.differences.fetch_add(1, Ordering::Relaxed);
        (self.mismatch)(difference);
    }

    fn failed(&self, error: &VerifyError) {
        self.followed.failures.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(error = error as &dyn std::error::Error, "comparison put off");
    }

    fn note(&self, compared: Compared) {
        self.followed.batches.fetch_add(compared.batches, Ordering::Relaxed);
        self.followed.restamped.fetch_add(compared.restamped, Ordering::Relaxed);
        self.followed.bytes.fetch_add(compared.bytes, Ordering::Relaxed);
    }

    fn note_behind(&self, watched: &[Watch], cursors: &BTreeMap<TopicPartition, Cursor>) {
        let of = |watch: &Watch| {
            let cursor = cursors.get(&watch.at)?;
            let behind = (watch.gate - cursor.live).max(0) + (cursor.history.end - cursor.history.start).max(0);
            u64::try_from(behind).ok()
        };
        self.followed.behind_records.store(watched.iter().filter_map(of).sum(), Ordering::Relaxed);
    }
}

/// Committed offsets that were apart when last looked at.
#[derive(Debug, Default)]
struct Suspects {
    waiting: Vec<Apart>,
    /// Those of them that were told: once is enough while nothing moves.
    told: Vec<Apart>,
    /// How many groups were looked at that were not apart.
    next: usize,
}
