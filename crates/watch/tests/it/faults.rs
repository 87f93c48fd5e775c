//! Sixty faults in one day, with calm between them: how soon each is noticed, and what it is taken for.

use naru_watch::event::Event;
use naru_watch::incident::{Incident, Phase, SignalState};
use naru_watch::postmortem;

use crate::world::{Fault, World};

/// Rounds through all faults.
const ROUNDS: usize = 5;

/// What it was taken for, and which signals were noticed, with when each began after the fault.
fn told(incidents: &[&Incident], began_ms: i64) -> String {
    let signal = |one: &SignalState| format!("{} {}", one.signal.id, one.signal.since_unix_ms - began_ms);
    let one = |incident: &&Incident| {
        let signals: Vec<String> = incident.signals.iter().map(signal).collect();
        format!("{} ({}; {})", incident.cause, incident.because, signals.join(", "))
    };
    incidents.iter().map(one).collect::<Vec<_>>().join(" and ")
}

#[test]
fn sixty_faults_are_noticed_within_seconds_and_named_right() {
    let mut world = World::new(11);
    world.play(120);
    let (mut to_detect_ms, mut right, mut wrong) = (Vec::new(), 0, Vec::new());
    for round in 0..ROUNDS {
        for place in 0..Fault::ALL.len() {
            let fault = Fault::ALL[(place * 5 + round * 7) % Fault::ALL.len()];
            // In any part of a second, and for 15 to 35 seconds.
            let parts = (world.chance() * 4.0) as i64;
            (0..parts).for_each(|_| world.step());
            let began = world.now_ms;
            let before: Vec<u64> = world.engine.desk.incidents().map(|one| one.id).collect();
            world.begin(fault);
            let lasts = 15 + (world.chance() * 20.0) as i64;
            world.play(lasts);
            world.end();
            let ended = world.now_ms;
            world.play(90);
            let new: Vec<_> = world.engine.desk.incidents().filter(|one| !before.contains(&one.id)).collect();
            let Some(first) = new.first() else {
                wrong.push(format!("{fault:?}: nothing was noticed"));
                to_detect_ms.push(i64::MAX);
                continue;
            };
            to_detect_ms.push(first.opened_unix_ms - began);
            match new.len() == 1 && first.cause == fault.cause() {
                true => right += 1,
                false => wrong.push(format!("{fault:?}: {}", told(&new, began))),
            }
            for incident in new {
                assert_eq!(incident.phase, Phase::Resolved, "{fault:?}: {:#?}", incident.timeline);
                assert!(incident.drafted, "{fault:?}");
                let recovered = incident.well_since_unix_ms.unwrap().max(ended);
                let drafted = world
                    .said
                    .iter()
                    .find(|entry| matches!(&entry.event, Event::Drafted { incident: id, .. } if *id == incident.id));
                assert!(drafted.unwrap().at_unix_ms - recovered <= 60_000, "{fault:?}: the draft came late");
                assert!(postmortem::draft(incident).contains(&format!("`{}`", incident.cause)));
            }
        }
    }
    to_detect_ms.sort_unstable();
    let at = |share: f64| to_detect_ms[((to_detect_ms.len() as f64 * share).ceil() as usize).max(1) - 1];
    let (p50, p95) = (at(0.5), at(0.95));
    println!(
        "{} faults: detected p50 {p50} ms, p95 {p95} ms, longest {} ms; cause right {right}",
        to_detect_ms.len(),
        at(1.0)
    );
    wrong.iter().for_each(|one| println!("  {one}"));
    assert_eq!(to_detect_ms.len(), 60);
    assert!(p50 <= 3_000 && p95 <= 10_000, "p50 {p50}, p95 {p95}");
    assert!(right * 100 >= 60 * 80, "{right} of 60: {wrong:#?}");
}
