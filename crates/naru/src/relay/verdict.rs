//! What the commands have in common that look at both sides and say what they found.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use naru_relay::config::RelayConfig;
use naru_runtime::causes::with_causes;
use naru_runtime::config::{ConfigErrors, Sources, process_environment};
use serde::Serialize;

/// Something was found that must not be.
const EXIT_FOUND: u8 = 1;
/// There is no verdict: a side could not be looked at.
const EXIT_NO_VERDICT: u8 = 3;

/// What was found, to be printed, and whether any of it must not be.
pub struct Verdict {
    pub text: String,
    pub passes: bool,
}

/// A relay's configuration from its file and the environment.
pub fn configuration(file: &Path) -> Result<RelayConfig, ConfigErrors> {
    Sources::default().environment(process_environment()).file(file).load()
}

/// Looks by a relay's configuration, prints the verdict and gives it as exit code.
pub fn run<F: std::error::Error>(
    command: &str,
    config: &Path,
    look: impl FnOnce(&RelayConfig) -> Result<Verdict, F>,
) -> ExitCode {
    let config = match configuration(config) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return errors.exit_code();
        }
    };
    match look(&config) {
        Ok(verdict) => {
            // A closed pipe must not turn a verdict into a panic.
            if std::io::stdout().write_all(verdict.text.as_bytes()).is_err() {
                eprintln!("naru relay {command}: the verdict could not be printed");
            }
            if verdict.passes { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) }
        }
        Err(failure) => {
            eprintln!("naru relay {command}: {}", with_causes(&failure));
            ExitCode::from(EXIT_NO_VERDICT)
        }
    }
}

/// A report as JSON.
pub fn json(report: &impl Serialize) -> std::io::Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}
