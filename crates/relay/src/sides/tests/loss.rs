use super::*;

#[test]
fn the_active_side_is_absent_and_the_standby_takes_over() {
    for absence in [Absence::Available, Absence::Block] {
        let mut script = Script::serving(record(A, SideSet::PAIR, 1), absence);
        script.lose(A);
        script.pass(900);
        assert_eq!(script.held(), standing(A, SideSet::PAIR, 1));
        script.pass(150);
        assert_eq!(script.held(), standing(B, SideSet::only(B), 2));
        assert_eq!(script.stored.unwrap().1.grant, Some(Cause::ActiveAbsent));
        assert_eq!(script.raised(), [Alarm::Solo]);
        let change = script.group.view().last_change.unwrap();
        assert_eq!((change.from, change.took_ms), (A, 1000));
        // Alone only when the grant was read back; until then the stricter of two.
        let held: Vec<_> = script.announced.split_off(1);
        let (old, new) = (standing(A, SideSet::PAIR, 1), standing(B, SideSet::only(B), 2));
        assert_eq!(held, [(old, Some(new)), (new, None)]);
    }
}

#[test]
fn absence_of_the_standby_is_a_grant_or_a_block() {
    let check = |absence: Absence, expect: Standing, alarms: &[Alarm]| {
        let mut script = Script::serving(record(A, SideSet::PAIR, 1), absence);
        script.lose(B);
        script.pass(5000);
        assert_eq!(script.held(), expect);
        assert_eq!(script.raised(), alarms);
    };
    check(Absence::Available, standing(A, SideSet::only(A), 2), &[Alarm::Solo]);
    check(Absence::Block, standing(A, SideSet::PAIR, 1), &[]);
}

#[test]
fn a_short_absence_changes_nothing() {
    for side in Side::BOTH {
        let mut script = Script::pair();
        for _ in 0..20 {
            script.lose(side);
            script.pass(900);
            script.serve(side);
            script.pass(100);
        }
        assert_eq!(script.held(), standing(A, SideSet::PAIR, 1));
    }
}

#[test]
fn one_partition_without_its_leader_is_enough() {
    let mut script = Script::pair();
    script.obedient = false;
    let since = script.now;
    script.report_at(&partitions()[1], A, Suspicion::Absent { since });
    script.pass(1100);
    assert_eq!(script.held(), standing(B, SideSet::only(B), 2));
}

#[test]
fn when_both_sides_are_away_nobody_is_granted_anything() {
    let mut script = Script::pair();
    script.lose(A);
    script.lose(B);
    script.pass(10_000);
    assert_eq!(script.held(), standing(A, SideSet::PAIR, 1));
    assert_eq!(script.raised(), [Alarm::Stopped]);
}

#[test]
fn a_side_that_lost_records_never_stays_in_the_set() {
    let check = |damaged: Side, absence: Absence, expect: Standing| {
        let mut script = Script::serving(record(A, SideSet::PAIR, 1), absence);
        script.obedient = false;
        script.report_at(&partitions()[0], damaged, Suspicion::Damaged);
        assert_eq!(script.held(), expect);
    };
    for absence in [Absence::Available, Absence::Block] {
        check(A, absence, standing(B, SideSet::only(B), 2));
        check(B, absence, standing(A, SideSet::only(A), 2));
    }
}

#[test]
fn a_damaged_active_side_without_the_other_stops_even_where_alone_is_allowed() {
    let mut script = Script::pair();
    script.obedient = false;
    script.lose(B);
    script.pass(500);
    script.report_at(&partitions()[0], A, Suspicion::Damaged);
    script.pass(60_000);
    assert_eq!(script.held(), standing(A, SideSet::PAIR, 1));
    assert_eq!(script.raised(), [Alarm::Stopped, Alarm::Damaged(A)]);
    script.serve(B);
    assert_eq!(script.held(), standing(B, SideSet::only(B), 2));
}

#[test]
fn a_standby_that_keeps_refusing_leaves_where_alone_is_allowed() {
    let mut script = Script::pair();
    script.obedient = false;
    script.report_at(&partitions()[0], B, Suspicion::Refuses(ErrorCode(10)));
    script.pass(900);
    assert_eq!(script.held(), standing(A, SideSet::PAIR, 1));
    assert_eq!(script.raised(), [Alarm::Refused(B)]);
    script.pass(200);
    assert_eq!(script.held(), standing(A, SideSet::only(A), 2));
}

#[test]
fn a_swap_without_answer_is_neither_trusted_nor_forgotten() {
    use SwapOutcome::{Conflict, Done, Unavailable, Unknown};
    let check = |swaps: &[(SwapOutcome, bool)], ms: Millis, expect: Standing| {
        let mut script = Script::pair();
        script.swaps = swaps.to_vec();
        script.lose(A);
        script.pass(1000);
        script.serve(A);
        script.pass(ms);
        assert_eq!(script.held().active, expect.active, "{swaps:?}");
        assert!(script.held().epoch >= expect.epoch, "{swaps:?}");
    };
    let moved = standing(B, SideSet::only(B), 2);
    check(&[(Unknown, true)], 0, moved);
    // Not applied as far as can be read; it may be yet, so the very same is sent until one has won.
    check(&[(Unknown, false), (Unknown, false), (Done, true)], 1000, moved);
    check(&[(Unknown, false), (Conflict, true)], 1000, moved);
    check(&[(Unknown, false), (Unavailable, false), (Unknown, true)], 1000, moved);
    // Certainly not applied, and not wanted any more.
    check(&[(Unavailable, false)], 1000, standing(A, SideSet::PAIR, 1));
}

