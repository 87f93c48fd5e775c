//! `naru relay preflight`: what would break if a relay served these two clusters, and the command that mends it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use naru_relay::config::RelayConfig;
use naru_relay::preflight::{self, PreflightError, Report, Service};

use super::verdict::{self, Verdict};

/// Arguments of `naru relay preflight`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 nothing or only warnings, 1 something is refused, 2 bad input, 3 no verdict.")]
pub struct Args {
    /// The relay's own configuration: where the sides are, and how to authenticate there
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Look at this topic only; may be repeated. Without it, every topic of either side but the brokers' own
    #[arg(long = "topic", value_name = "NAME")]
    topics: Vec<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the system refused")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Preflight(#[from] PreflightError),
}

/// Looks at both sides and says what stands in the way.
pub fn run(args: &Args) -> ExitCode {
    verdict::run("preflight", &args.config, |config| look(args, config))
}

fn look(args: &Args, config: &RelayConfig) -> Result<Verdict, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(preflight::run(config, &args.topics))?;
    let text = if args.json { verdict::json(&report)? } else { said(&report) };
    Ok(Verdict { text, passes: !report.refuses() })
}

/// Names shown of a service group's topics: as many as a person reads.
const TOPICS_SHOWN_MAX: usize = 20;

fn of_service(service: &Service) -> String {
    let Service { name, topics, consumers } = service;
    let mut shown = topics.iter().take(TOPICS_SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    if topics.len() > TOPICS_SHOWN_MAX {
        shown.push_str(", ...");
    }
    let shown = if topics.is_empty() { "no topic".to_owned() } else { format!("{} topics: {shown}", topics.len()) };
    format!("group {name} has {shown}; {consumers} consumer groups")
}

fn said(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        // Writing to a string does not fail.
        writeln!(text, "{finding}").unwrap_or_default();
    }
    for service in &report.services {
        writeln!(text, "{}", of_service(service)).unwrap_or_default();
    }
    let verdict = match (report.refuses(), report.findings.is_empty()) {
        (true, _) => "the relay would refuse some of this",
        (false, false) => "the relay would serve all of this",
        (false, true) => "the relay would serve all of this, nothing to say",
    };
    writeln!(text, "{} topics, {} consumer groups: {verdict}", report.topics, report.groups).unwrap_or_default();
    text
}
