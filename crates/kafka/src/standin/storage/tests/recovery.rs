//! What a crash or a damaged file may do, and what it must not.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::standin::storage::checkpoint;
use crate::standin::storage::segment::{HEADER_BYTES, log_path};
use crate::standin::storage::{Recovery, StoreError};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn reopen(dir: &Path, disk: &Arc<Disk>) -> (PartitionStore, Recovery) {
    PartitionStore::open(dir, config(disk, Flush::Fsync, LogConfig::default())).unwrap()
}

/// A small log that was not closed, and its batches as they were read.
struct Written {
    dir: TempDir,
    batches: Vec<Batch>,
}

impl Written {
    fn new() -> Self {
        let dir = directory();
        let at = dir.path().join("t-0");
        let store = open(&at, Flush::Fsync, LogConfig::default());
        for (sequence, value) in (0..).zip(["a", "bb", "c", "dddd", "e"]) {
            append_durably(&store, &stamped(0, sequence, &[value]));
        }
        let batches = batches(store.read(0, 1 << 20, true).unwrap().chunks);
        drop(store);
        Self { dir, batches }
    }

    fn original(&self) -> PathBuf {
        self.dir.path().join("t-0")
    }

    fn fresh_copy(&self) -> PathBuf {
        let at = self.dir.path().join("copy");
        if at.exists() {
            fs::remove_dir_all(&at).unwrap();
        }
        copy(&self.original(), &at);
        at
    }

    fn segment(&self) -> Vec<u8> {
        fs::read(log_path(&self.original(), 0)).unwrap()
    }

    /// What can be read, one offset at a time; every batch that is served must be one that was written there.
    fn readable(&self, store: &PartitionStore, what: &str) -> Vec<i64> {
        let mut readable = Vec::new();
        for offset in store.log_start()..store.high_watermark() {
            match store.read(offset, 1, true) {
                Ok(read) => {
                    let expect = &self.batches[usize::try_from(offset).unwrap()];
                    assert_eq!(read.chunks, [expect.bytes().clone()], "{what}: offset {offset}");
                    readable.push(offset);
                }
                Err(error) => assert_eq!(error.code(), ErrorCode::CORRUPT_MESSAGE, "{what}: offset {offset}"),
            }
        }
        readable
    }
}

#[test]
fn a_tail_cut_at_any_byte_leaves_the_whole_batches_before_it() {
    let written = Written::new();
    let segment = written.segment();
    let disk = disk();
    for size in 0..=segment.len() {
        let dir = written.fresh_copy();
        fs::write(log_path(&dir, 0), &segment[..size]).unwrap();
        let (store, recovery) = reopen(&dir, &disk);
        let mut end = HEADER_BYTES as usize;
        let whole = written.batches.iter().take_while(|batch| {
            end += batch.bytes().len();
            end <= size
        });
        let whole = i64::try_from(whole.count()).unwrap();
        let what = format!("cut at {size}");
        assert_eq!(written.readable(&store, &what), (0..whole).collect::<Vec<_>>(), "{what}");
        assert_eq!((store.log_end(), store.leader_epoch()), (whole, 2), "{what}");
        assert_eq!(recovery.lost_offsets, (whole < 5).then_some(whole..5), "{what}: reported");
        // The retry of an acknowledged sequence that is still there is a duplicate; the next one is taken.
        if whole > 0 {
            let last = i32::try_from(whole).unwrap() - 1;
            assert!(append(&store, &stamped(0, last, &["x"])).unwrap().duplicate, "{what}");
            assert_eq!(append_durably(&store, &stamped(0, last + 1, &["x"])), whole, "{what}");
        }
    }
}

#[test]
fn a_file_cut_below_the_checkpoint_is_reported_and_its_offsets_are_not_given_again() {
    let written = Written::new();
    let disk = disk();
    reopen(&written.original(), &disk).0.close().unwrap();
    let segment = written.segment();
    for size in 0..segment.len() {
        let dir = written.fresh_copy();
        fs::write(log_path(&dir, 0), &segment[..size]).unwrap();
        let ends = written.batches.iter().scan(HEADER_BYTES as usize, |end, batch| {
            *end += batch.bytes().len();
            Some(*end)
        });
        let whole = i64::try_from(ends.take_while(|end| *end <= size).count()).unwrap();
        let what = format!("cut at {size}");
        let (store, recovery) = reopen(&dir, &disk);
        let damaged: Vec<_> = recovery.damaged.iter().map(|damage| damage.offsets.clone()).collect();
        assert_eq!(damaged, std::slice::from_ref(&(whole..5)), "{what}: reported");
        assert_eq!(written.readable(&store, &what), (0..whole).collect::<Vec<_>>(), "{what}");
        assert_eq!(append_durably(&store, &stamped(0, 5, &["x"])), 5, "{what}");
        drop(store);
        for start in 2..4 {
            let (store, _) = reopen(&dir, &disk);
            let readable: Vec<_> = (0..6).filter(|offset| store.read(*offset, 1, true).is_ok()).collect();
            assert_eq!(readable, (0..whole).chain([5]).collect::<Vec<_>>(), "{what}: start {start}");
        }
    }
}

