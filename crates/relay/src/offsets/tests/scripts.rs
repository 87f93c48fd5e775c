//! Single cases, event by event.

use naru_kafka::wire::ErrorCode;

use super::world::{CONFIG, UNSETTLED, World, at, position, side_of, standing};
use crate::offsets::{Action, Event, Failed, Group, Kept};
use crate::sequence::{Millis, Suspicion};
use crate::side::{Side, SideSet};

fn alone(side: Side) -> SideSet {
    SideSet::PAIR.without(side.other())
}

fn acked(partitions: usize) -> Result<Vec<ErrorCode>, ErrorCode> {
    Ok(vec![ErrorCode::NONE; partitions])
}

#[test]
fn a_commit_is_answered_when_both_sides_have_it() {
    let mut world = World::opened();
    let ticket = world.commit(&[(0, 7), (1, 9)]);
    assert_eq!(world.under_way(), ["forward 1 to a"]);
    world.deliver();
    assert_eq!(world.under_way(), ["write 0=7 1=9 to b"]);
    assert!(world.answers.is_empty(), "answered by one side");
    world.deliver();
    assert_eq!(world.answers, [(ticket, acked(2))]);
    assert_eq!(world.held(Side::B, 1), Some(9));
}

#[test]
fn what_waits_for_the_standby_is_merged_and_one_write_is_in_flight() {
    let mut world = World::opened();
    let first = world.commit(&[(0, 1)]);
    world.deliver();
    let rest: Vec<_> = (2..6)
        .map(|offset| {
            let ticket = world.commit(&[(0, offset)]);
            let forward = world.sent.pop().unwrap();
            let outcome = world.apply(&forward);
            world.tell(&forward.action, outcome);
            ticket
        })
        .collect();
    assert_eq!(world.under_way(), ["write 0=1 to b"]);
    world.deliver();
    assert_eq!(world.answers, [(first, acked(1))]);
    assert_eq!(world.under_way(), ["write 0=5 to b"]);
    world.deliver();
    let answered: Vec<_> = world.answers.iter().map(|(ticket, _)| *ticket).collect();
    assert_eq!(answered[1..], rest);
}

#[test]
fn commits_of_one_partition_are_forwarded_one_after_the_other() {
    let mut world = World::opened();
    world.commit(&[(0, 1)]);
    world.commit(&[(0, 2), (1, 2)]);
    world.commit(&[(1, 3)]);
    world.commit(&[(2, 4)]);
    assert_eq!(world.under_way(), ["forward 1 to a", "forward 4 to a"]);
}

#[test]
fn what_the_active_side_refuses_is_not_copied() {
    let mut world = World::opened();
    world.commit(&[(0, 1), (1, 2)]);
    let forward = world.sent.remove(0);
    let codes = vec![(at(0), ErrorCode::OFFSET_METADATA_TOO_LARGE), (at(1), ErrorCode::NONE)];
    world.tell(&forward.action, Ok(codes));
    assert_eq!(world.under_way(), ["write 1=2 to b"]);
    world.deliver();
    assert_eq!(world.answers[0].1, Ok(vec![ErrorCode::OFFSET_METADATA_TOO_LARGE, ErrorCode::NONE]));

    world.commit(&[(0, 1)]);
    let forward = world.sent.remove(0);
    world.tell(&forward.action, Err(Failed::Refused(ErrorCode::REBALANCE_IN_PROGRESS)));
    assert_eq!(world.answers[1].1, Err(ErrorCode::REBALANCE_IN_PROGRESS));
    assert!(world.sent.is_empty());
}

#[test]
fn a_write_of_unknown_outcome_that_arrived_is_found_by_reading() {
    let mut world = World::opened();
    let ticket = world.commit(&[(0, 7)]);
    world.deliver();
    let sent = world.lose();
    world.apply(&sent).unwrap();
    world.pass(100);
    assert_eq!(world.under_way(), ["read b"]);
    world.deliver();
    assert_eq!(world.answers, [(ticket, acked(1))]);
}

