//! `naru courier provider-sim`: a provider of messages that is not one, for tests and rehearsals.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use naru_courier::sim::{self, Faults, SimConfig};
use naru_runtime::causes::with_causes;
use naru_runtime::config::parse_duration;
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;

/// What is in hand when it is told to stop gets this long.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Arguments of `naru courier provider-sim`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// File for a line about each message that reached a person
    #[arg(long, value_name = "PATH")]
    log: PathBuf,
    /// Where receipts are called back; POST /sim/callback changes it
    #[arg(long, value_name = "URL")]
    callback: Option<String>,
    /// Draws the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Whether more than a third of all requests have a fault
    #[arg(long)]
    faults: bool,
    /// How long a key that was seen is refused
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    key_lifetime: Duration,
    /// How long a silent answer takes
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    silence: Duration,
    /// Receipts come within this
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    receipt_within: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|_| "use a duration such as 250ms or 10s".to_owned())
}

/// Serves until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    let served = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match served.and_then(|runtime| runtime.block_on(serve(args))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("naru courier provider-sim: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: &Args) -> std::io::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let tasks = Tasks::new();
    let config = SimConfig {
        listen: args.listen,
        callback: args.callback.clone(),
        seed: args.seed,
        faults: if args.faults { Faults::HEAVY } else { Faults::NONE },
        key_lifetime: args.key_lifetime,
        silence: args.silence,
        receipt_within: args.receipt_within,
    };
    let address = sim::serve(config, &args.log, &tasks).await?;
    writeln!(std::io::stdout(), "ready listen={address}")?;
    let ending = run_until_stopped(&tasks, DRAIN_MAX, async || signals.next().await).await;
    Ok(ending.exit_code())
}
