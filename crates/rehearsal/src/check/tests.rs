//! A clean history passes; each anomaly planted into one is refused, and the verdict names the record.

#![allow(clippy::unwrap_used, reason = "a test panics on failure")]

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::judge;
use crate::history::{
    CURRENCY, Claim, Doubt, Failure, History, LogRecord, Observation, Observer, Operation, Outcome, Place, fingerprint,
    user_key,
};

const PARTITIONS: i32 = 3;

/// A history in which everything went well: most operations acknowledged, some unknown and present or absent, some
/// refused; two group members that share partitions and re-read a little after a rebalance; one lone observer.
fn clean(seed: u64, operations: usize, users: u32) -> History {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut history = History {
        topics: vec!["payments".to_owned(), "transfers".to_owned()],
        observers: vec![
            Observer { name: "member 0".to_owned(), group: 0 },
            Observer { name: "member 1".to_owned(), group: 0 },
            Observer { name: "lone observer".to_owned(), group: 1 },
        ],
        ..History::default()
    };
    let (mut sequences, mut ends) = (vec![0_u64; 2 * users as usize], vec![0_i64; 2 * PARTITIONS as usize]);
    for number in 0..operations {
        let topic = rng.random_range(0..2_u16);
        let user = rng.random_range(0..users);
        let amount_minor = rng.random_range(1..1_000_i64);
        let peer: Box<str> = format!("m{}", number % 7).into();
        let planned_us = number as u64 * 1_000;
        let id: Box<str> = format!("id-{number}").into();
        let fate = rng.random_range(0..20);
        let mut sent_us = Some(planned_us + 10);
        let outcome = match fate {
            0 => Outcome::Failed { why: Failure::Refused(422) },
            1 => {
                sent_us = None;
                Outcome::Failed { why: Failure::NotSent }
            }
            2 | 3 => Outcome::Unknown { why: Doubt::TimedOut },
            _ => Outcome::Acknowledged { id: id.clone(), sequence: 0 },
        };
        let mut operation = Operation {
            topic,
            user,
            peer: peer.clone(),
            amount_minor,
            planned_us,
            sent_us,
            attempts: 1,
            ended_us: Some(planned_us + 900),
            outcome,
        };
        if fate > 2 {
            let slot = usize::from(topic) * users as usize + user as usize;
            sequences[slot] += 1;
            let sequence = sequences[slot];
            if let Outcome::Acknowledged { sequence: acknowledged, .. } = &mut operation.outcome {
                *acknowledged = sequence;
            }
            let partition = (user % PARTITIONS as u32) as i32;
            let end = &mut ends[usize::from(topic) * PARTITIONS as usize + partition as usize];
            let place = Place { topic, partition, offset: *end };
            // Offsets are not dense where the log has been compacted.
            *end += if rng.random_range(0..30) == 0 { 2 } else { 1 };
            history.log.push(LogRecord {
                place,
                claim: Claim::Operation(number as u32),
                key: user_key(user).into(),
                fingerprint: fingerprint(user_key(user).as_bytes(), id.as_bytes()),
                id,
                sequence,
                user: user_key(user).into(),
                peer,
                currency: CURRENCY.into(),
                amount_minor,
            });
        }
        history.operations.push(operation);
    }
    history.log.sort_by_key(|record| record.place);
    let log = history.log.clone();
    for record in &log {
        observe(&mut history, 2, 0, record);
    }
    // The rebalance: member 0 read the first half of each partition, member 1 goes on from a little before that.
    for partition in log.chunk_by(|a, b| a.place.partition_key() == b.place.partition_key()) {
        let half = partition.len() / 2;
        for record in &partition[..half] {
            observe(&mut history, 0, 0, record);
        }
        for record in &partition[half.saturating_sub(3)..] {
            observe(&mut history, 1, 1, record);
        }
    }
    history
}

fn observe(history: &mut History, observer: u16, session: u32, record: &LogRecord) {
    let operation = match record.claim {
        Claim::Operation(number) => Some(number),
        Claim::Stranger(_) => None,
    };
    let (place, fingerprint) = (record.place, record.fingerprint);
    history.observations.push(Observation { observer, session, place, fingerprint, operation, at_us: 0 });
}