#[test]
fn nothing_is_written_to_a_side_while_an_older_write_may_still_arrive() {
    let mut world = World::opened();
    world.commit(&[(0, 7)]);
    world.deliver();
    let late = world.lose();
    world.pass(100);
    world.deliver();
    world.commit(&[(0, 8)]);
    world.deliver();
    world.pass(100);
    world.deliver();
    assert!(world.sent.is_empty(), "{:?}", world.under_way());
    assert!(world.answers.is_empty());
    world.apply(&late).unwrap();
    world.pass(800);
    world.deliver_all();
    assert_eq!(world.held(Side::B, 0), Some(8));
    assert_eq!(world.answers.len(), 2);
}

#[test]
fn a_write_may_arrive_as_soon_as_a_side_that_stood_still_goes_on() {
    let mut world = World::opened();
    world.commit(&[(0, 7)]);
    world.deliver();
    let late = world.lose();
    // Far longer than a request takes that is read at once, and no answer from the side.
    for _ in 0..20 {
        world.pass(CONFIG.settle_ms);
        world.lose();
    }
    world.commit(&[(0, 8)]);
    world.deliver();
    world.pass(100);
    world.deliver();
    assert!(world.sent.is_empty(), "behind a write that may still arrive: {:?}", world.under_way());
    world.apply(&late).unwrap();
    world.pass(CONFIG.settle_ms);
    world.deliver_all();
    assert_eq!(world.held(Side::B, 0), Some(8));
    assert_eq!(world.answers.len(), 2);
}

#[test]
fn a_follower_that_stays_away_costs_the_other_side_little_and_is_read_at_once_when_asked_for() {
    let mut world = World::opened();
    world.stand(standing(Side::A, alone(Side::A), 2));
    let read = |world: &mut World, ms: Millis| {
        let mut reads = 0;
        for _ in 0..ms / 100 {
            world.pass(100);
            while let Some(sent) = world.sent.first().cloned() {
                match side_of(&sent.action) {
                    Some(Side::B) => drop(world.lose()),
                    _ => {
                        reads += 1;
                        world.deliver();
                    }
                }
            }
        }
        reads
    };
    let minute = 60_000;
    assert!(read(&mut world, minute) < 15);
    assert!(read(&mut world, 10 * minute) < 12);
    world.on(Event::Recheck);
    world.deliver_all();
    assert!(world.view().equal);
}

#[test]
fn a_forwarded_commit_of_unknown_outcome_is_read_back() {
    for (arrives, answer) in [(true, acked(1)), (false, Ok(vec![ErrorCode::COORDINATOR_NOT_AVAILABLE]))] {
        let mut world = World::opened();
        let ticket = world.commit(&[(0, 7)]);
        let sent = world.lose();
        assert!(!world.view().ready);
        if arrives {
            world.apply(&sent).unwrap();
        }
        world.pass(100);
        world.deliver_all();
        world.pass(CONFIG.settle_ms);
        world.deliver_all();
        assert_eq!(world.answers, [(ticket, answer)], "arrives: {arrives}");
        assert_eq!(world.held(Side::B, 0), arrives.then_some(7));
        assert!(world.view().ready);
    }
}

#[test]
fn alone_one_side_is_enough_and_only_by_a_grant_that_was_read_back() {
    let mut world = World::opened();
    let ticket = world.commit(&[(0, 7)]);
    world.deliver();
    let pair = standing(Side::A, SideSet::PAIR, 1);
    let solo = standing(Side::A, alone(Side::A), 2);
    world.on(Event::Standing { held: pair, sent: Some(solo) });
    assert!(world.answers.is_empty(), "a grant that was not read back");
    world.stand(solo);
    assert_eq!(world.answers, [(ticket, acked(1))]);
}

