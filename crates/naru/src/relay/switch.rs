//! `naru relay switch`.

use std::process::ExitCode;

use naru_relay::Side;
use naru_relay::status::Order;

use super::ask::Target;
use super::status;

/// Arguments of `naru relay switch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Service group
    #[arg(long, value_name = "NAME", default_value = naru_relay::config::DEFAULT_GROUP)]
    group: String,
    #[command(flatten)]
    what: What,
    /// Print the status behind it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Side that becomes the active one
    #[arg(long, value_name = "SIDE", value_parser = side)]
    to: Option<Side>,
    /// Stop a switch that is under way, or take back one that is not confirmed
    #[arg(long)]
    cancel: bool,
    /// Let the last switch stay; or, in doubt, say that what the active side holds is what counts
    #[arg(long)]
    confirm: bool,
    /// Let one side acknowledge alone once although the state after a restart is in doubt
    #[arg(long)]
    allow_solo: bool,
}

fn side(text: &str) -> Result<Side, String> {
    match text {
        "a" | "A" => Ok(Side::A),
        "b" | "B" => Ok(Side::B),
        _ => Err("a or b".to_owned()),
    }
}

/// Orders it and shows the status behind it. Exit code 3 if the relay refuses, 1 if it could not be asked.
pub fn run(args: &Args) -> ExitCode {
    let order = Order { group: args.group.clone(), to: args.what.to };
    let what = match &args.what {
        What { to: Some(_), .. } => "switch",
        What { cancel: true, .. } => "cancel",
        What { confirm: true, .. } => "confirm",
        What { .. } => "allow-solo",
    };
    match args.target.order(what, &order) {
        Ok(report) => {
            status::print(&report, args.json);
            ExitCode::SUCCESS
        }
        Err(error) => error.report(),
    }
}
