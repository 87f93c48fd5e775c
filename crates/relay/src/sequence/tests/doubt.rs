//! Answers that did not come, or were not the expected ones.

use super::script::{Bench, checkpoint, config};

#[test]
fn what_may_be_there_is_looked_for_before_it_is_sent_again() {
    // Found.
    Bench::running(config(), 5).run(
        "produce 1 p7:0 => a<p7:0
         a lost         => a absent since 0
         after 50       => a?end
         a ends 0..6    => a?5..6; a serving
         a reads 5=p7:0 => b<p7:0
         b wrote 5      => ack 1=5; gate 6",
    );
    // Not found.
    Bench::running(config(), 5).run(
        "produce 1 p7:0 => a<p7:0
         a lost         => a absent since 0
         after 50       => a?end
         a ends 0..5    => a<p7:0; a serving
         a wrote 5      => b<p7:0",
    );
    // The side cannot be read for a while.
    Bench::running(config(), 5).run(
        "produce 1 p7:0 => a<p7:0
         a lost         => a absent since 0
         after 50       => a?end
         a gone         =>
         after 50       => a?end
         a ends 0..6    => a?5..6; a serving
         a gone         => a absent since 100
         after 50       => a?end
         a ends 0..6    => a?5..6; a serving
         a reads 5=p7:0 => b<p7:0",
    );
}

#[test]
fn of_several_that_may_be_there_each_is_found_or_sent_again_in_order() {
    Bench::running(config(), 0).run(
        "produce 1 p7:0 => a<p7:0
         produce 2 p8:0 => a<p8:0
         produce 3 plain => a<stamp:0
         a lost         => a absent since 0
         a wrote 1      => a serving
         after 50       =>
         a lost         => a absent since 0
         after 50       => a?end
         a ends 0..1    => a?0..1; a serving
         a reads 0=p8:0 => a<p7:0; a<stamp:0; b<p8:0
         b wrote 0      => ack 2=0; gate 1
         a wrote 1      => b<p7:0",
    );
}

#[test]
fn the_standby_is_looked_at_too() {
    Bench::running(config(), 0).run(
        "produce 1 p7:0 => a<p7:0
         a wrote 0      => b<p7:0
         b lost         => b absent since 0
         after 50       => b?end
         b ends 0..1    => b?0..1; b serving
         b reads 0=p7:0 => ack 1=0; gate 1
         produce 2 p7:1 => a<p7:1
         a wrote 1      => b<p7:1
         b lost         => b absent since 50
         after 50       => b?end
         b ends 0..1    => b?0..1; b serving
         b reads 0=p7:0 => b<p7:1
         b wrote 1      => ack 2=1; gate 2",
    );
}

#[test]
fn an_older_writers_late_batch_is_found_in_the_gap_and_copied() {
    Bench::running(config(), 5).run(
        "produce 1 p7:0 => a<p7:0
         a wrote 7      => a?end
         a ends 0..8    => a?5..8
         a reads 5=p9:3x2 => a?7..8; b<p9:3x2
         a reads 7=p7:0 =>
         b wrote 5      => gate 7; b<p7:0
         b wrote 7      => ack 1=7; gate 8",
    );
}

#[test]
fn an_active_side_that_lost_its_tail_is_damaged_and_gets_nothing() {
    // Told by its end.
    Bench::running(config(), 5).run(
        "produce 1 p7:0 => a<p7:0
         a wrote 3      => a?end
         a ends 0..4    => a damaged
         produce 2 p7:1 =>
         standing b {b} 2 => a?end; b?end; b<p7:0; a behind 5; b serving",
    );
}

#[test]
fn an_end_that_grew_again_does_not_hide_a_lost_tail() {
    let mut bench = Bench::running(config(), 0);
    bench.run(
        "produce 1 p7:0 => a<p7:0
         a wrote 0      => b<p7:0
         b wrote 0      => ack 1=0; gate 1
         produce 2 p8:0x4 => a<p8:0x4
         a wrote 0      => a?end
         a ends 0..4    => a?0..4
         a reads 0=p8:0x4 => a damaged",
    );
}

