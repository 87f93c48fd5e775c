//! What must hold beside the invariants of the log: the rehearsal itself went as planned, and the scenario's own bounds.

use std::collections::HashMap;
use std::time::Duration;

use crate::away::{Away, AwayKind, Pause};
use crate::check::Verdict;
use crate::history::{Failure, History, Outcome};
use crate::measure::{ConsumerFigures, Percentiles, ServiceFigures};
use crate::plan::Plan;
use crate::recorder::{Mark, MarkKind};
use crate::relay_status::Standing;
use crate::scenario::{FaultKind, OWNED_SITES, Scenario, Victim};

/// The check of the load itself.
pub const LOAD: &str = "load";
/// The name of the check of the faults.
const FAULTS: &str = "faults";

/// How the wait for rest after the last phase ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Records that never left the services' outboxes; `None` if a service did not say.
    pub outbox: Option<u64>,
    /// Records that the group was not given, or was given beyond the log's end; `None` if the log did not say.
    pub lag: Option<u64>,
    /// The same of the lone reader.
    pub lone_lag: Option<u64>,
    /// Observations that did not fit into the history.
    pub observations_dropped: u64,
}

/// A check that looked at nothing has shown nothing. Only `faults` may be empty, when the plan has none.
pub fn refuse_empty(verdicts: &mut [Verdict], plan: &Plan) {
    for verdict in verdicts.iter_mut().filter(|verdict| verdict.examined == 0) {
        if verdict.check != FAULTS || !plan.faults.is_empty() {
            let unit = verdict.unit.clone();
            verdict.find(|| unit, || "nothing was looked at".to_owned());
        }
    }
}

