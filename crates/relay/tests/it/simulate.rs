//! Runs seeds, and replays one that fails with its last events.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

use crate::world::{Summary, World};

/// How many seeds `./x test` plays.
const SEEDS: u64 = 200;

/// A setting of `./x simulate`.
pub fn setting(name: &str) -> Option<u64> {
    #[allow(clippy::disallowed_methods)] // how long a test runs is not the binary's configuration
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

thread_local! {
    /// A violation is a panic; this thread catches it and tells it in its own words.
    static TELLS_ITSELF: Cell<bool> = const { Cell::new(false) };
}

/// What was violated, if anything was.
fn caught<T>(play: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !TELLS_ITSELF.get() {
                before(info);
            }
        }));
    });
    TELLS_ITSELF.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(play)).map_err(|panic| message(&*panic));
    TELLS_ITSELF.set(false);
    outcome
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// Plays one seed in a world that was changed before it began.
pub fn play(seed: u64, change: impl FnOnce(&mut World)) -> Result<Summary, String> {
    caught(|| {
        let mut world = World::new(seed, false);
        change(&mut world);
        world.run()
    })
}

/// The last events of a seed that fails.
fn replay(seed: u64) -> String {
    let mut world = World::new(seed, true);
    let again = caught(|| world.run());
    let lines: Vec<&str> = world.trace.lines().map(String::as_str).collect();
    format!("{}\n{again:?}", lines.join("\n"))
}

/// Plays seeds on every processor and hands each outcome on, until it says that it is enough.
pub fn play_all(
    seeds: std::ops::Range<u64>,
    change: impl Fn(&mut World) + Sync,
    mut each: impl FnMut(u64, Result<Summary, String>) -> bool + Send,
) {
    let next = AtomicU64::new(seeds.start);
    let each = Mutex::new(&mut each);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = play(seed, &change);
                    let goes_on = each.lock().expect("no panic outside of the plays")(seed, outcome);
                    if !goes_on {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[test]
fn every_seed_keeps_the_rules() {
    let first = setting("NARU_SIMULATE_SEED").unwrap_or(1);
    let seeds = setting("NARU_SIMULATE_SEEDS").unwrap_or(SEEDS);
    let mut failed = Vec::new();
    let (mut acknowledged, mut steps, mut faults) = (0, 0, 0);
    play_all(
        first..first + seeds,
        |_| {},
        |seed, outcome| {
            match outcome {
                Ok(summary) => {
                    acknowledged += summary.acknowledged;
                    steps += summary.steps;
                    faults += summary.faults;
                    if seeds == 1 {
                        println!("{summary:?}");
                    }
                }
                Err(violation) => failed.push((seed, violation)),
            }
            true
        },
    );
    failed.sort();
    if let Some((seed, _)) = failed.first() {
        println!("the last events of seed {seed}:\n{}", replay(*seed));
    }
    for (seed, violation) in &failed {
        println!("seed {seed}: {violation}\n  replay: ./x simulate relay --seed {seed}");
    }
    println!("{seeds} seeds, {steps} steps, {faults} faults, {acknowledged} batches acknowledged");
    assert!(failed.is_empty(), "{} of {seeds} seeds failed", failed.len());
}

#[test]
fn a_seed_has_one_history() {
    for seed in 1..=3 {
        assert_eq!(play(seed, |_| {}), play(seed, |_| {}));
    }
}
