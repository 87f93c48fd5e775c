#![allow(clippy::unwrap_used)] // a test panics on failure

use std::ops::Range;

use super::*;

fn options(bytes_max: u64, file_bytes: u64) -> SpoolOptions {
    SpoolOptions { bytes_max, file_bytes, durability: Durability::OnFlush }
}

fn payload(number: u64) -> Vec<u8> {
    format!("entry {number}").into_bytes()
}

fn fill(spool: &mut Spool, numbers: Range<u64>) {
    for number in numbers {
        assert_eq!(spool.offer(&payload(number)).unwrap(), Offered::Stored(number));
    }
}

/// What waits, read one by one.
fn waiting(spool: &Spool) -> Range<u64> {
    let mut next = spool.first();
    while let Some(entry) = spool.read(next, 1, 0).unwrap().first() {
        assert_eq!((entry.number, &entry.payload), (next, &payload(next)));
        next += 1;
    }
    spool.first()..next
}

fn spool_files(directory: &Path) -> Vec<PathBuf> {
    numbers(directory).unwrap().into_iter().map(|first| directory.join(file_name(first))).collect()
}

#[test]
fn entries_wait_in_order_until_they_are_acknowledged_also_across_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Spool::open(directory.path(), options(1 << 20, 100)).unwrap();
    let (mut spool, recovered) = open();
    assert_eq!(recovered, SpoolRecovered { waiting: 0, torn_bytes: 0 });
    fill(&mut spool, 0..20);
    assert!(matches!(Spool::open(directory.path(), options(1, 1)), Err(SpoolError::Busy { .. })));
    drop(spool);
    let (mut spool, recovered) = open();
    assert_eq!(recovered.waiting, 20);
    assert_eq!(waiting(&spool), 0..20);
    let files = spool_files(directory.path()).len();
    spool.acknowledge(12).unwrap();
    spool.acknowledge(3).unwrap();
    assert!(spool_files(directory.path()).len() < files);
    drop(spool);
    let (mut spool, _) = open();
    assert_eq!(waiting(&spool), 13..20);
    assert!(matches!(spool.acknowledge(20), Err(SpoolError::NeverStored { number: 20, next: 20 })));
    spool.acknowledge(19).unwrap();
    drop(spool);
    let (mut spool, _) = open();
    fill(&mut spool, 20..22);
    assert_eq!(waiting(&spool), 20..22);
}

#[test]
fn a_read_is_bounded_by_entries_and_bytes_but_gives_one() {
    let directory = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(directory.path(), options(1 << 20, 100)).unwrap();
    fill(&mut spool, 0..9);
    let check = |from, entries_max, bytes_max, expect: Range<u64>| {
        let numbers: Vec<u64> =
            spool.read(from, entries_max, bytes_max).unwrap().iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, expect.collect::<Vec<_>>(), "{from} {entries_max} {bytes_max}");
    };
    check(0, 100, 1 << 20, 0..9);
    check(0, 4, 1 << 20, 0..4);
    check(7, 4, 1 << 20, 7..9);
    check(9, 4, 1 << 20, 0..0);
    check(0, 100, 0, 0..1);
    check(0, 100, 3 * 28, 0..3);
}

#[test]
fn a_full_spool_says_so_and_takes_entries_again_when_space_returns() {
    let directory = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(directory.path(), options(400, 100)).unwrap();
    let mut next = 0;
    for _ in 0..50 {
        while let Offered::Stored(number) = spool.offer(&payload(next)).unwrap() {
            assert_eq!(number, next);
            next += 1;
        }
        let on_disk: u64 = spool_files(directory.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        assert_eq!(on_disk, spool.bytes());
        assert!(on_disk <= 400);
        assert!(spool.waiting() > 0);
        spool.acknowledge(next - 1).unwrap();
    }
    assert!(next > 300);
    let too_large = spool.offer(&[0; 400]);
    assert!(matches!(too_large, Err(SpoolError::EntryTooLarge { bytes: 400, .. })), "{too_large:?}");
}

#[test]
fn a_crash_at_any_byte_loses_only_the_entry_that_was_not_finished() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Spool::open(directory.path(), options(1 << 20, 100)).unwrap();
    let (mut spool, _) = open();
    fill(&mut spool, 0..8);
    drop(spool);
    let files = spool_files(directory.path());
    let last = files.last().unwrap();
    let good = fs::read(last).unwrap();
    let (frames, _, _) = frame::scan(&good);
    let before = 8 - (frames.len() as u64 - 1);
    let mut ends = vec![];
    for frame in &frames {
        ends.push(ends.last().unwrap_or(&0) + frame.bytes.len());
    }
    for cut in 0..=good.len() {
        for garbage in [0, 30] {
            fs::write(last, [&good[..cut], &vec![0; garbage]].concat()).unwrap();
            let (mut spool, recovered) = open();
            let expect = before + ends[1..].iter().filter(|end| **end <= cut).count() as u64;
            assert_eq!(recovered.waiting, expect, "{cut}");
            assert_eq!(waiting(&spool), 0..expect);
            fill(&mut spool, expect..expect + 3);
            drop(spool);
            assert_eq!(waiting(&open().0), 0..expect + 3);
            spool_files(directory.path()).iter().filter(|file| !files.contains(file)).for_each(|file| {
                fs::remove_file(file).unwrap();
            });
        }
    }
}

#[test]
fn a_crash_while_acknowledging_hands_over_again_but_skips_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Spool::open(directory.path(), options(1 << 20, 1 << 20)).unwrap();
    let (mut spool, _) = open();
    fill(&mut spool, 0..8);
    (0..5).for_each(|number| spool.acknowledge(number).unwrap());
    drop(spool);
    let path = directory.path().join("acknowledged");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut torn = good.clone();
        torn[at] ^= 0xFF;
        for bytes in [torn.as_slice(), &good[..at]] {
            fs::write(&path, bytes).unwrap();
            let first = waiting(&open().0).start;
            assert!([0, 4, 5].contains(&first), "{at}: {first}");
        }
    }
}

#[test]
fn damage_that_no_crash_explains_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Spool::open(directory.path(), options(1 << 20, 100));
    let (mut spool, _) = open().unwrap();
    fill(&mut spool, 0..8);
    drop(spool);
    let files = spool_files(directory.path());
    let check = |file: &Path, tamper: &dyn Fn(&mut Vec<u8>), expect: (&Path, u64, &str)| {
        let good = fs::read(file).unwrap();
        let mut bytes = good.clone();
        tamper(&mut bytes);
        fs::write(file, bytes).unwrap();
        match open() {
            Err(SpoolError::Damaged { file: named, offset, what }) => {
                assert_eq!((named.as_path(), offset, what), expect);
            }
            other => panic!("{other:?}"),
        }
        fs::write(file, good).unwrap();
    };
    let [first, second] = [files[0].as_path(), files[1].as_path()];
    check(first, &|bytes| bytes[30] ^= 1, (first, 23, "an entry was altered"));
    check(first, &|bytes| bytes.truncate(40), (first, 23, "the file is cut or altered"));
    check(first, &|bytes| bytes.clear(), (first, 0, "the file has no header"));
    check(first, &|bytes| bytes.truncate(51), (second, 0, "does not follow the file before it"));
    let swapped = "the header is not one of this version for this file";
    check(second, &|bytes| *bytes = fs::read(first).unwrap(), (second, 0, swapped));
}
