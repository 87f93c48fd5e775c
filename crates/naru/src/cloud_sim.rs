//! `naru cloud-sim`: a simulated cloud as a process.

use std::io::Write as _;
use std::process::ExitCode;

use naru_cloud_sim::config::CloudSimConfig;
use naru_cloud_sim::server::{self, OpenError};
use naru_runtime::config::Flags;
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Telemetry, TelemetryError};

use crate::serving;

/// Arguments of `naru cloud-sim`.
pub type Args = Flags<CloudSimConfig>;

/// Serves until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    serving::run("cloud-sim", args.load(), &mut tokio::runtime::Builder::new_multi_thread(), serve)
}

/// Why the cloud did not run to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the system refused")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

async fn serve(config: CloudSimConfig) -> Result<ExitCode, Failure> {
    // Caught before anyone is told that the cloud is ready.
    let mut signals = Signals::listen()?;
    let tasks = Tasks::new();
    let telemetry = Telemetry::start("naru-cloud-sim", &config.telemetry, &tasks).await?;
    let address = server::serve(&config, &tasks).await?;
    let metrics = serving::ready_metrics(&telemetry);
    writeln!(std::io::stdout(), "ready listen={address}{metrics}")?;
    let ending = run_until_stopped(&tasks, config.drain_max, async || signals.next().await).await;
    telemetry.shutdown().await;
    Ok(ending.exit_code())
}