/// An acknowledged operation's record in the middle of a partition, by its index in the log.
fn victim(history: &History) -> usize {
    let acknowledged = |record: &LogRecord| match record.claim {
        Claim::Operation(number) => {
            matches!(history.operations[number as usize].outcome, Outcome::Acknowledged { .. })
        }
        Claim::Stranger(_) => false,
    };
    let middle = |index: usize| {
        let partition = history.log[index].place.partition_key();
        let same = |other: Option<&LogRecord>| other.is_some_and(|o| o.place.partition_key() == partition);
        index > 4 && same(history.log.get(index - 5)) && same(history.log.get(index + 5))
    };
    (0..history.log.len()).find(|index| acknowledged(&history.log[*index]) && middle(*index)).unwrap()
}

/// Plants an anomaly and expects exactly the named checks to fail, the first of them naming the record.
#[track_caller]
fn check(plant: impl FnOnce(&mut History) -> String, expect: &[&str]) {
    let mut history = clean(3, 400, 20);
    let named = plant(&mut history);
    let verdicts = judge(&history);
    let failed: Vec<&str> = verdicts.iter().filter(|v| !v.passed).map(|v| v.check.as_str()).collect();
    assert_eq!(failed, expect, "{verdicts:#?}");
    let blamed = verdicts.iter().find(|v| v.check == expect[0]).unwrap();
    assert!(blamed.findings_total >= 1);
    let names = |finding: &super::Finding| finding.record.contains(&named) || finding.detail.contains(&named);
    assert!(blamed.named.iter().any(names), "{named:?} is not named in {blamed:#?}");
}

fn number_of(record: &LogRecord) -> u32 {
    match record.claim {
        Claim::Operation(number) => number,
        Claim::Stranger(_) => panic!("a victim belongs to an operation"),
    }
}

proptest! {
    #[test]
    fn clean_histories_pass(seed: u64, operations in 0_usize..600, users in 1_u32..40) {
        let verdicts = judge(&clean(seed, operations, users));
        prop_assert!(verdicts.iter().all(|verdict| verdict.passed), "{verdicts:#?}");
    }

    #[test]
    fn any_lost_acknowledged_record_is_named(seed: u64, pick: prop::sample::Index) {
        let mut history = clean(seed, 300, 10);
        let acknowledged: Vec<usize> = (0..history.operations.len())
            .filter(|number| matches!(history.operations[*number].outcome, Outcome::Acknowledged { .. }))
            .collect();
        let number = acknowledged[pick.index(acknowledged.len())];
        history.log.retain(|record| record.claim != Claim::Operation(number as u32));
        let verdict = &judge(&history)[0];
        prop_assert_eq!(verdict.findings_total, 1);
        let name = format!("operation {number} ");
        prop_assert!(verdict.named[0].record.starts_with(&name), "{verdict:?}");
    }
}

#[test]
fn a_lost_record_is_named() {
    check(
        |history| {
            let index = victim(history);
            let record = history.log.remove(index);
            history.observations.retain(|seen| seen.place != record.place);
            format!("operation {} ", number_of(&record))
        },
        &["LOG-1"],
    );
}

#[test]
fn a_record_under_another_identifier_is_lost() {
    check(
        |history| {
            let index = victim(history);
            history.log[index].id = "somebody-elses".into();
            "somebody-elses".to_owned()
        },
        &["LOG-1"],
    );
}

#[test]
fn a_lost_record_that_was_observed_is_also_a_disagreement() {
    check(
        |history| {
            let index = victim(history);
            let record = history.log.remove(index);
            format!("operation {} ", number_of(&record))
        },
        &["LOG-1", "LOG-4"],
    );
}

#[test]
fn a_doubled_record_is_named() {
    check(
        |history| {
            let index = victim(history);
            let mut copy = history.log[index].clone();
            copy.place.offset = 1_000_000;
            let last = history.log.iter().filter(|r| r.place.partition_key() == copy.place.partition_key());
            copy.place.offset = last.map(|r| r.place.offset).max().unwrap() + 1;
            let name = history.show_place(copy.place);
            observe(history, 1, 1, &copy);
            observe(history, 2, 0, &copy);
            history.log.push(copy);
            history.log.sort_by_key(|record| record.place);
            name
        },
        &["LOG-2"],
    );
}