#[test]
fn a_duplicate_answer_counts_only_after_comparing() {
    // It is there.
    Bench::running(config(), 5).run(
        "produce 1 p7:3 => a<p7:3
         a wrote 2      => a?end
         a ends 0..5    => a?2..3
         a reads 2=p7:3 => ack 1=2",
    );
    // Something else is there: a collision, and nothing was written.
    Bench::running(config(), 5).run(
        "produce 1 p7:3 => a<p7:3
         a wrote 2      => a?end
         a ends 0..5    => a?2..3
         a reads 2=p7:3! => refuse 1 45",
    );
    // A plain client never sees it: stamped anew, in a new epoch.
    Bench::running(config(), 5).run(
        "produce 1 plain => a<stamp:0
         a wrote 2      => a?end
         a ends 0..5    => a?2..3
         a reads 2=stamp:0x2 => a<stamp:0@1",
    );
}

#[test]
fn a_new_connection_or_leader_epoch_is_looked_at_before_the_next_write() {
    Bench::running(config(), 5).run(
        "a again        => a?end; a changed
         produce 1 p7:0 =>
         a ends 0..5 @7 => a<p7:0; a serving
         b again        => b?end; b changed
         a wrote 5      =>
         b ends 0..5    => b<p7:0; b serving
         b wrote 5      => ack 1=5; gate 6
         b again        => b?end; b changed
         b ends 0..4    => b damaged",
    );
}

#[test]
fn a_standby_that_holds_something_else_or_more_is_out_of_sync() {
    Bench::running(config(), 5).run(
        "produce 1 p7:0 => a<p7:0
         a wrote 5      => b<p7:0
         b wrote 6      => b?end
         b ends 0..7    => b?5..7
         b reads 5=p9:0 => b diverged at 5
         tick           =>
         standing a {a} 2 => ack 1=5; gate 6; a?end; b?end; a serving; b behind 6",
    );
}

#[test]
fn another_topic_of_the_same_name_is_absence() {
    Bench::running(config(), 5).run(
        "b again => b?end; b changed
         b other => b other topic
         after 5000 =>",
    );
}

#[test]
fn a_refused_batch_goes_before_those_behind_it() {
    Bench::running(config(), 0).run(
        "produce 1 p7:0 => a<p7:0
         a refused 19   =>
         produce 2 p7:1 =>
         after 50       => a<p7:0
         a wrote 0      => b<p7:0
         b wrote 0      => ack 1=0; gate 1; a<p7:1
         produce 3 p7:2 => a<p7:2
         a refused 19   =>
         a refused 45   =>
         after 50       => a<p7:1; a<p7:2",
    );
}

#[test]
fn a_definite_refusal_is_the_clients_and_what_follows_is_stamped_again() {
    Bench::running(config(), 0).run(
        "produce 1 plain => a<stamp:0
         produce 2 plain => a<stamp:1
         produce 3 plain => a<stamp:2
         a refused 10    => refuse 1 10
         a refused 45    => a<stamp:0@1
         a refused 45    => a<stamp:1@1
         a wrote 0       => b<stamp:0@1
         a wrote 1       =>
         b wrote 0       => ack 2=0; gate 1; b<stamp:1@1",
    );
}

#[test]
fn after_a_retriable_refusal_only_that_sequence_is_admitted_next() {
    Bench::running(config(), 0).run(
        "quiesce           => quiesced 0
         produce 1 p7:0    =>
         produce 2 p7:1    =>
         after 500         => refuse 1 6; refuse 2 6
         resume            =>
         produce 3 p7:1    => refuse 3 6
         produce 4 p7:0    => a<p7:0
         produce 5 p8:9    => a<p8:9",
    );
}

#[test]
fn an_overdue_order_is_suspected_and_its_outcome_ends_it() {
    Bench::running(config(), 0).run(
        "produce 1 p7:0 => a<p7:0
         after 999      =>
         after 1        => refuse 1 7; a absent since 0
         a wrote 0      => b<p7:0; a serving
         b wrote 0      => gate 1",
    );
}

