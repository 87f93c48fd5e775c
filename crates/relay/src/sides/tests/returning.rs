use super::*;

/// A is lost, B took over, A is back.
fn returned(obedient: bool) -> Script {
    let mut script = Script::pair();
    script.lose(A);
    script.pass(1100);
    script.obedient = obedient;
    script.ordered();
    script.serve(A);
    script
}

#[test]
fn a_side_that_returns_is_in_sync_again_and_nothing_flips_back() {
    let mut script = returned(true);
    script.pass(2000);
    assert_eq!(script.held(), standing(B, SideSet::PAIR, 3));
    let expect = |action: &Action| {
        matches!(
            action,
            Action::AssessReturn { side: A } | Action::RemoveMembers { side: A } | Action::CopyOffsets { side: A, .. }
        )
    };
    let steps: Vec<_> = script.ordered().into_iter().filter(expect).collect();
    let copy = |attempt| Action::CopyOffsets { side: A, attempt };
    assert_eq!(
        steps,
        [Action::AssessReturn { side: A }, Action::RemoveMembers { side: A }, copy(1), copy(2)],
        "members first, offsets before and after both are required"
    );
    // Both were required before the pair was sent.
    let both = (standing(B, SideSet::only(B), 2), Some(standing(B, SideSet::PAIR, 3)));
    assert!(script.announced.contains(&both));
    script.pass(600_000);
    assert_eq!(script.held(), standing(B, SideSet::PAIR, 3));
    assert!(script.raised().is_empty());
}

fn following(lag: i64) -> Script {
    let mut script = returned(false);
    script.pass(1100);
    script.on(Event::Assessed { side: A, outcome: Assessment::Ready { rebuild: Vec::new() } });
    script.copied(A, true);
    script.report(A, Suspicion::Behind { records: lag });
    script
}

#[test]
fn equal_ends_from_before_both_were_required_do_not_count() {
    let mut script = following(500);
    assert_eq!(script.group.view().returning, ReturnStage::Joining);
    script.copied(A, true);
    // A partition that has not taken in the announcement may have acknowledged by one side since it spoke.
    let seen = Seen { held: 2, sent: None };
    for partition in partitions() {
        script.on(Event::Report { partition, side: A, suspicion: Suspicion::Behind { records: 0 }, seen });
    }
    assert_eq!(script.held(), standing(B, SideSet::only(B), 2));
    script.report_at(&partitions()[0], A, Suspicion::Behind { records: 0 });
    assert_eq!(script.held(), standing(B, SideSet::only(B), 2));
    script.report_at(&partitions()[1], A, Suspicion::Behind { records: 0 });
    assert_eq!(script.held(), standing(B, SideSet::PAIR, 3));
}

#[test]
fn both_are_required_only_near_the_end_and_not_for_long() {
    let script = following(1001);
    assert_eq!(script.group.view().returning, ReturnStage::Following);

    let mut script = following(1000);
    script.pass(2900);
    assert_eq!(script.group.announcement().1, Some(standing(B, SideSet::PAIR, 3)));
    script.pass(200);
    assert_eq!(script.group.announcement(), (standing(B, SideSet::only(B), 2), None));
    script.pass(2000);
    assert_eq!(script.group.view().returning, ReturnStage::Joining, "tried again");
}

#[test]
fn offsets_that_differ_keep_a_side_out() {
    let mut script = following(0);
    script.copied(A, false);
    script.pass(500);
    assert_eq!(script.held(), standing(B, SideSet::only(B), 2));
    assert_eq!(script.group.announcement().1, None);
}

#[test]
fn a_side_that_goes_away_while_it_joins_is_not_waited_for() {
    let mut script = following(10);
    script.lose(A);
    assert_eq!(script.group.announcement(), (standing(B, SideSet::only(B), 2), None));
}

