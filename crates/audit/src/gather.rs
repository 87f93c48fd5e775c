//! What a reader does with each record: sums it up, or keeps it if it is one that is looked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::canonical::Identity;
use crate::certificate::Part;
use crate::sketch::{Key, Shape, Sketch};
use crate::verdict::Seen;

/// Most records that are kept of one search: every difference of a certificate, in triplicate.
pub const SEEN_MAX: usize = 3 * crate::certificate::DIFFERENCES_MAX;

/// What all readers of a window go by.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Hashes records.
    pub key: Key,
    /// How large sketches are, without sums.
    pub shape: Shape,
    /// Columns whose amounts are summed, by topic.
    pub amounts: BTreeMap<String, Vec<String>>,
    /// Columns that are in no reader's bytes, by topic.
    pub left_out: BTreeMap<String, BTreeSet<String>>,
    /// Numbers of the columns that the log's schemas have, by topic: others do not leave the source.
    pub columns: BTreeMap<String, BTreeSet<u16>>,
}

impl Rules {
    /// The columns of a topic whose amounts are summed.
    pub fn amounts_of(&self, topic: &str) -> &[String] {
        self.amounts.get(topic).map_or(&[], Vec::as_slice)
    }

    /// The columns of a topic that are in no reader's bytes.
    pub fn left_out_of(&self, topic: &str) -> &BTreeSet<String> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        self.left_out.get(topic).unwrap_or(&NONE)
    }

    /// A sketch for a topic.
    pub fn sketch(&self, topic: &str) -> Sketch {
        let sums = self.amounts_of(topic).len();
        Sketch::new(&self.key, self.shape.with_sums(sums).expect("the configuration bounds the sums"))
    }
}

/// What is wanted of a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Sketches of everything.
    Sums,
    /// The records of these identities, wherever they stand.
    Records(BTreeMap<(String, Part), BTreeSet<Identity>>),
}

/// What a reader has found.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// By topic and part.
    pub sketches: BTreeMap<String, BTreeMap<Part, Sketch>>,
    /// By topic and part.
    pub seen: BTreeMap<(String, Part), Vec<Seen>>,
    /// How many more were looked for and found than are kept.
    pub not_kept: u64,
    /// Topics whose copy was begun again behind records of the same window: those are void.
    pub voided: BTreeSet<String>,
    /// Columns that the source has and the log's schemas have not, by topic.
    pub not_in_log: BTreeMap<String, BTreeSet<String>>,
}

impl Gathered {
    /// Takes one record; `place` is asked where it stands if it is kept.
    #[expect(clippy::too_many_arguments, reason = "one call per record, at every reader")]
    pub fn take(
        &mut self,
        want: &Want,
        rules: &Rules,
        (topic, part): (&str, Part),
        identity: Identity,
        hash: u128,
        amounts: &[i128],
        place: impl FnOnce() -> String,
    ) {
        match want {
            Want::Sums => match self.sketches.get_mut(topic).and_then(|parts| parts.get_mut(&part)) {
                Some(sketch) => sketch.add(identity, hash, amounts),
                None => self.empty(rules, topic, part).add(identity, hash, amounts),
            },
            Want::Records(wanted) => {
                let key = (topic.to_owned(), part);
                if !wanted.get(&key).is_some_and(|wanted| wanted.contains(&identity)) {
                    return;
                }
                let seen = self.seen.entry(key).or_default();
                if seen.len() < SEEN_MAX {
                    seen.push(Seen { identity, hash, place: place() });
                } else {
                    self.not_kept += 1;
                }
            }
        }
    }

    fn empty(&mut self, rules: &Rules, topic: &str, part: Part) -> &mut Sketch {
        let parts = self.sketches.entry(topic.to_owned()).or_default();
        parts.entry(part).or_insert_with(|| rules.sketch(topic))
    }

    /// The sketch of a part, which is empty if no record of it came.
    pub fn sketch(&self, rules: &Rules, topic: &str, part: Part) -> Sketch {
        let found = self.sketches.get(topic).and_then(|parts| parts.get(&part));
        found.cloned().unwrap_or_else(|| rules.sketch(topic))
    }
}