/// The load went out as planned: an operation that was not sent tests nothing, and one that was sent late tests another
/// load than the plan's. The sentence carries the p99 of the lateness, so that a display shows how near the bound was.
pub fn load(history: &History, lateness_max: Duration, lateness: Option<Percentiles>) -> Verdict {
    let bound_ms = lateness_max.as_secs_f64() * 1e3;
    let shown = lateness.map_or("nothing was sent".to_owned(), |l| format!("p99 was {:.1} ms", l.p99_us as f64 / 1e3));
    let sentence = format!("every planned request was sent within {bound_ms:.0} ms of its time ({shown})");
    let mut verdict = Verdict::open(LOAD, &sentence, "planned requests");
    for (number, operation) in history.operations.iter().enumerate() {
        verdict.examined += 1;
        let due = || operation.planned_us as f64 / 1e6;
        if operation.outcome == (Outcome::Failed { why: Failure::NotSent }) {
            verdict.find(
                || history.show_operation(number),
                || format!("due at {:.3} s: load generator could not keep up", due()),
            );
        } else if let Some(late_us) = operation.sent_us.map(|sent_us| sent_us.saturating_sub(operation.planned_us))
            && u128::from(late_us) > lateness_max.as_micros()
        {
            verdict.find(
                || history.show_operation(number),
                || format!("due at {:.3} s, sent {:.0} ms later", due(), late_us as f64 / 1e3),
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
            Some(count) => verdict.find(|| name.to_owned(), || format!("{count} records from rest")),
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

/// Every planned fault happened, and ended while the load went on: a fault that was not injected proves nothing, and a
/// victim that came back to no load has not been seen to serve again.
pub fn faults(plan: &Plan, scenario: &Scenario, marks: &[Mark]) -> Verdict {
    let mut verdict = Verdict::open(FAULTS, "every planned fault happened, and ended under load", "planned faults");
    let mut needed: HashMap<(&str, String), usize> = HashMap::new();
    let last_due_us = plan.operations.last().map_or(0, |operation| operation.at_us);
    for fault in &plan.faults {
        verdict.examined += 1;
        let subject = subject(scenario, fault.kind);
        let (began, ended) = marks_of(fault.kind);
        for kind in [began, ended] {
            // One mark does not stand for two faults.
            let needed = needed.entry((kind.name(), subject.clone())).or_insert(0);
            *needed += 1;
            let mut own = marks.iter().filter(|mark| mark.kind == kind && mark.subject == subject);
            let record = || format!("{} of {subject} at {:.3} s", fault.kind.name(), fault.at.as_secs_f64());
            match own.nth(*needed - 1) {
                None => verdict.find(record, || format!("{:?} was not seen", kind.name())),
                Some(mark) if mark.at_us > last_due_us => verdict.find(record, || {
                    let (at, last) = (mark.at_us as f64 / 1e6, last_due_us as f64 / 1e6);
                    format!(
                        "{:?} at {at:.3} s, when nothing was due any more (the last was at {last:.3} s)",
                        kind.name()
                    )
                }),
                Some(_) => {}
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
            above(&mut verdict, &service.name, service.whole.latency, bound_us);
        }
        verdicts.push(verdict);
    }
    if let Some(bound) = scenario.expect.consumer_p99_max {
        let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        let sentence =
            format!("the p99 from a request's planned time to the group is at most {:.0} ms", millis(bound_us));
        let mut verdict = Verdict::open("consumer-p99", &sentence, "groups");
        verdict.examined = 1;
        above(&mut verdict, &scenario.consumers.group, consumers.whole, bound_us);
        verdicts.push(verdict);
    }
    verdicts
}

/// The pause of those whom a bound is about; the inner `None` if they did not come back.
type Bounded = fn(&Away) -> Option<Option<Pause>>;

/// The scenario's bounds on how long clients may be away.
pub fn away(scenario: &Scenario, away: &[Away]) -> Vec<Verdict> {
    let of_loss: Bounded = |away| (away.kind == AwayKind::Loss).then_some(away.producers);
    let of_switch: Bounded = |away| (away.kind == AwayKind::Switch).then_some(away.producers);
    let of_either: Bounded = |away| Some(away.consumers);
    let expect = &scenario.expect;
    let bounds = [
        ("takeover", expect.takeover_max, "producers", "when a side is lost", of_loss),
        ("switch-stall", expect.switch_stall_max, "producers", "when the sides are switched", of_switch),
        ("rejoin", expect.rejoin_max, "consumers", "when the sides change", of_either),
    ];
    let mut verdicts = Vec::new();
    for (check, bound, who, when, pause) in bounds {
        let Some(bound) = bound else { continue };
        let sentence = format!("{who} are away for at most {:.0} ms {when}", bound.as_secs_f64() * 1e3);
        let mut verdict = Verdict::open(check, &sentence, "pauses");
        for event in away {
            let Some(pause) = pause(event) else { continue };
            verdict.examined += 1;
            let record = || format!("{who} at {:.3} s ({})", event.at_us as f64 / 1e6, event.subject);
            match pause {
                None => verdict.find(record, || "did not come back in every partition".to_owned()),
                Some(Pause { lasts_us, from_us }) if u128::from(lasts_us) > bound.as_micros() => verdict
                    .find(record, || {
                        format!("away for {:.0} ms from {:.3} s on", lasts_us as f64 / 1e3, from_us as f64 / 1e6)
                    }),
                Some(_) => {}
            }
        }
        verdicts.push(verdict);
    }
    verdicts
}

/// At the end the relay says that both sides hold everything.
pub fn in_sync(standing: Option<&Standing>) -> Verdict {
    let mut verdict = Verdict::open("in-sync", "at the end both sides of the relay are in sync", "sides");
    for side in ["a", "b"] {
        verdict.examined += 1;
        match standing {
            None => verdict.find(|| format!("side {side}"), || "the relay gave no answer".to_owned()),
            Some(standing) if !standing.in_sync.iter().any(|other| other == side) => {
                let lag = standing.lag.map_or(String::new(), |lag| format!(", it lacks {lag} records"));
                verdict.find(|| format!("side {side}"), || format!("is not in sync{lag}"));
            }
            Some(_) => {}
        }
    }
    verdict
}

/// Nothing is not below a bound: without a single latency the bound has not been put to the test.
fn above(verdict: &mut Verdict, name: &str, latency: Option<Percentiles>, bound_us: u64) {
    match latency {
        None => verdict.find(|| name.to_owned(), || "has no latency to compare".to_owned()),
        Some(latency) if latency.p99_us > bound_us => {
            verdict.find(|| name.to_owned(), || format!("p99 is {:.0} ms", latency.p99_us as f64 / 1e3));
        }
        Some(_) => {}
    }
}

/// As marks and displays name what a fault hits.
pub fn subject(scenario: &Scenario, kind: FaultKind) -> String {
    match kind {
        FaultKind::Kill { victim, .. } | FaultKind::Pause { victim } => match victim {
            Victim::Cluster(cluster) => format!("cluster {}", scenario.clusters[cluster].name),
            Victim::Service(service) => format!("service {}", scenario.services[service].kind.name()),
            Victim::Relay => "relay".to_owned(),
            Victim::Lake => "lake".to_owned(),
            Victim::Site(site) => format!("site {}", OWNED_SITES[site]),
        },
        FaultKind::Leave { member } => format!("member {member}"),
        FaultKind::Switch { to } => format!("to cluster {}", scenario.clusters[to].name),
    }
}

/// The marks that a fault leaves: at its beginning and at its end.
pub fn marks_of(kind: FaultKind) -> (MarkKind, MarkKind) {
    match kind {
        FaultKind::Kill { .. } => (MarkKind::Killed, MarkKind::Answering),
        FaultKind::Pause { .. } => (MarkKind::Paused, MarkKind::Continued),
        FaultKind::Leave { .. } => (MarkKind::Left, MarkKind::Joined),
        FaultKind::Switch { .. } => (MarkKind::Switching, MarkKind::Switched),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test panics on failure")]

    use super::*;
    use crate::measure;
    use crate::scenario::tests::first;

    #[test]
    fn a_check_that_looked_at_nothing_fails() {
        let check = |name: &str, examined: u64, planned_faults: bool, expect: bool| {
            let mut plan = Plan::draw(&first(), 1);
            if !planned_faults {
                plan.faults.clear();
            }
            let mut verdicts = [Verdict::open(name, "", "things")];
            verdicts[0].examined = examined;
            refuse_empty(&mut verdicts, &plan);
            assert_eq!(verdicts[0].passed, expect, "{name} examined {examined}, faults planned: {planned_faults}");
        };
        check("LOG-1", 1, true, true);
        check("LOG-1", 0, true, false);
        check("LOG-1", 0, false, false);
        check("faults", 0, true, false);
        check("faults", 0, false, true);
    }

    #[test]
    fn a_request_that_is_sent_late_is_named() {
        let check = |sent_us: u64, expect: bool| {
            let operation = crate::history::Operation {
                topic: 0,
                user: 1,
                peer: "m1".into(),
                amount_minor: 1,
                planned_us: 1_000_000,
                sent_us: Some(sent_us),
                attempts: 1,
                ended_us: Some(sent_us + 1),
                outcome: Outcome::Acknowledged { id: "x".into(), sequence: 1 },
            };
            let history = History { operations: vec![operation], ..History::default() };
            let verdict = load(&history, Duration::from_millis(250), measure::lateness(&history));
            assert_eq!(verdict.passed, expect, "{verdict:?}");
        };
        check(1_000_000, true);
        check(1_250_000, true);
        check(1_250_001, false);
    }

    #[test]
    fn each_planned_fault_needs_marks_of_its_own() {
        let scenario = first();
        let mut plan = Plan::draw(&scenario, 1);
        plan.faults.retain(|fault| matches!(fault.kind, FaultKind::Kill { victim: Victim::Cluster(_), .. }));
        plan.faults.push(plan.faults[0]);
        let once = [MarkKind::Killed, MarkKind::Answering];
        let check = |times: usize, at_us: u64, findings: u64| {
            let marks: Vec<Mark> = once
                .iter()
                .cycle()
                .take(2 * times)
                .map(|kind| Mark { at_us, kind: *kind, subject: "cluster a".to_owned() })
                .collect();
            assert_eq!(faults(&plan, &scenario, &marks).findings_total, findings, "{times} of 2");
        };
        check(0, 1, 4);
        check(1, 1, 2);
        check(2, 1, 0);
        // Back when the load was over.
        check(2, 1_000_000_000, 4);
    }

    #[test]
    fn a_bound_without_a_latency_is_not_kept() {
        let mut scenario = first();
        scenario.expect.consumer_p99_max = Some(Duration::from_millis(10));
        let latency = |us| Percentiles { count: 1, p50_us: us, p90_us: us, p99_us: us, max_us: us };
        let check = |whole: Option<Percentiles>, expect: bool| {
            let verdicts = bounds(&scenario, &[], &ConsumerFigures { seconds: Vec::new(), whole });
            assert_eq!(verdicts[0].passed, expect, "{whole:?}");
        };
        check(None, false);
        check(Some(latency(10_000)), true);
        check(Some(latency(10_001)), false);
    }

    #[test]
    fn clients_that_are_away_for_too_long_are_named() {
        let text = include_str!("../../../scenarios/takeover.toml");
        let mut scenario = Scenario::parse("takeover.toml", text).unwrap();
        scenario.expect.takeover_max = Some(Duration::from_millis(3_000));
        scenario.expect.switch_stall_max = Some(Duration::from_millis(500));
        scenario.expect.rejoin_max = Some(Duration::from_millis(5_000));
        let pause = |ms: u64| Some(Pause { lasts_us: ms * 1_000, from_us: 0 });
        let check = |kind, producers, consumers, expect: &[&str]| {
            // One event of each kind, so that every check looks at something.
            let other = if kind == AwayKind::Loss { AwayKind::Switch } else { AwayKind::Loss };
            let event = |kind, producers, consumers| Away {
                kind,
                subject: "cluster a".to_owned(),
                at_us: 1,
                producers,
                consumers,
            };
            let events = [event(kind, producers, consumers), event(other, pause(1), pause(1))];
            let verdicts = away(&scenario, &events);
            assert!(verdicts.len() == 3 && verdicts.iter().all(|verdict| verdict.examined > 0), "{verdicts:?}");
            let failed: Vec<&str> = verdicts.iter().filter(|v| !v.passed).map(|v| v.check.as_str()).collect();
            assert_eq!(failed, expect, "{verdicts:?}");
        };
        check(AwayKind::Loss, pause(3_000), pause(5_000), &[]);
        check(AwayKind::Loss, pause(3_001), pause(5_001), &["takeover", "rejoin"]);
        check(AwayKind::Switch, pause(500), pause(5_000), &[]);
        check(AwayKind::Switch, pause(501), pause(1), &["switch-stall"]);
        check(AwayKind::Loss, None, pause(1), &["takeover"]);
        check(AwayKind::Switch, pause(1), None, &["rejoin"]);
    }

    #[test]
    fn a_side_that_is_not_in_sync_at_the_end_is_named() {
        let check = |in_sync: Option<&[&str]>, findings: u64| {
            let standing = in_sync.map(|in_sync| Standing {
                active: "a".to_owned(),
                in_sync: in_sync.iter().map(|side| (*side).to_owned()).collect(),
                lag: Some(3),
            });
            let verdict = super::in_sync(standing.as_ref());
            assert_eq!((verdict.examined, verdict.findings_total), (2, findings), "{verdict:?}");
        };
        check(Some(&["a", "b"]), 0);
        check(Some(&["a"]), 1);
        check(None, 2);
    }
}
