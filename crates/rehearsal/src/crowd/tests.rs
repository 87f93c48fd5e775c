#![allow(clippy::unwrap_used, reason = "a test panics on failure")]

use std::time::Duration;

use super::judge::{Audit, Decisions, Evidence, NodeLog, Received, judge};
use super::*;
use crate::plan::Plan;
use crate::scenario::Scenario;

const NODE: &str = "promotion-cloud-1";

/// What was seen in a run in which all is well, for a test to spoil.
struct Run {
    crowd: CrowdHistory,
    nodes: Vec<NodeLog>,
    audit: Result<Audit, String>,
    lost_us: Vec<u64>,
}

fn view(visitor: usize, page: u32, at_us: u64, answer: Answer) -> View {
    View { visitor, page, sent_us: at_us, ended_us: at_us + 100_000, answer }
}

fn gift(number: usize, by: &str) -> Gift {
    let served_by = vec![by.to_owned()];
    let answer = Answer::Served(by.to_owned());
    Gift { number, planned_us: 1_000_000, ended_us: 1_120_000, attempts: 1, answer, served_by }
}

fn received(path: &str) -> Received {
    Received { path: path.to_owned(), headers: vec!["accept".into()], cookies: Vec::new(), planted: false }
}

fn sound() -> Run {
    let decisions = |class: &str, went: &str, count| Decisions { class: class.into(), went: went.into(), count };
    let served = |by: &str| Answer::Served(by.to_owned());
    let inside = Visit { came_us: Some(0), in_us: Some(2_100_000), done_us: Some(3_100_000) };
    Run {
        crowd: CrowdHistory {
            views: vec![
                view(0, 0, 1_000_000, Answer::Waiting),
                view(0, 0, 2_000_000, served("promotion-owned-1")),
                view(0, 1, 3_000_000, served(NODE)),
            ],
            visits: vec![inside],
            gifts: vec![gift(0, "gift-owned-1")],
            gifts_planned: 1,
            dropped: 0,
        },
        nodes: vec![NodeLog { node: NODE.into(), received: vec![received("/promotion/v0-1")], unreadable: 0 }],
        audit: Ok(Audit {
            proves: true,
            decisions: vec![decisions("core", "owned", 2), decisions("open", "rented", 1)],
            breaches: 0,
            gap_core: 0,
            gap_open: 0,
            missing: 0,
        }),
        lost_us: Vec::new(),
    }
}

/// The checks that do not hold of a run, and its figures.
fn failed(run: &Run) -> (Vec<String>, EdgeFigures) {
    let gift_p99_max = Some(Duration::from_millis(300));
    let Run { crowd, nodes, audit, lost_us } = run;
    let evidence = Evidence { crowd, nodes, audit, gift_p99_max, lost_us };
    let mut verdicts = judge(&evidence);
    // As the report has it: nothing looked at is nothing shown.
    let empty = verdicts.iter_mut().filter(|verdict| verdict.examined == 0);
    empty.for_each(|verdict| verdict.passed = false);
    let failed = verdicts.iter().filter(|verdict| !verdict.passed).map(|verdict| verdict.check.clone());
    (failed.collect(), EdgeFigures::of(&evidence))
}

