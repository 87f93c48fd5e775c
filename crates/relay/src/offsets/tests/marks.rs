//! What counts after a side has lost the end of its log of offsets, and what a group that goes back waits for.

use naru_kafka::wire::ErrorCode;

use super::world::{CONFIG, SETTLED, World, at, position, standing};
use crate::offsets::{Event, Group, Kept, Marks};
use crate::sequence::Millis;
use crate::side::{Side, SideSet};

fn acked(partitions: usize) -> Result<Vec<ErrorCode>, ErrorCode> {
    Ok(vec![ErrorCode::NONE; partitions])
}

#[test]
fn a_side_that_lost_the_end_of_its_offsets_over_a_restart_gets_back_what_was_acknowledged() {
    // What was committed in turn, what the side that lost its end holds then, and what counts.
    let check = |committed: &[i64], lost: Side, holds: i64, expect: i64| {
        let mut world = World::opened();
        for offset in committed {
            world.commit(&[(0, *offset)]);
            world.deliver_all();
        }
        assert_eq!(world.answers.len(), committed.len());
        world.sides[lost].offsets.insert(at(0), position(holds));
        world.restart(standing(Side::A, SideSet::PAIR, 1));
        assert!(!world.view().ready, "offsets may be fetched before it is known what counts");
        world.deliver_all();
        // Where members hold the group on the active side they are removed first.
        world.pass(100);
        world.deliver_all();
        assert!(world.view().ready);
        for side in Side::BOTH {
            assert_eq!(world.held(side, 0), Some(expect), "{committed:?}, {lost} holds {holds}: {side}");
        }
    };
    for lost in Side::BOTH {
        check(&[5, 7], lost, 5, 7);
        // Set back, and then on again: the larger one is the older.
        check(&[50, 100, 10], lost, 100, 10);
        check(&[50, 100, 10, 60], lost, 100, 60);
        check(&[50, 100, 10, 60], lost, 10, 60);
        // As far as ever before: the larger one is the newer again.
        check(&[50, 100, 10, 100], lost, 10, 100);
        check(&[50, 100, 10, 120], lost, 60, 120);
    }
}

#[test]
fn a_commit_that_sets_a_group_back_waits_until_that_is_durable() {
    let mut world = World::opened();
    world.commit(&[(0, 100)]);
    world.deliver_all();
    world.disk = None;
    let back = world.commit(&[(0, 10)]);
    let on = world.commit(&[(1, 5)]);
    world.deliver_all();
    assert_eq!(world.answers.last(), Some(&(on, acked(1))), "another place does not wait");
    assert_eq!(world.answers.len(), 2);
    world.disk = Some(Marks::new());
    world.pass(100);
    assert_eq!(world.answers.last(), Some(&(back, acked(1))));
}

#[test]
fn where_no_relay_was_before_what_the_active_side_holds_counts() {
    for (adopts, expect) in [(true, 5), (false, 9)] {
        let mut world = World::new();
        world.group = Group::new(CONFIG, SETTLED, Kept { adopts, ..Kept::default() });
        world.on(Event::Lease { until: Millis::MAX });
        world.sides[Side::A].offsets.insert(at(0), position(5));
        world.sides[Side::B].offsets.insert(at(0), position(9));
        world.stand(standing(Side::A, SideSet::PAIR, 1));
        world.deliver_all();
        assert_eq!(Side::BOTH.map(|side| world.held(side, 0)), [Some(expect); 2], "adopts: {adopts}");
    }
}

#[test]
fn members_that_would_go_on_from_what_is_older_join_again() {
    let mut world = World::opened();
    for offset in [5, 7] {
        world.commit(&[(0, offset)]);
        world.deliver_all();
    }
    world.sides[Side::A].offsets.insert(at(0), position(5));
    world.restart(standing(Side::A, SideSet::PAIR, 1));
    world.deliver_all();
    world.pass(100);
    world.deliver_all();
    assert_eq!(world.sides[Side::A].generation, 1);
    assert_eq!(world.held(Side::A, 0), Some(7));
    assert!(world.view().ready);
}
