//! `naru vault`: tokens in place of personal data, as a process, and its keys.

mod key;

use std::io::Write as _;
use std::process::ExitCode;

use naru_runtime::config::Flags;
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Telemetry, TelemetryError};
use naru_vault::config::VaultConfig;
use naru_vault::server::{self, OpenError};
use naru_vault::uses::UsesError;

use crate::serving;

/// Arguments of `naru vault`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags<VaultConfig>,
}

/// What can be done beside serving.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make or rotate the keys of a field
    Key(key::Args),
}

/// Serves until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    match &args.verb {
        Some(Verb::Key(args)) => return key::run(args),
        None => {}
    }
    serving::run("vault", args.flags.load(), &mut tokio::runtime::Builder::new_multi_thread(), serve)
}

/// Why the vault did not run to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the system refused")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Uses(#[from] UsesError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

async fn serve(config: VaultConfig) -> Result<ExitCode, Failure> {
    // Caught before anyone is told that the vault is ready.
    let mut signals = Signals::listen()?;
    let tasks = Tasks::new();
    let telemetry = Telemetry::start("naru-vault", &config.telemetry, &tasks).await?;
    let serving = server::serve(&config, &tasks).await?;
    let metrics = serving::ready_metrics(&telemetry);
    writeln!(std::io::stdout(), "ready listen={}{metrics}", serving.address)?;
    let ending = run_until_stopped(&tasks, config.drain_max, async || signals.next().await).await;
    serving.seal()?;
    telemetry.shutdown().await;
    Ok(ending.exit_code())
}
