//! One binary that plays every role of Naru: parse, build, run, drain.

#[cfg(any(feature = "capture", feature = "courier", feature = "watch"))]
mod asking;
#[cfg(feature = "audit")]
mod audit;
#[cfg(feature = "broker")]
mod broker;
#[cfg(feature = "campaign")]
mod campaign;
#[cfg(feature = "capture")]
mod capture;
#[cfg(feature = "cloud-sim")]
mod cloud_sim;
#[cfg(feature = "console")]
mod console;
#[cfg(feature = "control")]
mod control;
#[cfg(feature = "courier")]
mod courier;
#[cfg(feature = "edge")]
mod edge;
mod handbook;
#[cfg(feature = "lake")]
mod lake;
mod options;
#[cfg(any(feature = "audit", feature = "control", feature = "edge"))]
mod public_keys;
#[cfg(feature = "rehearse")]
mod rehearse;
#[cfg(feature = "relay")]
mod relay;
#[cfg(any(
    feature = "audit",
    feature = "control",
    feature = "courier",
    feature = "lake",
    feature = "relay",
    feature = "vault",
    feature = "watch"
))]
mod role_args;
#[cfg(feature = "sample")]
mod sample;
#[cfg(any(
    feature = "audit",
    feature = "broker",
    feature = "capture",
    feature = "cloud-sim",
    feature = "console",
    feature = "control",
    feature = "courier",
    feature = "edge",
    feature = "lake",
    feature = "relay",
    feature = "sample",
    feature = "vault",
    feature = "watch"
))]
mod serving;
#[cfg(any(feature = "control", feature = "edge"))]
mod signed_chain;
#[cfg(feature = "up")]
mod up;
#[cfg(feature = "vault")]
mod vault;
#[cfg(feature = "watch")]
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What `naru --version` says; `build.rs` finds it out.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit ",
    env!("NARU_BUILD_COMMIT"),
    "\nbuilt by ",
    env!("NARU_BUILT_BY"),
    "\nroles ",
    env!("NARU_ROLES")
);

/// Naru carries a payment service through its busiest day.
#[derive(Debug, Parser)]
#[command(name = "naru", version, long_version = LONG_VERSION, about)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Run a stand-in broker: one node of the log, for a one-command start and for fault simulation
    #[cfg(feature = "broker")]
    Broker(broker::Args),
    /// Run a relay: two clusters act as one for unmodified clients
    #[cfg(feature = "relay")]
    Relay(relay::Args),
    /// Run a gateway: owned sites first, overflow to rented ones, core traffic never
    #[cfg(feature = "edge")]
    Edge(edge::Args),
    /// Run a lake: records of the log become open tables, and SQL over them
    #[cfg(feature = "lake")]
    Lake(lake::Args),
    /// Capture the changes of a database: each becomes a record on the log
    #[cfg(feature = "capture")]
    Capture(capture::Args),
    /// Run a courier: campaigns and usage notifications, each message once
    #[cfg(feature = "courier")]
    Courier(courier::Args),
    /// Run a vault: tokens in place of personal data, and the only keys that open them
    #[cfg(feature = "vault")]
    Vault(vault::Args),
    /// Run a simulated cloud with an EC2-like API, for rehearsals and tests
    #[cfg(feature = "cloud-sim")]
    CloudSim(cloud_sim::Args),
    /// Run the control plane: requests become plans, plans become leases, and everything is given back
    #[cfg(feature = "control")]
    Control(control::Args),
    /// Show the event day in a browser: traffic, log, tables, campaign, plans
    #[cfg(feature = "console")]
    Console(console::Args),
    /// Start every role on this machine, each with its embedded defaults, and the console
    #[cfg(feature = "up")]
    Up(up::Args),
    /// Run the watch: incidents open themselves, with a cause, and wake somebody
    #[cfg(feature = "watch")]
    Watch(watch::Args),
    /// Run one of the sample services of the customer's side
    #[cfg(feature = "sample")]
    Sample(sample::Args),
    /// Plan a campaign's capacity, and score it afterwards
    #[cfg(feature = "campaign")]
    Campaign(campaign::Args),
    /// Play a scenario on this machine, with faults, and judge it
    #[cfg(feature = "rehearse")]
    Rehearse(rehearse::Args),
    /// Prove that source, both clusters and the lake hold the same, or name the rows that differ
    #[cfg(feature = "audit")]
    Audit(audit::Args),
    /// Ask for something: machines that run a template, capacity, a topic
    #[cfg(feature = "control")]
    Request(control::RequestArgs),
    /// Show what would be done, with price and reason per line, and its hash
    #[cfg(feature = "control")]
    Plan(control::PlanArgs),
    /// Do what a plan has shown
    #[cfg(feature = "control")]
    Apply(control::ApplyArgs),
    /// Agree to a plan that somebody else applies
    #[cfg(feature = "control")]
    Approve(control::ApproveArgs),
    /// Show what is held, and what waits
    #[cfg(feature = "control")]
    Get(control::GetArgs),
    /// Make a lease longer
    #[cfg(feature = "control")]
    Renew(control::RenewArgs),
    /// Give something back
    #[cfg(feature = "control")]
    Release(control::ReleaseArgs),
    /// Show what teams have booked and used
    #[cfg(feature = "control")]
    Cost(control::CostArgs),
    /// Read the record of what was decided
    #[cfg(feature = "control")]
    Ledger(control::LedgerArgs),
    /// Print the option reference of every role as Markdown
    Options,
    /// Print the completions of a shell
    Completions(handbook::CompletionsArgs),
    /// Write the manual pages
    Manual(handbook::ManualArgs),
}

