//! `naru sample`: a service of the customer's side.

mod pages;

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use naru_runtime::config::{Flags, HostPort, Mistake};
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Metrics, Observed, Reading, Telemetry, TelemetryConfig};
use naru_sample::pages::Page;
use naru_sample::writer::Counters;
use naru_sample::{Config, Kind, Service};

use crate::serving;

/// What closing the database may take behind a drain that used all its time.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// Arguments of `naru sample`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    service: Which,
}

#[derive(Debug, clap::Subcommand)]
enum Which {
    /// Users pay merchants; publishes to the topic `payments`
    Payment(Flags<SampleConfig>),
    /// Users send money to each other; publishes to the topic `transfers`
    Transfer(Flags<SampleConfig>),
    /// Show the page of a promotion, as slowly as its slots allow
    Promotion(pages::Args),
    /// Show users their gifts, as slowly as the slots allow
    Gift(pages::Args),
}

naru_runtime::config! {
    /// A sample service: a payment or a transfer service, as a customer would write it.
    pub struct SampleConfig for "sample" {
        /// Address to serve HTTP on. Port 0 takes a free one.
        pub listen: SocketAddr = "127.0.0.1:8080",
        /// Directory of the database; made when there is none. Each service needs one of its own.
        pub data: PathBuf,
        /// Brokers of the log; one that answers is enough.
        #[check(some)]
        pub brokers: Vec<HostPort>,
        /// What a user's wallet is opened with at its first use, in minor units of the currency it is used in.
        #[range(0, 1_000_000_000_000_000)]
        pub opening_grant: i64 = 1_000_000_000,
        /// Longest wait for begun requests, and again for the log, when told to stop. The outbox keeps the rest.
        #[range("0s", "10m")]
        pub drain_max: Duration = "5s",
        /// Logs, metrics and traces.
        pub telemetry: TelemetryConfig,
    }
}

// The configuration hands a check the field as it is declared.
#[allow(clippy::ptr_arg)]
fn some(brokers: &Vec<HostPort>) -> Result<(), Mistake> {
    if brokers.is_empty() {
        return Err(Mistake::new("is required and missing", "give the address of a broker, such as 127.0.0.1:9092"));
    }
    Ok(())
}

/// Runs the service until SIGTERM or SIGINT.
pub fn run(args: &Args) -> ExitCode {
    let (kind, flags) = match &args.service {
        Which::Payment(flags) => (Kind::Payment, flags),
        Which::Transfer(flags) => (Kind::Transfer, flags),
        Which::Promotion(args) => return pages::run(Page::Promotion, args),
        Which::Gift(args) => return pages::run(Page::Gift, args),
    };
    let threads = &mut tokio::runtime::Builder::new_multi_thread();
    serving::run("sample", flags.load(), threads, async |config| serve(kind, config).await)
}

/// A part of the service panicked or failed; what is in the log says which. Only a restart helps.
#[derive(Debug, thiserror::Error)]
#[error("a part of the service ended before its time")]
struct Broken;

async fn serve(kind: Kind, config: SampleConfig) -> Result<ExitCode, Box<dyn Error>> {
    let SampleConfig { listen, data, brokers, opening_grant, drain_max, telemetry } = config;
    let mut signals = Signals::listen()?;
    let tasks = Tasks::new();
    let telemetry = Telemetry::start(kind.name(), &telemetry, &tasks).await?;
    serving::count_violations(&telemetry);
    let brokers = brokers.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",");
    let service = Service::start(Config { kind, listen, data, brokers, opening_grant }).await?;
    observe(telemetry.metrics(), service.counters());
    let mut stdout = std::io::stdout();
    writeln!(stdout, "ready listen={}{}", service.address(), serving::ready_metrics(&telemetry))?;
    stdout.flush()?;
    let stop = tasks.stop_token();
    tasks.spawn_fallible("service", async move {
        let broken = tokio::select! {
            () = stop.cancelled() => false,
            () = service.broken() => true,
        };
        service.drain(drain_max).await;
        if broken { Err(Broken) } else { Ok(()) }
    });
    // The drain's three steps have `drain_max` each. A second signal cuts them: the outbox keeps what is not published.
    let ending = run_until_stopped(&tasks, drain_max * 3 + CLOSE_MAX, async || signals.next().await).await;
    telemetry.shutdown().await;
    Ok(ending.exit_code())
}

/// Shows the service's counters in the metrics.
fn observe(metrics: &Metrics, counters: Arc<Counters>) {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let pending = Arc::clone(&counters);
    metrics.observe("outbox_pending", "Operations that the log has not acknowledged", Observed::Gauge, move || {
        vec![Reading { labels: Vec::new(), value: read(&pending.outbox_pending) }]
    });
    metrics.observe("requests", "Submitted instructions, by outcome", Observed::Counter, move || {
        let Counters { accepted, refused, invalid, busy, unknown, .. } = &*counters;
        let outcomes =
            [("accepted", accepted), ("refused", refused), ("invalid", invalid), ("busy", busy), ("unknown", unknown)];
        let reading = |(outcome, counter): (&'static str, _)| Reading {
            labels: vec![("outcome", outcome.into())],
            value: read(counter),
        };
        outcomes.into_iter().map(reading).collect()
    });
}
