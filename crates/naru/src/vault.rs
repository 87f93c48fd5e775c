//! `naru vault`: tokens in place of personal data, as a process, and its keys.

mod key;

use std::process::ExitCode;

use naru_vault::config::VaultConfig;
use naru_vault::server;

use crate::role_args::RoleArgs;
use crate::serving::{self, Failure};

/// Arguments of `naru vault`.
pub type Args = RoleArgs<Verb, VaultConfig>;

/// What can be done beside serving.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
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

async fn serve(config: VaultConfig) -> Result<ExitCode, Failure> {
    serving::until_stopped("naru-vault", &config.telemetry, config.drain_max, async |tasks, _telemetry| {
        let serving = server::serve(&config, tasks).await?;
        Ok((format!("listen={}", serving.address), async move || Ok(serving.seal()?)))
    })
    .await
}
