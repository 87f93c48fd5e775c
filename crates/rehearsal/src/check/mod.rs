//! The checkers: pure functions from a [`History`] to a [`Verdict`].
//!
//! A checker examines everything and names what it finds: a bounded list of records and the total beside it.
//!
//! In the words of the Jepsen tests of Kafka: lost write ([`lost`], [`sends`]), duplicate ([`doubled`], [`sends`]),
//! aborted read ([`unsent`]: a record whose request failed), inconsistent offsets ([`observed`], [`sides`]), poll skip and
//! nonmonotonic poll ([`observed`]), nonmonotonic send ([`order`] by the services' numbers, [`sends`] by offsets).

mod committed;
mod doubled;
mod lost;
mod observed;
mod order;
mod sends;
mod sides;
mod unsent;

#[cfg(test)]
mod relay_tests;
#[cfg(test)]
mod tests;

use naru_model::invariant::Invariant;
use serde::{Deserialize, Serialize};

use crate::history::History;

/// Findings that a verdict lists by name; the rest is in the total. A page of them is as many as anybody reads.
pub const NAMED_MAX: usize = 25;

/// What one checker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The invariant's identifier, or the rehearsal's own name of the check.
    pub check: String,
    /// What must hold, as a sentence.
    pub sentence: String,
    /// Whether it holds.
    pub passed: bool,
    /// How many things were looked at.
    pub examined: u64,
    /// What was counted: "acknowledged operations".
    pub unit: String,
    /// All findings.
    pub findings_total: u64,
    /// The first [`NAMED_MAX`] of them.
    pub named: Vec<Finding>,
}

/// One record (or operation) for which it does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which one.
    pub record: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Verdict {
    /// An open verdict on an invariant of the catalogue.
    pub fn on(invariant: &Invariant, unit: &str) -> Self {
        Self::open(invariant.id(), invariant.sentence(), unit)
    }

    /// A verdict to which findings are still to be added.
    pub fn open(check: &str, sentence: &str, unit: &str) -> Self {
        Self {
            check: check.to_owned(),
            sentence: sentence.to_owned(),
            passed: true,
            examined: 0,
            unit: unit.to_owned(),
            findings_total: 0,
            named: Vec::new(),
        }
    }

    /// Counts a finding, and names it while there is room. The names are only made up when they are kept.
    pub fn find(&mut self, record: impl FnOnce() -> String, detail: impl FnOnce() -> String) {
        self.passed = false;
        self.findings_total += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(Finding { record: record(), detail: detail() });
        }
    }
}

/// Judges a history by every invariant of the log.
pub fn judge(history: &History) -> Vec<Verdict> {
    vec![
        lost::check(history),
        doubled::check(history),
        order::check(history),
        observed::check(history),
        unsent::check(history),
    ]
}

/// Judges what a relay adds: two sides that are one, commits that both of them keep, and the pulses' own producer.
pub fn judge_relay(history: &History) -> Vec<Verdict> {
    vec![sides::check(history), committed::check(history), sends::check(history)]
}
