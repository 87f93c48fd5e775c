//! Starts, leader epochs, log starts, and a topic that waits for both sides.

use super::super::PartitionConfig;
use super::script::{Bench, checkpoint, config};
use crate::sides::Absence;

#[test]
fn a_side_of_another_epoch_gets_the_tail_it_lacks_before_the_gate_is_known() {
    Bench::new(config(), "a {ab} 1", Some(checkpoint(5))).run(
        "lease 1000000     => a?end; b?end
         a ends 0..5 @3 <5 => a changed
         b ends 0..7 @0 <7 => b?5..7
         b reads 5=p7:0x2  => a<p7:0x2
         a wrote 5         => gate 7; a serving; b serving",
    );
}

#[test]
fn a_side_that_comes_back_during_a_start_is_read_again() {
    Bench::new(config(), "a {ab} 1", Some(checkpoint(5))).run(
        "lease 1000000     => a?end; b?end
         a ends 0..7       =>
         b ends 0..5       => a?5..7
         b again           => a?end; b?end
         a reads 5=p7:0x2  =>
         a ends 0..7       =>
         b other           => a serving; b other topic",
    );
}

#[test]
fn a_side_that_can_be_read_is_told_while_the_other_is_damaged() {
    Bench::new(config(), "a {ab} 1", Some(checkpoint(5))).run(
        "lease 1000000     => a?end; b?end
         a ends 0..3       => a damaged
         b ends 0..7       => b serving",
    );
}

#[test]
fn what_came_under_a_newer_epoch_below_the_gate_is_held_against_the_other_side() {
    Bench::running(config(), 5).run(
        "a again           => a?end; a changed
         a ends 0..5 @2 <3 => a?end; b?end
         a ends 0..5 @2 <3 =>
         b ends 0..5 @0 <5 => a?3..5; b?3..5
         a reads 3=p1:0x2  =>
         b reads 3=p1:0x2  => a serving
         produce 1 p7:0    => a<p7:0",
    );
}

#[test]
fn a_side_that_lost_a_tail_returns_by_what_it_holds_from_where_its_epochs_tell() {
    Bench::running(config(), 5).run(
        "b again           => b?end; b changed
         b ends 0..4 @2 <3 => b damaged
         standing a {a} 2  => a?end; b?end; a serving; b behind 2
         a ends 0..5       =>
         b ends 0..4 @2 <3 => a?2..4; b?2..4
         a reads 2=p1:0 3=p1:1 =>
         b reads 2=p1:0 3=p9:0 => b diverged at 3",
    );
}

#[test]
fn records_are_deleted_on_both_sides_and_never_beyond_the_gate() {
    Bench::running(config(), 5).run(
        "delete 1 3        => a?delete 3; b?delete 3
         a deleted 3       => keep
         b deleted 3       =>
         kept              => start 3; deleted 1=3
         delete 2 2        => deleted 2=3
         delete 3 6        => not deleted 3 1
         produce 1 p7:0    => a<p7:0
         a wrote 5         => b<p7:0
         b wrote 5         => ack 1=5; gate 6
         delete 4 -1       => keep
         kept              => a?delete 6; b?delete 6
         a deleted 6       => keep
         b denied 29       => not deleted 4 29",
    );
}

#[test]
fn a_topic_that_waits_for_both_sides_takes_nothing_alone() {
    let mut bench = Bench::running(PartitionConfig { absence: Absence::Block, ..config() }, 5);
    bench.run(
        "produce 1 p7:0    => a<p7:0
         a wrote 5         => b<p7:0
         b lost            => b absent since 0
         standing a {a} 2  => a serving; b absent since 0
         produce 2 p7:1    =>
         after 500         => a?end; b?end; refuse 2 6; refuse 1 7",
    );
}

#[test]
fn history_that_one_side_alone_has_is_copied_before_either_is_trusted() {
    Bench::new(config(), "a {ab} 1", None).run(
        "lease 1000000     => a?end; b?end
         a ends 0..2       =>
         b ends 0..0       => a?0..2
         a reads 0=p1:0 1=p1:1 => b<p1:0
         b wrote 0         => b<p1:1
         a again           => a?end
         b wrote 1         => b?end
         a gone            => a absent since 0
         b ends 0..2       => b changed
         after 50          => a?end
         a ends 0..3       => a?1..3; b?1..2; a changed",
    );
}

#[test]
fn a_side_that_was_never_compared_is_not_called_serving() {
    Bench::new(config(), "a {ab} 1", None).run(
        "lease 1000000     => a?end; b?end
         a gone            => a absent since 0
         b ends 0..0       => b changed
         after 50          => a?end
         a ends 0..2       => a?0..2; a changed",
    );
}

#[test]
fn without_a_checkpoint_the_gate_is_not_known_before_the_shorter_side_has_all() {
    Bench::new(config(), "a {ab} 1", None).run(
        "lease 1000000     => a?end; b?end
         a ends 0..0       =>
         b ends 0..3       => b?0..3
         b reads 0=p7:0x3  => a<p7:0x3
         a wrote 0         => gate 3; a serving; b serving",
    );
}

#[test]
fn nothing_is_written_while_a_start_reads_where_the_logs_end() {
    let mut bench = Bench::new(config(), "b {ab} 1", Some(checkpoint(5)));
    bench.run(
        "lease 1000000     => a?end; b?end
         a ends 0..5       =>
         b ends 0..7       => b?5..7
         b reads 5=p7:0 6=p7:1 => gate 5; a<p7:0; a serving; b serving
         b again           => b?end; b changed
         b ends 0..7 @1 <3 => b?end
         a wrote 5         => a?end",
    );
}

#[test]
fn a_start_waits_for_whether_one_side_alone_counts() {
    Bench::new(config(), "a {a} 1", Some(checkpoint(5))).run(
        "standing a {a} 1 sent a {ab} 2 =>
         lease 1000000     =>
         standing a {a} 2  => a?end
         a ends 0..7       => a?5..7
         a reads 5=p7:0 6=p7:1 => gate 7; a?end; b?end; a serving; b behind 2",
    );
}

#[test]
fn a_topic_that_was_taken_in_waits_for_both_sides_whatever_the_standing_says() {
    let mut bench = Bench::new(PartitionConfig { taken_in: true, ..config() }, "b {ab} 1", None);
    bench.run(
        "lease 1000000     => a?end; b?end
         a ends 0..2       =>
         b ends 0..0       => a?0..2
         standing b {b} 2
         a reads 0=p1:0 1=p1:1
         a ends 0..2",
    );
    let view = bench.partition.view();
    assert!(!view.ready && !view.compared, "what a alone holds is left behind: {view:?}");
    bench.run(
        "b ends 0..0       => a?0..2
         a reads 0=p1:0 1=p1:1 => b<p1:0
         b wrote 0
         b wrote 1",
    );
    let view = bench.partition.view();
    assert!(view.ready && view.compared && view.gate == 2, "{view:?}");
}
