//! A checker that finds nothing proves nothing: every fault that can be seeded into the policy must be caught, in a world
//! that keeps the rules without it.

use naru_edge::policy::Mutant;

use crate::decisions::play;

/// Worlds in which a mutant must be caught.
const WORLDS: u64 = 60;

#[test]
fn every_mutant_is_caught() {
    let mut survived = Vec::new();
    for mutant in Mutant::ALL {
        let caught = (1..=WORLDS).find_map(|seed| {
            Mutant::seed(Some(*mutant));
            let violation = play(seed).err();
            Mutant::seed(None);
            let violation = violation?;
            play(seed).is_ok().then_some((seed, violation))
        });
        match caught {
            Some((seed, violation)) => println!("{mutant:?}: seed {seed}: {violation}"),
            None => survived.push(mutant),
        }
    }
    assert!(survived.is_empty(), "not caught: {survived:?}");
}
