//! Faults planted in readers that hold their records in memory, by seed; every one must be named exactly.
#![allow(clippy::unwrap_used)] // a test panics on failure

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::*;
use crate::sketch::{Key, Shape};

/// Rounds with a fault, and as many without.
const SEEDS: u64 = 400;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    identity: Identity,
    content: Vec<u8>,
}

impl Row {
    fn hash(&self, key: &Key) -> u128 {
        key.hash(&[self.identity.packed().to_be_bytes().as_slice(), &self.content].concat())
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Drop,
    Double,
    Triple,
    Change,
    SwapKeys,
    DropBatch,
    Invent,
}

const FAULTS: [Fault; 7] =
    [Fault::Drop, Fault::Double, Fault::Triple, Fault::Change, Fault::SwapKeys, Fault::DropBatch, Fault::Invent];

struct World {
    key: Key,
    rows: BTreeMap<Reader, Vec<Row>>,
    random: ChaCha8Rng,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let count = 1 + below(&mut random, 3_000);
        let rows: Vec<Row> = (0..count)
            .map(|number| Row {
                identity: Identity { position: (1 << 40) | ((number / 4) * 1_000), sequence: number % 4 },
                content: [number.to_be_bytes().as_slice(), &random.next_u64().to_be_bytes()].concat(),
            })
            .collect();
        let readers = Reader::ALL.into_iter().skip(usize::from(below(&mut random, 3) == 0));
        let rows = readers.map(|reader| (reader, rows.clone())).collect();
        Self { key: Key::new(&[7; 16]), rows, random }
    }

    /// Plants a fault at a reader; what must be said of it: identity, expected, found, changed.
    fn plant(&mut self, reader: Reader, fault: Fault) -> BTreeMap<Identity, (u64, u64, u64)> {
        let rows = self.rows.get_mut(&reader).unwrap();
        let at = below(&mut self.random, rows.len() as u64) as usize;
        let one = rows[at].clone();
        match fault {
            Fault::Drop => {
                rows.remove(at);
                [(one.identity, (1, 0, 0))].into()
            }
            Fault::Double => {
                rows.push(one.clone());
                [(one.identity, (1, 2, 0))].into()
            }
            Fault::Triple => {
                rows.extend([one.clone(), one.clone()]);
                [(one.identity, (1, 3, 0))].into()
            }
            Fault::Change => {
                let byte = below(&mut self.random, one.content.len() as u64) as usize;
                rows[at].content[byte] ^= 1;
                [(one.identity, (1, 1, 1))].into()
            }
            Fault::SwapKeys => {
                let other = (at + 1) % rows.len();
                if other == at {
                    return BTreeMap::new();
                }
                let content = rows[at].content.clone();
                rows[at].content = rows[other].content.clone();
                rows[other].content = content;
                [(one.identity, (1, 1, 1)), (rows[other].identity, (1, 1, 1))].into()
            }
            Fault::DropBatch => {
                let end = rows.len().min(at + 1 + below(&mut self.random, 500) as usize);
                rows.drain(at..end).map(|row| (row.identity, (1, 0, 0))).collect()
            }
            Fault::Invent => {
                let identity = Identity { position: one.identity.position + 1, ..one.identity };
                rows.push(Row { identity, ..one });
                [(identity, (0, 1, 1))].into()
            }
        }
    }

    fn prove(&self) -> PartProof {
        let outcomes = { self.rows.iter() }
            .map(|(reader, rows)| {
                let mut sketch = Sketch::new(&self.key, Shape::STANDARD);
                rows.iter().for_each(|row| sketch.add(row.identity, row.hash(&self.key), &[]));
                (*reader, Outcome::Read(sketch))
            })
            .collect();
        let comparison = compare(&outcomes, &BTreeSet::new()).unwrap();
        let wanted = comparison.identities();
        let seen = |row: &Row| Seen { identity: row.identity, hash: row.hash(&self.key), place: "here".to_owned() };
        let found = |rows: &Vec<Row>| rows.iter().filter(|row| wanted.contains(&row.identity)).map(seen).collect();
        let found = self.rows.iter().map(|(reader, rows)| (*reader, found(rows))).collect();
        let subject = Subject { topic: "pay.t".to_owned(), part: Part::Changes, amounts: vec![], left_out: vec![] };
        conclude(subject, &outcomes, &comparison, &found)
    }
}

fn below(random: &mut ChaCha8Rng, end: u64) -> u64 {
    random.next_u64() % end
}

type Said = BTreeMap<(Reader, Identity), (u64, u64, u64)>;

