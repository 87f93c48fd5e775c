//! `naru capture status`: what a running capture says about itself.

use std::fmt::Write as _;
use std::process::ExitCode;

use naru_capture::status::Report;

use crate::asking::Role;

/// Something is stopped, waits, or raises an alarm.
const EXIT_NOT_WELL: u8 = 3;

/// Arguments of `naru capture status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 all tables are captured, 3 not so, 1 it could not be asked.")]
pub struct Args {
    /// The address that it printed at its start: ready status=HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Shows the status.
pub fn run(args: &Args) -> ExitCode {
    let capture = Role { name: "capture", address: &args.address };
    let report: Report = match capture.ask("status", capture.get("/v1/status")) {
        Ok(report) => report,
        Err(code) => return code,
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&report).expect("a report is numbers, names and lists of them") + "\n",
        false => said(&report),
    };
    print!("{text}");
    if is_well(&report) { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_WELL) }
}

fn is_well(report: &Report) -> bool {
    let captured = report.tables.values().all(|table| table.stopped.is_none() && table.copied.is_some());
    report.phase == "streaming" && report.alarms.is_empty() && captured
}

fn said(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(out, "{text}").expect("a text takes every line");
    line(format_args!("source {}: {}, written up to position {}", report.source, report.phase, report.position));
    if let Some(reason) = &report.waits_for {
        line(format_args!("  waits: {reason}"));
    }
    line(format_args!("  the database holds {} bytes of its log", report.held_wal_bytes));
    report.alarms.iter().for_each(|alarm| line(format_args!("  alarm: {alarm}")));
    for (topic, table) in &report.tables {
        let state = match (&table.stopped, table.copying, table.copied) {
            (Some(reason), ..) => format!("stopped: {reason}"),
            (None, Some(rows), _) => format!("copying, {rows} rows so far"),
            (None, None, Some(_)) => "captured".to_owned(),
            (None, None, None) => "not copied yet".to_owned(),
        };
        line(format_args!("  {topic}: {state}; {} records", table.records));
    }
    out
}
