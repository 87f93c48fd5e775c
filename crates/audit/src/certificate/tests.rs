#![allow(clippy::unwrap_used)] // a test panics on failure

use naru_runtime::keys::{SigningKeys, VerifyingKeys};
use serde_json::{Value, json};

use super::*;

fn read(rows: i64, hash: &str) -> Reading {
    let sums = BTreeMap::from([("amount".to_owned(), "12.5".to_owned())]);
    Reading::Read { rows, sums, hash: hash.repeat(16), sketch: hash.repeat(32) }
}

fn part(readings: [Reading; 4], differences: Vec<Difference>) -> PartProof {
    let mut part = PartProof {
        topic: "pay.payments".to_owned(),
        part: Part::Changes,
        left_out: vec!["phone".to_owned()],
        readings: Reader::ALL.into_iter().zip(readings).collect(),
        reference: Some(Reader::Source),
        differences,
        unnamed: false,
        verdict: Verdict::Open,
    };
    part.verdict = part.derived();
    part
}

fn difference() -> Difference {
    let places = vec!["a:pay.payments-0@17".to_owned()];
    Difference { reader: Reader::Lake, position: 7, sequence: 0, expected: 1, found: 0, changed: 0, places }
}

fn findings(number: u64) -> Findings {
    let same = || read(3, "aa");
    let absent = Reading::Absent { why: "não\u{7f}\n\"".to_owned() };
    let part = match number % 3 {
        0 => part([same(), same(), same(), same()], vec![]),
        1 => part([same(), same(), same(), read(2, "bb")], vec![difference()]),
        _ => part([same(), same(), absent, same()], vec![]),
    };
    Findings {
        window: Window { source: "pay".to_owned(), after: number * 10, to: number * 10 + 10 },
        sketch: SketchFacts { record_version: 1, sketch_version: 1, cells: 1360, key: "00".repeat(8) },
        parts: vec![part],
    }
}

struct Made {
    _directory: tempfile::TempDir,
    keys: VerifyingKeys,
    lines: Vec<String>,
    head: String,
}

fn made(count: u64) -> Made {
    let directory = tempfile::tempdir().unwrap();
    let keys = SigningKeys::generate(&directory.path().join("keys"), 1).unwrap();
    let path = directory.path().join("chain");
    let mut head = String::new();
    for number in 0..count {
        // Opened anew each time: it goes on where it ended.
        let mut chain = Chain::open(&path).unwrap();
        assert_eq!(chain.add(findings(number), 1_700_000_000_000, &keys).unwrap().number, number);
        head = chain.head().to_owned();
    }
    let text = std::fs::read_to_string(path.join(Chain::file_name())).unwrap();
    let lines = text.lines().map(|line| format!("{line}\n")).collect();
    Made { _directory: directory, keys: keys.verifying().clone(), lines, head }
}

fn verified(made: &Made, lines: &[String]) -> Result<Summary, Refused> {
    verify(&lines.concat(), &made.keys, &Expected::default())
}

#[test]
fn a_chain_is_found_whole() {
    let made = made(6);
    let summary = verified(&made, &made.lines).unwrap();
    assert_eq!((summary.certificates, summary.verdicts), (6, [2, 2, 2, 0]));
    assert_eq!((summary.head.as_str(), summary.worst), (made.head.as_str(), Some((1, Verdict::Different))));
}

/// Every value in the certificate, each changed to something else of its kind.
fn altered(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![json!(1)],
        Value::Bool(flag) => vec![json!(!flag)],
        Value::Number(number) => vec![json!(number.as_i64().unwrap() + 1)],
        Value::String(text) => vec![json!(format!("{text}0")), json!(""), json!(text.replace(['a', '1'], "b"))]
            .into_iter()
            .filter(|other| other != value)
            .collect(),
        Value::Array(items) => {
            let mut all: Vec<Value> = (0..items.len())
                .flat_map(|index| {
                    let with = move |other| {
                        let mut items = items.clone();
                        items[index] = other;
                        Value::Array(items)
                    };
                    altered(&items[index]).into_iter().map(with)
                })
                .collect();
            all.push(json!([]));
            all.retain(|other| other != value);
            all
        }
        Value::Object(members) => {
            let mut all = Vec::new();
            for (name, member) in members {
                for other in altered(member) {
                    let mut members = members.clone();
                    members[name] = other;
                    all.push(Value::Object(members));
                }
                let mut fewer = members.clone();
                fewer.remove(name);
                all.push(Value::Object(fewer));
            }
            all
        }
    }
}

#[test]
fn no_field_can_be_altered() {
    let made = made(3);
    for place in 0..3 {
        let line: Value = serde_json::from_str(&made.lines[place]).unwrap();
        let all = altered(&line);
        assert!(all.len() > 60, "{} alterations", all.len());
        for other in all {
            let mut lines = made.lines.clone();
            lines[place] = format!("{}\n", canonical(&other).unwrap());
            let refused = verified(&made, &lines).unwrap_err();
            assert_eq!(refused.line, place + 1, "{other}");
        }
    }
}

