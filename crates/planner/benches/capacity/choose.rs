//! The choice of the planner's knobs, on days that are not scored.

use naru_planner::demand::{
    AheadKnobs, Calendar, KeeperKnobs, MINUTES_PER_DAY, Minutes, SoonKnobs, day_of, is_weekend,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::Planned;
use crate::play::{Score, play};

/// How many days before the first scored one are played.
pub const DAYS: i64 = 6;
/// Per cent of requests that may go unserved in the worst future: half of what is allowed on the scored days.
const UNSERVED_MAX: f64 = 0.01;
/// Futures that are made up from the days known, and how long each is.
const FUTURES: u64 = 4;
const FUTURE_DAYS: i64 = 16;
/// The days that a future is put together from.
const SOURCE_DAYS: i64 = 5;
/// One event in so many is a surprise of this factor: the event day's own fault is a forecast wrong by two.
const SURPRISE_ONE_IN: u32 = 8;
const SURPRISE: f64 = 2.0;
/// One event in so many runs on for so many minutes, from this minute on.
const OVERRUN_ONE_IN: u32 = 8;
const OVERRUN_MINUTES: i64 = 45;
const OVERRUN_FROM: i64 = 105;

/// First what makes the forecast of the day best on the last days known. Then what is cheapest in futures made up from
/// them, with surprises, within the bound on unserved requests.
pub fn knobs(known: &Minutes, calendar: &Calendar, boot: u32) -> KeeperKnobs {
    let try_out = |trace: &Minutes, calendar: &Calendar, days: i64, knobs: &KeeperKnobs| -> Score {
        let (mut planned, from) = Planned::new(trace, calendar, boot, knobs);
        play(&mut planned, trace, i64::from(boot), from, trace.until() - days * MINUTES_PER_DAY..trace.until())
    };
    let mut aheads = Vec::new();
    for event_half_life_days in [2.0, 4.0] {
        for level_half_life_hours in [4.0, 8.0, 24.0] {
            for time_of_day_minutes in [60.0, 120.0, 240.0] {
                let rest = AheadKnobs::default();
                aheads.push(AheadKnobs { event_half_life_days, level_half_life_hours, time_of_day_minutes, ..rest });
            }
        }
    }
    let wape = |ahead: &AheadKnobs| {
        let knobs = KeeperKnobs { ahead: ahead.clone(), soon: SoonKnobs::default(), held_minutes: 60.0 };
        try_out(known, calendar, DAYS, &knobs).wape
    };
    let ahead = aheads.into_iter().map(|ahead| (wape(&ahead), ahead)).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1;

    let futures: Vec<(Minutes, Calendar)> = (0..FUTURES).map(|seed| future(known, calendar, seed)).collect();
    let mut tried = Vec::new();
    for error_half_life_days in [4.0, 16.0] {
        for deviations in [2.5, 3.0, 3.5, 4.0] {
            for held_minutes in [60.0, 120.0, 240.0] {
                let soon = SoonKnobs { deviations, error_half_life_days };
                let knobs = KeeperKnobs { ahead: ahead.clone(), soon, held_minutes };
                let scores = futures.iter().map(|(trace, calendar)| try_out(trace, calendar, FUTURE_DAYS, &knobs));
                let (mut cost, mut unserved) = (0.0, 0.0);
                for score in scores {
                    cost += score.cost / FUTURES as f64;
                    unserved = f64::max(unserved, score.unserved_percent);
                }
                tried.push((cost, unserved, knobs));
            }
        }
    }
    let safe = tried.iter().filter(|(_, unserved, _)| *unserved <= UNSERVED_MAX);
    let cheapest = safe.min_by(|a, b| a.0.total_cmp(&b.0));
    // Where nothing is safe, what leaves least unserved.
    let safest = tried.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let (cost, unserved, knobs) = cheapest.or(safest).unwrap();
    println!("boot {boot} min: {knobs:?}");
    println!(
        "  in {FUTURES} made-up futures of {FUTURE_DAYS} days: cost {cost:.3}, unserved in the worst {unserved:.4} %"
    );
    let last = try_out(known, calendar, DAYS, knobs);
    println!(
        "  on the last {DAYS} days known: cost {:.3}, unserved {:.4} %, WAPE {:.3}",
        last.cost, last.unserved_percent, last.wape
    );
    knobs.clone()
}

/// The days known and days after them that are copies of the last ones, their events stronger or weaker than they were.
fn future(known: &Minutes, calendar: &Calendar, seed: u64) -> (Minutes, Calendar) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let end = day_of(known.until());
    let mut trace = known.before(end * MINUTES_PER_DAY);
    let mut events: Vec<i64> = calendar.events().iter().copied().filter(|event| day_of(*event) < end).collect();
    for day in end..end + FUTURE_DAYS {
        let alike: Vec<i64> = (end - SOURCE_DAYS..end).filter(|past| is_weekend(*past) == is_weekend(day)).collect();
        let source = alike[random.next_u32() as usize % alike.len()];
        let shift = (day - source) * MINUTES_PER_DAY;
        let factors: Vec<(i64, f64, bool)> = calendar
            .events()
            .iter()
            .filter(|event| day_of(**event) == source)
            .map(|event| {
                let surprise = random.next_u32().is_multiple_of(SURPRISE_ONE_IN);
                // Between 0.75 and 1.25 where it is none.
                let usual = 0.75 + f64::from(random.next_u32()) / f64::from(u32::MAX) * 0.5;
                let overrun = random.next_u32().is_multiple_of(OVERRUN_ONE_IN);
                (*event, if surprise { SURPRISE } else { usual }, overrun)
            })
            .collect();
        events.extend(factors.iter().map(|(event, _, _)| event + shift));
        for minute in source * MINUTES_PER_DAY..(source + 1) * MINUTES_PER_DAY {
            let Some(phase) = calendar.phase(minute) else {
                trace.push(known.at(minute).unwrap_or(f64::NAN));
                continue;
            };
            let drawn = factors.iter().find(|(event, _, _)| *event == phase.event);
            let (factor, overrun) = drawn.map_or((1.0, false), |(_, factor, overrun)| (*factor, *overrun));
            let longer = if overrun { (phase.offset - OVERRUN_FROM).clamp(0, OVERRUN_MINUTES) } else { 0 };
            let offset = (phase.offset - longer) as f64;
            // People gather for an hour and leave for two.
            let felt = ((offset + 60.0) / 90.0).clamp(0.0, 1.0) * ((240.0 - offset) / 120.0).clamp(0.0, 1.0);
            trace.push(known.at(minute - longer).unwrap_or(f64::NAN) * (1.0 + (factor - 1.0) * felt));
        }
    }
    (trace, Calendar::new(events))
}
