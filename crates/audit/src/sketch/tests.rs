#![allow(clippy::unwrap_used)] // a test panics on failure

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::*;

fn key() -> Key {
    Key::new(&std::array::from_fn(|index| index as u8))
}

/// Records by identity and content, each so many times.
type Records = BTreeMap<(u64, u8), u8>;

fn identity(number: u64) -> Identity {
    Identity { position: 1000 + number / 3, sequence: number % 3 }
}

fn canonical(number: u64, content: u8) -> Vec<u8> {
    [number.to_be_bytes().as_slice(), &[content; 40]].concat()
}

fn add(sketch: &mut Sketch, key: &Key, number: u64, content: u8) {
    sketch.add(identity(number), key.hash(&canonical(number, content)), &[i128::from(content)]);
}

fn sketch_of(records: &Records, shape: Shape) -> Sketch {
    let key = key();
    let mut sketch = Sketch::new(&key, shape);
    for ((number, content), times) in records {
        (0..*times).for_each(|_| add(&mut sketch, &key, *number, *content));
    }
    sketch
}

/// By a way of its own: counts every record on both sides.
fn expected(left: &Records, right: &Records) -> Vec<Copies> {
    let key = key();
    let mut all: BTreeMap<(u64, u8), i64> = BTreeMap::new();
    left.iter().for_each(|(record, times)| *all.entry(*record).or_default() += i64::from(*times));
    right.iter().for_each(|(record, times)| *all.entry(*record).or_default() -= i64::from(*times));
    let copies = |((number, content), more): ((u64, u8), i64)| {
        (more != 0).then(|| Copies { identity: identity(number), hash: key.hash(&canonical(number, content)), more })
    };
    let mut copies: Vec<Copies> = all.into_iter().filter_map(copies).collect();
    copies.sort_unstable();
    copies
}

fn records() -> impl Strategy<Value = Records> {
    proptest::collection::btree_map((0..60_u64, 0..3_u8), 1..5_u8, 0..60)
}

fn shape() -> Shape {
    Shape::STANDARD.with_sums(1).unwrap()
}

proptest! {
    #[test]
    fn a_difference_is_named_with_its_multiplicities(left in records(), right in records()) {
        let mut difference = sketch_of(&left, shape());
        difference.subtract(&sketch_of(&right, shape())).unwrap();
        prop_assert_eq!(difference.is_empty(), left == right);
        prop_assert_eq!(difference.peel().unwrap(), expected(&left, &right));
    }

    #[test]
    fn parts_may_be_merged_in_any_order(left in records(), right in records()) {
        let (left, right) = (sketch_of(&left, shape()), sketch_of(&right, shape()));
        let (mut one, mut other) = (left.clone(), right.clone());
        one.merge(&right).unwrap();
        other.merge(&left).unwrap();
        prop_assert_eq!(&one, &other);
        one.subtract(&right).unwrap();
        prop_assert_eq!(one, left);
    }

    #[test]
    fn what_was_encoded_is_decoded(records in records()) {
        let sketch = sketch_of(&records, shape());
        prop_assert_eq!(Sketch::decode(&key(), &sketch.encode()).unwrap(), sketch);
    }

    #[test]
    fn a_flipped_bit_is_refused_or_seen(records in records(), place in 0..60_000_usize, bit in 0..8_u8) {
        let sketch = sketch_of(&records, shape());
        let mut bytes = sketch.encode();
        bytes[place] ^= 1 << bit;
        prop_assert!(Sketch::decode(&key(), &bytes).map_or(true, |decoded| decoded != sketch));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Sketch::decode_any(&bytes).is_err());
    }
}

#[test]
fn differences_among_a_million_rows_are_named_from_64_kib() {
    let key = key();
    let (mut source, mut copy) = (Sketch::new(&key, shape()), Sketch::new(&key, shape()));
    for number in 0..1_000_000 {
        add(&mut source, &key, number, 0);
        // 300 missing, 60 doubled, 5 tripled.
        let times = match number % 2_700 {
            0 if number / 2_700 < 300 => 0,
            1 if number / 2_700 < 60 => 2,
            2 if number / 2_700 < 5 => 3,
            _ => 1,
        };
        (0..times).for_each(|_| add(&mut copy, &key, number, 0));
    }
    assert!(copy.encode().len() <= 64 << 10);
    copy.subtract(&source).unwrap();
    let named = copy.peel().unwrap();
    let with = |more| named.iter().filter(|copies| copies.more == more).count();
    assert_eq!((named.len(), with(-1), with(1), with(2)), (365, 300, 60, 5));
    let number = |copies: &Copies| (copies.identity.position - 1000) * 3 + copies.identity.sequence;
    let rest: [u64; 4] = [0, 0, 1, 2];
    assert!(named.iter().all(|copies| number(copies) % 2_700 == rest[(copies.more + 1) as usize]));
}

