//! `naru edge`: the gateway, and what can be asked of one.

mod audit;

use std::process::ExitCode;

/// Arguments of `naru edge`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

/// What can be asked.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Prove from a decision log that no core request went to a rented site
    Audit(audit::Args),
}

/// Runs what was asked.
pub fn run(args: &Args) -> ExitCode {
    match &args.verb {
        Verb::Audit(args) => audit::run(args),
    }
}
