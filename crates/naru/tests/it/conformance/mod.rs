//! One suite for the stand-in, for Apache Kafka and for a relay between two stand-ins: NARU_SUBJECT says which. What is
//! expected was measured on Kafka 3.9.2 and 4.3.1; the others have to answer alike, but for what cannot hold through a
//! relay (`through_a_relay.md`).
//!
//! One node serves all tests; each uses topics and groups of its own, so that they run side by side. `losing` starts
//! another. Expectations depend on the subject in two places, where the two Kafkas differ: 4.3.1 refuses times more
//! than an hour ahead, and raises the leader epoch after a crash. The stand-in does both.
//!
//! | what stock Kafka does | test |
//! |---|---|
//! | an id never allotted is accepted | `produce::a_producer_id_that_was_never_allotted_is_accepted` |
//! | the same sequence with other bytes: the old offset, nothing written | `produce::the_same_sequence_again_...` |
//! | an unknown id may start anywhere | `produce::an_unknown_producer_may_start_at_any_sequence` |
//! | gaps, higher, lower, reused and last epochs | `produce::sequences_and_epochs_follow_the_rules` |
//! | the last five batches are known | `produce::the_last_five_batches_of_a_producer_...` |
//! | two batches, base offset, gaps, control, transactional | `produce::records_that_break_the_format_are_refused` |
//! | the leader epoch in a batch is overwritten | `produce::the_leader_epoch_in_a_batch_is_overwritten` |
//! | ids are allotted small and counting up | `produce::the_broker_allots_small_producer_ids_that_count_up` |
//! | a refused batch makes its followers fail | `produce::a_refused_batch_makes_the_following_sequences_fail` |
//! | times more than an hour ahead | `produce::times_far_ahead_are_refused_by_default_since_kafka_4` |
//! | a million empty records in one batch, then DeleteRecords | `deletion::a_log_can_be_started_in_the_middle` |
//! | simple commits: idle group, beyond the end, late | `commits::a_simple_commit_works_on_an_idle_group_...` |
//! | no coordinator before the first question | `losing::a_log_cut_short_goes_on_at_its_shorter_end` |
//! | a generation without a member | `commits::a_commit_that_names_a_generation_needs_a_member` |
//! | expiry, and a retention of the commit's own | `commits::a_commit_expires_by_its_own_retention` |
//! | a deleted topic drops its commits | `commits::deleting_a_topic_drops_its_committed_offsets` |
//! | members keep simple commits out | `commits::a_simple_commit_is_refused_while_the_group_has_members` |
//! | a static member's name is fenced | `commits::a_simple_commit_under_a_static_members_name_is_fenced` |
//! | SIGKILL and a log cut short | `losing::a_log_cut_short_goes_on_at_its_shorter_end` |
//! | producers expire by the time in their batches | `deletion::a_producer_is_forgotten_by_the_time_in_its_batches` |
//! | versions offered | `versions::every_version_of_api_versions_...`, and one test per API |
//!
//! Not here: access control. The stand-in has no authorizer; whoever needs one tests it on Kafka.

mod batch;
pub mod broker;
mod code;
mod codec;
mod commits;
mod configs;
mod deletion;
mod fetch;
mod losing;
mod members;
mod offsets;
mod produce;
mod raw;
mod subject;
mod topics;
mod versions;
