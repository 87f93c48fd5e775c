//! `naru lake`: records of the log as tables, and SQL over them.

mod replay;

use std::io::Write as _;
use std::process::ExitCode;

use naru_lake::config::LakeConfig;
use naru_lake::lake::{Lake, OpenError};
use naru_runtime::config::Flags;
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Telemetry, TelemetryError};

use crate::serving;

/// Arguments of `naru lake`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags<LakeConfig>,
}

/// What can be done beside running one.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write an event that did not fit to the end of its partition again; every reader of the topic sees it again
    Replay(replay::Args),
}

/// Runs the lake until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    match &args.verb {
        Some(Verb::Replay(args)) => return replay::run(args),
        None => {}
    }
    serving::run("lake", args.flags.load(), &mut tokio::runtime::Builder::new_multi_thread(), serve)
}

/// Why the lake did not run to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the system refused")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Lake(#[from] OpenError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

async fn serve(config: LakeConfig) -> Result<ExitCode, Failure> {
    // Caught before anyone is told that the lake is ready.
    let mut signals = Signals::listen()?;
    let tasks = Tasks::new();
    let telemetry = Telemetry::start("naru-lake", &config.telemetry, &tasks).await?;
    serving::count_violations(&telemetry);
    let drain_max = config.drain_max;
    let lake = Lake::open(config, &tasks, telemetry.metrics()).await?;
    let catalogue = lake.catalogue_address().map(|address| format!(" catalogue={address}")).unwrap_or_default();
    let metrics = serving::ready_metrics(&telemetry);
    writeln!(std::io::stdout(), "ready listen={}{catalogue}{metrics}", lake.sql_address())?;
    let ending = run_until_stopped(&tasks, drain_max, async || signals.next().await).await;
    lake.close().await;
    telemetry.shutdown().await;
    Ok(ending.exit_code())
}
