//! Two sides that agree pass; each anomaly planted between them, in the commits or in the sends is refused and named.

#![allow(clippy::unwrap_used, reason = "a test panics on failure")]

use super::judge_relay;
use crate::history::{Claim, Commit, History, LogRecord, Observation, Observer, Place, Session, SideCopy, fingerprint};
use crate::pulse::{Acknowledged, Pulse, PulseRecord};

const RECORDS: i64 = 20;
const PULSES: usize = 10;

fn record(offset: i64) -> LogRecord {
    let id = format!("id-{offset}");
    LogRecord {
        place: Place { topic: 0, partition: 0, offset },
        claim: Claim::Operation(offset as u32),
        key: "u1".into(),
        fingerprint: fingerprint(b"u1", id.as_bytes()),
        id: id.into(),
        sequence: offset as u64 + 1,
        user: "u1".into(),
        peer: "m1".into(),
        currency: "KRW".into(),
        amount_minor: 100,
    }
}

/// Both sides hold twenty records and ten pulses; a member read half of the records and committed, another went on from
/// there.
fn clean() -> History {
    let log: Vec<LogRecord> = (0..RECORDS).map(record).collect();
    let log_starts = vec![(Place { topic: 0, partition: 0, offset: 0 }, 0)];
    let committed = vec![Place { topic: 0, partition: 0, offset: RECORDS }];
    let side = |name: &str| SideCopy {
        name: name.to_owned(),
        log: log.clone(),
        log_starts: log_starts.clone(),
        committed: committed.clone(),
    };
    let pulse = |number: usize| {
        // One that nobody was told of, and one that was acknowledged as an old duplicate.
        let offset = (number != 2).then_some(number as i64);
        let acknowledged = (number != 4).then_some(Acknowledged { offset, at_us: number as u64 * 10 + 5 });
        Pulse { partition: 0, sent_us: number as u64 * 10, acknowledged }
    };
    let held = |number: usize| PulseRecord { partition: 0, offset: number as i64, number: Some(number) };
    let logs = ["relay", "cluster a", "cluster b"].map(|name| (name.to_owned(), (0..PULSES).map(held).collect()));
    let seen = |observer: u16, record: &LogRecord| Observation {
        observer,
        session: 1,
        place: record.place,
        fingerprint: record.fingerprint,
        operation: None,
        at_us: 0,
    };
    let observations = log[..10].iter().map(|record| seen(0, record)).chain(log[8..].iter().map(|r| seen(1, r)));
    History {
        topics: vec!["payments".to_owned(), "transfers".to_owned()],
        observers: (0..2).map(|member| Observer { name: format!("member {member}"), group: 0 }).collect(),
        observations: observations.collect(),
        sessions: vec![Session { observer: 0, session: 1, at_us: 0 }, Session { observer: 1, session: 1, at_us: 500 }],
        commits: vec![
            Commit { place: Place { topic: 0, partition: 0, offset: 8 }, at_us: 400 },
            Commit { place: Place { topic: 0, partition: 0, offset: 10 }, at_us: 600 },
        ],
        committed: committed.clone(),
        sides: vec![side("cluster a"), side("cluster b")],
        pulses: (0..PULSES).map(pulse).collect(),
        pulse_logs: logs.into(),
        log_starts,
        log,
        ..History::default()
    }
}

/// Plants an anomaly; exactly one check fails, and names it.
#[track_caller]
fn check(plant: impl FnOnce(&mut History), expect: &str, named: &str) {
    let mut history = clean();
    plant(&mut history);
    let verdicts = judge_relay(&history);
    let failed: Vec<&str> = verdicts.iter().filter(|v| !v.passed).map(|v| v.check.as_str()).collect();
    assert_eq!(failed, [expect], "{verdicts:#?}");
    let blamed = verdicts.iter().find(|verdict| !verdict.passed).unwrap();
    let says = |finding: &super::Finding| format!("{} {}", finding.record, finding.detail).contains(named);
    assert!(blamed.named.iter().any(says), "{named:?} is not named in {blamed:#?}");
}

#[test]
fn sides_that_agree_pass() {
    for verdict in judge_relay(&clean()) {
        assert!(verdict.passed && verdict.examined > 0, "{verdict:#?}");
    }
}

#[test]
fn a_record_that_one_side_lacks_is_named() {
    check(|history| drop(history.sides[1].log.remove(7)), "RELAY-1", "payments/0@7");
}

#[test]
fn a_record_that_stands_elsewhere_on_one_side_is_named() {
    check(|history| history.sides[0].log[7].fingerprint ^= 1, "RELAY-1", "cluster a holds another there");
}

#[test]
fn a_record_that_only_a_side_holds_is_named() {
    check(|history| history.sides[1].log.push(record(RECORDS)), "RELAY-1", "the relay does not show it");
}

#[test]
fn a_side_that_begins_later_is_named() {
    check(|history| history.sides[1].log_starts[0].1 = 3, "RELAY-1", "cluster b begins at 3");
}

#[test]
fn a_committed_offset_that_the_sides_do_not_share_is_named() {
    check(|history| history.sides[1].committed[0].offset = 12, "RELAY-4", "cluster b holds 12");
    check(|history| history.sides[0].committed.clear(), "RELAY-4", "cluster a holds nothing");
}

#[test]
fn a_commit_that_was_forgotten_over_a_takeover_is_named() {
    check(
        |history| {
            let begins = history.observations.iter().position(|seen| seen.observer == 1).unwrap();
            let again = Observation { place: record(5).place, ..history.observations[begins] };
            history.observations.insert(begins, again);
        },
        "RELAY-4",
        "8 had been acknowledged as committed",
    );
}

#[test]
fn a_lost_write_is_named() {
    check(
        |history| history.pulse_logs[2].1.retain(|record| record.number != Some(3)),
        "sends",
        "not in cluster b (lost write)",
    );
    check(
        |history| history.pulse_logs[2].1.retain(|record| record.number != Some(2)),
        "sends",
        "acknowledged, not in cluster b (lost write)",
    );
    let moved = |history: &mut History| {
        history.pulses[9].acknowledged = Some(Acknowledged { offset: Some(12), at_us: 99 });
    };
    check(moved, "sends", "stands in relay at 9 (lost write)");
}

#[test]
fn a_duplicate_is_named() {
    let twice = |history: &mut History| {
        history.pulse_logs[1].1.push(PulseRecord { partition: 0, offset: 10, number: Some(6) });
    };
    check(twice, "sends", "already at 6 (duplicate)");
}

#[test]
fn a_nonmonotonic_send_is_named() {
    // One that its producer heard nothing of: only its place in the log is wrong.
    let swapped = |history: &mut History| {
        history.pulses[5].acknowledged = None;
        for (_, log) in &mut history.pulse_logs {
            (log[4].number, log[5].number) = (Some(5), Some(4));
        }
    };
    check(swapped, "sends", "(nonmonotonic send)");
}

#[test]
fn a_pulse_that_nobody_sent_is_named() {
    let stranger = |history: &mut History| {
        history.pulse_logs[0].1.push(PulseRecord { partition: 0, offset: 10, number: None });
    };
    check(stranger, "sends", "that nobody sent");
}
