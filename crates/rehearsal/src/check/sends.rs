//! What a producer was told about its sends is what the log holds.

use std::collections::HashMap;

use super::Verdict;
use crate::history::History;
use crate::pulse::{Acknowledged, PulseRecord};

/// Four ways in which it can fail: an acknowledged pulse does not stand at its offset (lost write); a pulse stands twice
/// (duplicate); one stands there that nobody sent; later sends of one producer to one partition stand, or were
/// acknowledged, at lower offsets (nonmonotonic send). Each log is judged: what the relay shows, and each side's own.
pub(super) fn check(history: &History) -> Verdict {
    let sentence = "each pulse that its producer was told of stands in the log once, at its offset, in the order sent";
    let mut verdict = Verdict::open("sends", sentence, "pulses");
    acknowledged_in_order(history, &mut verdict);
    for (name, log) in &history.pulse_logs {
        in_log(history, name, log, &mut verdict);
    }
    verdict
}

fn show(number: usize) -> String {
    format!("pulse {number}")
}

fn acknowledged_in_order(history: &History, verdict: &mut Verdict) {
    let mut last: HashMap<i32, (usize, i64)> = HashMap::new();
    for (number, pulse) in history.pulses.iter().enumerate() {
        verdict.examined += 1;
        let Some(offset) = pulse.acknowledged.and_then(|acknowledged| acknowledged.offset) else { continue };
        if let Some((before, at)) = last.insert(pulse.partition, (number, offset)).filter(|(_, at)| *at >= offset) {
            verdict.find(
                || show(number),
                || format!("acknowledged at {offset}, and {} before it at {at} (nonmonotonic send)", show(before)),
            );
        }
    }
}

fn in_log(history: &History, name: &str, log: &[PulseRecord], verdict: &mut Verdict) {
    let mut places: HashMap<usize, PulseRecord> = HashMap::with_capacity(log.len());
    let mut last: HashMap<i32, usize> = HashMap::new();
    for record in log {
        verdict.examined += 1;
        let place = || format!("{}@{}", record.partition, record.offset);
        let sent = record
            .number
            .filter(|number| history.pulses.get(*number).is_some_and(|pulse| pulse.partition == record.partition));
        let Some(number) = sent else {
            verdict.find(place, || format!("{name} holds a pulse there that nobody sent"));
            continue;
        };
        if let Some(first) = places.insert(number, *record) {
            verdict.find(
                || show(number),
                || format!("stands in {name} at {}, and already at {} (duplicate)", record.offset, first.offset),
            );
            continue;
        }
        if let Some(before) = last.insert(record.partition, number).filter(|before| *before > number) {
            verdict.find(
                || show(number),
                || format!("stands in {name} after {}, which was sent later (nonmonotonic send)", show(before)),
            );
        }
    }
    for (number, pulse) in history.pulses.iter().enumerate() {
        let Some(Acknowledged { offset, .. }) = pulse.acknowledged else { continue };
        match (places.get(&number), offset) {
            (Some(record), Some(offset)) if record.offset != offset => verdict.find(
                || show(number),
                || format!("acknowledged at {offset}, stands in {name} at {} (lost write)", record.offset),
            ),
            (Some(_), _) => {}
            (None, offset) => {
                let at = offset.map_or(String::new(), |offset| format!(" at {offset}"));
                verdict.find(|| show(number), || format!("acknowledged{at}, not in {name} (lost write)"));
            }
        }
    }
}
