//! The two tables of ARCHITECTURE.md against `cargo metadata`: which crate may know which, and who owns what comes
//! from outside.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::shell::{TaskError, read, root};

type Table = BTreeMap<String, BTreeSet<String>>;

/// Marks in ARCHITECTURE.md in front of the tables.
const CRATES: &str = "<!-- table: crates -->";
const OUTSIDE: &str = "<!-- table: outside -->";

/// Compares the tables with what Cargo sees; test-only and build-only dependencies are left out.
pub fn findings() -> Result<Vec<String>, TaskError> {
    let architecture = read(&root().join("ARCHITECTURE.md"))?;
    let metadata = MetadataCommand::new().current_dir(root()).no_deps().exec()?;
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut crates = Table::new();
    let mut outside = Table::new();
    for package in &metadata.packages {
        let knows = crates.entry(package.name.to_string()).or_default();
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal) {
            if ours.contains(dependency.name.as_str()) {
                knows.insert(dependency.name.clone());
            } else {
                outside.entry(dependency.name.clone()).or_default().insert(package.name.to_string());
            }
        }
    }
    let mut findings = compare("crate", &table(&architecture, CRATES), &crates);
    findings.extend(compare("outside dependency", &table(&architecture, OUTSIDE), &outside));
    Ok(findings)
}

/// Reads the first two columns of the Markdown table behind a mark; names stand in backquotes.
fn table(text: &str, mark: &str) -> Table {
    let Some((_, rest)) = text.split_once(mark) else { return Table::new() };
    let rows = rest.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2)
        .filter_map(|row| {
            let mut columns = row.trim_matches('|').split('|');
            let name = quoted(columns.next()?).next()?.to_owned();
            Some((name, quoted(columns.next()?).map(str::to_owned).collect()))
        })
        .collect()
}

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn compare(what: &str, written: &Table, seen: &Table) -> Vec<String> {
    let mut findings = Vec::new();
    let empty = BTreeSet::new();
    for name in written.keys().chain(seen.keys()).collect::<BTreeSet<_>>() {
        let place = format!("ARCHITECTURE.md: {what} `{name}`");
        match (written.get(name), seen.get(name)) {
            (None, Some(_)) => findings.push(format!("{place} is missing: add its row, or drop the dependency")),
            (Some(_), None) => findings.push(format!("{place} is gone: delete its row")),
            (written, seen) => {
                let (written, seen) = (written.unwrap_or(&empty), seen.unwrap_or(&empty));
                findings.extend(seen.difference(written).map(|extra| {
                    format!("{place}: `{extra}` is not in its row: is that dependency meant? then write it down")
                }));
                findings.extend(
                    written.difference(seen).map(|extra| format!("{place}: `{extra}` is in its row only: delete it")),
                );
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, others: &[&str]) -> (String, BTreeSet<String>) {
        (name.to_owned(), others.iter().map(|&other| other.to_owned()).collect())
    }

    #[test]
    fn a_difference_in_either_direction_is_a_finding() {
        let text = "x\n<!-- m -->\n\n| crate | knows | why |\n|---|---|---|\n| `a` | `b`, `c` | x `no` |\n| `gone` | | |\n\n| `z` | |";
        let written = table(text, "<!-- m -->");
        assert_eq!(written, Table::from([row("a", &["b", "c"]), row("gone", &[])]));
        let seen = Table::from([row("a", &["b", "d"]), row("new", &[])]);
        assert_eq!(compare("crate", &written, &seen).len(), 4);
        assert_eq!(compare("crate", &written, &written), Vec::<String>::new());
    }
}
