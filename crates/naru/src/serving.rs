//! What every role that serves has in common: it is configured, run, and shown in the same way.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use naru_model::invariant::{self, CATALOGUE, Invariant};
use naru_runtime::causes::with_causes;
use naru_runtime::config::ConfigErrors;
use naru_runtime::shutdown::{Signals, run_until_stopped};
use naru_runtime::tasks::Tasks;
use naru_runtime::telemetry::{Observed, Reading, Telemetry, TelemetryConfig};

/// Counts violated invariants from here on, where a test would panic: a service that stops is worse than one that
/// raises an alarm. The first of each is an ERROR in the log; the counts are in the metrics.
pub fn count_violations(telemetry: &Telemetry) {
    invariant::count_violations(report);
    let help = "Times an invariant did not hold; its sentence is in ARCHITECTURE.md";
    telemetry.metrics().observe("invariant_violations", help, Observed::Counter, || {
        let reading =
            |one: &&'static Invariant| Reading { labels: vec![("id", one.id().into())], value: one.violations() };
        CATALOGUE.iter().map(reading).collect()
    });
}

fn report(invariant: &Invariant, detail: &str) {
    tracing::error!(id = invariant.id(), sentence = invariant.sentence(), detail, "an invariant does not hold");
}

/// The part of the ready line that says where metrics are read: ` metrics=ADDR`, or nothing.
pub fn ready_metrics(telemetry: &Telemetry) -> String {
    telemetry.metrics_address().map(|address| format!(" metrics={address}")).unwrap_or_default()
}

/// Threads, signals or standard output cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the system refused")]
struct Refused(#[from] std::io::Error);

/// Why a role did not run to its end; shown with its causes.
pub type Failure = Box<dyn Error>;

/// Runs a role by its configuration until it ends, and says on stderr why it did not begin or not end well.
pub fn run<C, F: Into<Box<dyn Error>>>(
    role: &str,
    config: Result<C, ConfigErrors>,
    threads: &mut tokio::runtime::Builder,
    serve: impl AsyncFnOnce(C) -> Result<ExitCode, F>,
) -> ExitCode {
    let config = match config {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return errors.exit_code();
        }
    };
    let served = match threads.enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(config)).map_err(Into::into),
        Err(error) => Err(Refused(error).into()),
    };
    served.unwrap_or_else(|failure| {
        eprintln!("naru {role}: {}", with_causes(&*failure));
        ExitCode::FAILURE
    })
}

/// A role between its start and its end: opens it, says on stdout that it is ready, waits until it is told to stop and its
/// tasks have ended within `drain_max`, and closes it.
///
/// `open` gives what the ready line says of the role (`listen=ADDR`), and what closes it: nothing, where its tasks are
/// all there is to it.
///
/// # Errors
/// Whatever `open` and closing say, and when the system refuses.
pub async fn until_stopped<C: AsyncFnOnce() -> Result<(), Failure>>(
    service: &'static str,
    telemetry: &TelemetryConfig,
    drain_max: Duration,
    open: impl AsyncFnOnce(&Tasks, &Telemetry) -> Result<(String, C), Failure>,
) -> Result<ExitCode, Failure> {
    // Caught before anyone is told that the role is ready.
    let mut signals = Signals::listen().map_err(Refused)?;
    let tasks = Tasks::new();
    let telemetry = Telemetry::start(service, telemetry, &tasks).await?;
    count_violations(&telemetry);
    let (ready, close) = open(&tasks, &telemetry).await?;
    writeln!(std::io::stdout(), "ready {ready}{}", ready_metrics(&telemetry)).map_err(Refused)?;
    let ending = run_until_stopped(&tasks, drain_max, async || signals.next().await).await;
    close().await?;
    telemetry.shutdown().await;
    Ok(ending.exit_code())
}
