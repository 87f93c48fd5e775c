//! From what was judged to the report.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::{KAFKA_OLDER, KAFKA_VERSION, LogKind, Options};
use crate::judge::{Judged, Observed};
use crate::measure;
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::report::{Environment, PhaseSpan, Report, SCHEMA};
use crate::sabotage::Sabotaged;

/// The verdicts with their figures, and what was noted along the way.
pub(super) fn report(
    options: &Options,
    plan: &Plan,
    recorder: &Recorder,
    observed: &Observed,
    (judged, sabotaged): (Judged, Vec<Sabotaged>),
    began: SystemTime,
) -> Report {
    let scenario = &options.scenario;
    let Judged { verdicts, services, consumers, lateness, away, edge, tables, campaign } = judged;
    let phases = scenario.phases.iter().zip(&plan.phases).map(|(phase, (from, to))| PhaseSpan {
        name: phase.name.clone(),
        from_s: from.as_secs_f64(),
        to_s: to.as_secs_f64(),
    });
    Report {
        schema: SCHEMA,
        passed: sabotaged.is_empty() && verdicts.iter().all(|verdict| verdict.passed),
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        seed: plan.seed,
        replay: options.replay.clone(),
        environment: Environment::here(subject(options), cluster_settings(options), began),
        phases: phases.collect(),
        marks: observed.marks.clone(),
        services,
        lateness,
        consumers,
        backlog: recorder.backlog_samples(),
        standings: recorder.standings(),
        away,
        edge,
        campaign,
        tables,
        read_again: measure::read_again(&observed.history),
        verdicts,
        sabotaged,
        log_records: observed.history.log.len() as u64,
        observations: observed.history.observations.len() as u64,
    }
}

fn subject(options: &Options) -> String {
    match options.log {
        LogKind::StandIn => format!("stand-in {}", env!("CARGO_PKG_VERSION")),
        LogKind::Direct => format!("stand-in {}, copied behind the clients' back", env!("CARGO_PKG_VERSION")),
        LogKind::Kafka => format!("Apache Kafka {KAFKA_VERSION}"),
        LogKind::Mixed => format!("Apache Kafka {KAFKA_OLDER} and {KAFKA_VERSION}"),
    }
}

fn cluster_settings(options: &Options) -> String {
    let mut text = String::new();
    for cluster in &options.scenario.clusters {
        let separator = if text.is_empty() { "" } else { ", " };
        let setting = match (options.log.is_kafka(), cluster.lose_unflushed_tail) {
            (true, false) => "as shipped",
            (true, true) => "as shipped, lose_unflushed_tail ignored",
            (false, _) => cluster.flush.name(),
        };
        let tail = if !options.log.is_kafka() && cluster.lose_unflushed_tail {
            ", a kill takes what is not flushed"
        } else {
            ""
        };
        write!(text, "{separator}{}: {setting}{tail}", cluster.name).expect("writing to a string cannot fail");
    }
    text
}
