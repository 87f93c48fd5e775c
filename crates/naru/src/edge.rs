//! `naru edge`: the gateway, and what can be asked of one.

mod audit;
mod check;
mod explain;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use naru_edge::adapter::{Front, FrontError};
use naru_edge::config::EdgeConfig;
use naru_edge::decision::DecisionLogError;
use naru_edge::gateway::{Gateway, GatewayError};
use naru_edge::operations::reload::Reload;
use naru_edge::operations::{admin, health, meters};
use naru_runtime::clocks::SystemClock;
use naru_runtime::config::{ConfigErrors, Flags, Sources, process_environment};
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Telemetry, TelemetryError};

use crate::serving;

/// Arguments of `naru edge`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags<EdgeConfig>,
}

/// What can be done beside running one.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Prove from a decision log that no core request went to a rented site
    Audit(audit::Args),
    /// Say whether an edge would start with a configuration, and everything that stands in the way
    Check(check::Args),
    /// Say where a request would go by a configuration, and why
    Explain(explain::Args),
}

/// Runs the gateway until it is told to stop, or what was asked of one.
pub fn run(args: &Args) -> ExitCode {
    match &args.verb {
        Some(Verb::Audit(args)) => return audit::run(args),
        Some(Verb::Check(args)) => return check::run(args),
        Some(Verb::Explain(args)) => return explain::run(args),
        None => {}
    }
    let config = args.flags.load();
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    if let Ok(config) = &config {
        threads.worker_threads(config.threads as usize);
    }
    serving::run("edge", config, &mut threads, async |config| serve(config, &args.flags).await)
}

/// Why the gateway did not run to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the system refused")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error(transparent)]
    Front(#[from] FrontError),
    #[error(transparent)]
    Decisions(#[from] DecisionLogError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

async fn serve(config: EdgeConfig, flags: &Flags<EdgeConfig>) -> Result<ExitCode, Failure> {
    // Caught before anyone is told that the gateway is ready.
    let mut signals = Signals::listen()?;
    let tasks = Tasks::new();
    let telemetry = Telemetry::start("naru-edge", &config.telemetry, &tasks).await?;
    serving::count_violations(&telemetry);
    let drain_max = config.drain_max;
    let gateway = Arc::new(Gateway::open(config, Arc::new(SystemClock::new()))?);
    let front = Arc::new(Front::new(gateway.clone())?);
    let listener = front.bind().await?;
    let listening = listener.local_addr()?;
    gateway.keep_time(&tasks);
    front.serve(listener, &tasks);
    let reload = Reload::new(&gateway, &front, flags.file().as_deref(), {
        let flags = flags.clone();
        move || flags.load()
    })?;
    reload.keep_reading(&tasks);
    meters::show(&gateway, &front, telemetry.metrics());
    health::keep_asking(&gateway, &tasks);
    let admin = admin::serve(&gateway, &front, &tasks).await?;
    writeln!(std::io::stdout(), "ready listen={listening} admin={admin}{}", serving::ready_metrics(&telemetry))?;
    let ending = run_until_stopped(&tasks, drain_max, async || signals.next().await).await;
    gateway.close()?;
    telemetry.shutdown().await;
    Ok(ending.exit_code())
}

/// An edge's configuration from its file and the environment.
fn configuration(file: &Path) -> Result<EdgeConfig, ConfigErrors> {
    Sources::default().environment(process_environment()).file(file).load()
}

/// Prints what a command found.
fn print(command: &str, text: &str) -> ExitCode {
    // A closed pipe must not turn an answer into a panic.
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("naru edge {command}: the answer could not be printed: {error}");
            ExitCode::FAILURE
        }
    }
}
