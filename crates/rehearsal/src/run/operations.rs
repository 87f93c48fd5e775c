//! The operations file: JSON lines, for whoever wants to look at one request.

use std::io::{self, Write};

use crate::crowd::CrowdHistory;
use crate::history::{Claim, History, Outcome, idempotency_key, user_key};
use crate::plan::Plan;

/// One line per operation: what was planned, what became of it, and where the log holds it.
pub(super) fn write(out: &mut dyn Write, plan: &Plan, history: &History) -> io::Result<()> {
    let mut places = vec![None; history.operations.len()];
    for record in &history.log {
        if let Claim::Operation(number) = record.claim {
            places[number as usize].get_or_insert(record.place);
        }
    }
    for (number, operation) in history.operations.iter().enumerate() {
        let (outcome, id, sequence, why) = match &operation.outcome {
            Outcome::Invoked => ("invoked", None, None, None),
            Outcome::Acknowledged { id, sequence } => ("acknowledged", Some(id), Some(sequence), None),
            Outcome::Failed { why } => ("failed", None, None, Some(why.to_string())),
            Outcome::Unknown { why } => ("unknown", None, None, Some(why.to_string())),
        };
        let line = serde_json::json!({
            "operation": number,
            "topic": history.topics[usize::from(operation.topic)],
            "key": user_key(operation.user),
            "idempotency_key": idempotency_key(plan.seed, number),
            "amount_minor": operation.amount_minor,
            "planned_us": operation.planned_us,
            "sent_us": operation.sent_us,
            "attempts": operation.attempts,
            "ended_us": operation.ended_us,
            "outcome": outcome,
            "why": why,
            "id": id,
            "sequence": sequence,
            "place": places[number].map(|place| history.show_place(place)),
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// One line per request for the promotion, and one per gift.
pub(super) fn write_crowd(out: &mut dyn Write, crowd: &CrowdHistory) -> io::Result<()> {
    for view in &crowd.views {
        writeln!(out, "{}", serde_json::to_string(view)?)?;
    }
    for gift in &crowd.gifts {
        writeln!(out, "{}", serde_json::to_string(gift)?)?;
    }
    Ok(())
}