#[test]
fn nothing_is_forwarded_or_acknowledged_after_the_lease() {
    let mut world = World::opened();
    world.commit(&[(0, 7)]);
    world.deliver();
    world.on(Event::Lease { until: world.now + 50 });
    world.now += 50;
    world.deliver();
    world.commit(&[(1, 7)]);
    assert!(world.answers.is_empty() && world.sent.is_empty());
    world.on(Event::Lease { until: world.now + 1_000 });
    assert_eq!(world.answers.len(), 1);
    assert_eq!(world.under_way(), ["forward 2 to a"]);
}

#[test]
fn a_start_repairs_the_standby_and_gives_back_what_the_active_side_forgot() {
    let mut world = World::new();
    for (side, place, offset) in [(Side::A, 0, 5), (Side::B, 0, 3), (Side::A, 1, 6), (Side::B, 2, 8)] {
        world.sides[side].offsets.insert(at(place), position(offset));
    }
    world.stand(standing(Side::A, SideSet::PAIR, 1));
    world.deliver_all();
    for side in Side::BOTH {
        assert_eq!([0, 1, 2].map(|place| world.held(side, place)), [Some(5), Some(6), Some(8)], "{side}");
    }
    assert!(world.view().ready);
}

#[test]
fn what_the_side_that_is_left_alone_forgot_is_given_back_and_what_was_deleted_there_is_not() {
    let mut world = World::opened();
    world.commit(&[(0, 7), (1, 8)]);
    world.deliver_all();
    world.request([(at(1), None)].into());
    world.deliver_all();
    world.sides[Side::B].offsets.remove(&at(0));
    world.sides[Side::A].offsets.insert(at(1), position(8));
    world.stand(standing(Side::B, alone(Side::B), 2));
    world.deliver_all();
    world.pass(100);
    world.deliver_all();
    for side in Side::BOTH {
        assert_eq!([0, 1].map(|place| world.held(side, place)), [Some(7), None], "{side}");
    }
}

#[test]
fn what_the_active_side_lost_of_its_offsets_is_given_back_and_does_not_set_the_other_back() {
    let mut world = World::opened();
    for offset in [5, 7] {
        world.commit(&[(0, offset)]);
        world.deliver_all();
    }
    // An unclean election of the partition that holds it, and the members are gone with their group.
    world.sides[Side::A].offsets.insert(at(0), position(5));
    world.sides[Side::A].has_members = false;
    world.on(Event::Recheck);
    world.deliver_all();
    world.pass(100);
    world.deliver_all();
    for side in Side::BOTH {
        assert_eq!(world.held(side, 0), Some(7), "{side}");
    }
    // A client that goes back does so.
    world.commit(&[(0, 2)]);
    world.deliver_all();
    world.on(Event::Recheck);
    world.deliver_all();
    for side in Side::BOTH {
        assert_eq!(world.held(side, 0), Some(2), "{side}");
    }
}

#[test]
fn a_commit_of_a_member_that_nobody_knows_is_told_from_one_that_goes_back() {
    let mut world = World::opened();
    world.commit(&[(0, 7)]);
    world.deliver_all();
    let check = |world: &mut World, offset: i64, expect: bool| {
        let ticket = world.commit(&[(0, offset)]);
        assert_eq!(world.group.sets_back(ticket), expect, "{offset}");
        world.deliver_all();
    };
    check(&mut world, 8, false);
    check(&mut world, 7, true);
    check(&mut world, 7, false);
}

#[test]
fn what_members_hold_at_the_active_side_is_not_given_back_over_their_heads() {
    let mut world = World::new();
    world.sides[Side::A].has_members = true;
    world.sides[Side::B].offsets.insert(at(2), position(8));
    world.stand(standing(Side::A, SideSet::PAIR, 1));
    world.deliver_all();
    assert!(world.sides[Side::A].has_members, "members of the active side were removed");
    assert!(world.view().ready);
    world.commit(&[(2, 9)]);
    world.deliver_all();
    assert_eq!(world.answers.len(), 1);
}