#[test]
fn two_records_with_one_identifier_are_a_double() {
    check(
        |history| {
            let index = victim(history);
            let id = history.log[index].id.clone();
            let other = &mut history.log[index + 1];
            if let Outcome::Acknowledged { id: acknowledged, .. } =
                &mut history.operations[number_of(other) as usize].outcome
            {
                *acknowledged = id.clone();
            }
            other.id = id;
            history.show_place(history.log[index + 1].place)
        },
        &["LOG-2"],
    );
}

#[test]
fn reordered_records_of_a_key_are_named() {
    check(
        |history| {
            let index = victim(history);
            let first = history.log[index].clone();
            let second = (index + 1..history.log.len())
                .find(|other| {
                    let other = &history.log[*other];
                    other.key == first.key && other.place.partition_key() == first.place.partition_key()
                })
                .unwrap();
            // Swap the two records, and what the observers saw with them.
            let (a, b) = (history.log[index].place, history.log[second].place);
            history.log[index].place = b;
            history.log[second].place = a;
            let (f, s) = (history.log[index].clone(), history.log[second].clone());
            for seen in &mut history.observations {
                for record in [&f, &s] {
                    if seen.place == record.place {
                        seen.fingerprint = record.fingerprint;
                        seen.operation = Some(number_of(record));
                        break;
                    }
                }
            }
            history.log.sort_by_key(|record| record.place);
            history.show_place(b)
        },
        &["LOG-3"],
    );
}

/// Index of an acknowledged record, and of the next acknowledged one of the same key.
fn two_of_a_key(history: &History) -> (usize, usize) {
    let acknowledged = |index: &usize| {
        let number = number_of(&history.log[*index]) as usize;
        matches!(history.operations[number].outcome, Outcome::Acknowledged { .. })
    };
    let first = victim(history);
    let same = |index: &usize| {
        let (a, b) = (&history.log[first], &history.log[*index]);
        a.key == b.key && a.place.topic == b.place.topic
    };
    (first, (first + 1..history.log.len()).find(|index| same(index) && acknowledged(index)).unwrap())
}

fn acknowledge_as(history: &mut History, record: usize, with: u64) {
    let number = number_of(&history.log[record]) as usize;
    history.log[record].sequence = with;
    match &mut history.operations[number].outcome {
        Outcome::Acknowledged { sequence, .. } => *sequence = with,
        other => panic!("{other:?} is not acknowledged"),
    }
}

#[test]
fn a_sequence_that_was_given_twice_is_named() {
    check(
        |history| {
            let (first, second) = two_of_a_key(history);
            let sequence = history.log[first].sequence;
            acknowledge_as(history, second, sequence);
            history.show_place(history.log[second].place)
        },
        &["LOG-3"],
    );
}

#[test]
fn numbers_that_contradict_the_time_are_named_although_the_log_follows_them() {
    check(
        |history| {
            let (first, second) = two_of_a_key(history);
            let (a, b) = (history.log[first].clone(), history.log[second].clone());
            // The later request gets the lower number, and its record stands first, in the numbers' order.
            for (index, now) in [(first, &b), (second, &a)] {
                let record = &mut history.log[index];
                (record.claim, record.id) = (now.claim.clone(), now.id.clone());
                (record.peer, record.amount_minor) = (now.peer.clone(), now.amount_minor);
            }
            acknowledge_as(history, first, a.sequence);
            acknowledge_as(history, second, b.sequence);
            format!("operation {} ", number_of(&b))
        },
        &["LOG-3"],
    );
}

#[test]
fn a_partition_that_a_group_was_never_given_is_named() {
    check(
        |history| {
            let place = history.log[victim(history)].place;
            history
                .observations
                .retain(|seen| seen.observer == 2 || seen.place.partition_key() != place.partition_key());
            "member 0, member 1, who were given nothing".to_owned()
        },
        &["LOG-4"],
    );
}

#[test]
fn a_tail_that_was_never_given_is_named() {
    check(
        |history| {
            let last = history.log.last().unwrap().place;
            history.observations.retain(|seen| seen.observer != 2 || seen.place != last);
            history.show_place(last)
        },
        &["LOG-4"],
    );
}

#[test]
fn a_key_in_two_partitions_is_named() {
    check(
        |history| {
            let index = victim(history);
            let record = &mut history.log[index];
            let from = record.place;
            record.place = Place { partition: 7, offset: 0, ..from };
            let record = record.clone();
            for seen in &mut history.observations {
                if seen.place == from {
                    seen.place = record.place;
                }
            }
            history.log.sort_by_key(|record| record.place);
            // The key's records of the other partition come after it or before it; one side is named.
            record.key.to_string()
        },
        &["LOG-3"],
    );
}

