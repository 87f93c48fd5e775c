//! Both sides there, nothing in doubt.

use super::script::{Bench, config};

#[test]
fn what_one_side_deleted_by_its_own_retention_is_not_shown() {
    let mut bench = Bench::running(config(), 9);
    bench.run(
        "b begins 4 => keep
         a begins 3 =>
         kept       => start 4
         a begins 7 => keep
         not kept   =>
         a begins 12 =>
         after 50   => keep
         kept       => start 9",
    );
}

#[test]
fn empty_logs_open_and_a_record_is_acknowledged_when_both_have_it() {
    let mut bench = Bench::new(config(), "a {ab} 1", None);
    bench.run(
        "tick           => a?end; b?end
         a ends 0..0    =>
         b ends 0..0    => gate 0; a serving; b serving
         produce 1 p7:0 =>
         lease 100000   => a<p7:0
         a wrote 0      => b<p7:0
         b wrote 0      => ack 1=0; gate 1",
    );
}

#[test]
fn equal_logs_are_compared_above_the_checkpoint_only() {
    let mut bench = Bench::new(config(), "a {ab} 1", None);
    bench.run(
        "lease 100000           => a?end; b?end
         a ends 0..2            =>
         b ends 0..2            => a?0..2; b?0..2
         a reads 0=p7:0 1=p7:1  =>
         b reads 0=p7:0         => b?1..2
         b reads 1=p7:1         => gate 2; a serving; b serving
         produce 1 p7:1         => ack 1=1
         produce 2 p7:2         => a<p7:2",
    );
}

#[test]
fn the_active_side_gets_several_the_standby_one_at_a_time_in_order() {
    Bench::running(config(), 0).run(
        "produce 1 p7:0 => a<p7:0
         produce 2 p8:0 => a<p8:0
         produce 3 p7:1 =>
         a wrote 0      => b<p7:0
         a wrote 1      =>
         b wrote 0      => ack 1=0; gate 1; a<p7:1; b<p8:0
         produce 4 p7:2 => a<p7:2
         b wrote 1      => ack 2=1; gate 2
         a wrote 2      => b<p7:1
         a wrote 3      =>
         b wrote 2      => ack 3=2; gate 3; b<p7:2
         b wrote 3      => ack 4=3; gate 4",
    );
}

#[test]
fn a_batch_without_producer_is_stamped_with_at_most_five_in_flight() {
    let mut config = config();
    config.active_in_flight_max = 100;
    Bench::running(config, 10).run(
        "produce 1 plain => a<stamp:0
         produce 2 plainx3 => a<stamp:1x3
         produce 3 plain => a<stamp:4
         produce 4 plain => a<stamp:5
         produce 5 plain => a<stamp:6
         produce 6 plain =>
         a wrote 10      => a<stamp:7; b<stamp:0
         b wrote 10      => ack 1=10; gate 11",
    );
}

#[test]
fn a_sequence_is_next_a_duplicate_joined_or_refused() {
    Bench::running(config(), 0).run(
        "produce 1 p7:0  => a<p7:0
         produce 2 p7:0  =>
         a wrote 0       => b<p7:0
         b wrote 0       => ack 1=0; ack 2=0; gate 1
         produce 3 p7:0! => ack 3=0
         produce 4 p7:2  => refuse 4 45
         produce 5 p7:5@1 => refuse 5 45
         produce 6 p7:0@1 => a<p7:0@1
         a wrote 1       => b<p7:0@1
         b wrote 1       => ack 6=1; gate 2
         produce 7 p7:1  => refuse 7 47",
    );
}

#[test]
fn a_quiesced_partition_holds_what_comes_for_a_moment() {
    Bench::running(config(), 0).run(
        "produce 1 p7:0 => a<p7:0
         quiesce        =>
         produce 2 p7:1 =>
         a wrote 0      => b<p7:0
         b wrote 0      => ack 1=0; gate 1; quiesced 1
         standing b {ab} 2 => a serving; b serving
         resume         => b<p7:1
         b wrote 1      => a<p7:1
         a wrote 1      => ack 2=1; gate 2
         quiesce        => quiesced 2
         produce 3 p7:2 =>
         after 500      => refuse 3 6",
    );
}

#[test]
fn a_client_whose_patience_is_over_is_told_whether_its_batch_may_come_to_be_there() {
    Bench::running(config(), 0).run(
        "produce 1 p7:0 => a<p7:0
         produce 2 p7:1 =>
         produce 3 p7:2 =>
         expired 2      => refuse 2 6; refuse 3 6
         expired 1      => refuse 1 7
         produce 4 p7:0 =>
         a wrote 0      => b<p7:0
         b wrote 0      => ack 4=0; gate 1
         produce 5 p7:1 => a<p7:1",
    );
}

#[test]
fn solo_is_acknowledged_by_one_side_only_after_the_grant_was_read_back() {
    Bench::running(config(), 0).run(
        "produce 1 p7:0 => a<p7:0
         a wrote 0      => b<p7:0
         b unsent       => b absent since 0
         standing a {ab} 1 sent a {a} 2 => a serving; b absent since 0
         tick           =>
         standing a {a} 2 => ack 1=0; gate 1; a serving; b absent since 0
         produce 2 p7:1 => a<p7:1
         a wrote 1      => ack 2=1; gate 2",
    );
}

#[test]
fn nothing_is_written_or_acknowledged_after_the_lease() {
    Bench::running(config(), 0).run(
        "produce 1 p7:0 => a<p7:0
         a wrote 0      => b<p7:0
         after 1000000  => refuse 1 7; b absent since 0
         b wrote 0      => gate 1; b serving
         produce 2 p7:1 =>
         after 500      => refuse 2 6
         produce 3 p7:0 =>
         lease 2000000  => ack 3=0
         produce 4 p7:0 => ack 4=0
         produce 5 p7:1 => a<p7:1",
    );
}

#[test]
fn what_comes_after_a_batch_that_has_to_come_again_waits_for_it() {
    Bench::running(config(), 0).run(
        "produce 1 p7:0  => a<p7:0
         a wrote 0       => b<p7:0
         b wrote 0       => ack 1=0; gate 1
         produce 2 p7:1  => a<p7:1
         produce 3 p7:2  => a<p7:2
         produce 4 p8:0  => a<p8:0
         a wrote 1       => b<p7:1
         a wrote 2       =>
         expired 2       => refuse 2 7; refuse 3 7
         produce 5 p7:3  => refuse 5 6
         b wrote 1       => gate 2; b<p7:2
         b wrote 2       => gate 3
         produce 6 p7:2  => refuse 6 6
         produce 7 p7:1  => ack 7=1
         produce 8 p7:2  => ack 8=2
         produce 9 p7:3  => a<p7:3",
    );
}
