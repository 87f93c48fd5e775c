//! The coordinator as a model: one record behind a compare-and-swap that can fail in every way it may.

use naru_relay::Side;
use naru_relay::sequence::Millis;
use naru_relay::sides::{GroupRecord, Standing, SwapOutcome};

/// How the coordinator answers at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Nothing is written, and that is said.
    Unavailable,
    /// A swap is applied, and nobody says so.
    AppliesInSilence,
    /// A swap is applied some time after it was called unknown.
    AppliesLate,
    /// A swap is lost without a word.
    Loses,
}

/// Where the relay's standing is durable.
#[derive(Debug)]
pub struct Coordinator {
    held: Option<(u64, GroupRecord)>,
    /// What it will come back with when it is restored.
    copy: Option<(u64, GroupRecord)>,
    /// The newest that ever stood here: what counts, also after a restore.
    newest: GroupRecord,
    pub mood: Mood,
    /// Until then.
    pub mood_until: Millis,
}

impl Coordinator {
    pub fn new(active: Side) -> Self {
        let newest = GroupRecord::first(active);
        Self { held: None, copy: None, newest, mood: Mood::Well, mood_until: 0 }
    }

    /// What is granted: the newest standing that was ever durable here.
    pub fn standing(&self) -> Standing {
        self.newest.standing
    }

    pub fn mood_at(&self, now: Millis) -> Mood {
        if now < self.mood_until { self.mood } else { Mood::Well }
    }

    pub fn read(&self) -> Option<(u64, GroupRecord)> {
        self.held
    }

    /// Applies a swap; the standing before, if it was.
    pub fn swap(&mut self, expected: u64, record: GroupRecord) -> Result<Option<Standing>, SwapOutcome> {
        let version = self.held.map_or(0, |(version, _)| version);
        if version != expected {
            return Err(SwapOutcome::Conflict);
        }
        self.held = Some((version + 1, record));
        if record.standing.epoch < self.newest.standing.epoch {
            return Ok(None);
        }
        let before = std::mem::replace(&mut self.newest, record);
        Ok(Some(before.standing))
    }

    pub fn take_copy(&mut self) {
        self.copy = self.held;
    }

    /// Lost, and restored from the copy; without one it is empty.
    pub fn restore(&mut self) {
        self.held = self.copy;
    }
}
