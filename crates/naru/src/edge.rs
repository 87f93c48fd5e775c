//! `naru edge`: the gateway, and what can be asked of one.

mod audit;
mod check;
mod explain;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use naru_edge::config::EdgeConfig;
use naru_runtime::config::{ConfigErrors, Sources, process_environment};

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
    /// Say whether an edge would start with a configuration, and everything that stands in the way
    Check(check::Args),
    /// Say where a request would go by a configuration, and why
    Explain(explain::Args),
}

/// Runs what was asked.
pub fn run(args: &Args) -> ExitCode {
    match &args.verb {
        Verb::Audit(args) => audit::run(args),
        Verb::Check(args) => check::run(args),
        Verb::Explain(args) => explain::run(args),
    }
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