#[test]
fn no_line_can_be_dropped_reordered_doubled_or_cut() {
    let made = made(4);
    let of = |order: &[usize]| {
        let lines: Vec<String> = order.iter().map(|index| made.lines[*index].clone()).collect();
        verified(&made, &lines).unwrap_err()
    };
    let number = |line, expected, found| Refused { line, fault: Fault::Number { expected, found } };
    assert_eq!(of(&[1, 2, 3]), number(1, 0, 1));
    assert_eq!(of(&[0, 2, 3]), number(2, 1, 2));
    assert_eq!(of(&[0, 2, 1, 3]), number(2, 1, 2));
    assert_eq!(of(&[0, 1, 1, 2]), number(3, 2, 1));
    let cut = made.lines.concat();
    let refused = verify(&cut[..cut.len() - 1], &made.keys, &Expected::default()).unwrap_err();
    assert_eq!(refused, Refused { line: 4, fault: Fault::Cut });
    // A chain that was cut between lines is whole; the head, kept elsewhere, shows it.
    assert!(verified(&made, &made.lines[..3]).is_ok());
    let expected = Expected { previous: None, head: Some(made.head.clone()) };
    let refused = verify(&made.lines[..3].concat(), &made.keys, &expected).unwrap_err();
    assert_eq!(refused, Refused { line: 3, fault: Fault::Head });
    assert!(verify(&cut, &made.keys, &expected).is_ok());
    // A later part of a chain needs the head before it.
    let from = Expected { previous: Some(sha256(made.lines[1].trim_end().as_bytes())), head: None };
    assert_eq!(verify(&made.lines[2..].concat(), &made.keys, &from).unwrap().certificates, 2);
}

#[test]
fn only_the_canonical_form_is_a_certificate() {
    let made = made(1);
    let check = |line: String, fault| {
        assert_eq!(verified(&made, &[line]), Err(Refused { line: 1, fault }));
    };
    check(made.lines[0].replace(":", ": "), Fault::NotCanonical);
    check(made.lines[0].replace("\"version\":1", "\"version\":2"), Fault::NoCertificate);
    check("{}\n".to_owned(), Fault::NoCertificate);
    check("\n".to_owned(), Fault::NoCertificate);
}

#[test]
fn another_key_is_refused() {
    let (made, other) = (made(1), made(1));
    let refused = verify(&made.lines.concat(), &other.keys, &Expected::default()).unwrap_err();
    assert!(matches!(refused.fault, Fault::UnknownKey(_)));
}

#[test]
fn half_a_line_of_a_process_that_was_killed_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let keys = SigningKeys::generate(&directory.path().join("keys"), 1).unwrap();
    let path = directory.path().join("chain");
    let mut chain = Chain::open(&path).unwrap();
    chain.add(findings(0), 1, &keys).unwrap();
    assert!(matches!(Chain::open(&path), Err(ChainError::Io { .. })), "one process writes a chain");
    let file = chain.path().to_owned();
    drop(chain);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend_from_slice(b"{\"version\"");
    std::fs::write(&file, bytes).unwrap();
    let mut chain = Chain::open(&path).unwrap();
    assert_eq!(chain.next(), 1);
    chain.add(findings(1), 1, &keys).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(verify(&text, keys.verifying(), &Expected::default()).unwrap().certificates, 2);
}

#[test]
fn what_a_part_comes_to_follows_from_its_readings() {
    let same = || read(3, "aa");
    let absent = || Reading::Absent { why: "gone".to_owned() };
    let check = |readings, differences, unnamed, expect| {
        let part = PartProof { unnamed, ..part(readings, differences) };
        assert_eq!(part.derived(), expect);
    };
    check([same(), same(), same(), same()], vec![], false, Verdict::Equal);
    check([absent(), same(), same(), same()], vec![], false, Verdict::Incomplete);
    check([absent(), absent(), same(), absent()], vec![], false, Verdict::Incomplete);
    check([absent(), same(), same(), read(3, "bb")], vec![difference()], false, Verdict::Different);
    check([same(), same(), same(), read(3, "bb")], vec![], false, Verdict::Open);
    check([same(), same(), same(), same()], vec![difference()], false, Verdict::Open);
    check([same(), same(), same(), read(3, "bb")], vec![difference()], true, Verdict::Open);
}

#[test]
fn a_reader_alone_is_held_against_nothing() {
    let mut alone = part([read(3, "aa"), read(3, "aa"), read(3, "aa"), read(3, "aa")], vec![]);
    alone.readings.retain(|reader, _| *reader == Reader::A);
    assert_eq!(alone.derived(), Verdict::Incomplete);
}

#[test]
fn numbers_that_programs_read_differently_are_refused() {
    assert!(matches!(canonical(&json!({"a": 1.5})), Err(NotCanonical::Number(_))));
    assert_eq!(canonical(&json!({"b": [1, -2], "a": {"é": null}})).unwrap(), "{\"a\":{\"é\":null},\"b\":[1,-2]}");
}
