#![allow(clippy::unwrap_used, reason = "a test panics on failure")]

use super::judge::judge;
use super::{Asked, Row, Said, TableFigures, Total};
use crate::history::{Claim, History, LogRecord, Operation, Outcome, Place};

/// Payments of 100, 200, 300 won and a transfer of 50, each acknowledged a second after the one before.
fn history() -> History {
    let mut history = History { topics: vec!["payments".to_owned(), "transfers".to_owned()], ..History::default() };
    for (number, (topic, amount_minor)) in [(0, 100), (0, 200), (0, 300), (1, 50)].into_iter().enumerate() {
        let sequence = number as u64 + 1;
        let id: Box<str> = format!("id{number}").into();
        history.operations.push(Operation {
            topic,
            user: 7,
            peer: "shop".into(),
            amount_minor,
            planned_us: 0,
            sent_us: Some(0),
            attempts: 1,
            ended_us: Some(sequence * 1_000_000),
            outcome: Outcome::Acknowledged { id: id.clone(), sequence },
        });
        history.log.push(LogRecord {
            place: Place { topic, partition: 0, offset: number as i64 },
            claim: Claim::Operation(number as u32),
            key: "u7".into(),
            id,
            sequence,
            user: "u7".into(),
            peer: "shop".into(),
            currency: "KRW".into(),
            amount_minor,
            fingerprint: sequence,
        });
    }
    history
}

fn total(rows: u64, amount_minor: i64) -> Total {
    Total { rows, amount_minor }
}

fn answer(at_us: u64, payments: Total, transfers: Total) -> Asked {
    Asked { at_us, totals: Some(vec![payments, transfers]) }
}

/// All that a healthy lake says of [`history`], in two answers around a time without one.
fn healthy() -> Said {
    let row = |record: &LogRecord| Row {
        topic: record.place.topic,
        id: record.id.clone(),
        sequence: record.sequence,
        user: record.user.clone(),
        peer: record.peer.clone(),
        currency: record.currency.clone(),
        amount_minor: record.amount_minor,
    };
    Said {
        asked: vec![
            answer(2_500_000, total(1, 100), total(0, 0)),
            Asked { at_us: 3_000_000, totals: None },
            answer(5_000_000, total(3, 600), total(1, 50)),
        ],
        rows: Some(Ok(history().log.iter().map(row).collect())),
    }
}

/// Plants something, and expects the named checks to fail, the first of them with these words.
#[track_caller]
fn check(plant: impl FnOnce(&mut Said), expect: &[&str], words: &str) {
    let mut said = healthy();
    plant(&mut said);
    let verdicts = judge(&said, &history(), &[]);
    let failed: Vec<&str> = verdicts.iter().filter(|v| !v.passed).map(|v| v.check.as_str()).collect();
    assert_eq!(failed, expect, "{verdicts:#?}");
    if let Some(first) = verdicts.iter().find(|verdict| !verdict.passed) {
        assert!(first.named.iter().any(|f| format!("{}: {}", f.record, f.detail).contains(words)), "{first:#?}");
    }
}

fn rows(said: &mut Said) -> &mut Vec<Row> {
    said.rows.as_mut().unwrap().as_mut().unwrap()
}

#[test]
fn each_planted_difference_is_found_and_named() {
    check(|_| {}, &[], "");
    check(
        |said| drop(rows(said).remove(1)),
        &["lake-rows"],
        "payments id1 (u7, sequence 2): 1 in the log, 0 in the table",
    );
    check(
        |said| {
            let again = rows(said)[3].clone();
            rows(said).push(again);
        },
        &["lake-rows"],
        "transfers id3 (u7, sequence 4): 1 in the log, 2 in the table",
    );
    check(|said| rows(said)[0].amount_minor = 101, &["lake-rows"], "amount 101");
    check(|said| rows(said)[0].user = "u8".into(), &["lake-rows"], "(u8, sequence 1)");
    check(|said| said.rows = Some(Err("no such table".to_owned())), &["lake-rows"], "no such table");
    check(|said| said.rows = None, &["lake-rows"], "were not read");
    check(
        |said| said.asked[2] = answer(5_000_000, total(3, 599), total(1, 50)),
        &["lake-money"],
        "payments: SQL: 3 rows of 599 won; the log: 3 of 600",
    );
    check(|said| said.asked.clear(), &["lake-money"], "SQL gave no answer");
    check(
        |said| said.asked.insert(1, answer(2_750_000, total(0, 0), total(0, 0))),
        &["lake-steady"],
        "payments at 2.750 s: 0 rows of 0 won, after 1 of 100",
    );
}

#[test]
fn a_lake_that_was_killed_may_show_rows_again_from_its_last_commit_on() {
    let mut said = healthy();
    said.asked.insert(1, answer(2_750_000, total(0, 0), total(0, 0)));
    let failed = |killed_us: &[u64]| judge(&said, &history(), killed_us).iter().filter(|v| !v.passed).count();
    assert_eq!([failed(&[2_600_000]), failed(&[2_400_000]), failed(&[])], [0, 1, 1]);
}

#[test]
fn the_tables_are_behind_by_the_oldest_acknowledged_request_that_is_no_row() {
    let figures = TableFigures::of(&healthy(), &history());
    let behind: Vec<Option<u64>> = figures.asked.iter().map(|asked| asked.behind_us).collect();
    // At 2.5 s the second payment had been acknowledged for half a second.
    assert_eq!(behind, [Some(500_000), None, Some(0)]);
    assert_eq!((figures.rows, figures.amount_minor, figures.unanswered), (4, 650, 1));
    assert_eq!(figures.behind.map(|behind| behind.count), Some(2));
}