fn main() -> ExitCode {
    match Cli::parse().role {
        #[cfg(feature = "broker")]
        Role::Broker(args) => broker::run(&args),
        #[cfg(feature = "relay")]
        Role::Relay(args) => relay::run(&args),
        #[cfg(feature = "edge")]
        Role::Edge(args) => edge::run(&args),
        #[cfg(feature = "lake")]
        Role::Lake(args) => lake::run(&args),
        #[cfg(feature = "audit")]
        Role::Audit(args) => audit::run(&args),
        #[cfg(feature = "capture")]
        Role::Capture(args) => capture::run(&args),
        #[cfg(feature = "courier")]
        Role::Courier(args) => courier::run(&args),
        #[cfg(feature = "vault")]
        Role::Vault(args) => vault::run(&args),
        #[cfg(feature = "cloud-sim")]
        Role::CloudSim(args) => cloud_sim::run(&args),
        #[cfg(feature = "control")]
        Role::Control(args) => control::run(&args),
        #[cfg(feature = "console")]
        Role::Console(args) => console::run(&args),
        #[cfg(feature = "up")]
        Role::Up(args) => up::run(&args),
        #[cfg(feature = "watch")]
        Role::Watch(args) => watch::run(&args),
        #[cfg(feature = "sample")]
        Role::Sample(args) => sample::run(&args),
        #[cfg(feature = "campaign")]
        Role::Campaign(args) => campaign::run(&args),
        #[cfg(feature = "rehearse")]
        Role::Rehearse(args) => rehearse::run(&args),
        #[cfg(feature = "control")]
        Role::Request(args) => control::request(&args),
        #[cfg(feature = "control")]
        Role::Plan(args) => control::plan(&args),
        #[cfg(feature = "control")]
        Role::Apply(args) => control::apply(&args),
        #[cfg(feature = "control")]
        Role::Approve(args) => control::approve(&args),
        #[cfg(feature = "control")]
        Role::Get(args) => control::get(&args),
        #[cfg(feature = "control")]
        Role::Renew(args) => control::renew(&args),
        #[cfg(feature = "control")]
        Role::Release(args) => control::release(&args),
        #[cfg(feature = "control")]
        Role::Cost(args) => control::cost(&args),
        #[cfg(feature = "control")]
        Role::Ledger(args) => control::ledger(&args),
        Role::Options => options::run(),
        Role::Completions(args) => handbook::completions(&args),
        Role::Manual(args) => handbook::manual(&args),
    }
}