#[test]
fn topics_that_are_missing_or_hold_other_records_are_made_again() {
    let topic: Arc<str> = "pay".into();
    let recreate = Action::Recreate { side: A, topics: vec![topic.clone()] };
    let mut script = returned(false);
    script.pass(1100);
    script.on(Event::Assessed { side: A, outcome: Assessment::Ready { rebuild: vec![topic.clone()] } });
    assert!(script.ordered().contains(&recreate));
    script.on(Event::Recreated { side: A, topic: topic.clone(), done: false });
    assert_eq!(script.group.view().returning, ReturnStage::Away, "tried again from the beginning");

    for suspicion in [Suspicion::Diverged { offset: 3 }, Suspicion::OtherTopic] {
        let mut script = following(2000);
        script.report_at(&partitions()[1], A, suspicion);
        assert!(script.ordered().contains(&recreate));
        script.on(Event::Recreated { side: A, topic: topic.clone(), done: true });
        // Committed offsets went with the topic.
        let copies = |action: &Action| matches!(action, Action::CopyOffsets { side: A, .. });
        assert!(script.ordered().iter().any(copies));
    }
}

#[test]
fn nothing_is_removed_while_nothing_says_which_side_counts() {
    let mut script = Script::start(GroupConfig::default(), Boot::default());
    script.obedient = false;
    script.serve(A);
    script.on(Event::Probed { side: B, outcome: Probe::Serving });
    script.report_at(&partitions()[0], B, Suspicion::Diverged { offset: 3 });
    script.report_at(&partitions()[1], B, Suspicion::Serving);
    script.pass(1100);
    assert_eq!(script.held().in_sync, SideSet::only(A));
    script.on(Event::Assessed { side: B, outcome: Assessment::Ready { rebuild: Vec::new() } });
    script.report_at(&partitions()[0], B, Suspicion::Diverged { offset: 3 });
    script.pass(5000);
    assert!(script.raised().contains(&Alarm::Unconfirmed(B)));
    assert!(!script.ordered().iter().any(|action| matches!(action, Action::Recreate { .. })));
    script.command(Command::Confirm);
    assert!(script.ordered().iter().any(|action| matches!(action, Action::Recreate { side: B, .. })));
}

#[test]
fn a_flapping_side_waits_longer_each_time() {
    let mut script = Script::pair();
    let mut waits = Vec::new();
    for _ in 0..8 {
        script.lose(B);
        script.pass(1100);
        assert_eq!(script.held().in_sync, SideSet::only(A));
        script.serve(B);
        let began = script.now;
        while !script.held().is_duplex() {
            script.pass(50);
        }
        waits.push(script.now - began);
    }
    assert_eq!(waits, [1000, 2000, 4000, 8000, 16_000, 32_000, 32_000, 32_000]);
    script.pass(600_000);
    script.lose(B);
    script.pass(1100);
    script.serve(B);
    script.pass(1000);
    assert!(script.held().is_duplex(), "long past losses are forgotten");
}

#[test]
fn nothing_is_made_again_on_a_side_that_may_be_in_the_set_by_now() {
    let mut script = following(0);
    script.copied(A, true);
    script.swaps = vec![(SwapOutcome::Unknown, false); 10];
    script.report(A, Suspicion::Behind { records: 0 });
    script.ordered();
    script.report(A, Suspicion::OtherTopic);
    assert!(!script.ordered().iter().any(|action| matches!(action, Action::Recreate { .. })));
}

#[test]
fn what_an_earlier_try_found_equal_does_not_count_for_the_one_that_requires_both() {
    let mut script = following(0);
    let joined = script.group.announcement().1;
    assert!(joined.is_some_and(|sent| sent.in_sync.is_pair()));
    let before = script.group.attempts - 1;
    script.on(Event::OffsetsCopied { side: A, attempt: before, equal: true });
    script.report(A, Suspicion::Behind { records: 0 });
    assert!(!script.held().is_duplex());
    script.copied(A, true);
    script.report(A, Suspicion::Behind { records: 0 });
    assert!(script.held().is_duplex());
}
