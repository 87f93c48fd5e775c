#![allow(clippy::unwrap_used)] // a test panics on failure

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::durable::Durability;
use crate::keys::SigningKeys;

/// A directory with keys and a chain in it.
struct Bench {
    directory: tempfile::TempDir,
    keys: Arc<SigningKeys>,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = Arc::new(SigningKeys::generate(&directory.path().join("keys"), 1).unwrap());
        Self { directory, keys }
    }

    fn chain(&self) -> PathBuf {
        self.directory.path().join("chain")
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.chain().join(file_name(number))
    }

    fn open(&self) -> (SegmentWriter, Recovered) {
        let options = SegmentOptions { durability: Durability::OnFlush, ..SegmentOptions::default() };
        SegmentWriter::open(&self.chain(), self.keys.clone(), options).unwrap()
    }

    /// Writes three sealed segments of three entries each.
    fn write(&self) -> Head {
        let (mut writer, _) = self.open();
        for segment in 0..3 {
            for entry in 0..3 {
                let at = writer.append(format!("entry {segment}.{entry}").as_bytes()).unwrap();
                assert_eq!((at.segment, at.entry), (segment, entry));
            }
            writer.seal().unwrap();
        }
        writer.head()
    }

    fn verify(&self, expect: Expect) -> Result<(ChainSummary, Vec<String>), SegmentError> {
        let mut payloads = Vec::new();
        let visit = |entry: Entry<'_>| payloads.push(String::from_utf8(entry.payload.to_vec()).unwrap());
        verify_chain(&self.chain(), self.keys.verifying(), expect, visit).map(|summary| (summary, payloads))
    }

    fn fault(&self, expect: Expect) -> (PathBuf, SegmentFault) {
        match self.verify(expect) {
            Err(SegmentError::Refused { file, fault }) => (file, fault),
            other => panic!("not refused: {other:?}"),
        }
    }
}

/// The frames of a segment file, as bytes.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    frame::scan(&fs::read(path).unwrap()).0.iter().map(|frame| frame.bytes.to_vec()).collect()
}

#[test]
fn a_chain_is_read_back_in_order_across_segments_and_restarts() {
    let bench = Bench::new();
    let head = bench.write();
    let (mut writer, recovered) = bench.open();
    assert_eq!(recovered, Recovered { segment: 3, entries: 0, torn_bytes: 0 });
    assert_eq!(writer.head(), head);
    writer.append(b"more").unwrap();
    drop(writer);
    let (mut writer, recovered) = bench.open();
    assert_eq!(recovered, Recovered { segment: 3, entries: 1, torn_bytes: 0 });
    let head = writer.append(b"and more").unwrap().head;
    let (summary, payloads) = bench.verify(Expect { head: Some(head), ..Expect::OPEN }).unwrap();
    assert_eq!(summary, ChainSummary { segments: 4, entries: 11, head, sealed: false });
    assert_eq!((payloads[0].as_str(), payloads[10].as_str()), ("entry 0.0", "and more"));
    assert_eq!(bench.fault(Expect::SEALED), (bench.segment(3), SegmentFault::Unsealed { entries: 2 }));
    writer.seal().unwrap();
    assert!(bench.verify(Expect::SEALED).unwrap().0.sealed);
}

#[test]
fn a_full_segment_is_sealed_and_the_next_begun() {
    let bench = Bench::new();
    let options = SegmentOptions { segment_bytes_max: 300, durability: Durability::EachAppend };
    let (mut writer, _) = SegmentWriter::open(&bench.chain(), bench.keys.clone(), options).unwrap();
    let last = (0..20).map(|entry: u32| writer.append(&entry.to_le_bytes()).unwrap()).last().unwrap();
    assert_eq!((last.segment, last.entry), (3, 4));
    assert_eq!(bench.verify(Expect::OPEN).unwrap().0.entries, 20);
    let too_large = writer.append(&vec![0; ENTRY_BYTES_MAX + 1]);
    assert!(matches!(too_large, Err(SegmentError::EntryTooLarge { .. })));
}

#[test]
fn a_sealed_segment_altered_at_any_byte_is_refused_with_its_file_and_entry() {
    let bench = Bench::new();
    bench.write();
    for number in 0..3 {
        let path = bench.segment(number);
        let good = fs::read(&path).unwrap();
        let header = frames(&path)[0].len();
        for at in 0..good.len() {
            let mut altered = good.clone();
            altered[at] ^= 1 << (at % 8);
            fs::write(&path, altered).unwrap();
            let (file, fault) = bench.fault(Expect::SEALED);
            assert_eq!(file, path, "byte {at}: {fault}");
            match fault {
                SegmentFault::NoHeader => assert!(at < header, "byte {at}"),
                SegmentFault::Altered { offset, .. } => assert!(offset as usize <= at, "byte {at}: {offset}"),
                other => panic!("byte {at}: {other}"),
            }
        }
        fs::write(&path, good).unwrap();
    }
    bench.verify(Expect::SEALED).unwrap();
}

