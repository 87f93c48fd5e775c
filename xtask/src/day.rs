//! `./x soak day`: the event day in short, seed after seed, and then each way in which it can be wrong.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use serde::Deserialize;

use crate::shell::{self, TaskError, cargo, command, read, target};

/// The document that holds the table of sabotages, between two lines of their own.
const DOCUMENT: &str = "docs/rehearsal.md";
const TABLE_BEGINS: &str = "<!-- sabotages: ./x soak day --table -->";
const TABLE_ENDS: &str = "<!-- end of sabotages -->";
/// How often a seed is played when the machine could not send its load: such a run says nothing.
const PLAYED_MAX: u32 = 3;
/// What `naru rehearse` ends with.
const PASSED: i32 = 0;
const CAUGHT: i32 = 1;
const NOT_VALID: i32 = 3;
/// Scenarios whose checks every sabotage that alters records is tried on, with their flags: the first one's outcome counts.
const SABOTAGED: [(&str, &[&str]); 2] = [("1111", &["--quick"]), ("takeover", &[])];

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    sabotaged: Vec<Sabotaged>,
}

/// As `report.json` has it.
#[derive(Debug, Clone, Deserialize)]
struct Sabotaged {
    name: String,
    does: String,
    turns: Vec<String>,
    red: Vec<String>,
    caught: bool,
}

/// Plays `rounds` seeds from `first` on, which must all pass, then the sabotages, which must all be caught. With `table`,
/// the document gets the outcomes.
pub fn soak(rounds: u32, first: u64, table: bool) -> Result<(), TaskError> {
    shell::run(cargo(&["build", "--quiet", "--package", "naru"]))?;
    let mut findings = Vec::new();
    for seed in first..first + u64::from(rounds) {
        let words = ["--quick", "--seed", &seed.to_string()];
        let (code, _) = played_until(|code| code != NOT_VALID, &words, &format!("seed-{seed}"))?;
        eprintln!("x: seed {seed}: exit code {code}");
        if code != PASSED {
            findings.push(format!("seed {seed} ended with {code}: ./x rehearse --quick --seed {seed}"));
        }
    }
    let outcomes = sabotages(first, &mut findings)?;
    for missed in outcomes.iter().filter(|outcome| !outcome.caught) {
        let Sabotaged { name, turns, red, .. } = missed;
        findings.push(format!("{name}: has to turn {}, turned {}", turns.join(", "), red.join(", ")));
    }
    println!("{rounds} seeds played; {} sabotages, {} finding(s)", outcomes.len(), findings.len());
    if table {
        write_table(&outcomes)?;
    }
    if findings.is_empty() { Ok(()) } else { Err(TaskError::Findings(findings)) }
}

/// Plays until a run says something, at most [`PLAYED_MAX`] times; the last one's exit code, and where its report is.
fn played_until(says: impl Fn(i32) -> bool, words: &[&str], name: &str) -> Result<(i32, PathBuf), TaskError> {
    let mut last = played(words, name)?;
    for _ in 1..PLAYED_MAX {
        if says(last.0) {
            break;
        }
        last = played(words, name)?;
    }
    Ok(last)
}

/// One run; its exit code, and where its report is.
fn played(words: &[&str], name: &str) -> Result<(i32, PathBuf), TaskError> {
    let out = target().join("soak-day").join(name);
    let place = out.display().to_string();
    let words = [&["rehearse", "--plain", "--out", &place], words].concat();
    let naru = target().join("debug/naru");
    let start = |source| TaskError::Start { program: naru.display().to_string(), source };
    let status: ExitStatus = command(&naru, &words).status().map_err(start)?;
    Ok((status.code().unwrap_or(-1), out))
}

