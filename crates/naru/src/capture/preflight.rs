//! `naru capture preflight`: what would break if this database were captured, and the command that mends it.

use std::path::PathBuf;
use std::process::ExitCode;

use naru_capture::config::CaptureConfig;
use naru_capture::error::CaptureError;
use naru_capture::preflight::{self, Report};
use naru_runtime::causes::with_causes;
use naru_runtime::config::{ConfigErrors, Sources, process_environment};

/// Something was found that must not be.
const EXIT_FOUND: u8 = 1;
/// There is no verdict: the database could not be looked at.
const EXIT_NO_VERDICT: u8 = 3;

/// Arguments of `naru capture preflight`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 nothing or only warnings, 1 something is refused, 2 bad input, 3 no verdict.")]
pub struct Args {
    /// Capture's own configuration: where the database is, and which tables are wanted
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
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
    Preflight(#[from] CaptureError),
}

/// Looks at the database and says what stands in the way.
pub fn run(args: &Args) -> ExitCode {
    let config: Result<CaptureConfig, ConfigErrors> =
        Sources::default().environment(process_environment()).file(&args.config).load();
    let config = match config {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return errors.exit_code();
        }
    };
    match look(args, &config) {
        Ok((text, refuses)) => {
            print!("{text}");
            if refuses { ExitCode::from(EXIT_FOUND) } else { ExitCode::SUCCESS }
        }
        Err(failure) => {
            eprintln!("naru capture preflight: {}", with_causes(&failure));
            ExitCode::from(EXIT_NO_VERDICT)
        }
    }
}

fn look(args: &Args, config: &CaptureConfig) -> Result<(String, bool), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(preflight::run(config))?;
    let text = if args.json {
        serde_json::to_string_pretty(&report).map_err(std::io::Error::from)? + "\n"
    } else {
        said(&report)
    };
    Ok((text, report.refuses()))
}

fn said(report: &Report) -> String {
    let mut lines: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let verdict = match (report.refuses(), report.findings.is_empty()) {
        (true, _) => "capture would refuse some of this",
        (false, false) => "capture would take all of this",
        (false, true) => "capture would take all of this, nothing to say",
    };
    lines.push(format!("{} tables: {verdict}\n", report.tables));
    lines.join("\n")
}
