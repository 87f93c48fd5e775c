//! `naru broker`.

use std::process::ExitCode;

/// Arguments of `naru broker`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the role until it is told to stop.
pub fn run(_args: &Args) -> ExitCode {
    ExitCode::from(2)
}
