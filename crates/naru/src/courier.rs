//! `naru courier`: campaigns and usage notifications, as a process, and what is asked of it.

mod ask;
mod provider_sim;

use std::process::ExitCode;

use naru_courier::config::CourierConfig;
use naru_courier::courier;

use crate::role_args::RoleArgs;
use crate::serving::{self, Failure};

/// Arguments of `naru courier`.
pub type Args = RoleArgs<Verb, CourierConfig>;

/// What can be done beside sending.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
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

async fn serve(config: CourierConfig) -> Result<ExitCode, Failure> {
    let (telemetry, drain_max) = (config.telemetry.clone(), config.drain_max);
    serving::until_stopped("naru-courier", &telemetry, drain_max, async |tasks, telemetry| {
        let courier = courier::serve(config, tasks, telemetry.metrics()).await?;
        Ok((format!("listen={} receipts={}", courier.address, courier.receipts_address), async || Ok(())))
    })
    .await
}
