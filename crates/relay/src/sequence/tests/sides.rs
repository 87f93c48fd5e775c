//! A side goes away, is taken over from, comes back.

use super::super::PartitionConfig;
use super::script::{Bench, config};

#[test]
fn a_survivor_first_gets_what_was_on_its_way_to_the_lost_side_in_the_order_sent() {
    Bench::running(config(), 0).run(
        "produce 1 p7:0   => a<p7:0
         produce 2 p8:0   => a<p8:0
         produce 3 plain  => a<stamp:0
         a wrote 0        => b<p7:0
         a wrote 1        =>
         a lost           => a absent since 0
         standing b {b} 2 => a absent since 0; b serving
         b wrote 0        => ack 1=0; gate 1; b<p8:0
         b wrote 1        => ack 2=1; gate 2; b<stamp:0
         b wrote 2        => ack 3=2; gate 3
         after 50         => a?end; b?end
         a gone           =>
         b ends 0..3      =>
         after 50         => a?end; b?end
         b ends 0..3      =>
         a ends 0..2      => a?1..2; b?1..2; a behind 1
         a reads 1=p8:0   =>
         b reads 1=p8:0   => b?2..3
         b reads 2=stamp:0 => a<stamp:0
         a wrote 2        =>
         standing b {b} 2 sent b {ab} 3 => a behind 0; b serving",
    );
}

#[test]
fn a_change_that_was_sent_and_not_read_back_orders_nothing_new() {
    Bench::running(config(), 0).run(
        "standing a {ab} 1 sent b {b} 2 => a serving; b serving
         produce 1 p7:0   =>
         standing a {ab} 1 => a<p7:0; a serving; b serving",
    );
}

#[test]
fn a_side_that_returns_gets_what_it_lacks_and_joins_before_it_is_in_sync() {
    let mut bench = Bench::running(config(), 5);
    bench.run(
        "standing a {a} 2 => a?end; b?end; a serving; b behind 1
         b gone           => b absent since 0
         a ends 0..5      =>
         produce 1 p7:0   => a<p7:0
         a wrote 5        => ack 1=5; gate 6
         produce 2 p7:1   => a<p7:1
         a wrote 6        => ack 2=6; gate 7
         after 50         => a?end; b?end
         a ends 0..7      =>
         b ends 0..5      => a?4..5; b?4..5; b behind 2
         a reads 4=p1:0   =>
         b reads 4=p1:0   => a?5..7
         a reads 5=p7:0   => b<p7:0
         produce 3 p7:2   => a<p7:2
         a wrote 7        => ack 3=7; gate 8
         b wrote 5        => a?6..8
         a reads 6=p7:1 7=p7:2 => b<p7:1
         standing a {a} 2 sent a {ab} 3 => a serving; b behind 2
         produce 4 p7:3   => a<p7:3
         a wrote 8        =>
         b wrote 6        => b<p7:2
         b wrote 7        => b<p7:3; b behind 0
         b wrote 8        => ack 4=8; gate 9
         standing a {ab} 3 => a serving; b serving
         produce 5 p7:4   => a<p7:4
         a wrote 9        => b<p7:4
         b wrote 9        => ack 5=9; gate 10",
    );
}

#[test]
fn a_side_that_is_not_let_in_after_all_goes_on_following() {
    Bench::running(config(), 1).run(
        "standing a {a} 2 => a?end; b?end; a serving; b behind 1
         a ends 0..1      =>
         b ends 0..1      => a?0..1; b?0..1
         a reads 0=p1:0   =>
         b reads 0=p1:0   =>
         produce 1 p7:0   => a<p7:0
         a wrote 1        => ack 1=1; gate 2; b<p7:0
         b wrote 1        =>
         standing a {a} 2 sent a {ab} 3 => a serving; b behind 0
         produce 2 p7:1   => a<p7:1
         a wrote 2        => b<p7:1
         b unsent         => b absent since 0
         standing a {a} 2 => ack 2=2; gate 3; a serving; b absent since 0",
    );
}

#[test]
fn a_tail_that_was_never_acknowledged_and_equals_what_the_other_has_is_kept() {
    // The lost side had what the survivor was given; it was not acknowledged by both.
    Bench::running(config(), 0).run(
        "produce 1 p7:0   => a<p7:0
         produce 2 p8:0   => a<p8:0
         a lost           => a absent since 0
         a lost           =>
         standing b {b} 2 => b<p7:0; b<p8:0; a absent since 0; b serving
         b wrote 0        => ack 1=0; gate 1
         b wrote 1        => ack 2=1; gate 2
         after 50         => a?end; b?end
         b ends 0..2      =>
         a ends 0..2      => a?0..2; b?0..2; a behind 2
         a reads 0=p7:0 1=p8:0 =>
         b reads 0=p7:0 1=p8:0 =>
         standing b {b} 2 sent b {ab} 3 => a behind 0; b serving",
    );
}

#[test]
fn a_tail_that_differs_is_made_anew_and_never_merged() {
    let mut bench = Bench::running(config(), 3);
    bench.run(
        "produce 1 p7:0   => a<p7:0
         a lost           => a absent since 0
         standing b {b} 2 => b<p7:0; a absent since 0; b serving
         b wrote 3        => ack 1=3; gate 4
         after 50         => a?end; b?end
         b ends 2..4      => keep
         kept             => start 2
         a ends 0..4      => a?2..4; b?2..4; a behind 1
         a reads 2=p1:2 3=p9:0 =>
         b reads 2=p1:2 3=p7:0 => a diverged at 3
         after 100        =>
         a recreated      => a?end; b?end; a behind 4
         a ends 0..0      =>
         b ends 2..4      => b?2..3
         b reads 2=p1:2   => a<copier:0x2
         a wrote 0        => a?delete 2; b?2..4
         a deleted 2      =>
         b reads 2=p1:2 3=p7:0 => a<p1:2
         a wrote 2        => a<p7:0
         a wrote 3        =>
         standing b {b} 2 sent b {ab} 3 => a behind 0; b serving",
    );
}

