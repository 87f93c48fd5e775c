//! Sketches from any bytes: decoded or refused, within memory that the length of the input bounds; what is decoded is
//! encoded to the same bytes, and its difference from another is taken apart, or said to be too large, in bounded time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use naru_audit::canonical::Identity;
use naru_audit::sketch::{Key, Shape, Sketch};

fuzz_target!(|data: &[u8]| {
    if let Ok(sketch) = Sketch::decode_any(data) {
        assert_eq!(sketch.encode(), data);
        let mut none = sketch.clone();
        none.subtract(&sketch).expect("a sketch is like itself");
        assert!(none.is_empty());
        if let Ok(named) = sketch.clone().peel() {
            let count = named.iter().fold(0_i64, |count, copies| count.wrapping_add(copies.more));
            assert_eq!(count, sketch.count(), "what was named is all there is");
        }
    }
    // The same bytes as records: identity, content, copies. What went in comes out, or is said to be too much.
    let key = Key::new(&[1; 16]);
    let mut sketch = Sketch::new(&key, Shape::new(64, 0).expect("a small shape"));
    let mut records = std::collections::BTreeMap::new();
    for record in data.chunks_exact(4).take(64) {
        let identity = Identity { position: u64::from(record[0]), sequence: u64::from(record[1]) };
        let hash = key.hash(&record[..3]);
        let copies = i64::from(record[3] % 5);
        (0..copies).for_each(|_| sketch.add(identity, hash, &[]));
        *records.entry((identity, hash)).or_insert(0) += copies;
    }
    records.retain(|_, copies| *copies != 0);
    if let Ok(named) = sketch.peel() {
        let named: Vec<_> = named.into_iter().map(|one| ((one.identity, one.hash), one.more)).collect();
        assert_eq!(named, records.into_iter().collect::<Vec<_>>());
    }
});
