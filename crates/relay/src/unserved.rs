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
}

/// Topics by the reason, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) waiting: Vec<Arc<str>>,
    pub(crate) refused: Vec<Arc<str>>,
    /// Those of the refused that are two logs.
    pub(crate) two_logs: Vec<Arc<str>>,
}

/// What the last look at both sides found.
#[derive(Debug, Default)]
pub(crate) struct Unserved {
    /// None until both sides' topics were read since the start.
    found: Mutex<Option<BTreeMap<Arc<str>, Why>>>,
}

impl Unserved {
    /// What a look at both sides found, in place of what the one before did.
    pub(crate) fn found(&self, topics: BTreeMap<Arc<str>, Why>) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(topics);
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
        ]));
        let list = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        let expect = Split { waiting: list(&["c"]), refused: list(&["b", "d"]), two_logs: list(&["d"]) };
        assert_eq!(unserved.split(|name| name != "a"), Some(expect));
    }
}
