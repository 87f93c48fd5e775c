//! RELAY-1: an acknowledged record of a duplex topic is readable from either side alone, at the same offset.

use std::collections::{BTreeMap, BTreeSet};

use naru_model::invariant::RELAY_1;

use super::Verdict;
use crate::history::{History, LogRecord, Place, SideCopy};

/// Each side that is in sync, read by itself, holds what the relay shows: the same record at each offset and none
/// beside, and partitions that begin at the same offset.
pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::on(&RELAY_1, "records of both sides");
    let shown: BTreeMap<Place, &LogRecord> = history.log.iter().map(|record| (record.place, record)).collect();
    for side in &history.sides {
        let held: BTreeMap<Place, &LogRecord> = side.log.iter().map(|record| (record.place, record)).collect();
        let places: BTreeSet<Place> = shown.keys().chain(held.keys()).copied().collect();
        for place in places {
            verdict.examined += 1;
            match (shown.get(&place), held.get(&place)) {
                (Some(shown), Some(held)) if shown.fingerprint == held.fingerprint => {}
                (Some(shown), Some(held)) => verdict.find(
                    || history.show_record(shown),
                    || format!("{} holds another there: {}", side.name, history.show_record(held)),
                ),
                (Some(shown), None) => {
                    verdict.find(|| history.show_record(shown), || format!("{} does not hold it", side.name));
                }
                (None, Some(held)) => verdict.find(
                    || history.show_record(held),
                    || format!("{} holds it, and the relay does not show it", side.name),
                ),
                (None, None) => {}
            }
        }
        starts(history, side, &mut verdict);
    }
    verdict
}

fn starts(history: &History, side: &SideCopy, verdict: &mut Verdict) {
    let held: BTreeMap<Place, i64> = side.log_starts.iter().copied().collect();
    for (partition, start) in &history.log_starts {
        // A side may have deleted less: what begins earlier there is behind what is shown.
        let found = held.get(partition).copied();
        if found.is_none_or(|found| found > *start) {
            verdict.find(
                || history.show_place(Place { offset: *start, ..*partition }),
                || format!("{} begins at {}", side.name, found.map_or("nothing".to_owned(), |at| at.to_string())),
            );
        }
    }
}
