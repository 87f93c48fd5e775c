//! LOG-3: records of a key keep their order.

use std::collections::{BTreeMap, HashMap, HashSet};

use naru_model::invariant::LOG_3;

use super::Verdict;
use crate::history::{Claim, History, LogRecord, Outcome};

/// Two ways in which it can fail. Within a topic, the records of one key stand in one partition and their numbers rise
/// with the offset. And the numbers themselves rise with the time that the clients saw: they are the service's word, so
/// a service that numbers its records in the wrong order would otherwise be believed.
pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::on(&LOG_3, "records in the log and acknowledged operations");
    in_the_log(history, &mut verdict);
    in_time(history, &mut verdict);
    verdict
}

/// A second copy of a record is LOG-2's to report and is passed over; another record under the same number is not.
fn in_the_log(history: &History, verdict: &mut Verdict) {
    let mut log: Vec<&LogRecord> = history.log.iter().collect();
    log.sort_by_key(|record| record.place);
    let mut last: HashMap<(u16, &str), &LogRecord> = HashMap::new();
    let mut seen: HashSet<(u16, &Claim)> = HashSet::with_capacity(log.len());
    for record in log {
        verdict.examined += 1;
        if !seen.insert((record.place.topic, &record.claim)) {
            continue;
        }
        let key = (record.place.topic, &*record.key);
        let Some(before) = last.get(&key).copied() else {
            last.insert(key, record);
            continue;
        };
        if before.place.partition != record.place.partition {
            verdict.find(
                || history.show_record(record),
                || format!("the key's other records stand in partition {}", before.place.partition),
            );
        } else if record.sequence <= before.sequence {
            verdict.find(
                || history.show_record(record),
                || format!("stands after sequence {} at {}", before.sequence, history.show_place(before.place)),
            );
        } else {
            last.insert(key, record);
        }
    }
}

/// An acknowledged operation, as the sweep sees it.
struct Answered {
    number: usize,
    sent_us: u64,
    ended_us: u64,
    sequence: u64,
}

/// Per topic and user: what was acknowledged before another request was sent has the lower number. Requests that were
/// under way together may be numbered either way.
fn in_time(history: &History, verdict: &mut Verdict) {
    let mut users: BTreeMap<(u16, u32), Vec<Answered>> = BTreeMap::new();
    for (number, operation) in history.operations.iter().enumerate() {
        if let Outcome::Acknowledged { sequence, .. } = operation.outcome
            && let (Some(sent_us), Some(ended_us)) = (operation.sent_us, operation.ended_us)
        {
            let answered = Answered { number, sent_us, ended_us, sequence };
            users.entry((operation.topic, operation.user)).or_default().push(answered);
            verdict.examined += 1;
        }
    }
    for own in users.values_mut() {
        own.sort_by_key(|answered| answered.sent_us);
        let mut by_end: Vec<&Answered> = own.iter().collect();
        by_end.sort_by_key(|answered| answered.ended_us);
        let mut ended = by_end.into_iter().peekable();
        let mut highest: Option<&Answered> = None;
        for answered in own.iter() {
            while let Some(before) = ended.next_if(|before| before.ended_us < answered.sent_us) {
                if highest.is_none_or(|highest| before.sequence > highest.sequence) {
                    highest = Some(before);
                }
            }
            if let Some(before) = highest.filter(|before| before.sequence >= answered.sequence) {
                verdict.find(
                    || history.show_operation(answered.number),
                    || format!("sent after {} was acknowledged", history.show_operation(before.number)),
                );
            }
        }
    }
}
