//! `naru courier`: campaigns and usage notifications, as a process, and what is asked of it.

mod ask;
mod provider_sim;

use std::io::Write as _;
use std::process::ExitCode;

use naru_courier::config::CourierConfig;
use naru_courier::courier::{self, OpenError};
use naru_runtime::config::Flags;
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Telemetry, TelemetryError};

use crate::serving;

/// Arguments of `naru courier`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags<CourierConfig>,
}

/// What can be done beside sending.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show what was sent, what is open, and what somebody must look at
    Status(ask::StatusArgs),
    /// Take a campaign on from its file, in JSON
    Send(ask::SendArgs),
    /// Stop a campaign at once
    Stop(ask::CampaignArgs),
    /// Let a stopped campaign go on
    Resume(ask::CampaignArgs),
    /// Run a simulated provider with faults, and a log of what it delivered
    ProviderSim(provider_sim::Args),
}

/// Sends until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    match &args.verb {
        Some(Verb::Status(args)) => return ask::status(args),
        Some(Verb::Send(args)) => return ask::send(args),
        Some(Verb::Stop(args)) => return ask::stop(args, "stop"),
        Some(Verb::Resume(args)) => return ask::stop(args, "resume"),
        Some(Verb::ProviderSim(args)) => return provider_sim::run(args),
        None => {}
    }
    serving::run("courier", args.flags.load(), &mut tokio::runtime::Builder::new_multi_thread(), serve)
}

/// Why the courier did not run to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the system refused")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

async fn serve(config: CourierConfig) -> Result<ExitCode, Failure> {
    // Caught before anyone is told that the courier is ready.
    let mut signals = Signals::listen()?;
    let tasks = Tasks::new();
    let telemetry = Telemetry::start("naru-courier", &config.telemetry, &tasks).await?;
    serving::count_violations(&telemetry);
    let drain_max = config.drain_max;
    let courier = courier::serve(config, &tasks, telemetry.metrics()).await?;
    let metrics = serving::ready_metrics(&telemetry);
    writeln!(std::io::stdout(), "ready listen={} receipts={}{metrics}", courier.address, courier.receipts_address)?;
    let ending = run_until_stopped(&tasks, drain_max, async || signals.next().await).await;
    telemetry.shutdown().await;
    Ok(ending.exit_code())
}
