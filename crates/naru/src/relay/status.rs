//! `naru relay status`.

use std::fmt::Write as _;
use std::process::ExitCode;

use naru_relay::status::{GroupStatus, Mode, Names, SideStatus, StatusReport};

use super::ask::{REFUSED, Target};

/// Arguments of `naru relay status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Shows the status. Exit code 0: every topic is taken in, every group is acknowledged by both sides, and there is no
/// alarm; 3: not so; 1: the relay could not be asked.
pub fn run(args: &Args) -> ExitCode {
    let report = match args.target.status() {
        Ok(report) => report,
        Err(error) => return error.report(),
    };
    print(&report, args.json)
}

pub(super) fn print(report: &StatusReport, json: bool) -> ExitCode {
    let text = match json {
        true => serde_json::to_string_pretty(report).expect("a report is numbers, names and lists of them") + "\n",
        false => text(report),
    };
    print!("{text}");
    let well = report.groups.iter().all(GroupStatus::is_well);
    if well { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) }
}

fn text(report: &StatusReport) -> String {
    let mut out = String::new();
    let lease = report.lease_ms as f64 / 1000.0;
    line(&mut out, format_args!("relay {}, epoch {}, lease for {lease:.1} s", report.node_id, report.epoch));
    for (side, cluster) in report.clusters.iter() {
        let shown = cluster.shown.as_deref().unwrap_or("has not shown its id");
        line(&mut out, format_args!("side {side}: cluster {shown}"));
    }
    report.groups.iter().for_each(|group| describe(&mut out, group, report));
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a text takes every line");
}

fn describe(out: &mut String, group: &GroupStatus, report: &StatusReport) {
    let mode = match group.mode {
        Mode::Duplex => "duplex".to_owned(),
        Mode::Solo => match group.grant {
            Some(cause) => format!("solo: {cause}"),
            None => "solo".to_owned(),
        },
        Mode::Stopped => "stopped: nothing is acknowledged".to_owned(),
    };
    let so_far = if group.is_complete() { "" } else { " so far" };
    line(out, format_args!("\ngroup {}: {mode}; {}{so_far}", group.name, count(group.partitions, "partition")));
    if !group.topics_read {
        line(out, format_args!("  not complete: the topics of both sides have not been read yet"));
    }
    if group.partitions_opening > 0 {
        let opening = count(group.partitions_opening, "partition");
        line(out, format_args!("  not complete: {opening} not compared yet, clients are told to come again"));
    }
    if group.topics_waiting.count > 0 {
        line(
            out,
            format_args!("  not complete: {} not taken in yet: clients do not see them", topics(&group.topics_waiting)),
        );
    }
    if group.topics_refused.count > 0 {
        let refused = topics(&group.topics_refused);
        line(out, format_args!("  not served: {refused}; `naru relay preflight` names what mends them"));
    }
    for (side, status) in group.sides.iter() {
        let role = if side == group.active { "active " } else { "standby" };
        line(out, format_args!("  {side} {role}  {}", describe_side(status, report.clusters[side].wrong().is_some())));
    }
    if let Some(catch_up) = &group.catch_up {
        let pace = catch_up.records_per_second.map_or_else(String::new, |pace| format!(", {pace:.0} records/s"));
        let end = catch_up.ends_in_seconds.map_or_else(String::new, |end| format!(", done in about {end:.0} s"));
        let does = if catch_up.is_away() { "is" } else { "comes back:" };
        line(out, format_args!("  {} {does} {}{pace}{end}", catch_up.side, catch_up.stage));
    }
    if let Some(switching) = &group.switching {
        line(out, format_args!("  a planned switch is under way: {switching}"));
    }
    if let Some(back) = group.rollback {
        line(out, format_args!("  the last switch can be taken back to {back} until it is confirmed"));
    }
    if let Some(takeover) = &group.last_takeover {
        let why = takeover.cause.map_or_else(|| "a planned switch".to_owned(), |cause| cause.to_string());
        let (from, ago, took) = (takeover.from, takeover.ago_seconds, takeover.took_ms);
        line(out, format_args!("  last takeover: from {from}, {ago:.0} s ago, took {took} ms; {why}"));
    }
    if let Some(rebuild) = &group.last_rebuild {
        let (side, ago, because) = (rebuild.side, rebuild.ago_seconds, &rebuild.because);
        let (names, in_all) = (topics(&rebuild.topics), rebuild.topics_in_all);
        line(
            out,
            format_args!("  {side} was rebuilt {ago:.0} s ago, because {because}: {names}; {in_all} since the start"),
        );
    }
    for alarm in &group.alarms {
        line(out, format_args!("  ALARM {}: {}", alarm.name, alarm.text));
    }
}

/// A number of things.
fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

fn topics(names: &Names) -> String {
    let more = if names.count > names.first.len() { ", ..." } else { "" };
    format!("{} ({}{more})", count(names.count, "topic"), names.first.join(", "))
}

/// A number of bytes, to three digits.
fn size(bytes: i64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let digits = if size < 10.0 { 1 } else { 0 };
    format!("{size:.digits$} {}", UNITS[unit])
}

fn describe_side(side: &SideStatus, is_other: bool) -> String {
    let state = match (side.in_sync, side.absent_seconds) {
        (_, Some(seconds)) if is_other => format!("another cluster answers, for {seconds:.1} s"),
        (_, Some(seconds)) => format!("absent for {seconds:.1} s"),
        (true, None) => "in sync".to_owned(),
        (false, None) => "not in sync".to_owned(),
    };
    let lag = match side.lag_records {
        None => "lag not known".to_owned(),
        Some(0) => "no lag".to_owned(),
        Some(records) => {
            let bytes = side.lag_bytes.map_or_else(String::new, |bytes| format!(", {}", size(bytes)));
            let records = if records == 1 { "1 record".to_owned() } else { format!("{records} records") };
            format!("{records}{bytes}, {:.0} s behind", side.lag_seconds)
        }
    };
    format!("{state}, {lag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_that_lags_is_described_by_records_bytes_and_seconds() {
        let check = |lag_records: Option<i64>, lag_bytes: Option<i64>, says: &str| {
            let side = SideStatus { in_sync: false, absent_seconds: None, lag_records, lag_bytes, lag_seconds: 3.0 };
            assert_eq!(describe_side(&side, false), format!("not in sync, {says}"));
        };
        check(None, None, "lag not known");
        check(Some(0), Some(0), "no lag");
        check(Some(1), Some(1023), "1 record, 1023 bytes, 3 s behind");
        check(Some(20), Some(1024), "20 records, 1.0 KiB, 3 s behind");
        check(Some(20), Some(5 << 30), "20 records, 5.0 GiB, 3 s behind");
        check(Some(20), Some(1_040_000_000), "20 records, 992 MiB, 3 s behind");
        check(Some(20), None, "20 records, 3 s behind");
    }
}
