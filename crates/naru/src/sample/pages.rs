//! `naru sample promotion` and `naru sample gift`: pages that cost slots.

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use naru_runtime::causes::with_causes;
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{LogFormat, Telemetry, TelemetryConfig};
use naru_sample::pages::{HOLD, Page, Pages, PagesConfig};

use super::Broken;
use crate::serving;

/// Longest wait for begun requests when told to stop: several times what one holds its slots for.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// What ending takes beside a drain that used all its time.
const END_MAX: Duration = Duration::from_secs(1);

/// Arguments of `naru sample promotion` and `naru sample gift`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to serve HTTP on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Name of the process, in the header `served-by` of its answers and in its access log
    #[arg(long, value_name = "NAME", default_value = "sample")]
    name: String,
    /// Slots of the process: a view of a promotion holds one, a gift three
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    slots: u32,
    /// Milliseconds for which a request holds its slots
    #[arg(long, value_name = "MS", default_value_t = HOLD.as_millis() as u64, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    hold_ms: u64,
    /// File to which each request adds a line of JSON, before it is answered
    #[arg(long, value_name = "FILE")]
    access_log: PathBuf,
    /// Text that must not come here; the access log says of each request whether it held it
    #[arg(long, value_name = "TEXT")]
    planted: Option<String>,
}

/// Shows the page until SIGTERM or SIGINT.
pub fn run(page: Page, args: &Args) -> ExitCode {
    let config = PagesConfig {
        page,
        name: args.name.clone(),
        listen: args.listen,
        slots: args.slots,
        hold: Duration::from_millis(args.hold_ms),
        access_log: args.access_log.clone(),
        planted: args.planted.clone(),
    };
    // A page sleeps: one thread is plenty.
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Box::<dyn Error>::from)
        .and_then(|runtime| runtime.block_on(serve(config)));
    served.unwrap_or_else(|error| {
        eprintln!("naru sample {}: {}", page.name(), with_causes(&*error));
        ExitCode::FAILURE
    })
}

async fn serve(config: PagesConfig) -> Result<ExitCode, Box<dyn Error>> {
    let mut signals = Signals::listen()?;
    let tasks = Tasks::new();
    let telemetry = Telemetry::start(config.page.name(), &logs(), &tasks).await?;
    serving::count_violations(&telemetry);
    let pages = Pages::start(config).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "ready listen={}", pages.address())?;
    stdout.flush()?;
    let stop = tasks.stop_token();
    tasks.spawn_fallible("pages", async move {
        let broken = tokio::select! {
            () = stop.cancelled() => false,
            () = pages.broken() => true,
        };
        pages.drain(DRAIN_MAX).await;
        if broken { Err(Broken) } else { Ok(()) }
    });
    let ending = run_until_stopped(&tasks, DRAIN_MAX + END_MAX, async || signals.next().await).await;
    telemetry.shutdown().await;
    Ok(ending.exit_code())
}

fn logs() -> TelemetryConfig {
    let (log_format, log) = (LogFormat::Human, "info".to_owned());
    TelemetryConfig { log_format, log, metrics: None, traces: None, traces_share: 1.0 }
}
