//! `naru options`: the option reference of every role, as docs/OPTIONS.md holds it.

use std::io::Write as _;
use std::process::ExitCode;

use naru_runtime::config::{RoleReference, option_reference};

/// Every role with a configuration, in the order of the reference.
fn roles() -> Vec<RoleReference> {
    vec![RoleReference::of::<crate::sample::SampleConfig>()]
}

/// Prints the reference.
pub fn run() -> ExitCode {
    match std::io::stdout().write_all(option_reference(&roles()).as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that went away (`naru options | head`) is no failure of ours, and cannot be told.
        Err(_) => ExitCode::FAILURE,
    }
}