#[test]
fn a_write_that_never_finished_is_cut_at_any_byte_without_a_word() {
    let written = Written::new();
    let segment = written.segment();
    let disk = disk();
    let last = written.batches.last().unwrap().bytes().len();
    for flipped in [false, true] {
        for at in segment.len() - last..segment.len() {
            let dir = written.fresh_copy();
            // As if the fsync of the last batch had not come back.
            let mark = fs::File::options().write(true).open(dir.join(checkpoint::mark::FILE_NAME)).unwrap();
            checkpoint::mark::write(&mark, &dir, 4).unwrap();
            let mut bytes = segment.clone();
            if flipped {
                bytes[at] ^= 0x10
            } else {
                bytes.truncate(at)
            }
            fs::write(log_path(&dir, 0), bytes).unwrap();
            let (store, recovery) = reopen(&dir, &disk);
            assert_eq!(written.readable(&store, "torn"), [0, 1, 2, 3], "byte {at}");
            assert!(recovery.lost_offsets.is_none() && recovery.damaged.is_empty(), "byte {at}: {recovery:?}");
            assert_eq!(append_durably(&store, &stamped(0, 4, &["x"])), 4, "byte {at}");
        }
    }
}

#[test]
fn a_corrupt_byte_at_any_position_is_never_served_and_costs_only_its_batch() {
    let written = Written::new();
    let segment = written.segment();
    let disk = disk();
    for at in 0..segment.len() {
        for flip in [0x01, 0x80] {
            let dir = written.fresh_copy();
            let mut bytes = segment.clone();
            bytes[at] ^= flip;
            fs::write(log_path(&dir, 0), bytes).unwrap();
            let what = format!("byte {at} ^ {flip:#x}");
            let (store, recovery) = reopen(&dir, &disk);
            let mut readable = written.readable(&store, &what);
            let hit = written.batches.iter().scan(HEADER_BYTES as usize, |end, batch| {
                *end += batch.bytes().len();
                Some(*end)
            });
            let hit = hit.take_while(|end| *end <= at).count();
            let expect: Vec<i64> =
                (0..5).filter(|offset| at < HEADER_BYTES as usize || *offset != hit as i64).collect();
            assert_eq!(readable, expect, "{what}");
            assert!(!recovery.damaged.is_empty() || recovery.lost_offsets.is_some(), "{what}: reported");
            assert!(!recovery.clean);
            let next = store.log_end();
            assert_eq!(append_durably(&store, &plain(&["x"])), next, "{what}");
            // What is damaged stays refused, and the rest readable, after another start.
            drop(store);
            let (store, _) = reopen(&dir, &disk);
            readable.retain(|offset| *offset < next);
            let again: Vec<_> = readable.iter().filter(|offset| store.read(**offset, 1, true).is_ok()).collect();
            assert_eq!(again.len(), readable.len(), "{what}: after another start");
        }
    }
}

#[test]
fn a_byte_that_rots_under_an_open_store_is_never_served() {
    let written = Written::new();
    let segment = written.segment();
    let disk = disk();
    let dir = written.fresh_copy();
    let (store, _) = reopen(&dir, &disk);
    store.close().unwrap();
    let (store, _) = reopen(&dir, &disk);
    for at in HEADER_BYTES as usize..segment.len() {
        let mut bytes = segment.clone();
        bytes[at] ^= 0x04;
        fs::write(log_path(&dir, 0), bytes).unwrap();
        let readable = written.readable(&store, &format!("byte {at}"));
        assert_eq!(readable.len(), 4, "byte {at}: {readable:?}");
    }
}

#[test]
fn a_damaged_index_or_checkpoint_loses_no_record() {
    let written = Written::new();
    let disk = disk();
    for name in ["checkpoint", "00000000000000000000.index", "durable"] {
        for remove in [true, false] {
            let dir = written.fresh_copy();
            let path = dir.join(name);
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            if remove {
                fs::remove_file(&path).unwrap()
            } else {
                fs::write(&path, bytes).unwrap()
            }
            let (store, recovery) = reopen(&dir, &disk);
            assert_eq!(written.readable(&store, name).len(), 5, "{name}");
            assert_eq!(recovery.checkpoint_damaged, name == "checkpoint", "{name}");
            assert!(append(&store, &stamped(0, 4, &["x"])).unwrap().duplicate, "{name}: producers are known");
        }
    }
}

