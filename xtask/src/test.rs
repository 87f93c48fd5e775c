//! `./x test`: every test, and the conformance suite once per subject with equal results. Through a relay run the
//! clients of others, too, and some tests of the suite cannot hold: a table beside the suite names them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::peers::{self, KAFKA_VERSIONS};
use crate::shell::{self, TaskError, cargo};

/// Arguments of `./x test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only tests whose name contains this; the conformance suite then runs against the stand-in alone
    filter: Option<String>,
}

/// The module of the conformance suite in the integration tests of `naru`.
const CONFORMANCE: &str = "conformance::";
/// The module of the clients that others wrote.
const OUTSIDE: &str = "outside::";
const STAND_IN: &str = "stand-in";
/// Two stand-ins and a relay between them.
const RELAY: &str = "relay";
/// What this run may add on two idle cores, seconds: stated, and not failed on, as the machine may be busy.
const RELAY_SECONDS_MAX: u64 = 90;
/// The table of what cannot hold through a relay.
const THROUGH_A_RELAY: &str = "crates/naru/tests/it/conformance/through_a_relay.md";

/// Runs the task.
pub fn run(args: &Args) -> Result<(), TaskError> {
    for version in KAFKA_VERSIONS {
        peers::kafka(version)?;
    }
    peers::python_clients()?;
    peers::h2spec()?;
    peers::lake_readers()?;
    let mut tally = Tally::default();
    let outcome = every_subject(args, &mut tally);
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    outcome
}

fn every_subject(args: &Args, tally: &mut Tally) -> Result<(), TaskError> {
    let only: Vec<&str> = args.filter.as_deref().into_iter().collect();
    subject(STAND_IN, &["--workspace"], &only, tally)?;
    if args.filter.is_some() {
        return Ok(());
    }
    for version in KAFKA_VERSIONS {
        // The whole workspace is named so that the features, and with them the built crates, stay those of the first run.
        subject(&format!("kafka-{version}"), &["--workspace", "--test", "it"], &[CONFORMANCE], tally)?;
    }
    let excepted = excepted()?;
    let mut only = vec![CONFORMANCE, OUTSIDE];
    for test in &excepted {
        only.extend(["--skip", test.as_str()]);
    }
    let began = Instant::now();
    subject(RELAY, &["--workspace", "--test", "it"], &only, tally)?;
    println!("\nthrough a relay: {} s of a budget of {RELAY_SECONDS_MAX} s", began.elapsed().as_secs());
    equal(&tally.conformance, &excepted)
}

fn subject(subject: &str, packages: &[&str], only: &[&str], tally: &mut Tally) -> Result<(), TaskError> {
    let mut command = cargo(&["test"]);
    command.args(packages).env("NARU_SUBJECT", subject).env("NARU_PEERS", peers::folder());
    if !only.is_empty() {
        command.arg("--").args(only);
    }
    shell::run_and_read(command, |line| tally.read(subject, line))
}

/// What the test runners said.
#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
    /// Subject to the conformance tests that passed.
    conformance: BTreeMap<String, BTreeSet<String>>,
}

impl Tally {
    fn read(&mut self, subject: &str, line: &str) {
        if let Some(rest) = line.strip_prefix("test result: ") {
            for part in rest.split(['.', ';']) {
                match part.trim().split_once(' ') {
                    Some((count, "passed")) => self.passed += count.parse::<u64>().unwrap_or(0),
                    Some((count, "failed")) => self.failed += count.parse::<u64>().unwrap_or(0),
                    _ => {}
                }
            }
        } else if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... ok"))
            && name.starts_with(CONFORMANCE)
        {
            self.conformance.entry(subject.to_owned()).or_default().insert(name.to_owned());
        }
    }
}

/// The tests that the table of exceptions names, in its first column.
fn excepted() -> Result<BTreeSet<String>, TaskError> {
    let table = shell::read(&shell::root().join(THROUGH_A_RELAY))?;
    Ok(table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect())
}

/// Every subject must have passed the same tests, but for the relay's exceptions: one that is missing somewhere has not
/// been compared.
fn equal(passed: &BTreeMap<String, BTreeSet<String>>, excepted: &BTreeSet<String>) -> Result<(), TaskError> {
    let all: BTreeSet<&String> = passed.values().flatten().collect();
    let excused = |subject: &str, name: &String| subject == RELAY && excepted.contains(name);
    let mut findings: Vec<String> = passed
        .iter()
        .flat_map(|(subject, names)| {
            let missing = all.iter().filter(|name| !names.contains(**name) && !excused(subject, name));
            missing.map(move |name| format!("{subject} did not pass {name}"))
        })
        .collect();
    let unknown = excepted.iter().filter(|name| !all.contains(name));
    findings.extend(unknown.map(|name| format!("{THROUGH_A_RELAY} names {name}, which is no test")));
    if !findings.is_empty() || all.is_empty() || passed.len() != 2 + KAFKA_VERSIONS.len() {
        return Err(TaskError::Findings(findings));
    }
    let subjects: Vec<&str> = passed.keys().map(String::as_str).collect();
    println!("\nconformance: {} tests, equal results on {}", all.len(), subjects.join(", "));
    println!("{} of them cannot hold through a relay: {THROUGH_A_RELAY}", excepted.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[(&str, &str)]) -> Tally {
        let mut tally = Tally::default();
        for (subject, line) in lines {
            tally.read(subject, line);
        }
        tally
    }

    #[test]
    fn counts_what_every_runner_closed_with() {
        let tally = tally(&[
            (
                "stand-in",
                "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.1s",
            ),
            ("stand-in", "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out"),
        ]);
        assert_eq!((tally.passed, tally.failed), (15, 2));
    }

    #[test]
    fn a_subject_that_lacks_a_test_is_not_equal() {
        const BOTH: &[&str] = &["a", "b"];
        let check = |kafka: &[&str], relay: &[&str], excepted: &[&str], expect: bool| {
            let subjects = [(STAND_IN, BOTH), ("kafka-3.9.2", BOTH), ("kafka-4.3.1", kafka), (RELAY, relay)];
            let line = |test: &&str| format!("test conformance::produce::{test} ... ok");
            let lines: Vec<(&str, String)> =
                subjects.iter().flat_map(|(subject, tests)| tests.iter().map(|test| (*subject, line(test)))).collect();
            let lines: Vec<(&str, &str)> = lines.iter().map(|(subject, line)| (*subject, line.as_str())).collect();
            let excepted = excepted.iter().map(|test| format!("conformance::produce::{test}")).collect();
            assert_eq!(
                equal(&tally(&lines).conformance, &excepted).is_ok(),
                expect,
                "{kafka:?} {relay:?} {excepted:?}"
            );
        };
        check(BOTH, BOTH, &[], true);
        check(&["a"], BOTH, &[], false);
        check(BOTH, &["a"], &[], false);
        check(BOTH, &["a"], &["b"], true);
        check(&["a"], &["a"], &["b"], false);
        check(BOTH, BOTH, &["no test"], false);
        check(BOTH, &[], &["a", "b"], false);
    }

    #[test]
    fn the_table_names_tests_of_the_suite() {
        let excepted = excepted().unwrap();
        assert!(!excepted.is_empty());
        assert!(excepted.iter().all(|test| test.starts_with(CONFORMANCE)), "{excepted:?}");
    }
}