fn said(proof: &PartProof) -> Said {
    let one = |difference: &Difference| {
        let identity = Identity { position: difference.position, sequence: difference.sequence };
        ((difference.reader, identity), (difference.expected, difference.found, difference.changed))
    };
    proof.differences.iter().map(one).collect()
}

#[test]
fn every_planted_fault_is_named_exactly() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let clean = world.prove();
        assert_eq!((clean.verdict, clean.differences.len()), (Verdict::Equal, 0), "seed {seed}, clean");
        let readers: Vec<Reader> = world.rows.keys().copied().collect();
        let reader = readers[below(&mut world.random, readers.len() as u64) as usize];
        let fault = FAULTS[below(&mut world.random, FAULTS.len() as u64) as usize];
        let planted = world.plant(reader, fault);
        if planted.is_empty() {
            continue;
        }
        let proof = world.prove();
        // The source is right by definition: what differs from it is named at each of the others, turned round.
        let expect: Said = if reader == Reader::Source {
            let turned = |(expected, found, changed): (u64, u64, u64)| (found, expected, changed.min(expected));
            let of = |reader: &Reader| {
                let reader = *reader;
                planted.iter().map(move |(identity, copies)| ((reader, *identity), turned(*copies)))
            };
            let mut expect: Said = readers.iter().filter(|one| **one != reader).flat_map(of).collect();
            // A record that only the others have is one of other bytes than any that is expected.
            expect.values_mut().filter(|copies| copies.0 == 0).for_each(|copies| copies.2 = copies.1);
            expect
        } else {
            planted.iter().map(|(identity, copies)| ((reader, *identity), *copies)).collect()
        };
        assert_eq!(said(&proof), expect, "seed {seed}: {fault:?} at {reader}");
        assert_eq!(proof.verdict, Verdict::Different, "seed {seed}: {fault:?} at {reader}");
        assert!(!proof.unnamed);
    }
}

#[test]
fn a_record_that_is_not_found_again_leaves_the_window_open() {
    let mut world = World::new(1);
    world.plant(Reader::B, Fault::Double);
    let outcomes: BTreeMap<Reader, Outcome> = { world.rows.iter() }
        .map(|(reader, rows)| {
            let mut sketch = Sketch::new(&world.key, Shape::STANDARD);
            rows.iter().for_each(|row| sketch.add(row.identity, row.hash(&world.key), &[]));
            (*reader, Outcome::Read(sketch))
        })
        .collect();
    let comparison = compare(&outcomes, &BTreeSet::new()).unwrap();
    let subject = Subject { topic: "t".to_owned(), part: Part::Log, amounts: vec![], left_out: vec![] };
    let proof = conclude(subject, &outcomes, &comparison, &BTreeMap::new());
    assert_eq!((proof.unnamed, proof.verdict), (true, Verdict::Open));
}

#[test]
fn more_differences_than_a_sketch_names_are_said_to_be_more() {
    let mut world = World::new(2);
    let first = world.rows[&Reader::B][0].clone();
    let many = (0..5_000).map(|number| Row { identity: Identity { position: number, sequence: 9 }, ..first.clone() });
    let many: Vec<Row> = many.collect();
    world.rows.get_mut(&Reader::B).unwrap().extend(many);
    let proof = world.prove();
    assert_eq!((proof.unnamed, proof.verdict), (true, Verdict::Open));
}

#[test]
fn who_is_held_against_whom() {
    let key = Key::new(&[7; 16]);
    let sketch = |number: u64| {
        let mut sketch = Sketch::new(&key, Shape::STANDARD);
        sketch.add(Identity { position: number, sequence: 0 }, key.hash(&number.to_be_bytes()), &[]);
        Outcome::Read(sketch)
    };
    let absent = || Outcome::Absent("gone".to_owned());
    let check = |outcomes: [Outcome; 4], reference, differing: &[Reader]| {
        let comparison = compare(&Reader::ALL.into_iter().zip(outcomes).collect(), &BTreeSet::new()).unwrap();
        let got: Vec<Reader> = comparison.differing.keys().copied().collect();
        assert_eq!((comparison.reference, got.as_slice()), (reference, differing));
    };
    let (a, b, lake) = (Reader::A, Reader::B, Reader::Lake);
    check([sketch(1), sketch(2), sketch(2), sketch(2)], Some(Reader::Source), &[a, b, lake]);
    check([absent(), sketch(1), sketch(2), sketch(2)], Some(b), &[a]);
    check([absent(), sketch(1), sketch(2), absent()], Some(a), &[b]);
    check([absent(), sketch(1), absent(), sketch(1)], Some(a), &[]);
    check([absent(), absent(), absent(), absent()], None, &[]);
}
