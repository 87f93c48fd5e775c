//! `./x check`: what must hold before a test is worth running.

use crate::shell::{self, TaskError, cargo, command};
use crate::{peers, tidy};

/// Runs the task.
pub fn run() -> Result<(), TaskError> {
    shell::run(command(env!("CARGO"), &["fmt", "--all", "--check"]))?;
    tidy::run(&tidy::Args { update: false })?;
    shell::run(command(peers::cargo_deny()?, &["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))?;
    shell::run(cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]))?;
    // What seeds known faults is left out of every product, and must not rot.
    let mutation = ["clippy", "--package", "naru-edge", "--package", "naru-relay", "--all-targets", "--quiet"];
    let mutation =
        mutation.iter().chain(&["--features", "naru-edge/mutation,naru-relay/mutation", "--", "--deny", "warnings"]);
    shell::run(cargo(&mutation.copied().collect::<Vec<_>>()))?;
    tidy::options()
}
