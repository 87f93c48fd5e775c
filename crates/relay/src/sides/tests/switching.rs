use super::*;

#[test]
fn a_planned_switch_flips_and_can_be_taken_back_until_it_is_confirmed() {
    let mut script = Script::pair();
    script.command(Command::Switch { to: B });
    assert_eq!(script.answer(), Some(Ok(())));
    assert_eq!(script.held(), standing(B, SideSet::PAIR, 3));
    let steps: Vec<_> =
        script.ordered().into_iter().filter(|action| !matches!(action, Action::Announce { .. })).collect();
    let copy = |attempt| Action::CopyOffsets { side: B, attempt };
    assert_eq!(
        steps,
        [
            copy(1),
            Action::Quiesce,
            copy(2),
            Action::RemoveMembers { side: A },
            Action::Resume,
            Action::Answer { id: 7, result: Ok(()) }
        ]
    );
    // The intent was durable before anything was stopped.
    assert!(script.announced.contains(&(standing(A, SideSet::PAIR, 2), None)));
    script.command(Command::Cancel);
    assert_eq!((script.answer(), script.held().active), (Some(Ok(())), A));
    script.command(Command::Cancel);
    assert_eq!(script.answer(), Some(Err(CommandRefused::Nothing)));

    script.command(Command::Switch { to: B });
    script.command(Command::Confirm);
    assert_eq!(script.answer(), Some(Ok(())));
    script.command(Command::Cancel);
    assert_eq!((script.answer(), script.held().active), (Some(Err(CommandRefused::Nothing)), B));
}

#[test]
fn a_switch_compares_every_partition_under_its_own_announcement() {
    let mut script = Script::pair();
    script.obedient = false;
    script.command(Command::Switch { to: B });
    script.copied(B, true);
    assert_eq!(script.group.view().switching, Some(SwitchStage::Quiescing));
    script.copied(B, true);
    let [first, second] = partitions();
    let seen = script.seen();
    script.on(Event::Quiesced { partition: first, end: 5, seen });
    let stale = Seen { held: 1, sent: None };
    script.on(Event::Quiesced { partition: second.clone(), end: 5, seen: stale });
    assert_eq!(script.held().active, A);
    script.on(Event::Quiesced { partition: second, end: 5, seen });
    assert_eq!(script.held().active, B);
}

#[test]
fn a_switch_that_stalls_or_cannot_equalise_is_cancelled() {
    let mut script = Script::pair();
    script.obedient = false;
    script.command(Command::Switch { to: B });
    script.copied(B, true);
    script.ordered();
    script.pass(350);
    assert_eq!(script.answer(), None);
    script.pass(100);
    assert_eq!(script.answer(), Some(Err(CommandRefused::StallTooLong)));
    assert!(script.ordered().contains(&Action::Resume));
    assert_eq!(script.stored.unwrap().1.switching, None, "nothing is left behind");
    assert_eq!(script.held().active, A);

    script.command(Command::Switch { to: B });
    script.copied(B, false);
    script.pass(10_100);
    assert_eq!(script.answer(), Some(Err(CommandRefused::OffsetsDiffer)));
    assert!(!script.ordered().contains(&Action::Quiesce));
}

#[test]
fn a_flip_without_answer_keeps_still_until_it_is_read_back() {
    for applied in [true, false] {
        let mut script = Script::pair();
        script.swaps = vec![(SwapOutcome::Done, true), (SwapOutcome::Unknown, applied), (SwapOutcome::Unknown, false)];
        script.command(Command::Switch { to: B });
        if !applied {
            script.pass(50);
            assert!(!script.ordered().contains(&Action::Resume));
            script.pass(1000);
        }
        assert_eq!((script.answer(), script.held().active), (Some(Ok(())), B));
    }
}

#[test]
fn the_loss_of_a_side_comes_before_a_switch() {
    let mut script = Script::pair();
    script.obedient = false;
    script.command(Command::Switch { to: B });
    script.lose(A);
    script.pass(1100);
    assert_eq!(script.answer(), Some(Err(CommandRefused::Cancelled)));
    assert_eq!(script.held(), standing(B, SideSet::only(B), 2));
}

#[test]
fn a_switch_cut_short_by_a_restart_is_cleared() {
    let left = GroupRecord { switching: Some(B), ..record(A, SideSet::PAIR, 5) };
    let mut script = Script::serving(left, Absence::Available);
    script.pass(100);
    assert_eq!(script.stored.unwrap().1, record(A, SideSet::PAIR, 6));
}

#[test]
fn a_switch_is_refused_where_it_cannot_be_clean() {
    let check = |mut script: Script, to: Side, expect: CommandRefused| {
        script.command(Command::Switch { to });
        assert_eq!(script.answer(), Some(Err(expect)));
    };
    check(Script::pair(), A, CommandRefused::AlreadyActive);
    check(Script::serving(record(A, SideSet::only(A), 2), Absence::Available), B, CommandRefused::NotInSync);
    let mut away = Script::pair();
    away.lose(B);
    check(away, B, CommandRefused::SideUnfit);
    let mut busy = Script::pair();
    busy.obedient = false;
    busy.on(Event::Command { id: 1, command: Command::Switch { to: B } });
    check(busy, B, CommandRefused::Busy);
    let mut alone = Script::pair();
    let until = alone.now;
    alone.on(Event::Lease { until });
    check(alone, B, CommandRefused::NoCoordinator);
}
