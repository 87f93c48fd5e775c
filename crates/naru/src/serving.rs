//! What every role that serves has in common: it is configured, run, and shown in the same way.

use std::error::Error;
use std::process::ExitCode;

use naru_model::invariant::{self, CATALOGUE, Invariant};
use naru_runtime::causes::with_causes;
use naru_runtime::config::ConfigErrors;
use naru_runtime::telemetry::{Observed, Reading, Telemetry};

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

/// Threads and their timers cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the system refused")]
struct NoThreads(#[source] std::io::Error);

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
        Err(error) => Err(NoThreads(error).into()),
    };
    served.unwrap_or_else(|failure| {
        eprintln!("naru {role}: {}", with_causes(&*failure));
        ExitCode::FAILURE
    })
}
