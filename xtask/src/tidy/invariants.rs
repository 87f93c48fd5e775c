//! Every invariant that a document names is in the catalogue of `naru-model`, and every catalogued one is documented
//! and has a home that exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::shell::{TaskError, read, root, tracked};

const CATALOGUE: &str = "crates/model/src/invariant.rs";

/// Compares documents and catalogue.
pub fn findings() -> Result<Vec<String>, TaskError> {
    let source = read(&root().join(CATALOGUE))?;
    // Its tests may name identifiers that do not exist.
    let catalogue: BTreeSet<String> = ids(&quoted(source.split("#[cfg(test)]").next().unwrap_or(&source))).collect();
    let families: BTreeSet<&str> = catalogue.iter().filter_map(|id| id.split('-').next()).collect();
    let mut documented = BTreeMap::new();
    for path in tracked()?.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        for id in ids(&read(&root().join(&path))?) {
            if id.split('-').next().is_some_and(|family| families.contains(family)) {
                documented.entry(id).or_insert_with(|| path.clone());
            }
        }
    }
    Ok(compare(&catalogue, &documented))
}

fn compare(catalogue: &BTreeSet<String>, documented: &BTreeMap<String, PathBuf>) -> Vec<String> {
    let mut findings = Vec::new();
    for (id, path) in documented.iter().filter(|(id, _)| !catalogue.contains(*id)) {
        findings.push(format!("{}: {id} is not in {CATALOGUE}: add it there, or mend the document", path.display()));
    }
    for id in catalogue.iter().filter(|id| !documented.contains_key(*id)) {
        findings.push(format!("{CATALOGUE}: no document names {id}: say in ARCHITECTURE.md where it holds"));
    }
    findings
}

/// The string literals of a Rust source.
fn quoted(source: &str) -> String {
    source.split('"').skip(1).step_by(2).collect::<Vec<_>>().join("\n")
}

/// Words of the form `FAMILY-7`: capitals, a hyphen, digits.
fn ids(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter_map(|word| {
        let (family, number) = word.split_once('-')?;
        let is_id = family.len() >= 3
            && family.bytes().all(|byte| byte.is_ascii_uppercase())
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit());
        is_id.then(|| word.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_other_words() {
        let check = |text: &str, expect: &[&str]| assert_eq!(ids(text).collect::<Vec<_>>(), expect, "{text}");
        check("LOG-1 holds, (BROKER-12).", &["LOG-1", "BROKER-12"]);
        check("SCRAM-SHA-256, UTF-8x, FF1, x-1, AB-1, LOG-", &[]);
    }

    #[test]
    fn a_difference_in_either_direction_is_a_finding() {
        let catalogue = BTreeSet::from(["LOG-1".to_owned(), "LOG-2".to_owned()]);
        let documented = BTreeMap::from([("LOG-1".to_owned(), "a.md".into()), ("LOG-9".to_owned(), "b.md".into())]);
        assert_eq!(compare(&catalogue, &documented).len(), 2);
    }
}