#[test]
fn after_a_takeover_members_look_for_their_coordinator_and_nothing_acknowledged_is_missing() {
    let mut world = World::opened();
    let kept = world.commit(&[(0, 7)]);
    world.deliver_all();
    let copied = world.commit(&[(0, 8)]);
    world.deliver();
    let forwarded = world.commit(&[(1, 1)]);
    let queued = world.commit(&[(1, 2)]);
    world.stand(standing(Side::B, alone(Side::B), 2));
    assert_eq!(world.answers[0], (kept, acked(1)));
    let told: Vec<_> = world.answers[1..].iter().collect();
    for ticket in [copied, forwarded, queued] {
        assert!(told.contains(&&(ticket, Err(ErrorCode::NOT_COORDINATOR))), "{ticket:?}: {told:?}");
    }
    assert!(!world.view().ready, "offsets may be fetched while a write to that side is under way");
    world.sent.retain(|sent| super::world::side_of(&sent.action) == Some(Side::B));
    world.deliver();
    assert!(world.view().ready);
    assert_eq!(world.held(Side::B, 0), Some(8));
}

#[test]
fn the_side_that_was_active_loses_its_members_before_it_is_written_to() {
    let mut world = World::opened();
    world.commit(&[(0, 7)]);
    world.deliver_all();
    world.stand(standing(Side::B, alone(Side::B), 2));
    assert_eq!(world.under_way(), ["remove members at a"]);
    let ticket = world.commit(&[(0, 8)]);
    world.deliver_all();
    assert!(world.answers.contains(&(ticket, acked(1))));
    assert_eq!(world.held(Side::A, 0), Some(8));
    assert!(world.suspicions.contains(&(Side::A, Suspicion::Behind { records: 0 })));
}

#[test]
fn a_follower_that_is_equal_takes_part_in_every_acknowledgement() {
    let mut world = World::opened();
    world.stand(standing(Side::A, alone(Side::A), 2));
    world.commit(&[(0, 7)]);
    world.deliver_all();
    world.pass(100);
    world.deliver_all();
    assert_eq!(world.suspicions.last(), Some(&(Side::B, Suspicion::Behind { records: 0 })));
    let before = world.answers.len();
    world.commit(&[(0, 8)]);
    world.deliver();
    assert_eq!(world.answers.len(), before, "answered by one side while the other is about to be in sync");
    world.deliver();
    world.stand(standing(Side::A, SideSet::PAIR, 3));
    assert_eq!(world.answers.len(), before + 1);
    assert_eq!(world.held(Side::B, 0), Some(8));
}

#[test]
fn before_a_planned_flip_nothing_is_forwarded_and_both_sides_are_read() {
    let mut world = World::opened();
    world.commit(&[(0, 7)]);
    world.on(Event::Quiesce);
    let held = world.commit(&[(0, 8)]);
    world.deliver();
    assert!(!world.quiesced);
    world.deliver_all();
    assert!(world.quiesced);
    world.stand(standing(Side::B, SideSet::PAIR, 2));
    world.on(Event::Resume);
    assert!(world.answers.contains(&(held, Err(ErrorCode::NOT_COORDINATOR))));
    world.deliver_all();
    let ticket = world.commit(&[(0, 9)]);
    world.deliver_all();
    assert!(world.answers.contains(&(ticket, acked(1))));
    assert_eq!(world.held(Side::A, 0), Some(9));
}

#[test]
fn a_deletion_is_on_both_sides_before_it_is_answered() {
    let mut world = World::opened();
    world.commit(&[(0, 7), (1, 7)]);
    world.deliver_all();
    world.request([(at(0), None)].into());
    world.deliver();
    assert_eq!(world.under_way(), ["write 0 forgotten to b"]);
    assert_eq!(world.answers.len(), 1);
    world.deliver();
    assert_eq!(world.answers.len(), 2);
    assert_eq!([world.held(Side::B, 0), world.held(Side::B, 1)], [None, Some(7)]);
}

