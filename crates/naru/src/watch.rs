//! `naru watch`: looks at every role, as a process, and what is asked of it.

mod ask;

use std::process::ExitCode;

use naru_watch::config::WatchConfig;
use naru_watch::server;

use crate::role_args::RoleArgs;
use crate::serving::{self, Failure};

/// Arguments of `naru watch`.
pub type Args = RoleArgs<Verb, WatchConfig>;

/// What can be done beside watching.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Show who is there, what runs out, and what is open
    Status(ask::ShowArgs),
    /// List incidents, the newest first
    Incidents(ask::ShowArgs),
    /// Take an incident on
    Acknowledge(ask::AcknowledgeArgs),
    /// Print the draft of an incident's postmortem
    Postmortem(ask::PostmortemArgs),
    /// Tell of a change: a plan, a configuration, a deployment
    Changed(ask::ChangedArgs),
    /// Say what is to be done after an incident, by whom, and which rehearsal shows it
    Act(ask::ActArgs),
    /// Close an action by the report of its rehearsal
    Close(ask::CloseArgs),
}

/// Watches until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    match &args.verb {
        Some(Verb::Status(args)) => return ask::status(args),
        Some(Verb::Incidents(args)) => return ask::incidents(args),
        Some(Verb::Acknowledge(args)) => return ask::acknowledge(args),
        Some(Verb::Postmortem(args)) => return ask::postmortem(args),
        Some(Verb::Changed(args)) => return ask::changed(args),
        Some(Verb::Act(args)) => return ask::act(args),
        Some(Verb::Close(args)) => return ask::close(args),
        None => {}
    }
    serving::run("watch", args.flags.load(), &mut tokio::runtime::Builder::new_multi_thread(), serve)
}

async fn serve(config: WatchConfig) -> Result<ExitCode, Failure> {
    serving::until_stopped("naru-watch", &config.telemetry, config.drain_max, async |tasks, telemetry| {
        let address = server::serve(&config, tasks, telemetry.metrics()).await?;
        Ok((format!("listen={address}"), async || Ok(())))
    })
    .await
}