#[test]
fn each_source_finds_what_it_is_there_for() {
    fn check(name: &str, spoil: fn(&mut Run), expect: &[&str]) {
        let mut run = sound();
        spoil(&mut run);
        assert_eq!(failed(&run).0, expect, "{name}");
    }
    check("all is well", |_| {}, &[]);
    check(
        "a core request in the cloud",
        |run| run.nodes[0].received.push(received("/gift/g0")),
        &[
            // Two requests came to the node, and the decision log knows of one.
            "EDGE-1-log",
            "EDGE-1-cloud",
        ],
    );
    check("a payment in the cloud", |run| run.nodes[0].received[0].path = "/payments".into(), &["EDGE-1-cloud"]);
    check("a name in the cloud", |run| run.nodes[0].received[0].planted = true, &["planted"]);
    check("a gift from the cloud", |run| run.crowd.gifts[0].served_by.insert(0, NODE.into()), &["EDGE-1-client"]);
    check("a node whose log is silent", |run| run.nodes[0].received.clear(), &["EDGE-1-cloud", "planted"]);
    check("a line that cannot be read", |run| run.nodes[0].unreadable = 1, &["EDGE-1-cloud"]);
    check("a log that proves nothing", |run| run.audit.as_mut().unwrap().proves = false, &["EDGE-1-log"]);
    check("no log", |run| run.audit = Err("it is gone".into()), &["EDGE-1-log"]);
    check("a gift that failed", |run| run.crowd.gifts[0].answer = Answer::Status(503), &["core-errors", "gift-p99"]);
    check("a gift that waited", |run| run.crowd.gifts[0].answer = Answer::Waiting, &["core-errors", "gift-p99"]);
    check("a gift without an end", |run| run.crowd.gifts_planned = 2, &["core-errors"]);
    check("a slow gift", |run| run.crowd.gifts[0].ended_us = 1_400_001, &["gift-p99"]);
    let struck = |run: &mut Run| {
        // The first is slow when a site is lost, and the second later.
        run.crowd.gifts = vec![gift(0, "gift-owned-1"), gift(1, "gift-owned-1")];
        run.crowd.gifts_planned = 2;
        run.crowd.gifts[0].ended_us = 1_900_000;
        run.crowd.gifts[1].planned_us = 4_000_000;
        run.crowd.gifts[1].ended_us = 4_100_000;
        run.lost_us = vec![900_000];
    };
    check("a gift that a loss struck", struck, &[]);
    check("a 502 for a page", |run| run.crowd.views[1].answer = Answer::Status(502), &["EDGE-3"]);
    check("no answer for a page", |run| run.crowd.views[1].answer = Answer::Nothing("x".into()), &["EDGE-3"]);
    check("no spill", |run| run.crowd.views[2].answer = Answer::Served("promotion-owned-2".into()), &["spill"]);
    check("no waiting room", |run| drop(run.crowd.views.remove(0)), &["waiting-room"]);
    check(
        "a visitor who is never let in",
        |run| run.crowd.visits[0] = Visit { came_us: Some(1), ..Visit::default() },
        &["let-in"],
    );
}

#[test]
fn figures_say_who_answered_and_who_waited() {
    let figures = failed(&sound()).1;
    let whole = EdgeSecond { owned: 1, rented: 1, waiting: 1, errors: 0, gifts: 1 };
    assert_eq!((figures.whole, figures.visitors, figures.waited), (whole, 1, 1));
    assert_eq!(figures.seconds.iter().map(|second| second.rented).collect::<Vec<_>>(), [0, 0, 0, 1]);
    assert_eq!(figures.wait.unwrap().count, 1);
    assert_eq!(figures.gift.unwrap().max_us / 1_000, 120);
}

#[test]
fn people_come_at_the_rate_of_the_phase() {
    let scenario = Scenario::parse("burst.toml", include_str!("../../../../scenarios/burst.toml")).unwrap();
    let draw = |seed: u64| {
        let plan = Plan::draw(&scenario, seed);
        (CrowdPlan::draw(&scenario, &plan), plan)
    };
    let (people, plan) = draw(7);
    assert_eq!(people, draw(7).0);
    assert_ne!(people, draw(8).0);
    for (phase, (start, end)) in scenario.phases.iter().zip(&plan.phases) {
        let within = |at: &&u64| (start.as_micros()..end.as_micros()).contains(&u128::from(**at));
        for (came, rate) in [(&people.visitors_us, phase.crowd.visitors), (&people.gifts_us, phase.crowd.gifts)] {
            let (count, expect) = (came.iter().filter(within).count() as f64, rate * phase.lasts.as_secs_f64());
            assert!((count - expect).abs() <= 5.0 * expect.sqrt() + 1.0, "{}: {count} of {expect}", phase.name);
        }
    }
}
