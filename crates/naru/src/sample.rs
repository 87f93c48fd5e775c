//! `naru sample`: a service of the customer's side.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use naru_sample::{Config, Kind, Service};
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `naru sample`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    service: Which,
}

#[derive(Debug, clap::Subcommand)]
enum Which {
    /// Users pay merchants; publishes to the topic `payments`
    Payment(Options),
    /// Users send money to each other; publishes to the topic `transfers`
    Transfer(Options),
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Address to serve HTTP on; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Directory of the database; made when there is none
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Brokers of the log
    #[arg(long, value_name = "HOST:PORT,...", value_parser = brokers)]
    brokers: String,
    /// What a user's wallet is opened with at its first use, in minor units of the currency
    #[arg(long, value_name = "MINOR", default_value_t = 1_000_000_000, value_parser = clap::value_parser!(i64).range(0..=1_000_000_000_000_000))]
    opening_grant: i64,
}

/// How long SIGTERM waits for requests, and then for the log, before it leaves the rest to the next start.
const PATIENCE: Duration = Duration::from_secs(5);

fn brokers(text: &str) -> Result<String, String> {
    for broker in text.split(',') {
        let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return Err(format!("`{broker}` is not HOST:PORT: write, for example, 127.0.0.1:9092"));
        }
    }
    Ok(text.to_owned())
}

/// Runs the service until SIGTERM or SIGINT.
pub fn run(args: &Args) -> ExitCode {
    let (kind, options) = match &args.service {
        Which::Payment(options) => (Kind::Payment, options),
        Which::Transfer(options) => (Kind::Transfer, options),
    };
    let config = Config {
        kind,
        listen: options.listen,
        data: options.data.clone(),
        brokers: options.brokers.clone(),
        opening_grant: options.opening_grant,
    };
    let served = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(serve(config)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            eprintln!("naru sample: {text}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let service = Service::start(config).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "ready listen={}", service.address())?;
    stdout.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    service.drain(PATIENCE).await;
    Ok(())
}
