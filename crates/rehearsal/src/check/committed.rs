//! RELAY-4: a committed consumer offset is on both sides before it is acknowledged.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use naru_model::invariant::RELAY_4;

use super::Verdict;
use crate::history::{Commit, History, Observation, Place};
use crate::observe::GROUP;

/// Two ways in which it can fail: at the end the sides, or a side and the relay, hold another committed offset; or a
/// member was given a partition and began below an offset that had been acknowledged as committed before (a committed
/// offset went back, as over a takeover that forgot it). Beginning above it is a poll skip, and LOG-4's.
pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::on(&RELAY_4, "committed offsets and sessions of members");
    at_the_end(history, &mut verdict);
    over_time(history, &mut verdict);
    verdict
}

fn at_the_end(history: &History, verdict: &mut Verdict) {
    let shown: BTreeMap<Place, i64> = committed(&history.committed);
    for side in &history.sides {
        let held = committed(&side.committed);
        let partitions: BTreeSet<Place> = shown.keys().chain(held.keys()).copied().collect();
        for partition in partitions {
            verdict.examined += 1;
            let (shown, held) = (shown.get(&partition), held.get(&partition));
            if shown != held {
                let name = |offset: Option<&i64>| offset.map_or("nothing".to_owned(), i64::to_string);
                verdict.find(
                    || history.show_place(partition),
                    || format!("the relay shows {} as committed, {} holds {}", name(shown), side.name, name(held)),
                );
            }
        }
    }
}

fn committed(list: &[Place]) -> BTreeMap<Place, i64> {
    list.iter().map(|place| (place.partition_key(), place.offset)).collect()
}

fn over_time(history: &History, verdict: &mut Verdict) {
    let assigned: HashMap<(u16, u32), u64> =
        history.sessions.iter().map(|session| ((session.observer, session.session), session.at_us)).collect();
    let mut acknowledged: HashMap<Place, Vec<&Commit>> = HashMap::new();
    for commit in &history.commits {
        acknowledged.entry(commit.place.partition_key()).or_default().push(commit);
    }
    let mut begun: BTreeSet<(u16, u32, Place)> = BTreeSet::new();
    for first in &history.observations {
        if !begun.insert((first.observer, first.session, first.place.partition_key())) {
            continue;
        }
        let in_group = history.observers.get(usize::from(first.observer)).is_some_and(|o| o.group == GROUP);
        let Some(at_us) = assigned.get(&(first.observer, first.session)).filter(|_| in_group) else { continue };
        verdict.examined += 1;
        let before = acknowledged.get(&first.place.partition_key()).into_iter().flatten();
        let highest = before.filter(|commit| commit.at_us < *at_us).map(|commit| commit.place.offset).max();
        if let Some(highest) = highest.filter(|highest| first.place.offset < *highest) {
            verdict.find(|| history.show_place(first.place), || began_below(history, first, highest));
        }
    }
}

fn began_below(history: &History, first: &Observation, committed: i64) -> String {
    let name = history.observers.get(usize::from(first.observer)).map_or("?", |observer| observer.name.as_str());
    format!("{name} began there, and {committed} had been acknowledged as committed (a commit was lost)")
}
