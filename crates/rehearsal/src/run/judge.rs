//! From what was seen to the report.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::{KAFKA_OLDER, KAFKA_VERSION, LogKind, Options};
use crate::away;
use crate::campaign::CampaignFigures;
use crate::check::{self, Verdict};
use crate::crowd::EdgeFigures;
use crate::expectations::{self, Settled};
use crate::history::History;
use crate::measure;
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::relay_status::Standing;
use crate::report::{Environment, PhaseSpan, Report, SCHEMA};
use crate::tables::TableFigures;

/// What was seen beside the history.
pub(super) struct Seen {
    pub(super) settled: Settled,
    pub(super) standing: Option<Standing>,
    pub(super) children: Verdict,
    pub(super) edge: Option<(Vec<Verdict>, EdgeFigures)>,
    pub(super) tables: Option<(Vec<Verdict>, TableFigures)>,
    pub(super) campaign: Option<(Vec<Verdict>, CampaignFigures)>,
}

/// Every verdict, and the report that holds them.
pub(super) fn judge(
    options: &Options,
    plan: &Plan,
    recorder: &Recorder,
    history: &History,
    seen: Seen,
    began: SystemTime,
) -> Report {
    let scenario = &options.scenario;
    let services = measure::services(history, scenario, plan);
    let consumers = measure::consumers(history, plan);
    let marks = recorder.marks();
    let away = away::away(history, scenario, &marks);
    let mut verdicts: Vec<Verdict> = check::judge(history);
    if scenario.relay.is_some() {
        verdicts.extend(check::judge_relay(history));
        verdicts.push(expectations::in_sync(seen.standing.as_ref()));
    }
    let lateness = measure::lateness(history);
    verdicts.push(expectations::load(history, scenario.expect.lateness_max, lateness));
    verdicts.push(expectations::answers(history, scenario));
    verdicts.push(expectations::faults(plan, scenario, &marks));
    verdicts.push(expectations::settled(&seen.settled, scenario.settle_max));
    verdicts.push(seen.children);
    verdicts.extend(expectations::away(scenario, &away));
    verdicts.extend(expectations::bounds(scenario, &services, &consumers));
    let edge = figures(&mut verdicts, seen.edge);
    let tables = figures(&mut verdicts, seen.tables);
    let campaign = figures(&mut verdicts, seen.campaign);
    expectations::refuse_empty(&mut verdicts, plan);
    let phases = scenario.phases.iter().zip(&plan.phases).map(|(phase, (from, to))| PhaseSpan {
        name: phase.name.clone(),
        from_s: from.as_secs_f64(),
        to_s: to.as_secs_f64(),
    });
    Report {
        schema: SCHEMA,
        passed: verdicts.iter().all(|verdict| verdict.passed),
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        seed: plan.seed,
        replay: options.replay.clone(),
        environment: Environment::here(subject(options), cluster_settings(options), began),
        phases: phases.collect(),
        marks,
        services,
        lateness,
        consumers,
        backlog: recorder.backlog_samples(),
        standings: recorder.standings(),
        away,
        edge,
        campaign,
        tables,
        read_again: measure::read_again(history),
        verdicts,
        log_records: history.log.len() as u64,
        observations: history.observations.len() as u64,
    }
}

/// Puts the verdicts on a part among the others, and gives its figures.
fn figures<F>(verdicts: &mut Vec<Verdict>, seen: Option<(Vec<Verdict>, F)>) -> Option<F> {
    let (own, figures) = seen?;
    verdicts.extend(own);
    Some(figures)
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
