//! From what readers have read to what is said of it. Pure.
//!
//! [`compare`] finds a reference and takes the others' sketches apart against it; the records it names are then looked
//! up at every reader ([`Seen`]), and [`conclude`] says of each how many copies there should be and how many there are.
//! A window whose sketches differ without every record of the difference being found again stays open: nothing is
//! certified on a guess.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::canonical::{Decimal, Identity};
use crate::certificate::{self, DIFFERENCES_MAX, Difference, Part, PartProof, Reader, Reading, Verdict};
use crate::sketch::{Copies, Sketch, Unlike};

/// What came of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The sketch of what was read.
    Read(Sketch),
    /// Why it was not read.
    Absent(String),
}

/// A record as one reader has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Which record.
    pub identity: Identity,
    /// The hash of its canonical bytes.
    pub hash: u128,
    /// Where it stands, as the reader calls it: a partition and offset, a file and row; empty where there is no place.
    pub place: String,
}

/// How readers differ from one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Whom the others are held against; none if none was read.
    pub reference: Option<Reader>,
    /// What differs, by reader.
    pub differing: BTreeMap<Reader, Vec<Copies>>,
    /// Readers whose difference is larger than their sketches: read again with larger ones.
    pub stuck: BTreeSet<Reader>,
}

impl Comparison {
    /// Every record that differs anywhere.
    pub fn identities(&self) -> BTreeSet<Identity> {
        self.differing.values().flatten().map(|copies| copies.identity).collect()
    }
}

/// Holds the readers against the source; where it was not read, against the sketch that most of them have. If that decides
/// nothing, those that are `distrusted` come last, and then the one with fewer records comes first: a repeat is what a log
/// has too much of.
///
/// # Errors
/// Sketches that cannot be compared: they were not made for each other.
pub fn compare(outcomes: &BTreeMap<Reader, Outcome>, distrusted: &BTreeSet<Reader>) -> Result<Comparison, Unlike> {
    let read: Vec<(Reader, &Sketch)> = { outcomes.iter() }
        .filter_map(|(reader, outcome)| match outcome {
            Outcome::Read(sketch) => Some((*reader, sketch)),
            Outcome::Absent(_) => None,
        })
        .collect();
    let agreeing = |sketch: &Sketch| read.iter().filter(|(_, other)| *other == sketch).count();
    let reference = read.iter().enumerate().max_by_key(|(index, (reader, sketch))| {
        let trusted = !distrusted.contains(reader);
        (*reader == Reader::Source, agreeing(sketch), trusted, Reverse(sketch.count()), Reverse(*index))
    });
    let mut comparison = Comparison { reference: None, differing: BTreeMap::new(), stuck: BTreeSet::new() };
    let Some((_, (reference, expected))) = reference else { return Ok(comparison) };
    comparison.reference = Some(*reference);
    for (reader, sketch) in &read {
        let mut difference = (*sketch).clone();
        difference.subtract(expected)?;
        if difference.is_empty() {
            continue;
        }
        match difference.peel() {
            Ok(named) => comparison.differing.insert(*reader, named),
            Err(_) => {
                comparison.stuck.insert(*reader);
                None
            }
        };
    }
    Ok(comparison)
}

/// What of a topic was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The topic.
    pub topic: String,
    /// Which part of it.
    pub part: Part,
    /// The columns whose amounts are summed, in the order of the sums.
    pub amounts: Vec<String>,
    /// Columns that are in no reader's bytes.
    pub left_out: Vec<String>,
}

