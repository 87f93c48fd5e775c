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
use naru_edge::gateway::{Gateway, GatewayError, Lane};
use naru_edge::operations::doors::Doors;
use naru_edge::operations::handover::{self, Handover, HandoverError};
use naru_edge::operations::reload::Reload;
use naru_edge::operations::{health, meters, sharing};
use naru_runtime::clocks::SystemClock;
use naru_runtime::config::{ConfigErrors, Flags, Sources, process_environment};
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Telemetry, TelemetryConfig, TelemetryError};
use tokio::net::TcpListener;

use crate::serving;

/// Arguments of `naru edge`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags<EdgeConfig>,
    /// Take over from the edge that runs on the same state directory, which then ends; no connection is refused meanwhile
    #[arg(long)]
    takeover: bool,
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
    serving::run("edge", config, &mut threads, async |config| serve(config, &args.flags, args.takeover).await)
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
    Handover(#[from] HandoverError),
    #[error(transparent)]
    Decisions(#[from] DecisionLogError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

async fn serve(config: EdgeConfig, flags: &Flags<EdgeConfig>, takeover: bool) -> Result<ExitCode, Failure> {
    // Caught before anyone is told that the gateway is ready.
    let mut signals = Signals::listen()?;
    let tasks = Tasks::new();
    // The port of metrics is opened with that of admin: an edge that hands over has to close both.
    let telemetry = TelemetryConfig { metrics: None, ..config.telemetry.clone() };
    let telemetry = Telemetry::start("naru-edge", &telemetry, &tasks).await?;
    serving::count_violations(&telemetry);
    let drain_max = config.drain_max;
    let taken = if takeover { Some(handover::take(&config.state)?) } else { None };
    let lane = taken.as_ref().map_or(Lane::First, |taken| taken.lane);
    let gateway = Arc::new(Gateway::open_beside(config, Arc::new(SystemClock::new()), lane)?);
    let front = Arc::new(Front::new(gateway.clone())?);
    let listener = match &taken {
        Some(taken) => {
            let listener = taken.listener.try_clone()?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)?
        }
        None => front.bind().await?,
    };
    let listening = listener.local_addr()?;
    let doors = Arc::new(Doors::new(&gateway, &front, telemetry.metrics()));
    let addresses = doors.open().await?;
    let reload = Reload::new(&gateway, &front, flags.file().as_deref(), {
        let flags = flags.clone();
        move || flags.load()
    })?;
    let handover = Handover::new(&gateway, &front, &doors, &listener)?;
    meters::show(&gateway, &front, telemetry.metrics());
    gateway.keep_time(&tasks);
    sharing::keep_asking(&gateway, &tasks).await?;
    health::keep_asking(&gateway, &tasks);
    reload.keep_reading(&tasks);
    if let Some(taken) = taken {
        // What the process before still needs of each site is known before the first request comes.
        taken.serving(&gateway)?.follow(&gateway, &tasks)?;
    }
    front.serve(listener, &tasks);
    handover.keep_ready(&tasks);
    let metrics = addresses.metrics.map(|address| format!(" metrics={address}")).unwrap_or_default();
    writeln!(std::io::stdout(), "ready listen={listening} admin={}{metrics}", addresses.admin)?;
    let ending = run_until_stopped(&tasks, drain_max, async || signals.next().await).await;
    doors.close().await;
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
