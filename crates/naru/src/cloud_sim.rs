//! `naru cloud-sim`: a simulated cloud as a process.

use std::process::ExitCode;

use naru_cloud_sim::config::CloudSimConfig;
use naru_cloud_sim::server;
use naru_runtime::config::Flags;

use crate::serving::{self, Failure};

/// Arguments of `naru cloud-sim`.
pub type Args = Flags<CloudSimConfig>;

/// Serves until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    serving::run("cloud-sim", args.load(), &mut tokio::runtime::Builder::new_multi_thread(), serve)
}

async fn serve(config: CloudSimConfig) -> Result<ExitCode, Failure> {
    serving::until_stopped("naru-cloud-sim", &config.telemetry, config.drain_max, async |tasks, _telemetry| {
        let address = server::serve(&config, tasks).await?;
        Ok((format!("listen={address}"), async || Ok(())))
    })
    .await
}
