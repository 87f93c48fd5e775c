//! `./x simulate`: the seeded simulation of the relay's machines, and campaigns made up for the planner.

use crate::shell::{TaskError, cargo, run};

/// Arguments of `./x simulate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to simulate
    #[arg(value_parser = ["relay", "campaigns"])]
    subject: String,
    /// How many seeds; 1 when a seed is named, else 1000. For `campaigns`: how many of them, else 2200
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed, or the only one: replays a failure with its last events
    #[arg(long)]
    seed: Option<u64>,
    /// Seed known faults into the machines instead, and require that each is caught
    #[arg(long)]
    mutants: bool,
}

/// Campaigns of 200 classes, eleven each.
const CAMPAIGNS: u64 = 2200;

/// Runs the simulation.
pub fn simulate(args: &Args) -> Result<(), TaskError> {
    if args.subject == "campaigns" {
        let words = ["test", "--quiet", "--package", "naru-planner", "--test", "it", "--", "--nocapture"];
        let mut simulation = cargo(&words);
        simulation.env("NARU_SIMULATE_CAMPAIGNS", args.seeds.unwrap_or(CAMPAIGNS).to_string());
        return run(simulation);
    }
    let mut words = vec!["test", "--quiet", "--package", "naru-relay", "--test", "it"];
    if args.mutants {
        words.extend(["--features", "mutation"]);
    }
    words.extend(["--", "--nocapture", if args.mutants { "mutants::" } else { "simulate::every_seed" }]);
    let mut simulation = cargo(&words);
    let seeds = args.seeds.or((args.seed.is_none() && !args.mutants).then_some(1000)).or(args.seed.map(|_| 1));
    if let Some(seeds) = seeds {
        simulation.env("NARU_SIMULATE_SEEDS", seeds.to_string());
    }
    if let Some(seed) = args.seed {
        simulation.env("NARU_SIMULATE_SEED", seed.to_string());
    }
    run(simulation)
}
