//! `naru capture`: the changes of a database on the log, as a process.

mod preflight;
mod status;

use std::io::Write as _;
use std::process::ExitCode;

use naru_capture::capture::{Capture, OpenError};
use naru_capture::config::CaptureConfig;
use naru_runtime::config::Flags;
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Telemetry, TelemetryError};

use crate::serving;

/// Arguments of `naru capture`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags<CaptureConfig>,
    /// Copy every table again first, whatever is on the log: after a lost slot
    #[arg(long)]
    copy_anew: bool,
}

/// What can be done beside capturing.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say what stands between a database and its capture, and the command that mends it
    Preflight(preflight::Args),
    /// Show what is captured, how far, and what is stopped
    Status(status::Args),
}

/// Captures until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    match &args.verb {
        Some(Verb::Preflight(args)) => return preflight::run(args),
        Some(Verb::Status(args)) => return status::run(args),
        None => {}
    }
    let serve = async |config| serve(config, args.copy_anew).await;
    serving::run("capture", args.flags.load(), &mut tokio::runtime::Builder::new_multi_thread(), serve)
}

/// Why capture did not run to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the system refused")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

async fn serve(config: CaptureConfig, copy_anew: bool) -> Result<ExitCode, Failure> {
    // Caught before anyone is told that capture is ready.
    let mut signals = Signals::listen()?;
    let tasks = Tasks::new();
    let telemetry = Telemetry::start("naru-capture", &config.telemetry, &tasks).await?;
    let drain_max = config.drain_max;
    let capture = Capture::open(config, &tasks, telemetry.metrics(), copy_anew)?;
    let status = capture.serve(&tasks).await?;
    writeln!(std::io::stdout(), "ready status={status}{}", serving::ready_metrics(&telemetry))?;
    let ending = run_until_stopped(&tasks, drain_max, async || signals.next().await).await;
    telemetry.shutdown().await;
    Ok(ending.exit_code())
}
