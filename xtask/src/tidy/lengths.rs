//! A source file of more than [`FREE`] lines is listed with its length, and may only become shorter.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::shell::{TaskError, read, root, tracked, write};

/// Up to this many lines nobody asks.
const FREE: usize = 500;
const LIST: &str = "xtask/file-lengths.txt";

type Lengths = BTreeMap<PathBuf, usize>;

/// Compares the list with the files.
pub fn findings() -> Result<Vec<String>, TaskError> {
    Ok(compare(&listed()?, &long_files()?))
}

/// Lowers each listed length to the file's own, and drops files that are short or gone; never raises one.
pub fn lower() -> Result<(), TaskError> {
    let long = long_files()?;
    let mut text = String::new();
    for (path, listed) in listed()? {
        if let Some(now) = long.get(&path) {
            text.push_str(&format!("{} {}\n", listed.min(*now), path.display()));
        }
    }
    write(&root().join(LIST), &text)
}

fn listed() -> Result<Lengths, TaskError> {
    let text = read(&root().join(LIST))?;
    let rows = text.lines().filter_map(|line| line.split_once(' '));
    Ok(rows.filter_map(|(lines, path)| Some((PathBuf::from(path), lines.parse().ok()?))).collect())
}

fn long_files() -> Result<Lengths, TaskError> {
    let mut long = Lengths::new();
    for path in tracked()?.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let lines = read(&root().join(&path))?.lines().count();
        if lines > FREE {
            long.insert(path, lines);
        }
    }
    Ok(long)
}

fn compare(listed: &Lengths, long: &Lengths) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, lines) in long {
        let place = path.display();
        match listed.get(path) {
            None => findings.push(format!("{place}: {lines} lines: split it, or list it in {LIST} with the reason")),
            Some(was) if lines > was => {
                findings.push(format!("{place}: {lines} lines, {was} are listed: it may only become shorter"));
            }
            Some(was) if lines < was => findings.push(format!("{place}: shorter now: ./x tidy --update")),
            Some(_) => {}
        }
    }
    let gone = listed.keys().filter(|path| !long.contains_key(*path));
    findings.extend(gone.map(|path| format!("{}: no longer long: ./x tidy --update", path.display())));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_may_only_become_shorter() {
        let lengths = |lines: usize| Lengths::from([(PathBuf::from("a.rs"), lines)]);
        let check =
            |listed: &Lengths, long: &Lengths, findings: usize| assert_eq!(compare(listed, long).len(), findings);
        check(&lengths(600), &lengths(600), 0);
        check(&lengths(600), &lengths(601), 1);
        check(&lengths(600), &lengths(599), 1);
        check(&Lengths::new(), &lengths(501), 1);
        check(&lengths(600), &Lengths::new(), 1);
    }
}
