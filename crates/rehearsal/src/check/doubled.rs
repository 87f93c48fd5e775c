//! LOG-2: no record is doubled.

use std::collections::HashMap;

use naru_model::invariant::LOG_2;

use super::Verdict;
use crate::history::{Claim, History, LogRecord};

/// Each operation, and each identifier, stands in the log at one place only.
pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::on(&LOG_2, "records in the log");
    let mut by_operation: HashMap<&Claim, &LogRecord> = HashMap::with_capacity(history.log.len());
    let mut by_id: HashMap<(u16, &str), &LogRecord> = HashMap::with_capacity(history.log.len());
    for record in &history.log {
        verdict.examined += 1;
        let twin = by_operation.get(&record.claim).or_else(|| by_id.get(&(record.place.topic, &*record.id))).copied();
        if let Some(first) = twin {
            verdict.find(
                || history.show_record(record),
                || format!("stands already at {}", history.show_place(first.place)),
            );
            continue;
        }
        by_operation.insert(&record.claim, record);
        by_id.insert((record.place.topic, &record.id), record);
    }
    verdict
}
