//! What the consumer groups of a service group have against its sides.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sequence::{Millis, Suspicion};
use crate::side::{Side, SideMap};
use crate::sides::Complaint;

/// How long a side may not answer for a group before that is a reason to go on without it. A group's coordinator that
/// moves to another broker reads its offsets first, which takes seconds; clients try their commits again meanwhile.
const PATIENCE_MS: Millis = 10_000;

type ByGroup = BTreeMap<Arc<str>, (Suspicion, Millis)>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<SideMap<ByGroup>>);

impl Complaints {
    /// A group's side does not answer, or refuses what the other took. The first time of a kind counts.
    pub(super) fn raise(&self, group: &Arc<str>, side: Side, suspicion: Suspicion, now: Millis) {
        let mut all = self.all();
        let before = all[side].get(group).filter(|(before, _)| same_kind(*before, suspicion));
        let since = before.map_or(now, |(_, since)| *since);
        all[side].insert(Arc::clone(group), (suspicion, since));
    }

    /// The side answers for the group, and takes what the other took.
    pub(super) fn clear(&self, group: &str, side: Side) {
        self.all()[side].remove(group);
    }

    /// The oldest that counts.
    pub(super) fn oldest(&self, side: Side, now: Millis) -> Option<Complaint> {
        let all = self.all();
        let counts = |(_, (suspicion, since)): &(&Arc<str>, &(Suspicion, Millis))| match suspicion {
            Suspicion::Absent { .. } => now >= since + PATIENCE_MS,
            _ => true,
        };
        let oldest = all[side].iter().filter(counts).min_by_key(|(_, (_, since))| *since);
        oldest.map(|(consumers, (suspicion, since))| Complaint {
            consumers: Arc::clone(consumers),
            suspicion: *suspicion,
            since: *since,
        })
    }

    fn all(&self) -> MutexGuard<'_, SideMap<ByGroup>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn same_kind(one: Suspicion, other: Suspicion) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
}

#[cfg(test)]
mod tests {
    use naru_kafka::wire::ErrorCode;

    use super::*;

    #[test]
    fn silence_counts_after_a_while_and_a_refusal_at_once() {
        let complaints = Complaints::default();
        let check = |now, expect: Option<(&str, Millis)>| {
            let oldest = complaints.oldest(Side::B, now);
            assert_eq!(oldest.as_ref().map(|one| (&*one.consumers, one.since)), expect, "{now}");
        };
        let refuses = Suspicion::Refuses(ErrorCode::OFFSET_METADATA_TOO_LARGE);
        let silent = |since| Suspicion::Absent { since };
        let (first, second) = (Arc::from("first"), Arc::from("second"));
        check(0, None);
        complaints.raise(&first, Side::B, silent(100), 100);
        complaints.raise(&first, Side::B, silent(5_000), 5_000);
        complaints.raise(&second, Side::A, refuses, 5_000);
        check(100 + PATIENCE_MS - 1, None);
        check(100 + PATIENCE_MS, Some(("first", 100)));
        complaints.raise(&second, Side::B, refuses, 20_000);
        check(20_000, Some(("first", 100)));
        complaints.clear("first", Side::B);
        check(20_000, Some(("second", 20_000)));
        complaints.clear("second", Side::B);
        check(30_000, None);
    }
}
