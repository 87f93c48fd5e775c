//! Runs seeds, and replays one that fails with its trace.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::world::{Summary, World};

/// What is to be played.
struct Order {
    first: u64,
    seeds: u64,
}

impl Order {
    fn from_environment() -> Self {
        #[allow(clippy::disallowed_methods)] // how long a test runs is not the binary's configuration
        let number = |name: &str| -> Option<u64> {
            let text = std::env::var(name).ok()?;
            Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
        };
        Self { first: number("NARU_SIMULATE_SEED").unwrap_or(1), seeds: number("NARU_SIMULATE_SEEDS").unwrap_or(200) }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// Plays one seed; what was violated, if anything was.
fn play(seed: u64) -> Result<Summary, String> {
    catch_unwind(|| World::new(seed, false).run()).map_err(|panic| message(&*panic))
}

/// The trace of a seed that fails.
fn replay(seed: u64) -> String {
    let mut world = World::new(seed, true);
    let again = catch_unwind(AssertUnwindSafe(|| world.run())).map_err(|panic| message(&*panic));
    let lines: Vec<&str> = world.trace.lines().map(String::as_str).collect();
    format!("{}\n{again:?}", lines.join("\n"))
}

#[test]
fn every_seed_keeps_the_rules() {
    let order = Order::from_environment();
    let mut failed = Vec::new();
    let (mut acknowledged, mut steps) = (0, 0);
    for seed in order.first..order.first + order.seeds {
        match play(seed) {
            Ok(summary) => {
                acknowledged += summary.acknowledged;
                steps += summary.steps;
                if order.seeds == 1 {
                    println!("{summary:?}");
                }
            }
            Err(violation) => failed.push((seed, violation)),
        }
    }
    if let Some((seed, _)) = failed.first() {
        println!("the last events of seed {seed}:\n{}", replay(*seed));
    }
    for (seed, violation) in &failed {
        println!("seed {seed}: {violation}\n  replay: ./x simulate relay --seed {seed}");
    }
    println!("{} seeds, {steps} steps, {acknowledged} batches acknowledged", order.seeds);
    assert!(failed.is_empty(), "{} of {} seeds failed", failed.len(), order.seeds);
}

#[test]
fn a_seed_has_one_history() {
    assert_eq!(play(7), play(7));
}
