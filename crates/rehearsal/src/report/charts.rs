//! The pictures of the report.

use naru_model::written::thousands;

use super::Report;
use super::chart::{Chart, Scale, micros};
use crate::crowd::{EdgeFigures, EdgeSecond};
use crate::measure::{Percentiles, ServiceFigures};
use crate::recorder::StandingSample;
use crate::tables::{Behind, TableFigures};

const HEIGHT: f64 = 230.0;
/// The foot of the picture of the tables: nothing is queried sooner.
const TABLES_US_MIN: u64 = 10_000;

/// Percentiles as they are drawn: class, label, value.
type Pick = (&'static str, &'static str, fn(&Percentiles) -> u64);
const PICKS: [Pick; 4] = [
    ("most", "max", |p| p.max_us),
    ("p99", "p99", |p| p.p99_us),
    ("p90", "p90", |p| p.p90_us),
    ("p50", "p50", |p| p.p50_us),
];

fn seconds(report: &Report) -> usize {
    let phases = report.phases.last().map_or(0, |phase| phase.to_s.ceil() as usize);
    let backlog = report.backlog.last().map_or(0, |sample| (sample.at_us / 1_000_000) as usize + 1);
    let edge = report.edge.as_ref().map_or(0, |edge| edge.seconds.len());
    phases.max(report.consumers.seconds.len()).max(backlog).max(edge)
}

/// Requests of one service by second: planned, acknowledged, failed.
pub(super) fn load(report: &Report, service: &ServiceFigures) -> String {
    let most = service.seconds.iter().map(|s| s.planned.max(s.acknowledged)).max().unwrap_or(0);
    let describe = format!("Requests of the {} service per second: planned, acknowledged and failed", service.name);
    let mut chart = Chart::new(&describe, HEIGHT, seconds(report), Scale::linear(most as f64), &report.phases);
    chart.marks(&report.marks);
    let list = |pick: fn(&crate::measure::Second) -> u64| -> Vec<f64> {
        service.seconds.iter().map(|second| pick(second) as f64).collect()
    };
    chart.steps("steps acknowledged", &list(|second| second.acknowledged));
    chart.steps("steps planned", &list(|second| second.planned));
    chart.columns("column failed", list(|second| second.failed + second.unknown).into_iter());
    chart.tooltips(|second| {
        let figures = service.seconds.get(second).copied().unwrap_or_default();
        format!(
            "second {second}\nplanned {}\nacknowledged {}\nfailed {}\nunknown {}",
            thousands(figures.planned),
            thousands(figures.acknowledged),
            figures.failed,
            figures.unknown
        )
    });
    chart.finish()
}

/// Latency of one service, from the planned time to the answer.
pub(super) fn latency(report: &Report, service: &ServiceFigures) -> String {
    let list: Vec<Option<Percentiles>> = service.seconds.iter().map(|second| second.latency).collect();
    let describe = format!("Latency of the {} service over time, in percentiles", service.name);
    percentiles(report, &describe, &list)
}

/// From a request's planned time until the consumer group was given its record.
pub(super) fn to_consumer(report: &Report) -> String {
    percentiles(report, "Time from a planned request to the consumer group, in percentiles", &report.consumers.seconds)
}

fn percentiles(report: &Report, describe: &str, list: &[Option<Percentiles>]) -> String {
    let values = list.iter().flatten().flat_map(|p| [p.p50_us, p.max_us]);
    let mut chart = Chart::new(describe, HEIGHT, seconds(report), Scale::micros(values), &report.phases);
    chart.marks(&report.marks);
    for (class, label, pick) in PICKS {
        let points: Vec<(f64, Option<f64>)> = list
            .iter()
            .enumerate()
            .map(|(second, p)| (second as f64 + 0.5, p.as_ref().map(|p| pick(p) as f64)))
            .collect();
        chart.curve(class, label, &points);
    }
    chart.tooltips(|second| match list.get(second).copied().flatten() {
        None => format!("due in second {second}\nnone"),
        Some(p) => format!(
            "due in second {second}\np50 {}\np90 {}\np99 {}\nmax {}\nof {}",
            micros(p.p50_us),
            micros(p.p90_us),
            micros(p.p99_us),
            micros(p.max_us),
            thousands(p.count)
        ),
    });
    chart.finish()
}

/// What waited in the services' outboxes, and in the log for the consumers.
pub(super) fn backlog(report: &Report) -> String {
    let most = report.backlog.iter().flat_map(|sample| [sample.outbox, sample.lag]).flatten().max().unwrap_or(0);
    let describe = "Records that wait: in the services' outboxes, and in the log for the consumer group";
    let mut chart = Chart::new(describe, HEIGHT, seconds(report), Scale::linear(most as f64), &report.phases);
    chart.marks(&report.marks);
    let at = |us: u64| us as f64 / 1e6;
    let list = |pick: fn(&crate::recorder::BacklogSample) -> Option<u64>| -> Vec<(f64, Option<f64>)> {
        report.backlog.iter().map(|sample| (at(sample.at_us), pick(sample).map(|count| count as f64))).collect()
    };
    chart.curve("outbox", "outbox", &list(|sample| sample.outbox));
    chart.curve("lag", "lag", &list(|sample| sample.lag));
    let shown = |count: Option<u64>| count.map_or("unknown".to_owned(), thousands);
    chart.tooltips(|second| {
        let within = |us: u64| us / 1_000_000 == second as u64;
        match report.backlog.iter().rfind(|sample| within(sample.at_us)) {
            None => format!("second {second}\nno sample"),
            Some(sample) => {
                format!("second {second}\nin the outboxes {}\nlag {}", shown(sample.outbox), shown(sample.lag))
            }
        }
    });
    chart.finish()
}

