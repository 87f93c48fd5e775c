//! `naru capture`: the changes of a database on the log, as a process.

mod preflight;
mod status;

use std::process::ExitCode;

use naru_capture::capture::Capture;
use naru_capture::config::CaptureConfig;
use naru_runtime::config::Flags;

use crate::serving::{self, Failure};

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

async fn serve(config: CaptureConfig, copy_anew: bool) -> Result<ExitCode, Failure> {
    let (telemetry, drain_max) = (config.telemetry.clone(), config.drain_max);
    serving::until_stopped("naru-capture", &telemetry, drain_max, async |tasks, telemetry| {
        let capture = Capture::open(config, tasks, telemetry.metrics(), copy_anew)?;
        let status = capture.serve(tasks).await?;
        Ok((format!("status={status}"), async || Ok(())))
    })
    .await
}