#[test]
fn more_than_the_other_side_has_is_a_difference() {
    Bench::running(config(), 3).run(
        "standing b {b} 2 => a?end; b?end; a behind 1; b serving
         b ends 0..3      =>
         a ends 0..4      => a?2..3; b?2..3
         a reads 2=p1:2   =>
         b reads 2=p1:2   => a diverged at 3",
    );
}

#[test]
fn an_async_topic_is_acknowledged_by_the_active_side_and_copied_at_once() {
    let config = PartitionConfig { duplex: false, ..config() };
    let mut bench = Bench::new(config, "a {ab} 1", None);
    bench.run(
        "lease 1000000    => a?end
         a ends 0..0      => gate 0; a?end; b?end; a serving; b serving
         a ends 0..0      =>
         b ends 0..0      =>
         produce 1 p7:0   => a<p7:0
         a wrote 0        => ack 1=0; gate 1; b<p7:0
         produce 2 p7:1   => a<p7:1
         a wrote 1        => ack 2=1; gate 2
         b wrote 0        => b<p7:1
         b wrote 1        =>
         produce 3 p7:2   => a<p7:2
         a wrote 2        => ack 3=2; gate 3; b<p7:2
         b lost           => b absent since 0",
    );
    // Taken over: what was not copied is gone, and said to be.
    bench.run(
        "standing b {b} 2 => b absent since 0
         after 50         => b?end
         produce 4 p7:3   =>
         b ends 0..2      => gate 2; a?end; b?end; keep; a behind 1; b serving
         kept             => b<stamp:0
         b wrote 2        => ack 4=2; gate 3
         a ends 0..3      =>
         b ends 0..2      => a?2..3; b?2..3
         a reads 2=p7:2   =>
         b reads 2=stamp:0 => a diverged at 2",
    );
}

#[test]
fn a_side_that_was_compared_is_looked_at_from_the_last_batch_that_it_was_compared_by() {
    let mut bench = Bench::running(config(), 0);
    bench.run(
        "produce 1 p7:0          => a<p7:0
         a wrote 0               => b<p7:0
         b wrote 0               => *
         produce 2 p7:1          => a<p7:1
         a wrote 1               => b<p7:1
         b lost                  => b absent since 0
         after 50                => b?end
         standing a {a} 2        => *
         b ends 0..2             => *
         after 50                => *
         a ends 0..2             =>
         b ends 0..2             => a?0..2; b?0..2; b behind 1
         a reads 0=p7:0 1=p7:1   =>
         b reads 0=p7:0 1=p7:1   =>
         standing a {ab} 3       => *
         b again                 => b?end; b changed
         b ends 0..2             => b?1..2
         b reads 1=p7:1          => b serving",
    );
}

#[test]
fn a_batch_that_a_side_holds_under_another_producer_is_known_there_as_it_stands() {
    Bench::new(config(), "a {ab} 1", Some(super::script::checkpoint(0))).run(
        "lease 1000000           => a?end; b?end
         a ends 0..1             =>
         b ends 0..1             => a?0..1; b?0..1
         a reads 0=p1000:0       =>
         b reads 0=copier:0      => *
         b again                 => b?end; b changed
         b ends 0..1             => b?0..1
         b reads 0=copier:0      => b serving",
    );
}

#[test]
fn an_async_topic_is_at_rest_when_the_other_side_has_all_of_it() {
    let config = PartitionConfig { duplex: false, ..config() };
    Bench::new(config, "a {ab} 1", None).run(
        "lease 1000000    => a?end
         a ends 0..0      => gate 0; a?end; b?end; a serving; b serving
         a ends 0..0      =>
         b ends 0..0      =>
         produce 1 p7:0   => a<p7:0
         quiesce          =>
         a wrote 0        => ack 1=0; gate 1; b<p7:0
         b wrote 0        => quiesced 1
         resume           =>
         produce 2 p7:1   => a<p7:1
         a wrote 1        => ack 2=1; gate 2; b<p7:1
         quiesce          =>
         b wrote 1        => quiesced 2",
    );
}

#[test]
fn a_follower_is_copied_to_no_faster_than_it_may_unless_it_is_required() {
    let mut bench = Bench::running(config(), 1);
    bench.run(
        "standing a {a} 2 => a?end; b?end; a serving; b behind 1
         a ends 0..1      =>
         b ends 0..1      => a?0..1; b?0..1
         a reads 0=p1:0   =>
         b reads 0=p1:0   =>
         produce 1 p7:0   => a<p7:0
         b pause 300      =>
         a wrote 1        => ack 1=1; gate 2
         after 200        =>
         after 100        => b<p7:0
         b wrote 1        =>
         standing a {a} 2 sent a {ab} 3 => a serving; b behind 0
         b pause 300      =>
         produce 2 p7:1   => a<p7:1
         a wrote 2        => b<p7:1",
    );
}

#[test]
fn an_empty_log_that_begins_inside_a_batch_of_the_other_side_is_made_anew() {
    // As a side is left whose last replica had less than where its log begins by now.
    Bench::running(config(), 4).run(
        "standing b {b} 2 => a?end; b?end; a behind 1; b serving
         b ends 0..4      =>
         a ends 3..3      => b?3..4
         b reads 2=p1:2x2 => a diverged at 3",
    );
}
