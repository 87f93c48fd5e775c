//! A step to ten times the traffic, and a ramp: when do requests spill to the rented site, how many, and do they stay?
//!
//! Two owned sites hold 20 requests each for 100 ms, and refuse the 21st; the rented one holds 100. Requests come evenly,
//! so that what ought to spill is known: what is above 400 a second. Each gateway has the settings that come nearest to
//! that: HAProxy counts the connections of the owned back end, Envoy tries the next priority when a full server refuses.

mod gateway;
mod load;
mod site;

use std::time::{Duration, Instant};

use gateway::{GATEWAYS, Gateway};
use load::Pace;
use site::Arrival;
pub use site::Sites;

use crate::world::{Failure, World};

/// What one owned site holds, and for how long a request holds it.
pub const SLOTS: usize = 20;
const HELD: Duration = Duration::from_millis(100);
const OWNED_SITES: usize = 2;
const OWNED_PER_S: f64 = (SLOTS * OWNED_SITES * 10) as f64;

const BEFORE: Pace = Pace { from_per_s: 60.0, to_per_s: 60.0, lasts: Duration::from_secs(2) };
const STEP: Pace = Pace { from_per_s: 600.0, to_per_s: 600.0, lasts: Duration::from_millis(5_300) };
const RAMP: Pace = Pace { from_per_s: 100.0, to_per_s: 700.0, lasts: Duration::from_secs(10) };
/// Between step and ramp everything comes home.
const REST: Duration = Duration::from_millis(500);

/// From here on a gateway must have found the split.
const SETTLED: Duration = Duration::from_millis(300);
const WINDOW: Duration = Duration::from_secs(1);
/// On the ramp, a site is in use in a window of this length if it gets so much of the requests.
const RAMP_WINDOW: Duration = Duration::from_millis(500);
const IN_USE_SHARE: f64 = 0.02;
/// With this many slots free at home a spill was needless: answers that are on their way are no room yet.
const NEEDLESS_FREE: usize = 5;

const FIRST_SPILL_MS_MAX: f64 = 10.0;
const SPLIT_ERROR_MAX: f64 = 0.03;
const TRANSITIONS_MAX: usize = 1;

/// What one gateway did.
struct Outcome {
    /// From the arrival that filled the owned sites to the first at the rented one.
    first_spill_ms: Option<f64>,
    /// The worst window's difference from the share that ought to spill, and the mean of all windows with its sign.
    split_error: (f64, f64),
    transitions: usize,
    needless: usize,
    /// Requests that were not answered with 200.
    errors: usize,
}

pub fn run(world: &World) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!(
        "\nspill: {} to {} requests/s in one step, {OWNED_PER_S} fit at home; then a ramp from {} to {}:",
        BEFORE.to_per_s, STEP.to_per_s, RAMP.from_per_s, RAMP.to_per_s
    );
    println!(
        "{:<10} {:>15} {:>18} {:>17} {:>15} {:>7}",
        "gateway", "first spill ms", "worst split (mean)", "ramp transitions", "needless spills", "errors"
    );
    let mut held = true;
    for kind in GATEWAYS {
        let outcome = runtime.block_on(play(world, kind))?;
        let first = outcome.first_spill_ms.map_or("never".to_owned(), |ms| format!("{ms:.1}"));
        println!(
            "{:<10} {first:>15} {:>18} {:>17} {:>15} {:>7}",
            kind.name(),
            format!("{:.1}% ({:+.1}%)", outcome.split_error.0 * 100.0, outcome.split_error.1 * 100.0),
            outcome.transitions,
            outcome.needless,
            outcome.errors
        );
        if kind == Gateway::Naru {
            held = outcome.first_spill_ms.is_some_and(|ms| ms <= FIRST_SPILL_MS_MAX)
                && outcome.split_error.0 <= SPLIT_ERROR_MAX
                && outcome.transitions <= TRANSITIONS_MAX
                && outcome.errors == 0;
        }
    }
    println!(
        "naru: first spill <= {FIRST_SPILL_MS_MAX} ms, split within {:.0} points of ideal in every window of 1 s from {SETTLED:?} on, \
         at most {TRANSITIONS_MAX} transition, no error: {}",
        SPLIT_ERROR_MAX * 100.0,
        if held { "held" } else { "MISSED" }
    );
    Ok(held)
}

async fn play(world: &World, kind: Gateway) -> Result<Outcome, Failure> {
    let sites = Sites::start().await?;
    let (_process, address) = kind.start(world, &sites)?;
    let mut errors = load::run(address, BEFORE).await?;
    let began = Instant::now();
    errors += load::run(address, STEP).await?;
    let step = sites.since(began);
    tokio::time::sleep(REST).await;
    let ramp_began = Instant::now();
    errors += load::run(address, RAMP).await?;
    let ramp = sites.since(ramp_began);
    Ok(Outcome {
        first_spill_ms: first_spill_ms(&step),
        split_error: split_error(&step, began),
        transitions: transitions(&ramp, ramp_began),
        needless: step.iter().chain(&ramp).filter(|at| at.is_spill && at.owned_free >= NEEDLESS_FREE).count(),
        errors,
    })
}

fn first_spill_ms(arrivals: &[Arrival]) -> Option<f64> {
    let full = arrivals.iter().find(|arrival| !arrival.is_spill && arrival.owned_free <= 1)?;
    let spill = arrivals.iter().find(|arrival| arrival.is_spill)?;
    Some(spill.at.saturating_duration_since(full.at).as_secs_f64() * 1e3)
}

/// How many arrived in a stretch of time, and how many of them at the rented site.
fn count(arrivals: &[Arrival], from: Instant, length: Duration) -> (f64, f64) {
    let within = arrivals.iter().filter(|arrival| arrival.at >= from && arrival.at < from + length);
    let (all, spilled) = within.fold((0_u32, 0), |(all, spilled), at| (all + 1, spilled + u32::from(at.is_spill)));
    (f64::from(all), f64::from(spilled))
}

/// What ought to spill is what does not fit at home for as long as requests were really held there (Little's law).
fn split_error(arrivals: &[Arrival], began: Instant) -> (f64, f64) {
    let held: Vec<f64> = arrivals
        .iter()
        .filter(|arrival| !arrival.is_spill)
        .filter_map(|arrival| arrival.held)
        .map(|held| held.as_secs_f64())
        .collect();
    let held_s = held.iter().sum::<f64>() / held.len().max(1) as f64;
    let ideal = (1.0 - (SLOTS * OWNED_SITES) as f64 / held_s / STEP.to_per_s).max(0.0);
    let (mut worst, mut sum, mut windows) = (0_f64, 0.0, 0.0_f64);
    let mut from = SETTLED;
    while from + WINDOW <= STEP.lasts {
        let (all, spilled) = count(arrivals, began + from, WINDOW);
        let off = spilled / all.max(1.0) - ideal;
        worst = worst.max(off.abs());
        (sum, windows) = (sum + off, windows + 1.0);
        from += WINDOW;
    }
    (worst, sum / windows.max(1.0))
}

fn transitions(arrivals: &[Arrival], began: Instant) -> usize {
    let windows = (RAMP.lasts.as_millis() / RAMP_WINDOW.as_millis()) as u32;
    let uses: Vec<bool> = (0..windows)
        .map(|window| {
            let (all, spilled) = count(arrivals, began + RAMP_WINDOW * window, RAMP_WINDOW);
            spilled > IN_USE_SHARE * all
        })
        .collect();
    uses.windows(2).filter(|pair| pair[0] != pair[1]).count()
}
