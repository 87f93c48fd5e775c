//! A simulation that finds nothing proves nothing: every fault that can be seeded into the machines must be caught.

use naru_relay::sequence::Mutant;

use crate::simulate::{play_all, setting};

/// Seeds in which a mutant must be caught.
const SEEDS: u64 = 200;

#[test]
fn every_mutant_is_caught() {
    let seeds = setting("NARU_SIMULATE_SEEDS").unwrap_or(SEEDS);
    let mut survived = Vec::new();
    for mutant in Mutant::ALL {
        let mut caught: Option<(u64, String)> = None;
        play_all(
            1..1 + seeds,
            |world| world.mutant = Some(*mutant),
            |seed, outcome| {
                if let Err(violation) = outcome {
                    caught.get_or_insert((seed, violation));
                }
                caught.is_none()
            },
        );
        match &caught {
            Some((seed, violation)) => println!("{mutant:?}: seed {seed}: {}", violation.lines().next().unwrap_or("")),
            None => survived.push(*mutant),
        }
    }
    assert!(survived.is_empty(), "not caught in {seeds} seeds: {survived:?}");
}
