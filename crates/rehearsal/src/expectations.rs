//! What must hold beside the invariants of the log: the rehearsal itself went as planned, and the scenario's own bounds.

use std::time::Duration;

use crate::check::Verdict;
use crate::history::{Failure, History, Outcome};
use crate::measure::{ConsumerFigures, ServiceFigures};
use crate::plan::Plan;
use crate::recorder::{Mark, MarkKind};
use crate::scenario::{FaultKind, Scenario};

/// How the wait for rest after the last phase ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Records that never left the services' outboxes; `None` if a service did not say.
    pub outbox: Option<u64>,
    /// Records that the group was not given; `None` if the log did not say.
    pub lag: Option<u64>,
    /// Records that the lone reader was not given.
    pub lone_lag: Option<u64>,
    /// Observations that did not fit into the history.
    pub observations_dropped: u64,
}

/// The load went out as planned: an operation that was not sent tests nothing.
pub fn load(history: &History) -> Verdict {
    let mut verdict = Verdict::open("load", "every planned request was sent at its time", "planned requests");
    for (number, operation) in history.operations.iter().enumerate() {
        verdict.examined += 1;
        if operation.outcome == (Outcome::Failed { why: Failure::NotSent }) {
            verdict.find(
                || history.show_operation(number),
                || format!("due at {:.3} s: load generator could not keep up", operation.planned_us as f64 / 1e6),
            );
        }
    }
    verdict
}

/// No more requests failed, or stayed open, than the scenario allows.
pub fn answers(history: &History, scenario: &Scenario) -> Verdict {
    let (failed_max, unknown_max) = (scenario.expect.failed_max, scenario.expect.unknown_max);
    let sentence = format!("at most {failed_max} requests failed and {unknown_max} stayed without an answer");
    let mut verdict = Verdict::open("answers", &sentence, "requests");
    let (mut failed, mut unknown) = (0, 0);
    for (number, operation) in history.operations.iter().enumerate() {
        verdict.examined += 1;
        let (count, most, why) = match &operation.outcome {
            // The load's own fault, and judged there.
            Outcome::Failed { why: Failure::NotSent } => continue,
            Outcome::Failed { why } => (&mut failed, failed_max, why.to_string()),
            Outcome::Unknown { why } => (&mut unknown, unknown_max, why.to_string()),
            Outcome::Acknowledged { .. } | Outcome::Invoked => continue,
        };
        *count += 1;
        if *count > most {
            let at = operation.planned_us as f64 / 1e6;
            verdict.find(|| history.show_operation(number), || format!("due at {at:.3} s: {why}"));
        }
    }
    verdict
}

/// The services emptied their outboxes and the consumers reached the end of the log.
pub fn settled(settled: &Settled, bound: Duration) -> Verdict {
    let sentence = format!(
        "within {:.0} s of the end the outboxes are empty and consumers have read everything",
        bound.as_secs_f64()
    );
    let mut verdict = Verdict::open("settled", &sentence, "queues");
    let mut queue = |name: &str, left: Option<u64>| {
        verdict.examined += 1;
        match left {
            Some(0) => {}
            Some(count) => verdict.find(|| name.to_owned(), || format!("{count} records still wait")),
            None => verdict.find(|| name.to_owned(), || "gave no answer".to_owned()),
        }
    };
    queue("outboxes of the services", settled.outbox);
    queue("consumer group", settled.lag);
    queue("lone reader", settled.lone_lag);
    verdict.examined += 1;
    if settled.observations_dropped > 0 {
        let dropped = settled.observations_dropped;
        verdict
            .find(|| "history".to_owned(), || format!("{dropped} observations did not fit: the judge saw only a part"));
    }
    verdict
}

/// Every planned fault happened, and ended: a fault that was not injected proves nothing.
pub fn faults(plan: &Plan, scenario: &Scenario, marks: &[Mark]) -> Verdict {
    let mut verdict = Verdict::open("faults", "every planned fault happened, and ended", "planned faults");
    for fault in &plan.faults {
        verdict.examined += 1;
        let subject = subject(scenario, fault.kind);
        let (began, ended) = marks_of(fault.kind);
        for kind in [began, ended] {
            if !marks.iter().any(|mark| mark.kind == kind && mark.subject == subject) {
                let at = fault.at.as_secs_f64();
                verdict.find(
                    || format!("{} of {subject} at {at:.3} s", fault.kind.name()),
                    || format!("{:?} was not seen", kind.name()),
                );
            }
        }
    }
    verdict
}

/// The scenario's own bounds on latency.
pub fn bounds(scenario: &Scenario, services: &[ServiceFigures], consumers: &ConsumerFigures) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let millis = |us: u64| us as f64 / 1e3;
    if let Some(bound) = scenario.expect.service_p99_max {
        let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        let sentence = format!("the services' p99 is at most {:.0} ms from the planned time", millis(bound_us));
        let mut verdict = Verdict::open("service-p99", &sentence, "services");
        for service in services {
            verdict.examined += 1;
            if let Some(latency) = service.whole.latency.filter(|latency| latency.p99_us > bound_us) {
                verdict.find(|| service.name.clone(), || format!("p99 is {:.0} ms", millis(latency.p99_us)));
            }
        }
        verdicts.push(verdict);
    }
    if let Some(bound) = scenario.expect.consumer_p99_max {
        let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        let sentence =
            format!("the p99 from a request's planned time to the group is at most {:.0} ms", millis(bound_us));
        let mut verdict = Verdict::open("consumer-p99", &sentence, "groups");
        verdict.examined = 1;
        if let Some(whole) = consumers.whole.filter(|whole| whole.p99_us > bound_us) {
            verdict.find(|| scenario.consumers.group.clone(), || format!("p99 is {:.0} ms", millis(whole.p99_us)));
        }
        verdicts.push(verdict);
    }
    verdicts
}

/// As marks and displays name what a fault hits.
pub fn subject(scenario: &Scenario, kind: FaultKind) -> String {
    match kind {
        FaultKind::Kill { cluster } | FaultKind::Pause { cluster } => {
            format!("cluster {}", scenario.clusters[cluster].name)
        }
        FaultKind::Leave { member } => format!("member {member}"),
    }
}

/// The marks that a fault leaves: at its beginning and at its end.
pub fn marks_of(kind: FaultKind) -> (MarkKind, MarkKind) {
    match kind {
        FaultKind::Kill { .. } => (MarkKind::Killed, MarkKind::Answering),
        FaultKind::Pause { .. } => (MarkKind::Paused, MarkKind::Continued),
        FaultKind::Leave { .. } => (MarkKind::Left, MarkKind::Joined),
    }
}
