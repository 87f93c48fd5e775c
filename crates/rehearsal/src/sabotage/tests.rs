#![allow(clippy::unwrap_used, reason = "a test panics on failure")]

use std::collections::{BTreeSet, HashSet};

use super::{Chosen, Sabotage, Way, judge_with, sound};
use crate::check::Verdict;
use crate::crowd::CrowdPlan;
use crate::judge::judge;
use crate::plan::Plan;

#[test]
fn what_every_sabotage_alters_is_noticed_by_the_checks_that_are_there_for_it_and_by_no_others() {
    let scenario = sound::scenario();
    let plan = Plan::draw(&scenario, 7);
    let people = CrowdPlan::draw(&scenario, &plan);
    let honest = sound::observed(&scenario, &plan, &people);
    let verdicts = judge(&scenario, &plan, Some(&people), &honest).verdicts;
    let red: Vec<&Verdict> = verdicts.iter().filter(|verdict| !verdict.passed).collect();
    assert!(red.is_empty(), "{red:#?}");

    for sabotage in Sabotage::all().filter(|sabotage| matches!(sabotage.way, Way::Records(_))) {
        let mut copy = honest.clone();
        let judged = judge_with(Some(Chosen::One(sabotage)), (&scenario, &plan), Some(&people), &mut copy);
        let (_, outcomes) = judged.unwrap_or_else(|error| panic!("{error}"));
        assert!(
            outcomes[0].caught,
            "{}: has to turn {:?}, turned {:?}",
            sabotage.name, sabotage.turns, outcomes[0].red
        );
    }

    let caught: BTreeSet<&str> = Sabotage::all().flat_map(|sabotage| sabotage.turns).copied().collect();
    let checks: BTreeSet<&str> = verdicts.iter().map(|verdict| verdict.check.as_str()).collect();
    assert_eq!(checks, caught, "each check has a sabotage, and each sabotage is for a check that there is");

    let (judged, outcomes) =
        judge_with(Some(Chosen::Every), (&scenario, &plan), Some(&people), &mut honest.clone()).unwrap();
    assert!(judged.verdicts.iter().all(|verdict| verdict.passed), "copies are altered, and not the run itself");
    let altering = Sabotage::all().filter(|sabotage| sabotage.deed().is_none()).count();
    assert_eq!((outcomes.len(), outcomes.iter().filter(|outcome| outcome.caught).count()), (altering, altering));
}

#[test]
fn a_name_stands_for_one_sabotage() {
    let names: HashSet<&str> = Sabotage::all().map(|sabotage| sabotage.name).collect();
    assert_eq!(names.len(), Sabotage::all().count());
    assert!(names.iter().all(|name| Sabotage::named(name).is_some_and(|found| found.name == *name)));
    assert!(Sabotage::named("list").is_none() && Sabotage::named("every").is_none(), "words of the command line");
}

#[test]
fn a_sabotage_is_caught_by_what_fails_because_of_it() {
    let sabotage = Sabotage::named("lose-read-record").unwrap();
    let check = |before: &[&str], after: &[&str], red: &[&str], caught: bool| {
        let verdicts = |failed: &[&str]| -> Vec<Verdict> {
            let verdict = |check: &&str| Verdict { passed: false, ..Verdict::open(check, "", "") };
            failed.iter().map(verdict).chain([Verdict::open("held", "", "")]).collect()
        };
        let outcome = sabotage.outcome(&verdicts(before), &verdicts(after));
        assert_eq!(
            (outcome.red.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), outcome.caught),
            (red, caught)
        );
    };
    check(&[], &["LOG-1", "LOG-4"], &["LOG-1", "LOG-4"], true);
    check(&[], &["LOG-1", "LOG-4", "RELAY-1"], &["LOG-1", "LOG-4", "RELAY-1"], true);
    // One of two, none, and one that has nothing to do with it.
    check(&[], &["LOG-1"], &["LOG-1"], false);
    check(&[], &[], &[], false);
    check(&[], &["LOG-1", "LOG-4", "load"], &["LOG-1", "LOG-4", "load"], false);
    // What failed before is not the sabotage's doing.
    check(&["load"], &["LOG-1", "LOG-4", "load"], &["LOG-1", "LOG-4"], true);
    check(&["LOG-4"], &["LOG-1", "LOG-4"], &["LOG-1"], false);
}
