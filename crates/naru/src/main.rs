//! One binary that plays every role of Naru: parse, build, run, drain.

mod broker;
mod edge;
mod options;
mod rehearse;
mod relay;
mod sample;
mod serving;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Naru carries a payment service through its busiest day.
#[derive(Debug, Parser)]
#[command(name = "naru", version, about)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Run a stand-in broker: one node of the log, for a one-command start and for fault simulation
    Broker(broker::Args),
    /// Run a relay: two clusters act as one for unmodified clients
    Relay(relay::Args),
    /// Run a gateway: owned sites first, overflow to rented ones, core traffic never
    Edge(edge::Args),
    /// Run one of the sample services of the customer's side
    Sample(sample::Args),
    /// Play a scenario on this machine, with faults, and judge it
    Rehearse(rehearse::Args),
    /// Print the option reference of every role as Markdown
    Options,
}

fn main() -> ExitCode {
    match Cli::parse().role {
        Role::Broker(args) => broker::run(&args),
        Role::Relay(args) => relay::run(&args),
        Role::Edge(args) => edge::run(&args),
        Role::Sample(args) => sample::run(&args),
        Role::Rehearse(args) => rehearse::run(&args),
        Role::Options => options::run(),
    }
}