#[test]
fn a_sealed_segment_cut_anywhere_is_refused() {
    let bench = Bench::new();
    bench.write();
    let path = bench.segment(2);
    let good = fs::read(&path).unwrap();
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        assert_eq!(bench.fault(Expect::SEALED).0, path, "{length}");
    }
    fs::write(&path, [good.as_slice(), b"x"].concat()).unwrap();
    assert_eq!(bench.fault(Expect::SEALED).1, SegmentFault::BehindSeal { offset: good.len() as u64 });
}

#[test]
fn entries_moved_within_and_between_segments_are_refused() {
    let bench = Bench::new();
    bench.write();
    let path = bench.segment(1);
    let good = frames(&path);
    let other = frames(&bench.segment(0));
    let check = |order: &[&Vec<u8>], expect: fn(&SegmentFault) -> bool| {
        fs::write(&path, order.iter().flat_map(|frame| frame.iter().copied()).collect::<Vec<u8>>()).unwrap();
        let (file, fault) = bench.fault(Expect::SEALED);
        assert_eq!(file, path);
        assert!(expect(&fault), "{fault}");
    };
    let [header, a, b, c, seal] = [&good[0], &good[1], &good[2], &good[3], &good[4]];
    let out_of_order = |fault: &SegmentFault| matches!(fault, SegmentFault::OutOfOrder { .. });
    let mismatch = |fault: &SegmentFault| matches!(fault, SegmentFault::SealMismatch { sealed: 3, found: 2 });
    check(&[header, b, a, c, seal], |fault| matches!(fault, SegmentFault::OutOfOrder { entry: 0, .. }));
    check(&[header, a, c, b, seal], |fault| matches!(fault, SegmentFault::OutOfOrder { entry: 1, .. }));
    check(&[header, a, a, b, c, seal], out_of_order);
    check(&[header, a, c, seal], out_of_order);
    check(&[header, a, b, seal], mismatch);
    check(&[header, a, b, c, &other[4]], |fault| matches!(fault, SegmentFault::SealMismatch { .. }));
    check(&[header, a, &other[2], c, seal], out_of_order);
    check(&[&other[0], a, b, c, seal], |fault| matches!(fault, SegmentFault::Number { expected: 1, found: 0 }));
    check(&[header, a, b, c, seal, seal], |fault| matches!(fault, SegmentFault::BehindSeal { .. }));
    check(&[a, b, c, seal], |fault| matches!(fault, SegmentFault::NoHeader));
}

#[test]
fn missing_renamed_and_swapped_segments_are_refused() {
    let check = |tamper: fn(&Bench), expect: fn(&SegmentFault) -> bool, number: u64| {
        let bench = Bench::new();
        bench.write();
        tamper(&bench);
        let (file, fault) = bench.fault(Expect::SEALED);
        assert!(expect(&fault), "{fault}");
        assert_eq!(file, bench.segment(number));
    };
    check(|b| fs::remove_file(b.segment(1)).unwrap(), |f| matches!(f, SegmentFault::Missing { number: 1 }), 1);
    check(|b| fs::remove_file(b.segment(0)).unwrap(), |f| matches!(f, SegmentFault::Missing { number: 0 }), 0);
    check(
        |b| fs::rename(b.segment(2), b.segment(1)).unwrap(),
        |f| matches!(f, SegmentFault::Number { expected: 1, found: 2 }),
        1,
    );
    check(
        |b| {
            let (one, two) = (fs::read(b.segment(1)).unwrap(), fs::read(b.segment(2)).unwrap());
            fs::write(b.segment(1), two).unwrap();
            fs::write(b.segment(2), one).unwrap();
        },
        |f| matches!(f, SegmentFault::Number { .. }),
        1,
    );
    check(
        // A whole segment of another chain under the same keys.
        |b| {
            let other = Bench { directory: tempfile::tempdir().unwrap(), keys: b.keys.clone() };
            let (mut writer, _) = other.open();
            for _ in 0..2 {
                writer.append(b"another").unwrap();
                writer.seal().unwrap();
            }
            fs::copy(other.segment(1), b.segment(1)).unwrap();
        },
        |f| matches!(f, SegmentFault::Discontinuous),
        1,
    );
}