#[test]
fn a_side_that_forgot_a_producer_gets_its_batches_under_another() {
    // The standby refuses a sequence though its log is whole: under the copier's id.
    Bench::running(config(), 0).run(
        "produce 1 p7:5 => a<p7:5
         a wrote 0      => b<p7:5
         b refused 45   => b?end
         b ends 0..0    => b<p7:5
         b refused 45   => b?end
         b ends 0..0    => keep
         kept           => b<copier:0
         b wrote 0      => ack 1=0; gate 1
         produce 2 p7:6 => a<p7:6
         a wrote 1      => keep
         kept           => b<copier:1
         b lost         => b absent since 0
         after 50       => b?end
         b ends 0..2    => b?0..2; b serving
         b reads 0=copier:0! => b damaged",
    );
    // So does the active side: under the partition's stamp, on both.
    Bench::running(config(), 0).run(
        "produce 1 p7:5 => a<p7:5
         a wrote 0      => b<p7:5
         b wrote 0      => ack 1=0; gate 1
         produce 2 p7:6 => a<p7:6
         a refused 45   => a?end
         a ends 0..1    => a?0..1
         a reads 0=p7:5 => a<p7:6
         a refused 45   => keep
         produce 3 p7:7 =>
         produce 4 plain =>
         kept           => a<stamp:0; keep
         kept           => a<stamp:1; a<stamp:2
         a wrote 1      => b<stamp:0
         b wrote 1      => ack 2=1; gate 2
         a wrote 2      => b<stamp:1
         produce 5 p7:6 => ack 5=1",
    );
}

/// The side that lost it may have the client's own batch in a socket yet: under its own name that is a duplicate then,
/// under the copier's it would stand there twice.
#[test]
fn what_stands_under_another_name_is_copied_back_under_its_clients_own() {
    Bench::running(config(), 0).run(
        "produce 1 p7:5 => a<p7:5
         a wrote 0      => b<p7:5
         b wrote 0      => ack 1=0; gate 1
         produce 2 p7:6 => a<p7:6
         a wrote 1      => b<p7:6
         b refused 45   => b?end
         b ends 0..1    => b?0..1
         b reads 0=p7:5 => b<p7:6
         b refused 45   => b?end
         b ends 0..1    => b?0..1
         b reads 0=p7:5 => keep
         kept           => b<copier:0
         b wrote 1      => ack 2=1; gate 2
         standing b {b} 2 => a?end; b?end; a behind 1; b serving
         b ends 0..2    =>
         a ends 0..1    => a?0..1; b?0..1
         a reads 0=p7:5 =>
         b reads 0=p7:5 => b?1..2
         b reads 1=copier:0=p7:6 => a<p7:6",
    );
}

#[test]
fn after_a_kill_it_is_known_whose_a_batch_is_that_stands_under_another_name() {
    let mut killed = Bench::running(config(), 0);
    killed.run(
        "produce 1 p7:5 => a<p7:5
         a wrote 0      => b<p7:5
         b wrote 0      => ack 1=0; gate 1
         produce 2 p7:6 => a<p7:6
         a refused 45   => a?end
         a ends 0..1    => a?0..1
         a reads 0=p7:5 => a<p7:6
         a refused 45   => keep
         not kept       =>
         after 50       => keep
         kept           => a<stamp:0",
    );
    let (_, kept) = killed.kept.take().unwrap();
    // Sent again by its client, it waits for the one that is found, and is not written once more.
    Bench::new(config(), "a {ab} 1", Some(kept.clone())).run(
        "lease 1000000  => a?end; b?end
         a ends 0..2    =>
         b ends 0..1    => a?0..2; b?0..1
         b reads 0=p7:5 =>
         a reads 0=p7:5 1=stamp:0! => gate 1; b<stamp:0; a serving; b serving
         produce 3 p7:6 => keep",
    );
    Bench::new(config(), "a {ab} 1", Some(kept)).run(
        "lease 1000000  => a?end; b?end
         a ends 0..2    =>
         b ends 0..1    => a?0..2; b?0..1
         b reads 0=p7:5 =>
         a reads 0=p7:5 1=stamp:0=p7:6 => gate 1; b<stamp:0; a serving; b serving
         produce 3 p7:6 =>
         produce 4 p7:7 => keep
         b wrote 1      => ack 3=1; gate 2",
    );
}

