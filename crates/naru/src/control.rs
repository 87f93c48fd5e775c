//! `naru control`: requests, plans and leases, as a process; its tokens; and the commands that ask it.

mod ask;
mod ledger;
mod token;

pub use ask::{
    ApplyArgs, ApproveArgs, CampaignApplyArgs, CostArgs, GetArgs, PlanArgs, ReleaseArgs, RenewArgs, RequestArgs,
};
pub use ask::{apply, approve, campaign_apply, cost, get, plan, release, renew, request};
pub use ledger::{Args as LedgerArgs, run as ledger};

use std::io::Write as _;
use std::process::ExitCode;

use naru_control::config::ControlConfig;
use naru_control::server::{self, OpenError};
use naru_runtime::config::Flags;
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Telemetry, TelemetryError};

use crate::serving;

/// Arguments of `naru control`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags<ControlConfig>,
}

/// What can be done beside serving.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make or remove tokens of those who ask
    Token(token::Args),
}

/// Serves until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    match &args.verb {
        Some(Verb::Token(args)) => token::run(args),
        None => serving::run("control", args.flags.load(), &mut tokio::runtime::Builder::new_multi_thread(), serve),
    }
}

/// Why control did not run to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the system refused")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

async fn serve(config: ControlConfig) -> Result<ExitCode, Failure> {
    // Caught before anyone is told that control is ready.
    let mut signals = Signals::listen()?;
    let tasks = Tasks::new();
    let telemetry = Telemetry::start("naru-control", &config.telemetry, &tasks).await?;
    serving::count_violations(&telemetry);
    let address = server::serve(&config, &tasks).await?;
    let metrics = serving::ready_metrics(&telemetry);
    writeln!(std::io::stdout(), "ready listen={address}{metrics}")?;
    let ending = run_until_stopped(&tasks, config.drain_max, async || signals.next().await).await;
    telemetry.shutdown().await;
    Ok(ending.exit_code())
}
