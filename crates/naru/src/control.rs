//! `naru control`: requests, plans and leases, as a process; its tokens; and the commands that ask it.

mod ask;
mod ledger;
mod token;

pub use ask::{
    ApplyArgs, ApproveArgs, CampaignApplyArgs, CostArgs, GetArgs, PlanArgs, ReleaseArgs, RenewArgs, RequestArgs,
};
pub use ask::{apply, approve, campaign_apply, cost, get, plan, release, renew, request};
pub use ledger::{Args as LedgerArgs, run as ledger};

use std::process::ExitCode;

use naru_control::config::ControlConfig;
use naru_control::server;

use crate::role_args::RoleArgs;
use crate::serving::{self, Failure};

/// Arguments of `naru control`.
pub type Args = RoleArgs<Verb, ControlConfig>;

/// What can be done beside serving.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
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

async fn serve(config: ControlConfig) -> Result<ExitCode, Failure> {
    serving::until_stopped("naru-control", &config.telemetry, config.drain_max, async |tasks, _telemetry| {
        let address = server::serve(&config, tasks).await?;
        Ok((format!("listen={address}"), async || Ok(())))
    })
    .await
}
