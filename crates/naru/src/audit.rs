//! `naru audit`: the audit as a process, and what can be asked of what it has written.

mod chain;
mod repair;
mod show;
mod status;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use naru_audit::auditor::{AuditError, Auditor};
use naru_audit::config::AuditConfig;
use naru_runtime::clocks::SystemClock;
use naru_runtime::config::Flags;
use naru_runtime::hex::to_hex;
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Telemetry, TelemetryError};

use crate::serving;

/// Arguments of `naru audit`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags<AuditConfig>,
}

/// What can be done beside running one.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say how far each source is certified, and what it waits for
    Status(status::Args),
    /// Show the certificate of a window: who has what, and each record that differs
    Show(show::Args),
    /// Check a chain of certificates with nothing but the audit's public key
    Verify(verify::Args),
    /// Plan what sets the differences of a certificate right, or order it
    Repair(repair::Args),
}

/// Audits until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    match &args.verb {
        Some(Verb::Status(args)) => return status::run(args),
        Some(Verb::Show(args)) => return show::run(args),
        Some(Verb::Verify(args)) => return verify::run(args),
        Some(Verb::Repair(args)) => return repair::run(args),
        None => {}
    }
    serving::run("audit", args.flags.load(), &mut tokio::runtime::Builder::new_multi_thread(), serve)
}

/// Why the audit did not run to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the system refused")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

async fn serve(config: AuditConfig) -> Result<ExitCode, Failure> {
    // Caught before anyone is told that the audit is ready.
    let mut signals = Signals::listen()?;
    let tasks = Tasks::new();
    let telemetry = Telemetry::start("naru-audit", &config.telemetry, &tasks).await?;
    serving::count_violations(&telemetry);
    let drain_max = config.drain_max;
    let auditor = Auditor::open(config, Arc::new(SystemClock::new())).await?;
    let key = to_hex(&auditor.public_key());
    let (certificates, metrics) = (auditor.certificates().display(), serving::ready_metrics(&telemetry));
    writeln!(std::io::stdout(), "ready certificates={certificates} key={key}{metrics}")?;
    tasks.spawn_fallible("audit", auditor.run(tasks.stop_token()));
    let ending = run_until_stopped(&tasks, drain_max, async || signals.next().await).await;
    telemetry.shutdown().await;
    Ok(ending.exit_code())
}
