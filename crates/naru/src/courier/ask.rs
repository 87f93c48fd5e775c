//! `naru courier status`, `send`, `stop` and `resume`: what is asked of a running courier.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use naru_courier::status::Report;

use crate::asking::Role;

/// Something raises an alarm.
const EXIT_NOT_WELL: u8 = 3;

/// Arguments of `naru courier status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 without alarms, 3 with, 1 it could not be asked.")]
pub struct StatusArgs {
    /// The address that it printed at its start: ready listen=HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `naru courier send`.
#[derive(Debug, clap::Args)]
pub struct SendArgs {
    /// The address that it printed at its start: ready listen=HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// The campaign, as docs/api/courier.json has it
    #[arg(long, value_name = "PATH")]
    file: PathBuf,
}

/// Arguments of `naru courier stop` and `resume`.
#[derive(Debug, clap::Args)]
pub struct CampaignArgs {
    /// The address that it printed at its start: ready listen=HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// The campaign's name
    #[arg(value_name = "ID")]
    id: String,
}

fn courier(address: &str) -> Role<'_> {
    Role { name: "courier", address }
}

/// Shows the status.
pub fn status(args: &StatusArgs) -> ExitCode {
    let courier = courier(&args.address);
    let report: Report = match courier.ask("status", courier.get("/v1/status")) {
        Ok(report) => report,
        Err(code) => return code,
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&report).expect("a report is numbers, names and lists of them") + "\n",
        false => said(&report),
    };
    print!("{text}");
    if report.alarms.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_WELL) }
}

/// Takes a campaign on.
pub fn send(args: &SendArgs) -> ExitCode {
    let courier = courier(&args.address);
    let ask = async { courier.post("/v1/campaigns", std::fs::read(&args.file)?, None).await };
    match courier.ask("send", ask) {
        Ok(_) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

/// Stops a campaign, or lets it go on.
pub fn stop(args: &CampaignArgs, verb: &str) -> ExitCode {
    let (courier, path) = (courier(&args.address), format!("/v1/campaigns/{}/{verb}", args.id));
    match courier.ask(verb, courier.post(&path, Vec::new(), None)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn said(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(out, "{text}").expect("a text takes every line");
    line(format_args!("campaigns at {} messages a minute ({})", report.campaign_per_minute, report.pace));
    for (id, campaign) in &report.campaigns {
        let states: Vec<String> = campaign.lines.iter().map(|(state, count)| format!("{count} {state}")).collect();
        line(format_args!("  {id}: {}; {}", campaign.phase, states.join(", ")));
    }
    let usage = &report.usage;
    line(format_args!(
        "notifications: {} durable, {} accepted, {} delivered, {} failed, {} dead",
        usage.persisted, usage.accepted, usage.delivered, usage.failed, usage.dead
    ));
    line(format_args!("batches: {} open, {} of them in doubt", report.open_batches, report.in_doubt));
    report.alarms.iter().for_each(|alarm| line(format_args!("  alarm: {alarm}")));
    out
}