/// What is certified: every record that differs, with its copies as they were found again (`seen`, by reader).
pub fn conclude(
    subject: Subject,
    outcomes: &BTreeMap<Reader, Outcome>,
    comparison: &Comparison,
    seen: &BTreeMap<Reader, Vec<Seen>>,
) -> PartProof {
    let mut differences = Vec::new();
    let mut unnamed = !comparison.stuck.is_empty();
    if let Some(reference) = comparison.reference {
        let at_reference = by_identity(seen.get(&reference));
        for (reader, named) in &comparison.differing {
            let at_reader = by_identity(seen.get(reader));
            let identities: BTreeSet<Identity> = named.iter().map(|copies| copies.identity).collect();
            for identity in identities {
                let none = Vec::new();
                let expected = at_reference.get(&identity).unwrap_or(&none);
                let found = at_reader.get(&identity).unwrap_or(&none);
                // AUDIT-2: what was found again must be the difference of the sketches, to the copy.
                unnamed |= more(found, expected) != named_of(named, identity);
                let changed = found.iter().filter(|one| expected.iter().all(|other| other.hash != one.hash)).count();
                if differences.len() == DIFFERENCES_MAX {
                    unnamed = true;
                    break;
                }
                let place = |(reader, seen): (Reader, &Seen)| {
                    (!seen.place.is_empty()).then(|| format!("{reader}:{}", seen.place))
                };
                // Where a log has it right, too: from there it is restored, and the source's copy has no place.
                let logs = [Reader::A, Reader::B].into_iter().filter(|log| *log != reference && log != reader);
                let is_right =
                    |one: &&Seen| one.identity == identity && expected.iter().any(|expected| expected.hash == one.hash);
                let right = logs
                    .flat_map(|log| seen.get(&log).into_iter().flatten().filter(is_right).map(move |one| (log, one)));
                let all = expected.iter().map(|one| (reference, *one)).chain(right);
                let all = all.chain(found.iter().map(|one| (*reader, *one)));
                differences.push(Difference {
                    reader: *reader,
                    position: identity.position,
                    sequence: identity.sequence,
                    expected: expected.len() as u64,
                    found: found.len() as u64,
                    changed: changed as u64,
                    places: all.filter_map(place).collect(),
                });
            }
        }
    }
    let readings = outcomes.iter().map(|(reader, outcome)| (*reader, reading(outcome, &subject.amounts))).collect();
    let Subject { topic, part, left_out, .. } = subject;
    let reference = comparison.reference;
    let verdict = Verdict::Open;
    let mut proof = PartProof { topic, part, left_out, readings, reference, differences, unnamed, verdict };
    proof.verdict = proof.derived();
    proof
}

fn by_identity(seen: Option<&Vec<Seen>>) -> BTreeMap<Identity, Vec<&Seen>> {
    let mut by_identity: BTreeMap<Identity, Vec<&Seen>> = BTreeMap::new();
    seen.into_iter().flatten().for_each(|one| by_identity.entry(one.identity).or_default().push(one));
    by_identity
}

/// Copies by hash that `found` has more than `expected`; negative: fewer.
fn more(found: &[&Seen], expected: &[&Seen]) -> BTreeMap<u128, i64> {
    let mut more = BTreeMap::new();
    found.iter().for_each(|one| *more.entry(one.hash).or_insert(0) += 1);
    expected.iter().for_each(|one| *more.entry(one.hash).or_insert(0) -= 1);
    more.retain(|_, copies| *copies != 0);
    more
}

fn named_of(named: &[Copies], identity: Identity) -> BTreeMap<u128, i64> {
    named.iter().filter(|copies| copies.identity == identity).map(|copies| (copies.hash, copies.more)).collect()
}

fn reading(outcome: &Outcome, amounts: &[String]) -> Reading {
    match outcome {
        Outcome::Absent(why) => Reading::Absent { why: why.clone() },
        Outcome::Read(sketch) => Reading::Read {
            rows: sketch.count(),
            sums: { amounts.iter().zip(sketch.sums()) }
                .map(|(name, sum)| {
                    (name.clone(), Decimal::from_unscaled(*sum, crate::canonical::AMOUNT_PLACES).to_string())
                })
                .collect(),
            hash: format!("{:032x}", sketch.hash()),
            sketch: certificate::sha256(&sketch.encode()),
        },
    }
}

#[cfg(test)]
mod tests;
