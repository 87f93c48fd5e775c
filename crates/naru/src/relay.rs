//! `naru relay`: the relay as a process, and what can be asked of one.

mod ask;
mod preflight;
mod status;
mod switch;
mod user;
mod verdict;
mod verify;

use std::process::ExitCode;
use std::time::Duration;

use naru_relay::config::RelayConfig;
use naru_relay::relay::Relay;

use crate::role_args::RoleArgs;
use crate::serving::{self, Failure};

/// What closing the connections to the clusters may take behind a drain that used all its time.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// Arguments of `naru relay`.
pub type Args = RoleArgs<Verb, RelayConfig>;

/// What can be done beside running one.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Say what would break if a relay served these clusters, and the command that mends it
    Preflight(preflight::Args),
    /// Show which side is active, what is in sync, and how far behind each side is
    Status(status::Args),
    /// Make another side the active one, by a planned switch, or take that back
    Switch(switch::Args),
    /// Compare both sides now, by a reader that shares nothing with the relay
    Verify(verify::Args),
    /// Print the lines that make a user known to the relay; the password comes from standard input
    User(user::Args),
}

/// Runs the relay until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    match &args.verb {
        Some(Verb::Preflight(args)) => return preflight::run(args),
        Some(Verb::Status(args)) => return status::run(args),
        Some(Verb::Switch(args)) => return switch::run(args),
        Some(Verb::Verify(args)) => return verify::run(args),
        Some(Verb::User(args)) => return user::run(args),
        None => {}
    }
    serving::run("relay", args.flags.load(), &mut tokio::runtime::Builder::new_multi_thread(), serve)
}

async fn serve(config: RelayConfig) -> Result<ExitCode, Failure> {
    let (telemetry, drain_max) = (config.telemetry.clone(), config.drain_max + CLOSE_MAX);
    serving::until_stopped("naru-relay", &telemetry, drain_max, async |tasks, telemetry| {
        let relay = Relay::open(config, tasks, telemetry.metrics()).await?;
        let listening = relay.serve().await?;
        let status = relay.status_address().map(|address| format!(" status={address}")).unwrap_or_default();
        Ok((format!("listen={listening}{status}"), async move || {
            relay.close(CLOSE_MAX).await;
            Ok(())
        }))
    })
    .await
}