#[test]
fn a_standby_that_refuses_is_reported_with_its_code() {
    let mut world = World::opened();
    world.commit(&[(0, 7)]);
    world.deliver();
    let write = world.sent.remove(0);
    world.tell(&write.action, Ok(vec![(at(0), ErrorCode::TOPIC_AUTHORIZATION_FAILED)]));
    assert!(world.answers.is_empty());
    let refuses = Suspicion::Refuses(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    assert_eq!(world.suspicions, [(Side::B, refuses)]);
    world.pass(100);
    assert_eq!(world.under_way(), ["write 0=7 to b"]);
}

#[test]
fn a_client_whose_patience_is_over_is_answered_and_its_commit_goes_on() {
    let mut world = World::opened();
    let ticket = world.commit(&[(0, 7)]);
    world.deliver();
    world.on(Event::Expired { ticket });
    assert_eq!(world.answers, [(ticket, Err(ErrorCode::COORDINATOR_NOT_AVAILABLE))]);
    world.deliver();
    assert_eq!(world.answers.len(), 1);
    assert_eq!(world.held(Side::B, 0), Some(7));
}

#[test]
fn beyond_the_bound_clients_are_asked_to_come_again() {
    let mut world = World::opened();
    for _ in 0..100 {
        world.commit(&[(0, 7)]);
    }
    let ticket = world.commit(&[(0, 7)]);
    assert_eq!(world.answers, [(ticket, Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS))]);
}

/// What a killed relay sent stays in the socket of a broker that stands still, and arrives when that goes on: it must not
/// come after what this relay writes.
#[test]
fn to_a_side_that_stood_still_over_a_restart_nothing_is_written_before_it_has_answered_for_a_while() {
    let mut world = World::opened();
    for offset in [5, 7] {
        world.commit(&[(0, offset)]);
        world.deliver_all();
    }
    let held = standing(Side::A, SideSet::PAIR, 1);
    (world.group, world.sent) = (Group::new(CONFIG, UNSETTLED, Kept::default()), Vec::new());
    world.on(Event::Lease { until: Millis::MAX });
    world.stand(held);
    // A answers, B does not.
    let is_of_b = |action: &Action| side_of(action) == Some(Side::B);
    let only_a = |world: &mut World| {
        while let Some(next) = world.sent.iter().position(|sent| !is_of_b(&sent.action)) {
            let sent = world.sent.remove(next);
            let outcome = world.apply(&sent);
            world.tell(&sent.action, outcome);
        }
    };
    for _ in 0..100 {
        only_a(&mut world);
        world.pass(100);
    }
    assert!(world.now > CONFIG.settle_ms * 2);
    assert_eq!(world.under_way(), ["read b"], "written, or compared, before it has answered");
    let answered_at = world.now;
    while world.now < answered_at + CONFIG.settle_ms {
        world.deliver_all();
        assert!(!world.view().equal, "compared {} ms after its first answer", world.now - answered_at);
        world.pass(100);
    }
    // The killed relay's write arrives just before that: the comparison finds it.
    world.sides[Side::B].offsets.insert(at(0), position(5));
    for _ in 0..10 {
        world.deliver_all();
        world.pass(100);
    }
    assert!(world.view().equal && world.view().ready);
    assert_eq!(Side::BOTH.map(|side| world.held(side, 0)), [Some(7); 2]);
}

#[test]
fn a_side_that_is_away_over_a_restart_is_looked_at_ever_more_rarely_and_at_once_when_asked() {
    let mut world = World::new();
    world.group = Group::new(CONFIG, UNSETTLED, Kept::default());
    world.on(Event::Lease { until: Millis::MAX });
    world.stand(standing(Side::A, alone(Side::A), 2));
    let mut looks = 0;
    for _ in 0..1_000 {
        while let Some(sent) = world.sent.first().cloned() {
            if side_of(&sent.action) == Some(Side::B) {
                looks += 1;
                world.sent.remove(0);
                world.tell(&sent.action, Err(Failed::NotSent));
            } else {
                world.deliver();
            }
        }
        world.pass(100);
    }
    assert!(world.view().ready, "the active side has answered");
    assert!((5..20).contains(&looks), "{looks} in {} ms", world.now);
    world.on(Event::Recheck);
    assert_eq!(world.under_way(), ["read b"]);
}
