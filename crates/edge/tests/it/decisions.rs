//! Random decisions: a million in every test run, as many as are asked for in `./x soak edge-policy`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::oracle::Tally;
use crate::world::{DECISIONS, World};

/// How many decisions `./x test` makes.
const IN_A_TEST: u64 = 1_000_000;

/// A setting of `./x soak edge-policy`.
pub fn setting(name: &str) -> Option<u64> {
    #[allow(clippy::disallowed_methods)] // how long a test runs is not the binary's configuration
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

/// Plays one seed; a violated invariant is a panic.
pub fn play(seed: u64) -> Result<Tally, String> {
    catch_unwind(AssertUnwindSafe(|| World::new(seed).run())).unwrap_or_else(|panic| Err(message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

#[test]
fn every_decision_keeps_the_rules() {
    let first = setting("NARU_EDGE_SEED").unwrap_or(1);
    let worlds = setting("NARU_EDGE_DECISIONS").unwrap_or(IN_A_TEST).div_ceil(DECISIONS);
    let next = AtomicU64::new(first);
    let outcome = Mutex::new((Tally::default(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + worlds {
                        return;
                    }
                    let played = play(seed);
                    let mut outcome = outcome.lock().unwrap();
                    match played {
                        Ok(tally) => outcome.0.add(&tally),
                        Err(violation) => outcome.1.push((seed, violation)),
                    }
                }
            });
        }
    });
    let (tally, mut failed) = outcome.into_inner().unwrap();
    failed.sort();
    for (seed, violation) in failed.iter().take(10) {
        println!("seed {seed}: {violation}\n  replay: ./x soak edge-policy --seed {seed} --decisions 1");
    }
    println!("{worlds} worlds: {tally:?}");
    assert!(failed.is_empty(), "{} of {worlds} worlds broke a rule", failed.len());
    if worlds >= 100 {
        let busy = [tally.core, tally.core_refused, tally.owned, tally.rented, tally.waits, tally.refused_reloads];
        assert!(busy.iter().all(|count| *count > worlds), "the worlds were too quiet to say anything: {tally:?}");
    }
}

#[test]
fn a_seed_has_one_history() {
    for seed in 1..=3 {
        assert_eq!(play(seed), play(seed));
    }
}
