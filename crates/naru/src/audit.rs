//! `naru audit`: the audit as a process, and what can be asked of what it has written.

mod chain;
mod repair;
mod show;
mod status;
mod verify;

use std::process::ExitCode;
use std::sync::Arc;

use naru_audit::auditor::Auditor;
use naru_audit::config::AuditConfig;
use naru_runtime::clocks::SystemClock;
use naru_runtime::hex::to_hex;

use crate::role_args::RoleArgs;
use crate::serving::{self, Failure};

/// Arguments of `naru audit`.
pub type Args = RoleArgs<Verb, AuditConfig>;

/// What can be done beside running one.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
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

async fn serve(config: AuditConfig) -> Result<ExitCode, Failure> {
    let (telemetry, drain_max) = (config.telemetry.clone(), config.drain_max);
    serving::until_stopped("naru-audit", &telemetry, drain_max, async |tasks, _telemetry| {
        let auditor = Auditor::open(config, Arc::new(SystemClock::new())).await?;
        let key = to_hex(&auditor.public_key());
        let ready = format!("certificates={} key={key}", auditor.certificates().display());
        tasks.spawn_fallible("audit", auditor.run(tasks.stop_token()));
        Ok((ready, async || Ok(())))
    })
    .await
}
