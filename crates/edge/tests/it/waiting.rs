//! Twenty thousand people before a full house, in simulation: they draw numbers, their pages ask every five seconds, and
//! whoever is inside makes eight requests.

use std::time::Duration;

use naru_edge::policy::blueprint::{Blueprint, PoolDraft};
use naru_edge::policy::{
    Asked, ClientKey, Decision, OpenDecision, OpenPlace, Policy, Room, RoomSnapshot, Slots, Ticket, Visit,
};
use naru_model::Class;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::agenda::{Agenda, gap_us};
use crate::blueprints::{members, networks, owned_site, route};

const CROWD: usize = 20_000;
const HOLD_US: u64 = 100_000;
const VISIT: u32 = 8;
/// Between two requests of a visit, in the mean.
const PAUSES_PER_S: f64 = 1.5;
/// 220 slots of open requests, each free again after 100 ms.
const UNITS_PER_S: f64 = 2200.0;

fn blueprint() -> Blueprint {
    let sites = vec![owned_site("idc-1", 200, 200, 90), owned_site("idc-2", 200, 200, 90)];
    let promo = vec![members(&sites[0], "10.1.2", 4, Slots::ONE), members(&sites[1], "10.2.2", 4, Slots::ONE)];
    Blueprint {
        networks: networks(),
        sites,
        pools: vec![PoolDraft { name: "promo".to_owned(), members: promo }],
        routes: vec![route(None, "/promo", Class::Open, "promo", Slots::ONE)],
        autoscaled_slots_max: Slots::ZERO,
        visit_units: f64::from(VISIT),
        sharing: None,
    }
}

#[derive(Clone, Copy, Default)]
struct Person {
    ticket: Option<Ticket>,
    visit: Option<Visit>,
    made: u32,
    entered_us: Option<u64>,
}

enum Event {
    Comes,
    Asks(usize),
    Ends(usize, OpenPlace),
    Step,
}

#[derive(Default)]
struct Shown {
    people: Vec<Person>,
    /// Once a step: time, numbers called, units finished so far.
    steps: Vec<(u64, u64, u64)>,
    came_early: u64,
}

/// Plays a crowd; a part of it goes away as soon as it has drawn a number.
fn crowd(seed: u64, until_us: u64, goes_away: f64) -> Shown {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let policy = Policy::new(&blueprint(), Room::new(9)).unwrap();
    let mut agenda = Agenda::new();
    let mut shown = Shown::default();
    let mut finished = 0;
    agenda.plan(0, Event::Step);
    agenda.plan(0, Event::Comes);
    while let Some((at_us, event)) = agenda.next() {
        if at_us > until_us {
            break;
        }
        match event {
            Event::Step => {
                policy.step(at_us / 1000);
                let RoomSnapshot { called, .. } = policy.room().snapshot();
                shown.steps.push((at_us, called, finished));
                agenda.plan(at_us + 100_000, Event::Step);
            }
            Event::Comes => {
                shown.people.push(Person::default());
                agenda.plan(at_us, Event::Asks(shown.people.len() - 1));
                // The crowd within two seconds, and then more than the house could ever take.
                let per_s = if shown.people.len() < CROWD { CROWD as f64 / 2.0 } else { 400.0 };
                agenda.plan(at_us + gap_us(&mut rng, per_s), Event::Comes);
            }
            Event::Ends(route, place) => {
                finished += 1;
                policy.open_answered(route, place, Duration::from_micros(HOLD_US));
            }
            Event::Asks(index) => {
                let person = shown.people[index];
                let decision = policy.decide(&Asked {
                    now: at_us / 1000,
                    unix_ms: 1_700_000_000_000 + at_us / 1000,
                    host: "app.example",
                    target: "/promo/1",
                    client: ClientKey(index as u64),
                    visit: person.visit,
                    ticket: person.ticket,
                    may_leave: true,
                    attempt: (1, None),
                    random: rng.random(),
                });
                let Decision::Open(decision) = decision else { panic!("an open route") };
                let person = &mut shown.people[index];
                match decision {
                    OpenDecision::Forward { place, visit, route, .. } => {
                        if let Some(ticket) = person.ticket
                            && person.entered_us.is_none()
                        {
                            let called = policy.room().snapshot().called;
                            shown.came_early += u64::from(ticket.number() >= called);
                        }
                        person.entered_us.get_or_insert(at_us);
                        person.visit = Some(visit);
                        person.made += 1;
                        if person.made < VISIT {
                            agenda.plan(at_us + gap_us(&mut rng, PAUSES_PER_S), Event::Asks(index));
                        }
                        agenda.plan(at_us + HOLD_US, Event::Ends(route, place));
                    }
                    OpenDecision::Wait(wait) => {
                        let is_new = person.ticket.is_none() && person.visit.is_none();
                        person.ticket = wait.ticket.or(person.ticket);
                        if !(is_new && rng.random_bool(goes_away)) {
                            agenda.plan(at_us + wait.refresh.as_micros() as u64, Event::Asks(index));
                        }
                    }
                }
            }
        }
    }
    shown
}

fn between(shown: &Shown, from_us: u64, until_us: u64) -> (f64, f64) {
    let at = |us: u64| *shown.steps.iter().find(|(at, _, _)| *at >= us).unwrap();
    let (from, until) = (at(from_us), at(until_us));
    ((until.1 - from.1) as f64, (until.2 - from.2) as f64)
}

#[test]
fn twenty_thousand_wait_in_order_and_come_in_as_others_leave() {
    for seed in 1..=2 {
        let shown = crowd(seed, 70_000_000, 0.0);
        let (called, finished) = between(&shown, 20_000_000, 70_000_000);
        let off_percent = (called / (finished / f64::from(VISIT)) - 1.0) * 100.0;
        let used_percent = finished / 50.0 / UNITS_PER_S * 100.0;
        let waiting = shown.people.iter().filter(|person| person.entered_us.is_none()).count();
        // Whoever drew a lower number enters no later, but for the time between two looks of his page.
        let mut latest_us = 0;
        let mut passed_us = 0;
        let mut entered: Vec<(u64, u64)> =
            shown.people.iter().filter_map(|person| Some((person.ticket?.number(), person.entered_us?))).collect();
        entered.sort_unstable();
        for (_, at_us) in &entered {
            passed_us = passed_us.max(latest_us - (*at_us).min(latest_us));
            latest_us = latest_us.max(*at_us);
        }
        println!(
            "seed {seed}: {called} called while {finished} requests finished ({off_percent:+.2} %), house {used_percent:.1} % \
             used, {waiting} wait at the end, {} came before their call, nobody was passed by more than {:.1} s",
            shown.came_early,
            passed_us as f64 / 1e6
        );
        assert!(off_percent.abs() <= 1.0, "{off_percent} %");
        assert!(used_percent > 95.0, "{used_percent} %");
        assert_eq!(shown.came_early, 0);
    }
}

#[test]
fn people_who_went_away_do_not_leave_the_house_empty() {
    let shown = crowd(3, 60_000_000, 0.3);
    let (called, finished) = between(&shown, 30_000_000, 60_000_000);
    let used_percent = finished / 30.0 / UNITS_PER_S * 100.0;
    println!("a third goes away: {called} called, house {used_percent:.1} % used");
    assert!(used_percent > 85.0, "{used_percent} %");
}
