//! `./x test`: every test, and the conformance suite once per subject with equal results.

use std::collections::{BTreeMap, BTreeSet};

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
const STAND_IN: &str = "stand-in";

/// Runs the task.
pub fn run(args: &Args) -> Result<(), TaskError> {
    for version in KAFKA_VERSIONS {
        peers::kafka(version)?;
    }
    peers::python_clients()?;
    let mut tally = Tally::default();
    let outcome = every_subject(args, &mut tally);
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    outcome
}

fn every_subject(args: &Args, tally: &mut Tally) -> Result<(), TaskError> {
    subject(STAND_IN, &["--workspace"], args.filter.as_deref(), tally)?;
    if args.filter.is_some() {
        return Ok(());
    }
    for version in KAFKA_VERSIONS {
        // The whole workspace is named so that the features, and with them the built crates, stay those of the first run.
        subject(&format!("kafka-{version}"), &["--workspace", "--test", "it"], Some(CONFORMANCE), tally)?;
    }
    equal(&tally.conformance)
}

fn subject(subject: &str, packages: &[&str], filter: Option<&str>, tally: &mut Tally) -> Result<(), TaskError> {
    let mut command = cargo(&["test"]);
    command.args(packages).env("NARU_SUBJECT", subject).env("NARU_PEERS", peers::folder());
    if let Some(filter) = filter {
        command.args(["--", filter]);
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

/// Every subject must have passed the same tests: one that is missing somewhere has not been compared.
fn equal(passed: &BTreeMap<String, BTreeSet<String>>) -> Result<(), TaskError> {
    let all: BTreeSet<&String> = passed.values().flatten().collect();
    let findings: Vec<String> = passed
        .iter()
        .flat_map(|(subject, names)| {
            all.iter().filter(|name| !names.contains(**name)).map(move |name| format!("{subject} did not pass {name}"))
        })
        .collect();
    if !findings.is_empty() || all.is_empty() || passed.len() != 1 + KAFKA_VERSIONS.len() {
        return Err(TaskError::Findings(findings));
    }
    let subjects: Vec<&str> = passed.keys().map(String::as_str).collect();
    println!("\nconformance: {} tests, equal results on {}", all.len(), subjects.join(", "));
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
        let lines = [
            ("stand-in", "test conformance::produce::a ... ok"),
            ("stand-in", "test conformance::produce::b ... ok"),
            ("kafka-3.9.2", "test conformance::produce::a ... ok"),
            ("kafka-3.9.2", "test conformance::produce::b ... ok"),
            ("kafka-4.3.1", "test conformance::produce::a ... ok"),
        ];
        assert!(equal(&tally(&lines).conformance).is_err());
        let whole = [&lines[..], &[("kafka-4.3.1", "test conformance::produce::b ... ok")]].concat();
        assert!(equal(&tally(&whole).conformance).is_ok());
    }
}