#[test]
fn observers_that_disagree_are_named() {
    check(
        |history| {
            let index = victim(history);
            let place = history.log[index].place;
            let seen = history.observations.iter_mut().find(|seen| seen.place == place).unwrap();
            seen.fingerprint ^= 1;
            history.show_place(place)
        },
        &["LOG-4"],
    );
}

#[test]
fn a_record_that_only_an_observer_saw_is_named() {
    check(
        |history| {
            let index = victim(history);
            let mut ghost = history.log[index].clone();
            ghost.place.offset = 1_000_000;
            observe(history, 2, 0, &ghost);
            // The lone observer's last offset before the ghost is the partition's end, so nothing is skipped.
            history.show_place(ghost.place)
        },
        &["LOG-4"],
    );
}

#[test]
fn a_poll_skip_within_a_session_is_named() {
    check(
        |history| {
            let place = history.log[victim(history)].place;
            history.observations.retain(|seen| !(seen.observer == 2 && seen.place == place));
            history.show_place(place)
        },
        &["LOG-4"],
    );
}

#[test]
fn a_record_skipped_over_by_a_rebalance_is_named() {
    check(
        |history| {
            let partition = history.log[victim(history)].place.partition_key();
            // Member 1 resumes five records too late.
            let resumed: Vec<Place> = history
                .observations
                .iter()
                .filter(|seen| seen.observer == 1 && seen.place.partition_key() == partition)
                .map(|seen| seen.place)
                .collect();
            let cut = resumed[8];
            history
                .observations
                .retain(|seen| !(seen.observer == 1 && seen.place.partition_key() == partition && seen.place < cut));
            history.show_place(resumed[5])
        },
        &["LOG-4"],
    );
}

#[test]
fn a_nonmonotonic_poll_is_named() {
    check(
        |history| {
            let record = history.log[victim(history)].clone();
            observe(history, 2, 0, &record);
            history.show_place(record.place)
        },
        &["LOG-4"],
    );
}

#[test]
fn a_stranger_in_the_log_is_named() {
    check(
        |history| {
            let last = history.log.last().unwrap().place;
            let place = Place { offset: last.offset + 1, ..last };
            let stranger = LogRecord {
                place,
                claim: Claim::Stranger("not-ours".into()),
                key: "u1-of-another-run".into(),
                id: "x".into(),
                sequence: 1,
                user: "u1".into(),
                peer: "m1".into(),
                currency: CURRENCY.into(),
                amount_minor: 1,
                fingerprint: 5,
            };
            observe(history, 1, 1, &stranger);
            observe(history, 2, 0, &stranger);
            history.log.push(stranger);
            "not-ours".to_owned()
        },
        &["LOG-5"],
    );
}

#[test]
fn a_record_of_a_refused_operation_is_named() {
    check(
        |history| {
            let record = history.log[victim(history)].clone();
            let number = number_of(&record);
            history.operations[number as usize].outcome = Outcome::Failed { why: Failure::Refused(422) };
            history.show_place(record.place)
        },
        &["LOG-5"],
    );
}

#[test]
fn a_record_that_says_something_else_than_its_request_is_named() {
    let changes: [fn(&mut LogRecord); 4] = [
        |record| record.amount_minor += 1,
        |record| record.user = "somebody-else".into(),
        |record| record.peer = "another-merchant".into(),
        |record| record.currency = "USD".into(),
    ];
    for change in changes {
        check(
            |history| {
                let index = victim(history);
                change(&mut history.log[index]);
                history.show_place(history.log[index].place)
            },
            &["LOG-5"],
        );
    }
}

#[test]
fn a_record_that_was_read_but_never_sent_is_named() {
    check(
        |history| {
            let seen = history.observations.iter_mut().find(|seen| seen.observer == 2).unwrap();
            seen.operation = None;
            let place = seen.place;
            history.show_place(place)
        },
        &["LOG-5"],
    );
}

#[test]
fn the_list_of_names_is_bounded_and_the_total_is_not() {
    let mut history = clean(3, 400, 20);
    history.log.clear();
    history.observations.clear();
    let verdict = &judge(&history)[0];
    assert_eq!(verdict.named.len(), super::NAMED_MAX);
    assert_eq!(verdict.findings_total, verdict.examined);
}
