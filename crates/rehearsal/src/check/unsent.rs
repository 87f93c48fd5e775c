//! LOG-5: nothing is read that was never sent.

use naru_model::invariant::LOG_5;

use super::Verdict;
use crate::history::{Claim, History, Outcome, user_key};

/// Every record belongs to an operation that was sent and not refused, and carries that operation's key and amount.
pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::on(&LOG_5, "records and observations");
    for record in &history.log {
        verdict.examined += 1;
        let Claim::Operation(number) = record.claim else {
            verdict.find(|| history.show_record(record), || "belongs to no operation of this run".to_owned());
            continue;
        };
        let Some(operation) = history.operations.get(number as usize) else {
            verdict.find(|| history.show_record(record), || "belongs to no operation of this run".to_owned());
            continue;
        };
        if let Some(reason) = not_sent(&operation.outcome, operation.sent_us) {
            verdict.find(|| history.show_record(record), || format!("its operation was {reason}"));
        } else if operation.topic != record.place.topic {
            verdict.find(|| history.show_record(record), || "its operation was sent to another topic".to_owned());
        } else if *record.key != *user_key(operation.user) {
            verdict.find(
                || history.show_record(record),
                || format!("its operation was sent for {}", user_key(operation.user)),
            );
        } else if record.amount_minor != operation.amount_minor {
            verdict.find(
                || history.show_record(record),
                || format!("amount {}, but {} was sent", record.amount_minor, operation.amount_minor),
            );
        }
    }
    for seen in &history.observations {
        verdict.examined += 1;
        let observer = || {
            let observer = history.observers.get(usize::from(seen.observer));
            observer.map_or("?", |observer| observer.name.as_str()).to_owned()
        };
        let operation = seen.operation.and_then(|number| history.operations.get(number as usize));
        match operation {
            None => verdict.find(
                || history.show_place(seen.place),
                || format!("{} saw a record of no operation of this run", observer()),
            ),
            Some(operation) => {
                if let Some(reason) = not_sent(&operation.outcome, operation.sent_us) {
                    verdict.find(
                        || history.show_place(seen.place),
                        || format!("{} saw a record whose operation was {reason}", observer()),
                    );
                }
            }
        }
    }
    verdict
}

fn not_sent(outcome: &Outcome, sent_us: Option<u64>) -> Option<String> {
    match outcome {
        Outcome::Failed { why } => Some(format!("failed ({why})")),
        _ if sent_us.is_none() => Some("never sent".to_owned()),
        _ => None,
    }
}