#[test]
fn while_a_swap_is_unread_the_stricter_of_both_is_announced() {
    let mut script = Script::pair();
    script.swaps = vec![(SwapOutcome::Unknown, false); 100];
    script.lose(B);
    script.pass(2000);
    let held = (standing(A, SideSet::PAIR, 1), Some(standing(A, SideSet::only(A), 2)));
    assert_eq!(script.group.announcement(), held);
    assert!(script.announced.iter().all(|(held, _)| held.is_duplex()));
}

#[test]
fn without_a_lease_nothing_is_changed() {
    let mut script = Script::pair();
    let until = script.now + 500;
    script.on(Event::Lease { until });
    script.lose(A);
    script.pass(5000);
    assert_eq!(script.held(), standing(A, SideSet::PAIR, 1));
    assert_eq!(script.raised(), [Alarm::LeaseEnded]);
    script.on(Event::Lease { until: Millis::MAX });
    assert_eq!(script.held(), standing(B, SideSet::only(B), 2));
}

#[test]
fn someone_elses_change_is_taken_over() {
    let mut script = Script::pair();
    script.stored = Some((9, record(B, SideSet::PAIR, 6)));
    script.on(Event::Changed);
    assert_eq!(script.held(), standing(B, SideSet::PAIR, 6));
}

#[test]
fn another_cluster_behind_an_address_is_absence_with_an_alarm() {
    let mut script = Script::pair();
    let since = script.now;
    script.on(Event::Probed { side: B, outcome: Probe::WrongCluster { since } });
    script.pass(1100);
    assert_eq!(script.held(), standing(A, SideSet::only(A), 2));
    assert_eq!(script.raised(), [Alarm::Solo, Alarm::WrongCluster(B)]);
}

#[test]
fn a_standby_that_keeps_no_committed_offsets_is_lost_like_one_that_keeps_no_records() {
    let refuses = Suspicion::Refuses(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    for (suspicion, cause) in
        [(Suspicion::Absent { since: 10_000 }, Cause::StandbyAbsent), (refuses, Cause::StandbyRefused)]
    {
        let mut script = Script::pair();
        let complaint = Complaint { consumers: "settlement".into(), suspicion, since: script.now };
        script.on(Event::Complained { side: B, complaint: Some(complaint) });
        script.pass(1100);
        assert_eq!(script.held(), standing(A, SideSet::only(A), 2));
        assert_eq!(script.stored.unwrap().1.grant, Some(cause));
        script.on(Event::Complained { side: B, complaint: None });
        script.pass(60_000);
        assert!(script.held().is_duplex());
        assert_eq!(script.raised(), []);
    }
}

#[test]
fn a_grant_to_a_side_that_was_damaged_since_is_not_sent_again() {
    let mut script = Script::pair();
    script.obedient = false;
    script.swaps = vec![(SwapOutcome::Unknown, false); 3];
    script.lose(B);
    script.pass(1100);
    assert_eq!(script.group.announcement().1, Some(standing(A, SideSet::only(A), 2)));
    script.report_at(&partitions()[0], A, Suspicion::Damaged);
    script.pass(5000);
    // Nobody is left: it is read, and not sent.
    assert!(script.held().is_duplex());
    script.serve(B);
    script.pass(200);
    assert_eq!(script.held(), standing(B, SideSet::only(B), 3));
}

#[test]
fn a_pair_that_a_coordinator_lost_again_is_required_until_something_newer_is_read() {
    let mut script = Script::serving(record(A, SideSet::only(A), 4), Absence::Available);
    script.swaps = vec![(SwapOutcome::Unknown, false); 100];
    script.pass(2500);
    let pair = standing(A, SideSet::PAIR, 6);
    assert_eq!(script.group.announcement(), (standing(A, SideSet::only(A), 5), Some(pair)));
    // Restored: whether the pair was set before, nobody knows.
    script.announced.clear();
    script.stored = Some((0, record(B, SideSet::only(B), 3)));
    script.pass(500);
    assert!(script.raised().contains(&Alarm::CoordinatorRestored));
    assert!(script.announced.iter().all(|(_, sent)| *sent == Some(pair)), "{:?}", script.announced);
    script.swaps.clear();
    script.pass(500);
    assert!(script.held().epoch > pair.epoch);
}

#[test]
fn a_pair_with_a_side_that_was_damaged_since_is_not_sent_again() {
    let mut script = Script::serving(record(A, SideSet::only(A), 4), Absence::Available);
    script.on(Event::Tick);
    script.swaps = vec![(SwapOutcome::Unknown, false); 3];
    script.pass(1200);
    assert_eq!(script.group.announcement().1, Some(standing(A, SideSet::PAIR, 6)));
    script.obedient = false;
    script.report_at(&partitions()[0], B, Suspicion::Damaged);
    script.pass(5000);
    assert_eq!(script.held(), standing(A, SideSet::only(A), 7));
    assert_eq!(script.group.announcement().1, None, "one side goes on alone");
}

#[test]
fn a_damaged_side_does_not_come_back_by_a_coordinator_that_went_back() {
    let mut script = Script::pair();
    script.obedient = false;
    let before = script.stored;
    // The grant is written, and the coordinator restored before that is read.
    let seen = script.seen();
    let damaged = Event::Report { partition: partitions()[0].clone(), side: A, suspicion: Suspicion::Damaged, seen };
    let mut out = Vec::new();
    script.group.on(script.now, damaged, &mut out);
    assert!(out.iter().any(|action| matches!(action, Action::Swap { .. })));
    script.group.on(script.now, Event::Swapped(SwapOutcome::Unknown), &mut out);
    let older = before.map(|(_, record)| (0, record));
    script.stored = older;
    script.on(Event::Read(Some(older)));
    script.pass(500);
    assert_eq!((script.held().active, script.held().in_sync), (B, SideSet::only(B)));
}