/// Each sabotage, by the run that has to notice it.
fn sabotages(seed: u64, findings: &mut Vec<String>) -> Result<Vec<Sabotaged>, TaskError> {
    let listing = shell::output(command(target().join("debug/naru"), &["rehearse", "--sabotage", "list"]))?;
    let names: Vec<&str> = listing.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let seed = seed.to_string();
    let mut outcomes: Vec<Sabotaged> = Vec::new();
    let mut take = |scenario: &str, flags: &[&str], sabotage: &str, outcomes: &mut Vec<Sabotaged>| {
        let words = [&[scenario, "--sabotage", sabotage, "--seed", &seed], flags].concat();
        // On a machine that is too busy a check fails anyway, and then says nothing of a sabotage.
        let (code, out) = played_until(|code| code == CAUGHT, &words, &format!("{scenario}-{sabotage}"))?;
        if code != CAUGHT {
            findings.push(format!("{scenario} with sabotage {sabotage} ended with {code}, and not with {CAUGHT}"));
        }
        for outcome in sabotaged(&out.join("report.json"))? {
            if !outcomes.iter().any(|known| known.name == outcome.name) {
                outcomes.push(outcome);
            }
        }
        Ok::<_, TaskError>(())
    };
    for (scenario, flags) in SABOTAGED {
        take(scenario, flags, "every", &mut outcomes)?;
    }
    // What acts on the running system wants a run of its own.
    for name in &names {
        if !outcomes.iter().any(|outcome| outcome.name == *name) {
            take(SABOTAGED[0].0, SABOTAGED[0].1, name, &mut outcomes)?;
        }
    }
    for name in names.iter().filter(|name| !outcomes.iter().any(|outcome| outcome.name == **name)) {
        findings.push(format!("{name}: no run has anything that it could alter"));
    }
    outcomes.sort_by_key(|outcome| names.iter().position(|name| *name == outcome.name));
    Ok(outcomes)
}

fn sabotaged(report: &Path) -> Result<Vec<Sabotaged>, TaskError> {
    let text = read(report)?;
    let unreadable = |error: serde_json::Error| TaskError::File { path: report.to_path_buf(), source: error.into() };
    Ok(serde_json::from_str::<Report>(&text).map_err(unreadable)?.sabotaged)
}

fn write_table(outcomes: &[Sabotaged]) -> Result<(), TaskError> {
    let path = shell::root().join(DOCUMENT);
    let text = with_table(&read(&path)?, outcomes)
        .ok_or_else(|| TaskError::Findings(vec![format!("{DOCUMENT} has no line {TABLE_BEGINS}")]))?;
    shell::write(&path, &text)
}

/// The document with the table of these outcomes; `None` if it has no place for one.
fn with_table(document: &str, outcomes: &[Sabotaged]) -> Option<String> {
    let (before, rest) = document.split_once(TABLE_BEGINS)?;
    let (_, after) = rest.split_once(TABLE_ENDS)?;
    let mut table =
        "| sabotage | what is done | has to turn red | turned red | caught |\n|---|---|---|---|---|\n".to_owned();
    for Sabotaged { name, does, turns, red, caught } in outcomes {
        let caught = if *caught { "yes" } else { "no" };
        writeln!(table, "| {name} | {does} | {} | {} | {caught} |", turns.join(", "), red.join(", "))
            .expect("writing to a string cannot fail");
    }
    Some(format!("{before}{TABLE_BEGINS}\n{table}{TABLE_ENDS}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_takes_the_place_of_the_one_before_and_of_nothing_else() {
        let outcome = |caught| Sabotaged {
            name: "lose-record".into(),
            does: "a record is gone".into(),
            turns: vec!["LOG-1".into()],
            red: vec!["LOG-1".into(), "LOG-4".into()],
            caught,
        };
        let document = format!("before\n{TABLE_BEGINS}\nold\n{TABLE_ENDS}\nafter\n");
        let text = with_table(&document, &[outcome(true)]).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with("\nafter\n") && !text.contains("old"), "{text}");
        assert!(text.contains("| lose-record | a record is gone | LOG-1 | LOG-1, LOG-4 | yes |"), "{text}");
        assert_eq!(with_table(&text, &[outcome(true)]).as_ref(), Some(&text));
        assert!(with_table(&text, &[outcome(false)]).unwrap().contains("| no |"));
        assert!(with_table("no place", &[outcome(true)]).is_none());
    }
}
