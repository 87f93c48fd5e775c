//! What was deleted on a side and made again: the trace that stays when the alarm is over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sequence::Millis;
use crate::side::Side;

/// The last time that topics were made again on a side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rebuild {
    pub(crate) side: Side,
    pub(crate) at: Millis,
    pub(crate) topics: Vec<Arc<str>>,
    /// For people.
    pub(crate) because: String,
}

/// Of one service group, since the relay started.
#[derive(Debug, Default)]
pub(crate) struct Rebuilds {
    last: Mutex<Option<Rebuild>>,
    topics: AtomicU64,
}

impl Rebuilds {
    /// Topics are about to be made again.
    pub(crate) fn note(&self, rebuild: Rebuild) {
        self.topics.fetch_add(rebuild.topics.len() as u64, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(rebuild);
    }

    /// The last one. None if there was none.
    pub(crate) fn last(&self) -> Option<Rebuild> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many topics were made again.
    pub(crate) fn topics(&self) -> u64 {
        self.topics.load(Ordering::Relaxed)
    }
}
