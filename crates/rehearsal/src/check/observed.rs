//! LOG-4: consumers agree on what stands at an offset.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use naru_model::invariant::LOG_4;

use super::Verdict;
use crate::history::{History, LogRecord, Observation, Place};

/// The offset that one session of one observer was last given in one partition.
type LastDelivered = HashMap<(u16, u32, Place), i64>;

/// Four ways in which it can fail: two observers (or an observer and the log at the end) see different records at one
/// offset; an observer saw a record where the log holds none; delivery goes back within a session (nonmonotonic poll);
/// delivery passes over a record that is there (poll skip), within a session or for a group as a whole.
pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::on(&LOG_4, "observations");
    let log: BTreeMap<Place, &LogRecord> = history.log.iter().map(|record| (record.place, record)).collect();
    let starts: HashMap<Place, i64> = history.log_starts.iter().copied().collect();
    let name = |observer: u16| history.observers.get(usize::from(observer)).map_or("?", |o| o.name.as_str());

    let mut first_seen: HashMap<Place, &Observation> = HashMap::new();
    let mut blamed: HashSet<Place> = HashSet::new();
    let mut last: LastDelivered = HashMap::new();
    for seen in &history.observations {
        verdict.examined += 1;
        let place = seen.place;
        let first = *first_seen.entry(place).or_insert(seen);
        if first.fingerprint != seen.fingerprint {
            if blamed.insert(place) {
                verdict.find(
                    || history.show_place(place),
                    || {
                        format!(
                            "{} saw {} there, {} saw {}",
                            name(first.observer),
                            whose(first.operation),
                            name(seen.observer),
                            whose(seen.operation)
                        )
                    },
                );
            }
        } else if starts.get(&place.partition_key()).is_none_or(|start| place.offset >= *start) {
            match log.get(&place) {
                Some(record) if record.fingerprint == seen.fingerprint => {}
                Some(record) if blamed.insert(place) => verdict.find(
                    || history.show_record(record),
                    || format!("{} saw {} there", name(seen.observer), whose(seen.operation)),
                ),
                None if blamed.insert(place) => verdict.find(
                    || history.show_place(place),
                    || {
                        let (who, what) = (name(seen.observer), whose(seen.operation));
                        format!("{who} saw {what} there, the log holds nothing there at the end")
                    },
                ),
                _ => {}
            }
        }
        delivery(history, &mut verdict, &log, &mut last, seen, name(seen.observer));
    }
    coverage(history, &mut verdict, &log, &starts);
    verdict
}

/// Within one session offsets rise, and nothing that the log holds is passed over.
fn delivery(
    history: &History,
    verdict: &mut Verdict,
    log: &BTreeMap<Place, &LogRecord>,
    last: &mut LastDelivered,
    seen: &Observation,
    observer: &str,
) {
    let session = (seen.observer, seen.session, seen.place.partition_key());
    let Some(before) = last.insert(session, seen.place.offset) else { return };
    if seen.place.offset <= before {
        verdict.find(
            || history.show_place(seen.place),
            || format!("{observer} was given it after offset {before} (nonmonotonic poll)"),
        );
        return;
    }
    let skipped = Place { offset: before + 1, ..seen.place }..seen.place;
    for record in log.range(skipped).map(|(_, record)| record) {
        verdict.find(
            || history.show_record(record),
            || format!("{observer} was given offset {} after {before} (poll skip)", seen.place.offset),
        );
    }
}

/// From where a partition begins to its last record, the members of every group together have seen every one: a
/// rebalance that begins behind the committed offset repeats, one that begins after it skips, and a partition that
/// nobody was given has been skipped as a whole. Judged after the consumers were given time to reach the end.
fn coverage(history: &History, verdict: &mut Verdict, log: &BTreeMap<Place, &LogRecord>, starts: &HashMap<Place, i64>) {
    let mut seen: HashSet<(u16, Place)> = HashSet::with_capacity(history.observations.len());
    let mut highest: HashMap<(u16, Place), i64> = HashMap::new();
    let mut sessions: HashMap<(u16, u32, Place), (i64, i64)> = HashMap::new();
    for observation in &history.observations {
        let Some(observer) = history.observers.get(usize::from(observation.observer)) else { continue };
        let place = observation.place;
        seen.insert((observer.group, place));
        let high = highest.entry((observer.group, place.partition_key())).or_insert(place.offset);
        *high = (*high).max(place.offset);
        let session = (observation.observer, observation.session, place.partition_key());
        let span = sessions.entry(session).or_insert((place.offset, place.offset));
        *span = (span.0.min(place.offset), span.1.max(place.offset));
    }
    let mut ends: BTreeMap<Place, i64> = BTreeMap::new();
    for place in log.keys() {
        // In the order of places: the last one stays.
        ends.insert(place.partition_key(), place.offset);
    }
    let groups: BTreeSet<u16> = history.observers.iter().map(|observer| observer.group).collect();
    let wanted = groups.iter().flat_map(|group| ends.iter().map(move |(partition, end)| (group, partition, end)));
    for (group, partition, end) in wanted {
        let start = starts.get(partition).copied().unwrap_or(0);
        let range = Place { offset: start, ..*partition }..=Place { offset: *end, ..*partition };
        for (place, record) in log.range(range) {
            if seen.contains(&(*group, *place)) {
                continue;
            }
            // A hole inside a session has been reported as that session's skip.
            let inside = sessions.iter().any(|((observer, _, p), (low, high))| {
                let same = history.observers.get(usize::from(*observer)).is_some_and(|o| o.group == *group);
                same && p == partition && (*low..=*high).contains(&place.offset)
            });
            if !inside {
                let members = || {
                    let of = history.observers.iter().filter(|observer| observer.group == *group);
                    of.map(|observer| observer.name.as_str()).collect::<Vec<_>>().join(", ")
                };
                verdict.find(
                    || history.show_record(record),
                    || match highest.get(&(*group, *partition)) {
                        Some(high) => format!("never given to {}, who were given offset {high} (poll skip)", members()),
                        None => format!("never given to {}, who were given nothing of its partition", members()),
                    },
                );
            }
        }
    }
}

fn whose(operation: Option<u32>) -> String {
    operation.map_or_else(|| "a stranger".to_owned(), |number| format!("operation {number}"))
}
