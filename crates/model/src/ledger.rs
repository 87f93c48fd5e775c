//! Entries of the ledger: what Naru decided and saw.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The place of an entry in the ledger, from 1, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LedgerId(u64);

impl LedgerId {
    /// The place of the first entry.
    pub const FIRST: Self = Self(1);

    /// The place after this one; `None` at the end of the numbers.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for LedgerId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One thing that was decided or seen. Personal data never stands in an entry: entries are kept for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct LedgerEntry {
    id: LedgerId,
    at_ms: i64,
    who: String,
    what: String,
    cites: Vec<LedgerId>,
}

/// An entry that was refused; whoever wrote it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEntry {
    /// A field must say something.
    #[error("entry {id}: `{field}` is empty")]
    Empty {
        /// The entry.
        id: LedgerId,
        /// The field.
        field: &'static str,
    },
    /// A field has a bound, because entries are kept for ever.
    #[error("entry {id}: `{field}` has {bytes} bytes, at most {bytes_max} are allowed")]
    TooLong {
        /// The entry.
        id: LedgerId,
        /// The field.
        field: &'static str,
        /// Its size.
        bytes: usize,
        /// Its bound.
        bytes_max: usize,
    },
    /// An entry rests on what stood there before it; a cycle of reasons would prove anything.
    #[error("entry {id} cites entry {cited}, which is not older")]
    CitesLater {
        /// The entry.
        id: LedgerId,
        /// What it cites.
        cited: LedgerId,
    },
    /// More reasons than anyone reads.
    #[error("entry {id} cites {count} entries, at most {count_max} are allowed")]
    CitesTooMany {
        /// The entry.
        id: LedgerId,
        /// How many it cites.
        count: usize,
        /// How many it may cite.
        count_max: usize,
    },
}

impl LedgerEntry {
    /// The bound of `who`: the name of a role and of an instance.
    pub const WHO_BYTES_MAX: usize = 256;
    /// The bound of `what`: a paragraph. Larger evidence is stored elsewhere and cited by its digest.
    pub const WHAT_BYTES_MAX: usize = 4096;
    /// The bound of `cites`: what a sentence of a postmortem can rest on.
    pub const CITES_MAX: usize = 64;

    /// An entry: at `at_ms` (milliseconds since 1970, UTC), `who` decided or saw `what`, because of `cites`.
    pub fn new(
        id: LedgerId,
        at_ms: i64,
        who: impl Into<String>,
        what: impl Into<String>,
        cites: Vec<LedgerId>,
    ) -> Result<Self, InvalidEntry> {
        Unchecked { id, at_ms, who: who.into(), what: what.into(), cites }.try_into()
    }

    /// Its place in the ledger.
    pub fn id(&self) -> LedgerId {
        self.id
    }

    /// When, in milliseconds since 1970, UTC.
    pub fn at_ms(&self) -> i64 {
        self.at_ms
    }

    /// The role, and the instance, that decided or saw.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// What was decided or seen.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The earlier entries it rests on.
    pub fn cites(&self) -> &[LedgerId] {
        &self.cites
    }
}

/// An entry as it was read, before its rules are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    id: LedgerId,
    at_ms: i64,
    who: String,
    what: String,
    #[serde(default)]
    cites: Vec<LedgerId>,
}

impl TryFrom<Unchecked> for LedgerEntry {
    type Error = InvalidEntry;

    fn try_from(Unchecked { id, at_ms, who, what, cites }: Unchecked) -> Result<Self, InvalidEntry> {
        for (field, text, bytes_max) in [("who", &who, Self::WHO_BYTES_MAX), ("what", &what, Self::WHAT_BYTES_MAX)] {
            if text.trim().is_empty() {
                return Err(InvalidEntry::Empty { id, field });
            }
            if text.len() > bytes_max {
                return Err(InvalidEntry::TooLong { id, field, bytes: text.len(), bytes_max });
            }
        }
        if cites.len() > Self::CITES_MAX {
            return Err(InvalidEntry::CitesTooMany { id, count: cites.len(), count_max: Self::CITES_MAX });
        }
        if let Some(&cited) = cites.iter().find(|cited| **cited >= id) {
            return Err(InvalidEntry::CitesLater { id, cited });
        }
        Ok(Self { id, at_ms, who, what, cites })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn an_entry_is_bounded_and_rests_on_older_ones() {
        let second = LedgerId::FIRST.next().unwrap();
        let check = |who: &str, what: &str, cites: Vec<LedgerId>, expect: &str| {
            let got = match LedgerEntry::new(second, 1_770_000_000_000, who, what, cites) {
                Ok(entry) => serde_json::to_string(&entry).unwrap(),
                Err(error) => error.to_string(),
            };
            assert_eq!(got, expect);
        };
        let good = r#"{"id":2,"at_ms":1770000000000,"who":"relay/a","what":"solo granted","cites":[1]}"#;
        check("relay/a", "solo granted", vec![LedgerId::FIRST], good);
        check(" ", "x", vec![], "entry 2: `who` is empty");
        check("x", &"y".repeat(4097), vec![], "entry 2: `what` has 4097 bytes, at most 4096 are allowed");
        check("x", "y", vec![second], "entry 2 cites entry 2, which is not older");
        check("x", "y", vec![LedgerId::FIRST; 65], "entry 2 cites 65 entries, at most 64 are allowed");
        assert_eq!(serde_json::from_str::<LedgerEntry>(good).unwrap().cites(), [LedgerId::FIRST]);
    }
}