#[test]
fn a_chain_cut_back_to_an_earlier_seal_is_refused_by_the_known_head() {
    let bench = Bench::new();
    let head = bench.write();
    let expect = Expect { head: Some(head), ..Expect::SEALED };
    bench.verify(expect).unwrap();
    fs::remove_file(bench.segment(2)).unwrap();
    bench.verify(Expect::SEALED).unwrap();
    let (file, fault) = bench.fault(expect);
    assert_eq!(file, bench.segment(1));
    assert!(matches!(fault, SegmentFault::Head { expected, .. } if expected == head), "{fault}");
}

#[test]
fn seals_by_other_keys_are_refused_and_by_former_keys_are_not() {
    let bench = Bench::new();
    bench.write();
    let stranger = SigningKeys::generate(&bench.directory.path().join("other"), 1).unwrap();
    let refused = verify_chain(&bench.chain(), stranger.verifying(), Expect::SEALED, |_| ()).unwrap_err();
    let SegmentError::Refused { fault, .. } = refused else { panic!("{refused}") };
    assert_eq!(fault, SegmentFault::UnknownKey { key_id: bench.keys.current_id() });
    let mut rotated = SigningKeys::load(&bench.directory.path().join("keys")).unwrap();
    rotated.rotate(2).unwrap();
    verify_chain(&bench.chain(), rotated.verifying(), Expect::SEALED, |_| ()).unwrap();
}

#[test]
fn a_forged_seal_with_a_good_checksum_is_refused() {
    let bench = Bench::new();
    bench.write();
    let path = bench.segment(2);
    let good = frames(&path);
    for at in [0, 8, 40, 48, 111] {
        let mut seal = good[4][frame::HEAD_BYTES..].to_vec();
        seal[at] ^= 1;
        let mut bytes = good[..4].concat();
        frame::put(&mut bytes, SEAL, &[&seal]);
        fs::write(&path, bytes).unwrap();
        let fault = bench.fault(Expect::SEALED).1;
        let expected = match at {
            0 | 8 => matches!(fault, SegmentFault::SealMismatch { .. }),
            40 => matches!(fault, SegmentFault::UnknownKey { .. }),
            _ => matches!(fault, SegmentFault::Signature { .. }),
        };
        assert!(expected, "{at}: {fault}");
    }
}

#[test]
fn a_crash_at_any_byte_loses_only_the_append_that_was_not_finished() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    let mut ends = vec![];
    for entry in 0..4 {
        if entry == 2 {
            writer.seal().unwrap();
        }
        writer.append(format!("entry {entry}").as_bytes()).unwrap();
        ends.push(fs::metadata(bench.segment(entry / 2)).unwrap().len());
    }
    drop(writer);
    let path = bench.segment(1);
    let good = fs::read(&path).unwrap();
    for cut in 0..=good.len() {
        for garbage in [0, 40] {
            fs::write(&path, [&good[..cut], &vec![0; garbage]].concat()).unwrap();
            let (mut writer, recovered) = bench.open();
            let whole = ends[2..].iter().filter(|end| **end <= cut as u64).count() as u64;
            assert_eq!((recovered.segment, recovered.entries), (1, whole), "{cut}");
            writer.append(b"after").unwrap();
            writer.seal().unwrap();
            drop(writer);
            let (summary, payloads) = bench.verify(Expect::SEALED).unwrap();
            assert_eq!(summary.entries, 3 + whole);
            assert_eq!(payloads.last().unwrap(), "after");
        }
    }
}

#[test]
fn damage_that_no_crash_explains_stops_the_writer() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    for _ in 0..3 {
        writer.append(b"entry").unwrap();
    }
    let busy = SegmentWriter::open(&bench.chain(), bench.keys.clone(), SegmentOptions::default());
    assert!(matches!(busy, Err(SegmentError::Busy { .. })));
    drop(writer);
    let good = frames(&bench.segment(0));
    let mut bytes = good.concat();
    bytes[good[0].len() + good[1].len() - 1] ^= 1;
    fs::write(bench.segment(0), bytes).unwrap();
    let refused = SegmentWriter::open(&bench.chain(), bench.keys.clone(), SegmentOptions::default());
    let Err(SegmentError::Refused { fault: SegmentFault::Altered { entry: 0, .. }, .. }) = refused else {
        panic!("{refused:?}")
    };
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_verifier_panic(noise in proptest::collection::vec(0u8.., 0..200), kind in 0u8..5) {
        let mut bytes = put_header(0, Head::START);
        frame::put(&mut bytes, kind, &[&noise]);
        proptest::prop_assert!(verify_segment(&noise, 0, Head::START, |_| ()).is_err());
        if let Ok(chained) = verify_segment(&bytes, 0, Head::START, |_| ()) {
            proptest::prop_assert_eq!(chained.summary.entries, 0);
        }
    }
}
