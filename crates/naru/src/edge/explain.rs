//! `naru edge explain`: where a request would go by a configuration, and why.

use std::path::PathBuf;
use std::process::ExitCode;

use naru_edge::policy::explain::Question;
use naru_edge::policy::{ClientKey, Policy, Room};

use super::{configuration, print};

/// Arguments of `naru edge explain`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Answers for an edge with nothing in flight and every server up. Exit code: 0 answered, 2 bad input."
)]
pub struct Args {
    /// The edge's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Path of the request, with or without a query
    #[arg(long, value_name = "PATH")]
    route: String,
    /// Host of the request
    #[arg(long, value_name = "HOST", default_value = "")]
    host: String,
    /// Who asks: each has his own order of sites
    #[arg(long, value_name = "ID", default_value = "")]
    user: String,
}

/// Answers from the configuration alone.
pub fn run(args: &Args) -> ExitCode {
    let config = match configuration(&args.config) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return errors.exit_code();
        }
    };
    let room = Room::new(config.waiting_room.line);
    // What the policy would refuse was refused with the configuration.
    let Ok(policy) = Policy::new(&config.blueprint(), room) else { return ExitCode::FAILURE };
    let client = ClientKey::of(&args.user);
    let question = Question { host: &args.host, target: &args.route, client, now: 0 };
    print("explain", &policy.explain(&question))
}
