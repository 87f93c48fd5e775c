//! LOG-1: no acknowledged record is lost.

use naru_model::invariant::LOG_1;

use super::Verdict;
use crate::history::{Claim, History, Outcome};

/// Every acknowledged operation stands in the log, under the identifier and the number that were acknowledged.
pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::on(&LOG_1, "acknowledged operations");
    let mut standing: Vec<Option<usize>> = vec![None; history.operations.len()];
    for (index, record) in history.log.iter().enumerate() {
        if let Claim::Operation(number) = record.claim
            && let Some(slot) = standing.get_mut(number as usize)
        {
            slot.get_or_insert(index);
        }
    }
    for (number, operation) in history.operations.iter().enumerate() {
        let Outcome::Acknowledged { id, sequence } = &operation.outcome else { continue };
        verdict.examined += 1;
        match standing[number].map(|index| &history.log[index]) {
            None => verdict.find(
                || history.show_operation(number),
                || {
                    let at = operation.ended_us.unwrap_or(operation.planned_us) as f64 / 1e6;
                    format!("acknowledged at {at:.3} s, not in the log")
                },
            ),
            Some(record) if record.id != *id || record.sequence != *sequence => verdict.find(
                || history.show_operation(number),
                || format!("the log holds another under its idempotency key: {}", history.show_record(record)),
            ),
            Some(_) => {}
        }
    }
    verdict
}
