//! What `naru rehearse` prints at its end.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use naru_rehearsal::away::{AwayKind, Pause};
use naru_rehearsal::crowd::EdgeFigures;
use naru_rehearsal::report::{Conclusion, Report};
use naru_rehearsal::run::Rehearsed;
use naru_rehearsal::sabotage::{Sabotage, Sabotaged};

/// The sabotages that there are, with what they have to turn red.
pub(super) fn sabotages() -> String {
    let mut text = String::new();
    for Sabotage { name, does, turns, also, .. } in Sabotage::all() {
        let may = if also.is_empty() { String::new() } else { format!(" (may: {})", also.join(", ")) };
        writeln!(text, "{name:18} turns {}{may}: {does}", turns.join(", ")).expect("writing to a string cannot fail");
    }
    text
}

/// The verdict table, and where the rest is.
pub(super) fn summary(rehearsed: &Rehearsed) -> String {
    let report = &rehearsed.report;
    let colours = std::io::stdout().is_terminal();
    let mut text = String::new();
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        text.write_fmt(arguments).expect("writing to a string cannot fail");
        text.push('\n');
    };
    line(format_args!("\n{:6} {:12} {:>9}  what must hold", "", "check", "looked at"));
    for verdict in &report.verdicts {
        let word = result(verdict.passed, colours);
        line(format_args!("{word}   {:12} {:>9}  {}", verdict.check, verdict.examined, verdict.sentence));
        if verdict.passed {
            continue;
        }
        for finding in &verdict.named {
            line(format_args!("         - {}: {}", finding.record, finding.detail));
        }
        let more = verdict.findings_total - verdict.named.len() as u64;
        if more > 0 {
            line(format_args!("         - and {more} more"));
        }
    }
    line(format_args!("\n{}", figures(report)));
    if !report.sabotaged.is_empty() {
        line(format_args!("\n{:6} {:18} {:24} what is done", "caught", "sabotage", "turned red"));
        for Sabotaged { name, does, red, caught, .. } in &report.sabotaged {
            let caught = if *caught { "yes" } else { "NO" };
            let red = if red.is_empty() { "nothing".to_owned() } else { red.join(", ") };
            line(format_args!("{caught:6} {name:18} {red:24} {does}"));
        }
        line(format_args!(""));
    }
    for file in &rehearsed.files {
        line(format_args!("  {}", file.display()));
    }
    line(format_args!("replay: {}", report.replay));
    let (conclusion, sentence) = report.conclusion();
    let word = match conclusion {
        Conclusion::Pass => result(true, colours),
        Conclusion::NotValid => "NOT VALID",
        Conclusion::Fail => result(false, colours),
        Conclusion::Caught => "SABOTAGED, CAUGHT",
        Conclusion::Missed => "SABOTAGED, NOT CAUGHT",
    };
    line(format_args!("{word}: {sentence}"));
    text
}

fn result(passed: bool, colours: bool) -> &'static str {
    match (passed, colours) {
        (true, true) => "\x1b[1;32mPASS\x1b[0m",
        (false, true) => "\x1b[1;31mFAIL\x1b[0m",
        (true, false) => "PASS",
        (false, false) => "FAIL",
    }
}

fn figures(report: &Report) -> String {
    let sum = |pick: fn(&naru_rehearsal::measure::Second) -> u64| -> u64 {
        report.services.iter().map(|service| pick(&service.whole)).sum()
    };
    let millis = |us: u64| us as f64 / 1e3;
    let mut text = format!(
        "{} requests planned, {} acknowledged, {} failed, {} unknown; {} records in the log",
        sum(|s| s.planned),
        sum(|s| s.acknowledged),
        sum(|s| s.failed),
        sum(|s| s.unknown),
        report.log_records
    );
    for service in &report.services {
        if let Some(latency) = service.whole.latency {
            let (p50, p99, max) = (millis(latency.p50_us), millis(latency.p99_us), millis(latency.max_us));
            write!(text, "\n{}: p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.0} ms from the planned time", service.name)
                .expect("writing to a string cannot fail");
        }
    }
    let shown = |pause: Option<Pause>| match pause {
        None => "for good".to_owned(),
        Some(pause) => format!("{:.0} ms from {:.2} s", millis(pause.lasts_us), pause.from_us as f64 / 1e6),
    };
    for away in &report.away {
        let (producers, consumers) = (shown(away.producers), shown(away.consumers));
        let at = away.at_us as f64 / 1e6;
        let event = match away.kind {
            AwayKind::Loss => format!("{} lost", away.subject),
            AwayKind::Switch => format!("switched {}", away.subject),
        };
        write!(text, "\n{event} at {at:.1} s: producers away {producers}, consumers {consumers}")
            .expect("writing to a string cannot fail");
    }
    if let Some(edge) = &report.edge {
        edge_figures(&mut text, edge).expect("writing to a string cannot fail");
    }
    if let Some(campaign) = &report.campaign {
        let plan = &campaign.plan;
        let [_, middle, high, _] = plan.peak;
        write!(
            text,
            "\ncampaign: forecast peak {middle:.0} units/s, one in ten above {high:.0}; wanted {:.0}; {} nodes rented ahead for {} won (always-peak {}, autoscale-only {} at a risk of {:.1} %)",
            campaign.peak,
            plan.nodes,
            plan.committed_won,
            plan.always_peak_won,
            plan.autoscale_only_won,
            f64::from(plan.autoscale_only_risk_ppm) / 1e4
        )
        .expect("writing to a string cannot fail");
    }
    if let Some(tables) = &report.tables {
        let behind = tables.behind.map_or(String::new(), |behind| {
            let (p50, p99, max) = (millis(behind.p50_us), millis(behind.p99_us), millis(behind.max_us));
            format!("; behind p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms")
        });
        let (rows, won, unanswered) = (tables.rows, tables.amount_minor, tables.unanswered);
        write!(text, "\nby SQL: {rows} rows, {won} won{behind}; {unanswered} questions without an answer")
            .expect("writing to a string cannot fail");
    }
    if let Some(whole) = report.consumers.whole {
        let (p50, p99, max) = (millis(whole.p50_us), millis(whole.p99_us), millis(whole.max_us));
        write!(text, "\nto the consumers: p50 {p50:.1} ms, p99 {p99:.0} ms, max {max:.0} ms")
            .expect("writing to a string cannot fail");
    }
    text
}

/// What the edge did.
fn edge_figures(text: &mut String, edge: &EdgeFigures) -> std::fmt::Result {
    let millis = |us: u64| us as f64 / 1e3;
    let EdgeFigures { whole, visitors, waited, received_by_rented, gifts_repeated, .. } = edge;
    write!(
        text,
        "\npromotion: {} pages from owned sites, {} from rented nodes (which received {received_by_rented}), {} waiting pages, {} errors",
        whole.owned, whole.rented, whole.waiting, whole.errors
    )?;
    write!(text, "\n{visitors} visitors, {waited} of them waited")?;
    if let Some(wait) = edge.wait {
        write!(text, ": p50 {:.1} s, the longest {:.1} s", millis(wait.p50_us) / 1e3, millis(wait.max_us) / 1e3)?;
    }
    if let Some(view) = edge.view {
        write!(text, "\npages: p50 {:.0} ms, p99 {:.0} ms", millis(view.p50_us), millis(view.p99_us))?;
    }
    if let Some(gift) = edge.gift {
        let (p50, p99, max) = (millis(gift.p50_us), millis(gift.p99_us), millis(gift.max_us));
        write!(text, "\ngifts: p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms from the planned time")?;
        write!(text, "; {gifts_repeated} sent again")?;
    }
    Ok(())
}