/// Which side was active, whether the other was in sync, and how much it lacked.
pub(super) fn sides(report: &Report) -> String {
    let lags = report.standings.iter().filter_map(|sample| sample.standing.as_ref()?.lag);
    // The band takes the top of the picture: a curve should not run behind it.
    let most = lags.max().unwrap_or(0) as f64 * 1.25;
    let describe = "Which side of the relay is active, and records that the other side lacks";
    let mut chart = Chart::new(describe, HEIGHT, seconds(report), Scale::linear(most), &report.phases);
    chart.marks(&report.marks);
    let at = |us: u64| us as f64 / 1e6;
    let class = |sample: &StandingSample| match &sample.standing {
        None => ("away", "no answer".to_owned()),
        Some(standing) => {
            let alone = standing.in_sync.len() < 2;
            let class = match (standing.active.as_str(), alone) {
                ("a", false) => "side-a",
                ("a", true) => "side-a alone",
                (_, false) => "side-b",
                (_, true) => "side-b alone",
            };
            let how = if alone { ", alone" } else { "" };
            (class, format!("{} active{how}", standing.active))
        }
    };
    let runs: Vec<&[StandingSample]> = report.standings.chunk_by(|a, b| class(a) == class(b)).collect();
    for (index, run) in runs.iter().enumerate() {
        let Some((first, last)) = run.first().zip(run.last()) else { continue };
        let until = runs.get(index + 1).and_then(|next| next.first()).map_or(last.at_us, |next| next.at_us);
        let (class, text) = class(first);
        chart.band(class, at(first.at_us), at(until), &text);
    }
    let lag = report.standings.iter().map(|sample| {
        let lag = sample.standing.as_ref().and_then(|standing| standing.lag);
        (at(sample.at_us), lag.map(|lag| lag as f64))
    });
    chart.curve("lag", "lag", &lag.collect::<Vec<_>>());
    chart.tooltips(|second| match report.standings.iter().rfind(|sample| sample.at_us / 1_000_000 == second as u64) {
        None => format!("second {second}\nno sample"),
        Some(sample) => {
            let lag = sample.standing.as_ref().and_then(|standing| standing.lag);
            let lacks = lag.map_or("unknown".to_owned(), thousands);
            format!("second {second}\n{}\nthe other side lacks {lacks}", class(sample).1)
        }
    });
    chart.finish()
}

/// How far the lake's tables were behind what clients had been told.
pub(super) fn tables(report: &Report, tables: &TableFigures) -> String {
    // A question that found nothing missing is drawn at the foot.
    let shown = |behind: &Behind| behind.behind_us.map(|us| us.max(TABLES_US_MIN));
    let values = tables.asked.iter().filter_map(shown);
    let describe = "How long the first acknowledged request that was no row yet had been acknowledged";
    let mut chart = Chart::new(describe, HEIGHT, seconds(report), Scale::micros(values), &report.phases);
    chart.marks(&report.marks);
    let points = tables.asked.iter().map(|asked| (asked.at_us as f64 / 1e6, shown(asked).map(|us| us as f64)));
    chart.curve("lag", "behind", &points.collect::<Vec<_>>());
    chart.tooltips(|second| {
        let own = tables.asked.iter().filter(|asked| asked.at_us / 1_000_000 == second as u64);
        match own.map(|asked| asked.behind_us).max() {
            None => format!("second {second}\nnot asked"),
            Some(None) => format!("second {second}\nno answer"),
            Some(Some(us)) => format!("second {second}\nat most {} behind", micros(us)),
        }
    });
    chart.finish()
}

/// Who answered the promotion's visitors, by second.
pub(super) fn edge(report: &Report, edge: &EdgeFigures) -> String {
    let most = edge.seconds.iter().map(|s| s.owned.max(s.rented).max(s.waiting)).max().unwrap_or(0);
    let describe =
        "Answers to visitors of the promotion per second: from owned sites, from rented nodes, waiting pages";
    let mut chart = Chart::new(describe, HEIGHT, seconds(report), Scale::linear(most as f64), &report.phases);
    chart.marks(&report.marks);
    let list = |pick: fn(&EdgeSecond) -> u64| -> Vec<(f64, Option<f64>)> {
        let at = |(second, figures)| (second as f64 + 0.5, Some(pick(figures) as f64));
        edge.seconds.iter().enumerate().map(at).collect()
    };
    chart.curve("owned", "owned", &list(|second| second.owned));
    chart.curve("rented", "rented", &list(|second| second.rented));
    chart.curve("waiting", "waiting", &list(|second| second.waiting));
    chart.columns("column failed", edge.seconds.iter().map(|second| second.errors as f64));
    chart.tooltips(|second| {
        let EdgeSecond { owned, rented, waiting, errors, gifts } = edge.seconds.get(second).copied().unwrap_or_default();
        format!(
            "second {second}\nfrom owned sites {owned}\nfrom rented nodes {rented}\nwaiting pages {waiting}\nerrors {errors}\ngifts {gifts}"
        )
    });
    chart.finish()
}