#[test]
fn a_shape_names_what_it_was_made_for() {
    let key = key();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut stuck = 0;
    for differences in [1, 10, 100, 400, 1_000, 5_000] {
        let shape = Shape::for_differences(differences, 0).unwrap();
        for _ in 0..20 {
            let mut sketch = Sketch::new(&key, shape);
            for _ in 0..differences {
                let hash = u128::from(random.next_u64()) << 48 | u128::from(random.next_u64() >> 16);
                sketch.add(Identity { position: random.next_u64(), sequence: 0 }, hash, &[]);
            }
            stuck += u32::from(sketch.peel().is_err());
        }
    }
    assert_eq!(stuck, 0);
    assert!(Shape::STANDARD.cells() >= Shape::for_differences(500, 0).unwrap().cells());
}

#[test]
fn too_many_differences_are_said_to_be_too_many() {
    let many: Records = (0..5_000).map(|number| ((number, 0), 1)).collect();
    let Stuck { named } = sketch_of(&many, shape()).peel().unwrap_err();
    assert!(named.len() < 5_000);
}

#[test]
fn unlike_sketches_are_refused() {
    let sketch = sketch_of(&Records::from([((1, 1), 1)]), shape());
    let other_key = Key::new(&[9; 16]);
    let mut other = Sketch::new(&other_key, shape());
    assert!(matches!(other.merge(&sketch), Err(Unlike::Key(..))));
    let mut smaller = Sketch::new(&key(), Shape::new(4, 1).unwrap());
    assert!(matches!(smaller.subtract(&sketch), Err(Unlike::Shape(..))));
    let bytes = sketch.encode();
    let altered = |place: usize, to: u8| {
        let mut bytes = bytes.clone();
        bytes[place] = to;
        Sketch::decode(&key(), &bytes).unwrap_err()
    };
    assert_eq!(altered(0, 0), DecodeError::NoSketch);
    assert_eq!(altered(3, 2), DecodeError::Version(2));
    assert_eq!(altered(4, 3), DecodeError::Tables(3));
    assert_eq!(altered(5, 9), DecodeError::Shape(ShapeError::Sums(9)));
    assert_eq!(altered(11, 1), DecodeError::Shape(ShapeError::Cells(1281)));
    assert_eq!(altered(27, 7), DecodeError::Torn);
    assert!(matches!(altered(12, 0xFF), DecodeError::Unlike(_)));
    assert!(matches!(Sketch::decode(&other_key, &bytes), Err(DecodeError::Unlike(_))));
    assert!(matches!(Sketch::decode(&key(), &bytes[..60_000]), Err(DecodeError::Length { .. })));
    assert_eq!([Shape::new(3, 0), Shape::new(0, 0)], [Err(ShapeError::Cells(3)), Err(ShapeError::Cells(0))]);
}

/// Written down so that another implementation can be held against them.
#[test]
fn the_vectors_hold() {
    let vectors = include_str!("vectors.txt");
    let mut held = 0;
    for line in vectors.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once(": ").unwrap();
        let records: Records = match name {
            "key" => Records::new(),
            "empty" => Records::new(),
            "one" => Records::from([((1, 1), 1)]),
            "three copies" => Records::from([((1, 1), 3)]),
            "two records" => Records::from([((1, 1), 1), ((5, 2), 1)]),
            other => panic!("no vector {other}"),
        };
        let got = match name {
            "key" => format!("{:016x}", key().name()),
            _ => hex(&sketch_of(&records, Shape::new(4, 1).unwrap()).encode()),
        };
        assert_eq!(got, value, "{name}");
        held += 1;
    }
    assert_eq!(held, 5);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
