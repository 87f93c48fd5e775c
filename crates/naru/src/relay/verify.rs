//! `naru relay verify`: both sides compared once, now.

use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use naru_kafka::client::{Client, ClientConfig};
use naru_relay::config::RelayConfig;
use naru_relay::identity::{self, IdentityError};
use naru_relay::upstream::{Upstream, UpstreamError};
use naru_relay::verify::{Options, Producers, Report, Verifier, VerifyError};
use naru_relay::{Side, SideMap};
use naru_runtime::config::{ByteSize, Scalar as _, parse_duration};

use super::verdict::{self, Verdict};

/// What ending the connections may take.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Arguments of `naru relay verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 both sides are equal, 1 they differ, 2 bad input, 3 no verdict.")]
pub struct Args {
    /// The relay's own configuration: where the sides are, and how to authenticate there
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Compare this topic only; may be repeated. Without it, every topic of either side but the brokers' own
    #[arg(long = "topic", value_name = "NAME")]
    topics: Vec<String>,
    /// Ask this relay how far both sides must be equal; without it, they must become equal within --settle
    #[arg(long, value_name = "HOST:PORT")]
    relay: Option<String>,
    /// Most bytes read per second from both sides together, such as 20MiB; without it, as fast as they answer
    #[arg(long, value_name = "SIZE", value_parser = size)]
    rate: Option<NonZeroU64>,
    /// How long ends and committed offsets that differ may take to become equal
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    settle: Duration,
    /// Do not compare what only one side has at its end: for topics whose standby follows
    #[arg(long)]
    ignore_tails: bool,
    /// Count it as a difference when equal records stand under another producer, as after a copy under the relay's stamp
    #[arg(long)]
    exact: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

fn size(text: &str) -> Result<NonZeroU64, String> {
    let size = ByteSize::from_text(text).map_err(|_| "is not a size such as 20MiB")?;
    NonZeroU64::new(size.as_usize() as u64).ok_or_else(|| "is 0; leave it out for no limit".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|_| "is not a duration such as 5s".to_owned())
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the system refused")]
    System(#[from] std::io::Error),
    #[error("side {side} cannot be spoken to")]
    Side {
        side: Side,
        #[source]
        source: UpstreamError,
    },
    #[error("the relay's state cannot be read")]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// Compares and says what differs.
pub fn run(args: &Args) -> ExitCode {
    verdict::run("verify", &args.config, |config| {
        let report = compare(args, config)?;
        let text = if args.json { verdict::json(&report)? } else { said(&report) };
        Ok::<_, Failure>(Verdict { text, passes: report.equal() })
    })
}

fn compare(args: &Args, config: &RelayConfig) -> Result<Report, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = |side| Upstream::client(side, config, "verify").map_err(|source| Failure::Side { side, source });
    let clients = SideMap { a: client(Side::A)?, b: client(Side::B)? };
    let producers = match identity::copier_id(&config.state)? {
        _ if args.exact => Producers::Compared,
        Some(id) => Producers::Copiers(id),
        None => Producers::LeftOut,
    };
    let options = Options {
        topics: (!args.topics.is_empty()).then(|| args.topics.iter().cloned().collect()),
        producers,
        tails: !args.ignore_tails,
        bytes_per_second: args.rate,
        settle: args.settle,
        ..Options::default()
    };
    runtime.block_on(async {
        let mut verifier = Verifier::new(clients.clone(), options);
        if let Some(address) = &args.relay {
            verifier = verifier.with_relay(Client::new(ClientConfig::new([address])).map_err(VerifyError::Relay)?);
        }
        let report = verifier.once().await;
        for (_, client) in clients.iter() {
            client.shutdown(CLOSE_MAX).await;
        }
        Ok(report?)
    })
}

fn said(report: &Report) -> String {
    let mut text = format!(
        "compared {} topics, {} partitions, {} batches ({} under the relay's stamp), {} bytes; {} groups, {} committed \
         offsets\n",
        report.topics,
        report.partitions,
        report.batches,
        report.restamped,
        report.bytes,
        report.groups,
        report.committed
    );
    let differences = report.differences.len() as u64 + report.not_kept;
    let verdict = match differences {
        0 => "both sides are equal".to_owned(),
        1 => "1 difference".to_owned(),
        more => format!("{more} differences"),
    };
    text.push_str(&verdict);
    text.push('\n');
    for apart in &report.begin_apart {
        // Writing to a string does not fail.
        writeln!(text, "  {apart}: compared from the later one on").unwrap_or_default();
    }
    for difference in &report.differences {
        // Writing to a string does not fail.
        writeln!(text, "  {difference}").unwrap_or_default();
    }
    if report.not_kept > 0 {
        writeln!(text, "  and {} more", report.not_kept).unwrap_or_default();
    }
    text
}
