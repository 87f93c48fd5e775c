//! LOG-5: nothing is read that was never sent.

use naru_model::invariant::LOG_5;

use super::Verdict;
use crate::history::{CURRENCY, Claim, History, LogRecord, Operation, Outcome, user_key};

/// Every record belongs to an operation that was sent and not refused, and says what that operation said.
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
        } else {
            changed(history, &mut verdict, record, operation);
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

/// The first thing in which a record differs from the request that it belongs to.
fn changed(history: &History, verdict: &mut Verdict, record: &LogRecord, operation: &Operation) {
    let user = user_key(operation.user);
    let found_minor = record.amount_minor.to_string();
    let amount_minor = operation.amount_minor.to_string();
    let fields = [
        ("key", &*record.key, &*user),
        ("user", &*record.user, &*user),
        ("merchant or recipient", &*record.peer, &*operation.peer),
        ("currency", &*record.currency, CURRENCY),
        ("amount", &*found_minor, &*amount_minor),
    ];
    if let Some((name, found, sent)) = fields.into_iter().find(|(_, found, sent)| found != sent) {
        verdict.find(|| history.show_record(record), || format!("{name} {found}, but {sent} was sent"));
    }
}

fn not_sent(outcome: &Outcome, sent_us: Option<u64>) -> Option<String> {
    match outcome {
        Outcome::Failed { why } => Some(format!("failed ({why})")),
        _ if sent_us.is_none() => Some("never sent".to_owned()),
        _ => None,
    }
}
