//! LOG-3: records of a key keep their order.

use std::collections::{HashMap, HashSet};

use naru_model::invariant::LOG_3;

use super::Verdict;
use crate::history::{History, LogRecord};

/// Within a topic, the records of one key stand in one partition and their numbers rise with the offset. A second copy of
/// a record is LOG-2's to report and is passed over here.
pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::on(&LOG_3, "records in the log");
    let mut log: Vec<&LogRecord> = history.log.iter().collect();
    log.sort_by_key(|record| record.place);
    let mut last: HashMap<(u16, &str), &LogRecord> = HashMap::new();
    let mut seen: HashSet<(u16, &str, u64)> = HashSet::with_capacity(log.len());
    for record in log {
        verdict.examined += 1;
        let key = (record.place.topic, &*record.key);
        if !seen.insert((key.0, key.1, record.sequence)) {
            continue;
        }
        let Some(before) = last.get(&key).copied() else {
            last.insert(key, record);
            continue;
        };
        if before.place.partition != record.place.partition {
            verdict.find(
                || history.show_record(record),
                || format!("the key's other records stand in partition {}", before.place.partition),
            );
        } else if record.sequence < before.sequence {
            verdict.find(
                || history.show_record(record),
                || format!("stands after sequence {} at {}", before.sequence, history.show_place(before.place)),
            );
        } else {
            last.insert(key, record);
        }
    }
    verdict
}
