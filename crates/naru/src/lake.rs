//! `naru lake`: records of the log as tables, and SQL over them.

mod replay;

use std::process::ExitCode;

use naru_lake::config::LakeConfig;
use naru_lake::lake::Lake;

use crate::role_args::RoleArgs;
use crate::serving::{self, Failure};

/// Arguments of `naru lake`.
pub type Args = RoleArgs<Verb, LakeConfig>;

/// What can be done beside running one.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
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

async fn serve(config: LakeConfig) -> Result<ExitCode, Failure> {
    let (telemetry, drain_max) = (config.telemetry.clone(), config.drain_max);
    serving::until_stopped("naru-lake", &telemetry, drain_max, async |tasks, telemetry| {
        let lake = Lake::open(config, tasks, telemetry.metrics()).await?;
        let catalogue = lake.catalogue_address().map(|address| format!(" catalogue={address}")).unwrap_or_default();
        let ready = format!("listen={}{catalogue}", lake.sql_address());
        Ok((ready, async move || {
            lake.close().await;
            Ok(())
        }))
    })
    .await
}
