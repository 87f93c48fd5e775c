use super::*;

#[test]
fn after_a_restart_in_doubt_nobody_goes_on_alone_by_itself() {
    let found = Some((1, record(A, SideSet::PAIR, 4)));
    // What is read of A after the start, while B is away, and what the coordinator was like.
    let check = |of_a: Suspicion, coordinator_in_doubt: bool, expect: Standing, alarms: &[Alarm]| {
        let boot = Boot { found, remembered: None, coordinator_in_doubt };
        let mut script = Script::start(GroupConfig::default(), boot);
        script.on(Event::Probed { side: A, outcome: Probe::Serving });
        script.report(A, of_a);
        script.lose(B);
        script.pass(5000);
        assert_eq!(script.held(), expect, "{of_a:?} {coordinator_in_doubt}");
        assert_eq!(script.raised(), alarms, "{of_a:?} {coordinator_in_doubt}");
        script
    };
    let (pair, alone) = (standing(A, SideSet::PAIR, 4), standing(A, SideSet::only(A), 5));
    check(Suspicion::Serving, false, alone, &[Alarm::Solo]);
    let mut script = check(Suspicion::Changed, false, pair, &[Alarm::InDoubt]);
    script.command(Command::AllowSoloOnce);
    assert_eq!((script.answer(), script.held()), (Some(Ok(())), alone));
    assert_eq!(script.stored.unwrap().1.grant, Some(Cause::Operator));

    let mut script = check(Suspicion::Serving, true, pair, &[Alarm::InDoubt]);
    script.serve(B);
    script.lose(B);
    script.pass(1100);
    assert_eq!(script.held(), alone, "both were read in between");
    check(Suspicion::Damaged, false, pair, &[Alarm::Stopped, Alarm::Damaged(A)]);
}

#[test]
fn a_partition_that_was_not_read_since_the_start_is_in_doubt() {
    let boot = Boot { found: Some((1, record(A, SideSet::PAIR, 4))), ..Boot::default() };
    let mut script = Script::start(GroupConfig::default(), boot);
    script.on(Event::Probed { side: A, outcome: Probe::Serving });
    script.report_at(&partitions()[0], A, Suspicion::Serving);
    script.lose(B);
    script.pass(5000);
    assert_eq!(script.raised(), [Alarm::InDoubt]);
}

#[test]
fn a_restored_coordinator_is_corrected_from_memory() {
    let older = record(A, SideSet::PAIR, 3);
    let newer = record(B, SideSet::only(B), 8);
    for found in [Some((5, older)), None] {
        let boot = Boot { found, remembered: Some(newer), coordinator_in_doubt: true };
        let mut script = Script::start(GroupConfig::default(), boot);
        script.on(Event::Tick);
        assert_eq!(script.held(), standing(B, SideSet::only(B), 9));
        assert!(script.raised().contains(&Alarm::CoordinatorRestored));
    }
    // While it runs.
    let mut script = Script::pair();
    script.lose(A);
    script.pass(1100);
    script.stored = Some((1, older));
    script.on(Event::Changed);
    script.pass(200);
    assert_eq!(script.held().active, B);
    assert_eq!(script.stored.unwrap().1.standing, script.held());
    assert!(script.held().epoch > 3);
}

#[test]
fn a_new_group_is_written_first() {
    let mut script = Script::start(GroupConfig::default(), Boot::default());
    script.on(Event::Tick);
    assert_eq!(script.stored.unwrap().1, GroupRecord::first(A));
}

#[test]
fn what_counts_is_said_durably_once_both_hold_the_same_and_not_by_the_first_record() {
    let mut script = Script::start(GroupConfig::default(), Boot::default());
    script.serve(A);
    assert!(!script.stored.unwrap().1.confirmed);
    script.serve(B);
    assert!(script.stored.unwrap().1.confirmed);

    // A relay that was started again before that does not take the record of its first start for a word.
    let unsaid = GroupRecord { confirmed: false, ..record(A, SideSet::only(A), 2) };
    let mut script = Script::serving(unsaid, Absence::Available);
    script.obedient = false;
    script.pass(5000);
    script.on(Event::Assessed { side: B, outcome: Assessment::Ready { rebuild: Vec::new() } });
    script.report(B, Suspicion::Diverged { offset: 3 });
    script.pass(10_000);
    assert!(!script.ordered().iter().any(|action| matches!(action, Action::Recreate { .. })));
    assert!(script.raised().contains(&Alarm::Unconfirmed(B)));
    script.command(Command::Confirm);
    script.pass(10_000);
    assert!(script.ordered().iter().any(|action| matches!(action, Action::Recreate { .. })));
    assert!(script.stored.unwrap().1.confirmed);
}

#[test]
fn who_allows_one_side_alone_in_doubt_does_not_give_up_the_others_records() {
    let boot = Boot { found: Some((1, record(A, SideSet::PAIR, 4))), ..Boot::default() };
    let mut script = Script::start(GroupConfig::default(), boot);
    script.on(Event::Probed { side: A, outcome: Probe::Serving });
    script.report(A, Suspicion::Changed);
    script.lose(B);
    script.pass(5000);
    script.command(Command::AllowSoloOnce);
    script.obedient = false;
    script.serve(B);
    script.pass(5000);
    script.on(Event::Assessed { side: B, outcome: Assessment::Ready { rebuild: Vec::new() } });
    script.report(B, Suspicion::Diverged { offset: 3 });
    script.pass(5000);
    assert!(!script.ordered().iter().any(|action| matches!(action, Action::Recreate { .. })));
    assert!(script.raised().contains(&Alarm::Unconfirmed(B)));
}

#[test]
fn before_one_side_goes_on_alone_after_a_start_nothing_older_can_be_applied_any_more() {
    let boot = Boot { found: Some((4, record(A, SideSet::only(A), 4))), ..Boot::default() };
    let script = Script::start(GroupConfig::default(), boot);
    // The relay before had sent the pair: where that is applied first, it holds.
    let (alone, pair) = (standing(A, SideSet::only(A), 4), standing(A, SideSet::PAIR, 5));
    assert_eq!(script.announced, [(alone, Some(pair)), (standing(A, SideSet::only(A), 5), None)]);
    assert_eq!(script.stored, Some((5, record(A, SideSet::only(A), 5))));
    let mut script =
        Script::start(GroupConfig::default(), Boot { found: Some((4, record(A, SideSet::PAIR, 4))), ..boot });
    script.on(Event::Tick);
    assert_eq!(script.stored.map(|(version, _)| version), Some(4), "the pair is strict enough");
}
