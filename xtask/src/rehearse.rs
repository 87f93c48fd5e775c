//! `./x rehearse`: builds `naru` and hands the arguments over.

use crate::peers;
use crate::shell::{self, TaskError, cargo, command, target};

/// Arguments of `./x rehearse`: those of `naru rehearse`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// A scenario and options; `./x rehearse --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs the task; the exit code is the verdict's.
pub fn run(args: &Args) -> Result<(), TaskError> {
    let folder = peers::folder().display().to_string();
    let out = target().join("rehearsal").display().to_string();
    let mut words = vec!["rehearse", "--invoked-as", "./x rehearse"];
    words.extend(args.rest.iter().map(String::as_str));
    let log = |name: &str| args.rest.iter().any(|word| word.strip_prefix("--log=").unwrap_or(word) == name);
    if log("kafka") {
        peers::kafka(peers::KAFKA_NEWEST)?;
    }
    if log("mixed") {
        for version in peers::KAFKA_VERSIONS {
            peers::kafka(version)?;
        }
    }
    if log("kafka") || log("mixed") {
        words.extend(["--peers", &folder]);
    }
    if !args.rest.iter().any(|word| word == "--out" || word.starts_with("--out=") || word == "--help") {
        words.extend(["--out", &out]);
    }
    shell::run(cargo(&["build", "--quiet", "--package", "naru"]))?;
    Err(shell::become_command(command(target().join("debug/naru"), &words)))
}
