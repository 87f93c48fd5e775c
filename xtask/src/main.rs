//! Developer tasks: what `./x TASK` runs. Depends on none of Naru's crates, so that it builds in seconds.

mod check;
mod day;
mod dist;
mod measure;
mod peers;
mod rehearse;
mod shell;
mod simulate;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::shell::TaskError;

/// Developer tasks of Naru.
#[derive(Debug, Parser)]
#[command(name = "x", about, bin_name = "./x")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build naru and play a scenario on this machine: the main job (`./x rehearse --log kafka` against Apache Kafka)
    Rehearse(rehearse::Args),
    /// All tests; Apache Kafka is fetched and started by itself
    Test(test::Args),
    /// Formatting, lints, tidy, licences: what CI runs before the tests
    Check,
    /// The project's own rules alone (part of check)
    Tidy(tidy::Args),
    /// Benchmarks, both sides in one run: `wire`, `broker`, `relay`, `edge`, `capacity`
    Bench(measure::BenchArgs),
    /// The long kill -9 loop of `broker` or `relay`, the random decisions of `edge-policy`, or the event `day`, seed after seed, and its sabotages
    Soak(measure::SoakArgs),
    /// Play seeded histories of the relay's machines, and judge each: `relay`; made-up campaigns for the planner: `campaigns`
    Simulate(simulate::Args),
    /// Make the Debian package, with completions, manual pages, systemd units and the list of its parts
    Dist(dist::Args),
    /// Fuzz every target, or one, for so many seconds each
    Fuzz(measure::FuzzArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Rehearse(args) => rehearse::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Check => check::run(),
        Task::Tidy(args) => tidy::run(&args),
        Task::Bench(args) => measure::bench(&args),
        Task::Soak(args) => measure::soak(&args),
        Task::Simulate(args) => simulate::simulate(&args),
        Task::Dist(args) => dist::dist(&args),
        Task::Fuzz(args) => measure::fuzz(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(TaskError::Failed { code, .. }) if (1..=255).contains(&code) => ExitCode::from(code as u8),
        Err(error) => {
            eprintln!("x: {error}");
            ExitCode::FAILURE
        }
    }
}