#[test]
fn a_leader_that_moved_is_looked_for_before_anything_is_written_again() {
    let mut bench = Bench::running(config(), 0);
    bench.run(
        "produce 1 p7:0   => a<p7:0
         a refused 6      =>
         after 50         => a?end
         a ends 0..0 @1   => a<p7:0
         a wrote 0        => b<p7:0
         b refused 6      =>
         after 50         => b?end
         b ends 0..0 @1   => b<p7:0
         b wrote 0        => ack 1=0; gate 1",
    );
}

#[test]
fn a_side_that_answers_and_takes_nothing_is_absent_in_the_end() {
    // Replicas are missing: nothing is written.
    Bench::running(config(), 0).run(
        "produce 1 p7:0   => a<p7:0
         a wrote 0        => b<p7:0
         b refused 19     =>
         after 600        => b<p7:0
         b refused 19     =>
         after 600        => b<p7:0; refuse 1 7; b absent since 0
         b refused 19     =>
         after 50         => b<p7:0
         b wrote 0        => gate 1; b serving",
    );
    // It is not said whether something was written: nothing is.
    Bench::running(config(), 0).run(
        "produce 1 p7:0   => a<p7:0
         a lost           => a absent since 0
         after 600        => a?end; refuse 1 7
         a ends 0..0      => a<p7:0; a serving
         a lost           => a absent since 600
         after 600        => a?end
         a ends 0..0      => a<p7:0; a absent since 0
         a wrote 0        => b<p7:0; a serving",
    );
    // Its end cannot be read either.
    Bench::running(config(), 0).run(
        "produce 1 p7:0   => a<p7:0
         a refused 3      =>
         after 50         => a?end
         a denied 3       => a absent since 50",
    );
}

#[test]
fn only_what_may_come_late_costs_an_epoch_of_the_copier() {
    let mut found = checkpoint(0);
    found.restamped.b.producers = vec![(7, 0)];
    let mut bench = Bench::new(config(), "a {ab} 1", Some(found));
    bench.run(
        "lease 1000000    => a?end; b?end
         a ends 0..0      =>
         b ends 0..0      => gate 0; a serving; b serving
         produce 1 p7:0   => a<p7:0
         a wrote 0        => keep
         kept             => b<copier:0@1
         b unsent         => b absent since 0
         after 50         => b<copier:0@1
         b refused 19     => b serving
         after 50         => b<copier:0@1
         b lost           => b absent since 100
         after 50         => b?end
         b ends 0..0      => keep; b serving
         kept             => b<copier:0@2",
    );
}

#[test]
fn nothing_more_is_taken_while_the_standby_is_silent() {
    Bench::running(config(), 0).run(
        "produce 1 plain  => a<stamp:0
         a wrote 0        => b<stamp:0
         b lost           => b absent since 0
         produce 2 plain  =>
         after 500        => b?end; refuse 2 6; refuse 1 7
         b gone           =>
         produce 3 plain  =>
         after 500        => b?end; refuse 3 6
         b ends 0..0      => b<stamp:0
         b wrote 0        => gate 1; b serving
         produce 4 plain  => a<stamp:1",
    );
}

#[test]
fn a_side_that_takes_a_late_original_for_a_new_batch_is_left_behind() {
    let acknowledged = "produce 1 p7:0 => a<p7:0
         a wrote 0      => b<p7:0
         b wrote 0      => ack 1=0; gate 1
         a again        => a?end; a changed
         a ends 0..2    => a?0..2";
    let mut bench = Bench::running(config(), 0);
    bench.run(acknowledged);
    bench.run("a reads 0=p7:0 1=p7:0 => a diverged at 1");
    // One that nobody has yet is another writer's.
    let mut bench = Bench::running(config(), 0);
    bench.run(acknowledged);
    bench.run("a reads 0=p7:0 1=p7:1 => b<p7:1; a serving");
}
