//! `naru console`: the console as a process.

use std::process::ExitCode;

use naru_console::config::ConsoleConfig;
use naru_console::server;
use naru_runtime::config::Flags;

use crate::serving::{self, Failure};

/// Arguments of `naru console`.
pub type Args = Flags<ConsoleConfig>;

/// Serves until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    serving::run("console", args.load(), &mut threads, serve)
}

async fn serve(config: ConsoleConfig) -> Result<ExitCode, Failure> {
    let (telemetry, drain_max) = (config.telemetry.clone(), config.drain_max);
    serving::until_stopped("naru-console", &telemetry, drain_max, async |tasks, _telemetry| {
        let address = server::serve(config, tasks).await?;
        Ok((format!("listen={address}"), async || Ok(())))
    })
    .await
}