#[test]
fn a_file_of_a_later_format_is_refused_and_left_alone() {
    let written = Written::new();
    let dir = written.fresh_copy();
    let path = log_path(&dir, 0);
    let mut bytes = written.segment();
    bytes[9] = 9;
    let crc = crc32c::crc32c(&bytes[..20]);
    bytes[20..24].copy_from_slice(&crc.to_be_bytes());
    fs::write(&path, &bytes).unwrap();
    let refused = PartitionStore::open(&dir, config(&disk(), Flush::Fsync, LogConfig::default())).unwrap_err();
    assert!(matches!(refused, StoreError::Version { found: 9, .. }), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn the_epoch_rises_by_one_after_an_orderly_close_and_by_two_after_a_crash() {
    let dir = directory();
    let disk = disk();
    let epochs: Vec<_> = [true, false, true, true]
        .map(|close| {
            let (store, recovery) = reopen(dir.path(), &disk);
            assert_eq!(recovery.leader_epoch, store.leader_epoch());
            if close {
                store.close().unwrap();
            }
            recovery.leader_epoch
        })
        .into();
    assert_eq!(epochs, [0, 1, 3, 4]);
}

/// Appends at random, crashes at a random moment, with what was not flushed lost: what was acknowledged is there, nothing
/// is doubled, and what is there was sent.
#[test]
fn a_crash_at_any_moment_loses_nothing_that_was_acknowledged() {
    let steps = proptest::collection::vec((0_u8..10, 1_usize..4), 1..60);
    let mut runner = TestRunner::new(Config::with_cases(40));
    let run = runner.run(&steps, |steps| {
        let dir = directory();
        let at = dir.path().join("t-0");
        let log = LogConfig { segment_bytes: 600, ..LogConfig::default() };
        let disk = disk();
        disk.faults().set_hold_unflushed(true);
        let mut store = PartitionStore::open(&at, config(&disk, Flush::Fsync, log.clone())).unwrap().0;
        let mut crashes = 0;
        let (mut sent, mut sequence) = (Vec::<String>::new(), 0);
        let mut pending: Vec<(i32, usize, crate::standin::storage::Durable)> = Vec::new();
        let mut acknowledged = 0;
        for (step, count) in steps {
            let values: Vec<String> = (0..count).map(|n| format!("{:04}", sent.len() + n)).collect();
            let batch = stamped(0, sequence, &values.iter().map(String::as_str).collect::<Vec<_>>());
            let appended = append(&store, &batch).unwrap();
            assert!(!appended.duplicate);
            sent.extend(values);
            sequence += i32::try_from(count).unwrap();
            pending.push((sequence, sent.len(), appended.durable));
            if step == 0 {
                for (_, length, durable) in pending.drain(..) {
                    wait(durable).unwrap();
                    acknowledged = length;
                }
            } else if step == 1 {
                // The files as they are at one moment; the next process finds them so.
                crashes += 1;
                let after = dir.path().join(format!("crash-{crashes}"));
                {
                    let _flushing = store.shared.flushing.lock().unwrap();
                    for (_, length, durable) in pending.drain(..) {
                        if durable.is_settled() {
                            acknowledged = length;
                        }
                    }
                    copy(&store.shared.dir, &after);
                }
                store = PartitionStore::open(&after, config(&disk, Flush::Fsync, log.clone())).unwrap().0;
                let found: Vec<String> = contents(&store).into_iter().map(|(_, value)| value).collect();
                assert!(found.len() >= acknowledged, "{} found, {acknowledged} acknowledged", found.len());
                assert_eq!(found, sent[..found.len()], "a prefix of what was sent, none doubled");
                sent.truncate(found.len());
                sequence = i32::try_from(sent.len()).unwrap();
            }
        }
        Ok(())
    });
    run.unwrap();
}

/// The seeds of the fuzz target `segments`: a small log, alone and with each of the files beside it.
#[test]
fn the_seeds_of_segments_are_in_step() {
    let written = Written::new();
    let segment = written.segment();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/segments");
    let check = |name: &str, which: u8, durable: u8, beside: &[u8]| {
        // The share of the first file, in 256ths, rounded up: the fuzz target rounds down.
        let share = (segment.len() * 256).div_ceil(segment.len() + beside.len()).min(255);
        let seed = [&[which, u8::try_from(share).unwrap(), durable][..], &segment, beside].concat();
        let path = corpus.join(name);
        #[allow(clippy::disallowed_methods)] // a test is told by its environment to write what it would compare
        if std::env::var_os("NARU_UPDATE").is_some() {
            fs::create_dir_all(&corpus).unwrap();
            fs::write(&path, &seed).unwrap();
        }
        let stored = fs::read(&path).unwrap_or_default();
        assert!(stored == seed, "{} is not in step: NARU_UPDATE=1 writes it anew", path.display());
    };
    check("seed-durable", 0, 5, &[]);
    check("seed-torn", 0, 2, &[]);
    // The bytes of the same segment as the one that follows: it is cut, or its batches are damage.
    check("seed-two", 3, 5, &segment);
}
