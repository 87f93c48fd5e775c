//! Certificates: what was found in a window, in a form that anyone can check with a public key alone.
//!
//! A chain is a file of lines, one certificate each, in the canonical form of JSON: UTF-8, members sorted by name,
//! no white space, numbers whole and within 64 bits (larger ones are text). Each names the SHA-256 of the line before
//! (64 zeros in front of the first) and is signed: Ed25519 over `naru audit certificate 1`, a line feed and the
//! canonical form without the member `signature`. docs/formats/certificates.md says each member.

mod chain;
mod json;
mod verify;

use std::collections::BTreeMap;

use naru_runtime::hex::to_hex;
use serde::{Deserialize, Serialize};

pub use chain::{CHAIN_LINE_BYTES_MAX, Chain, ChainError};
pub use json::{NotCanonical, canonical};
pub use verify::{Expected, Fault, Refused, Summary, verify};

/// The form that this program writes and the only one it reads.
pub const VERSION: u32 = 1;

/// Stands in front of what is signed, so that a signature for another purpose is none here.
const CONTEXT: &str = "naru audit certificate 1\n";

/// What stands for the line before the first.
const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Differences that one certificate names; beyond it says how many more there are. One is about 200 bytes.
pub const DIFFERENCES_MAX: usize = 10_000;

/// Who was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reader {
    /// The database, by a slot of the audit's own.
    Source,
    /// The first cluster.
    A,
    /// The second cluster.
    B,
    /// The tables.
    Lake,
}

impl Reader {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Source, Self::A, Self::B, Self::Lake];

    /// Its name, as in certificates.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::A => "a",
            Self::B => "b",
            Self::Lake => "lake",
        }
    }
}

impl std::fmt::Display for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What of a topic is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Keys and values as the logs hold them, repeats included: A and B.
    Log,
    /// Changes of rows by their canonical bytes, repeats left out: all readers.
    Changes,
    /// Rows that were copied when capture began: A, B and the lake.
    Copies,
    /// Which events there are, not what is in them: A, B and the lake.
    Events,
}

/// Which records were compared: those of transactions that were committed behind `after`, up to and with `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The source's name; for events the name given to them.
    pub source: String,
    /// Log sequence number in the source; for events the window before.
    pub after: u64,
    /// Log sequence number in the source, of a mark; for events this window.
    pub to: u64,
}

/// What a reader read of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase", deny_unknown_fields)]
pub enum Reading {
    /// It was read.
    Read {
        /// Records.
        rows: i64,
        /// Sums of amounts by column, as decimals.
        sums: BTreeMap<String, String>,
        /// Sum of the records' hashes, 32 hexadecimal digits.
        hash: String,
        /// SHA-256 of the encoded sketch.
        sketch: String,
    },
    /// It was not: nothing is proved of it.
    Absent {
        /// Why.
        why: String,
    },
}

/// One record that a reader does not have as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Who differs.
    pub reader: Reader,
    /// Position of the record.
    pub position: u64,
    /// Sequence of the record.
    pub sequence: u64,
    /// Copies that the reference has.
    pub expected: u64,
    /// Copies that the reader has.
    pub found: u64,
    /// How many of those found have other bytes than the reference's.
    pub changed: u64,
    /// Where copies of the record stand, as `reader:place`.
    pub places: Vec<String>,
}

impl Difference {
    /// In a word.
    pub fn kind(&self) -> &'static str {
        match (self.expected, self.found, self.changed) {
            (_, 0, _) => "missing",
            (0, _, _) => "extra",
            (_, _, 1..) => "changed",
            (1, 2, 0) => "doubled",
            (1, 3, 0) => "tripled",
            (expected, found, 0) if found > expected => "repeated",
            _ => "too few",
        }
    }
}

/// What a window comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All readers were read and have the same.
    Equal,
    /// Those that were read have the same; some were not.
    Incomplete,
    /// They differ; every difference is named.
    Different,
    /// They differ, and not every difference could be named.
    Open,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Equal => "equal",
            Self::Incomplete => "incomplete",
            Self::Different => "different",
            Self::Open => "open",
        })
    }
}

/// What was found of one part of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartProof {
    /// The topic.
    pub topic: String,
    /// Which part of it.
    pub part: Part,
    /// Columns that no reader's bytes contain.
    pub left_out: Vec<String>,
    /// By reader.
    pub readings: BTreeMap<Reader, Reading>,
    /// Whom the others were held against.
    pub reference: Option<Reader>,
    /// Each record that differs.
    pub differences: Vec<Difference>,
    /// Whether there are more than could be named.
    pub unnamed: bool,
    /// What it comes to.
    pub verdict: Verdict,
}

impl PartProof {
    /// What the rest of it comes to; a certificate that says otherwise is refused.
    pub fn derived(&self) -> Verdict {
        let mut seen: Option<&Reading> = None;
        // One reader alone is held against nothing.
        let read = self.readings.values().filter(|reading| matches!(reading, Reading::Read { .. })).count();
        let (mut equal, mut whole) = (true, read > 1);
        for reading in self.readings.values() {
            match (reading, seen) {
                (Reading::Absent { .. }, _) => whole = false,
                (read, None) => seen = Some(read),
                (read, Some(first)) => equal &= read == first,
            }
        }
        match (equal, whole) {
            _ if self.unnamed => Verdict::Open,
            (true, true) if self.differences.is_empty() => Verdict::Equal,
            (true, false) if self.differences.is_empty() => Verdict::Incomplete,
            (false, _) if !self.differences.is_empty() => Verdict::Different,
            // Sketches differ without a record that does, or the other way round.
            _ => Verdict::Open,
        }
    }
}

/// How the sketches were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SketchFacts {
    /// Version of the canonical bytes.
    pub record_version: u8,
    /// Version of the encoding.
    pub sketch_version: u8,
    /// Cells over all tables.
    pub cells: u64,
    /// Name of the key, 16 hexadecimal digits.
    pub key: String,
}

/// What of the certificate is not the chain's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Which records were compared.
    pub window: Window,
    /// How the sketches were made.
    pub sketch: SketchFacts,
    /// By topic and part.
    pub parts: Vec<PartProof>,
}

impl Findings {
    /// The worst of the parts.
    pub fn verdict(&self) -> Verdict {
        self.parts.iter().map(|part| part.verdict).max().unwrap_or(Verdict::Incomplete)
    }
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// [`VERSION`].
    pub version: u32,
    /// From 0.
    pub number: u64,
    /// SHA-256 of the line before, hexadecimal.
    pub previous: String,
    /// Milliseconds since 1970 on the clock of the audit; proves nothing.
    pub made_at_ms: i64,
    /// Which records were compared.
    pub window: Window,
    /// How the sketches were made.
    pub sketch: SketchFacts,
    /// By topic and part.
    pub parts: Vec<PartProof>,
    /// The worst of the parts.
    pub verdict: Verdict,
    /// Missing only while it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureText>,
}

/// A signature as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureText {
    /// Beginning of the SHA-256 of the public key, 16 hexadecimal digits.
    pub key: String,
    /// 128 hexadecimal digits.
    pub ed25519: String,
}

/// SHA-256 as hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    to_hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests;
