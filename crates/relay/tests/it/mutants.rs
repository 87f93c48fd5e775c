//! A simulation that finds nothing proves nothing: every fault that can be seeded into the machines must be caught, in
//! a seed that keeps the rules without it.

use naru_relay::{offsets, sequence};

use crate::simulate::{play, play_all, setting};
use crate::world::World;

/// Seeds in which a mutant must be caught: the rarest needs the right tail lost at the right time.
const SEEDS: u64 = 3_000;

/// The first seed that catches a mutant, and how.
fn catch(seed_into: impl Fn(&mut World) + Sync) -> Option<(u64, String)> {
    let seeds = setting("NARU_SIMULATE_SEEDS").unwrap_or(SEEDS);
    let mut caught = None;
    play_all(1..1 + seeds, &seed_into, |seed, outcome| {
        if let Err(violation) = outcome
            && caught.is_none()
            && play(seed, |_| {}).is_ok()
        {
            caught = Some((seed, violation));
        }
        caught.is_none()
    });
    caught
}

fn check(mutants: &[(String, Option<(u64, String)>)]) {
    for (mutant, caught) in mutants {
        match caught {
            Some((seed, violation)) => println!("{mutant}: seed {seed}: {violation}"),
            None => println!("{mutant}: not caught"),
        }
    }
    let survived: Vec<&String> =
        mutants.iter().filter(|(_, caught)| caught.is_none()).map(|(mutant, _)| mutant).collect();
    assert!(survived.is_empty(), "not caught: {survived:?}");
}

#[test]
fn every_mutant_of_the_sequencer_and_of_the_sides_is_caught() {
    let caught = |mutant: &sequence::Mutant| catch(|world| world.mutant = Some(*mutant));
    check(&sequence::Mutant::ALL.iter().map(|mutant| (format!("{mutant:?}"), caught(mutant))).collect::<Vec<_>>());
}

#[test]
fn every_mutant_of_committed_offsets_is_caught() {
    let caught = |mutant: &offsets::Mutant| catch(|world| world.commits.mutant = Some(*mutant));
    check(&offsets::Mutant::ALL.iter().map(|mutant| (format!("{mutant:?}"), caught(mutant))).collect::<Vec<_>>());
}
