//! Topics that a side has and clients do not see: taken in soon, or refused until somebody mends them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why clients do not see a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The relay takes it in by itself: it looks again, or finishes what it began.
    Waits,
    /// The rules refuse it; the log and `preflight` name the command that mends it.
    Refused,
    /// The same, and an alarm stands for it: the sides hold two logs of the name, and nothing says which counts.
    TwoLogs,
    /// An alarm stands for it: somebody has deleted it on both sides past the relay.
    Gone,
}

/// Topics by the reason, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) waiting: Vec<Arc<str>>,
    pub(crate) refused: Vec<Arc<str>>,
    /// Those of the refused that are two logs.
    pub(crate) two_logs: Vec<Arc<str>>,
    /// Those of the refused that are gone.
    pub(crate) gone: Vec<Arc<str>>,
}

/// What the last look at both sides found.
#[derive(Debug, Default)]
pub(crate) struct Unserved {
    /// None until both sides' topics were read since the start.
    found: Mutex<Option<BTreeMap<Arc<str>, Why>>>,
    /// Changes of topics that a person must look at, with the reason.
    blocked: Mutex<BTreeMap<Arc<str>, String>>,
}

impl Unserved {
    /// What a look at both sides found, in place of what the one before did.
    pub(crate) fn found(&self, topics: BTreeMap<Arc<str>, Why>) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(topics);
    }

    /// Changes that do not end, in place of those before. Those that are new are told.
    pub(crate) fn blocked(&self, changes: BTreeMap<Arc<str>, String>) {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        for (topic, reason) in changes.iter().filter(|(topic, reason)| blocked.get(*topic) != Some(*reason)) {
            tracing::warn!(%topic, reason, "a change of a topic cannot be finished: a person must look");
        }
        *blocked = changes;
    }

    /// The changes of topics for which `concerns` holds that do not end.
    pub(crate) fn blocked_of(&self, concerns: impl Fn(&str) -> bool) -> Vec<(Arc<str>, String)> {
        let blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        blocked
            .iter()
            .filter(|(topic, _)| concerns(topic))
            .map(|(topic, why)| (Arc::clone(topic), why.clone()))
            .collect()
    }

    /// The topics for which `concerns` holds. None before the first look.
    pub(crate) fn split(&self, concerns: impl Fn(&str) -> bool) -> Option<Split> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let topics = found.as_ref()?.iter().filter(|(name, _)| concerns(name));
        let mut split = Split::default();
        for (name, why) in topics {
            let lists = match why {
                Why::Waits => [Some(&mut split.waiting), None],
                Why::Refused => [Some(&mut split.refused), None],
                Why::TwoLogs => [Some(&mut split.refused), Some(&mut split.two_logs)],
                Why::Gone => [Some(&mut split.refused), Some(&mut split.gone)],
            };
            lists.into_iter().flatten().for_each(|list| list.push(Arc::clone(name)));
        }
        Some(split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_before_the_first_look_and_then_what_waits_is_not_what_is_refused() {
        let unserved = Unserved::default();
        assert_eq!(unserved.split(|_| true), None);
        let why = |name: &str, why| (Arc::from(name), why);
        unserved.found(BTreeMap::from([
            why("a", Why::Waits),
            why("b", Why::Refused),
            why("c", Why::Waits),
            why("d", Why::TwoLogs),
            why("e", Why::Gone),
        ]));
        let list = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        let expect = Split {
            waiting: list(&["c"]),
            refused: list(&["b", "d", "e"]),
            two_logs: list(&["d"]),
            gone: list(&["e"]),
        };
        assert_eq!(unserved.split(|name| name != "a"), Some(expect));
    }
}
