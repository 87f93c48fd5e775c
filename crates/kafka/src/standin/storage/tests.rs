//! The store as its callers see it. `recovery` holds what a crash or a damaged file may do.

#![allow(clippy::unwrap_used)] // a test panics on failure

mod compaction;
mod recovery;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    AppendError, Appended, Disk, DiskConfig, Flush, PartitionStore, ReadError, StoreConfig, TimeQuery, TimestampOffset,
};
use crate::standin::log::LogConfig;
use crate::wire::batch::Batch;
use crate::wire::record::BatchBuilder;
use crate::wire::{Compression, ErrorCode, Record};

const NOW_MS: i64 = 1_000_000;
const ID: i64 = 1 << 62;

/// In memory if there is such a file system: an fsync costs nothing there, and the rules are the same.
pub(super) fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.unwrap()
}

pub(super) fn disk() -> Arc<Disk> {
    Disk::start(&DiskConfig::default())
}

pub(super) fn config(disk: &Arc<Disk>, flush: Flush, log: LogConfig) -> StoreConfig {
    StoreConfig { disk: Arc::clone(disk), flush, log }
}

pub(super) fn open(dir: &Path, flush: Flush, log: LogConfig) -> PartitionStore {
    PartitionStore::open(dir, config(&disk(), flush, log)).unwrap().0
}

/// A batch of records whose values are given, with keys `k` and times from `NOW_MS` on.
pub(super) fn plain(values: &[&str]) -> Batch {
    build(BatchBuilder::new(Compression::None), values)
}

pub(super) fn stamped(epoch: i16, sequence: i32, values: &[&str]) -> Batch {
    build(BatchBuilder::new(Compression::None).producer(ID, epoch, sequence), values)
}

fn build(mut builder: BatchBuilder, values: &[&str]) -> Batch {
    for (n, value) in values.iter().enumerate() {
        builder.push(NOW_MS + i64::try_from(n).unwrap(), Some(b"k"), Some(value.as_bytes()), &[]).unwrap();
    }
    Batch::split_first(&mut builder.build().unwrap()).unwrap()
}

pub(super) fn append(store: &PartitionStore, batch: &Batch) -> Result<Appended, AppendError> {
    store.append(batch, store.leader_epoch(), NOW_MS)
}

/// Appends, and waits as acks=all does.
pub(super) fn append_durably(store: &PartitionStore, batch: &Batch) -> i64 {
    let appended = append(store, batch).unwrap();
    wait(appended.durable).unwrap();
    appended.base_offset
}

pub(super) fn wait(durable: super::Durable) -> Result<(), super::StoreError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(durable.wait())
}

pub(super) fn batches(chunks: Vec<Bytes>) -> Vec<Batch> {
    let mut out = Vec::new();
    for mut chunk in chunks {
        while !chunk.is_empty() {
            out.push(Batch::split_first(&mut chunk).unwrap());
        }
    }
    out
}

pub(super) fn records(batches: &[Batch]) -> Vec<Record> {
    batches.iter().flat_map(|batch| batch.records(1 << 20).map(Result::unwrap)).collect()
}

/// Every offset with its value, from the log start on.
pub(super) fn contents(store: &PartitionStore) -> Vec<(i64, String)> {
    let mut out: Vec<(i64, String)> = Vec::new();
    let mut offset = store.log_start();
    loop {
        let read = batches(store.read(offset, 1 << 20, true).unwrap().chunks);
        let Some(last) = read.last() else { return out };
        for record in records(&read) {
            if record.offset >= offset {
                out.push((record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
            }
        }
        offset = last.header().next_offset();
    }
}

fn numbered(values: &[&str]) -> Vec<(i64, String)> {
    (0..).zip(values.iter().map(|value| (*value).to_owned())).collect()
}

#[test]
fn what_was_appended_is_read_at_its_offsets() {
    for flush in [Flush::Fsync, Flush::Write] {
        let dir = directory();
        let store = open(dir.path(), flush, LogConfig::default());
        assert_eq!(append_durably(&store, &plain(&["a", "b"])), 0);
        assert_eq!(append_durably(&store, &plain(&["c"])), 2);
        assert_eq!(contents(&store), numbered(&["a", "b", "c"]));
        assert_eq!((store.high_watermark(), store.log_end()), (3, 3));
        store.shared.disk.cache.cut(store.shared.id, 0);
        assert_eq!(contents(&store), numbered(&["a", "b", "c"]), "from the file");
    }
}

#[test]
fn a_read_ends_between_batches_and_holds_at_least_one_if_asked() {
    let dir = directory();
    let store = open(dir.path(), Flush::Write, LogConfig::default());
    let size = plain(&["a", "b"]).bytes().len();
    for _ in 0..3 {
        append(&store, &plain(&["a", "b"])).unwrap();
    }
    for cached in [true, false] {
        if !cached {
            store.shared.disk.cache.cut(store.shared.id, 0);
        }
        let check = |offset, bytes_max, min_one, expect: usize| {
            let found = store.read(offset, bytes_max, min_one).unwrap().bytes();
            assert_eq!(found, expect * size, "offset {offset} max {bytes_max} cached {cached}");
        };
        check(0, 3 * size, false, 3);
        check(1, 3 * size, false, 3);
        check(2, 3 * size, false, 2);
        check(0, 3 * size - 1, false, 2);
        check(0, size - 1, false, 0);
        check(0, size - 1, true, 1);
        check(0, 0, false, 0);
        check(6, size, true, 0);
        for outside in [-1, 7] {
            let refused = store.read(outside, size, true).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::OFFSET_OUT_OF_RANGE, "offset {outside}");
        }
    }
}

#[test]
fn consumers_see_nothing_that_is_not_durable() {
    let dir = directory();
    let store = open(dir.path(), Flush::Fsync, LogConfig::default());
    let flushing = store.shared.flushing.lock().unwrap();
    let appended = append(&store, &plain(&["a"])).unwrap();
    assert!(!appended.durable.is_settled());
    assert_eq!((store.high_watermark(), store.log_end()), (0, 1));
    assert!(store.read(0, 1 << 20, true).unwrap().chunks.is_empty());
    drop(flushing);
    wait(appended.durable).unwrap();
    assert_eq!(contents(&store), numbered(&["a"]));
}

#[test]
fn one_flush_serves_all_that_wait() {
    let dir = directory();
    let store = open(dir.path(), Flush::Fsync, LogConfig::default());
    let flushing = store.shared.flushing.lock().unwrap();
    let waiting: Vec<_> = (0..50).map(|_| append(&store, &plain(&["a"])).unwrap().durable).collect();
    drop(flushing);
    for durable in waiting {
        wait(durable).unwrap();
    }
    assert_eq!(store.high_watermark(), 50);
}

#[test]
fn batches_are_kept_in_memory_only_while_somebody_reads() {
    let dir = directory();
    let disk = Disk::start(&DiskConfig { cache_bytes_max: 1_000, ..DiskConfig::default() });
    let (store, _) = PartitionStore::open(dir.path(), config(&disk, Flush::Write, LogConfig::default())).unwrap();
    let in_memory = |offset| disk.cache.read(store.shared.id, offset, offset + 1, 1, true).is_some();
    let append = |value: &str| append(&store, &plain(&[value])).unwrap().base_offset;
    let mut offset = append("0");
    assert!(in_memory(offset), "somebody may read it soon");
    while in_memory(offset) {
        assert!(offset < 100, "nobody reads");
        offset = append("1");
    }
    assert_eq!(contents(&store).len() as i64, offset + 1);
    let offset = append("2");
    assert!(in_memory(offset), "somebody reads");
}

#[test]
fn what_is_appended_and_synced_is_counted() {
    let dir = directory();
    let store = open(dir.path(), Flush::Fsync, LogConfig::default());
    let disk = &store.shared.disk;
    let before = disk.fsyncs();
    let batch = plain(&["a"]);
    append_durably(&store, &batch);
    assert_eq!((disk.appended_bytes(), disk.fsyncs() - before), (batch.bytes().len() as u64, 1));
}

#[test]
fn a_checkpoint_follows_when_enough_was_appended() {
    for flush in [Flush::Fsync, Flush::Write] {
        let dir = directory();
        let store = open(dir.path(), flush, LogConfig::default());
        store.shared.inner().since_checkpoint = flush.checkpoint_bytes();
        append_durably(&store, &plain(&["a"]));
        let mut progress = store.subscribe();
        let durable = progress.wait_for(|progress| progress.durable_end == 1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        drop(runtime.block_on(durable).unwrap());
        // The flusher writes it behind the sync, and holds this while it does.
        drop(store.shared.flushing.lock().unwrap());
        drop(store);
        let (store, recovery) = PartitionStore::open(dir.path(), config(&disk(), flush, LogConfig::default())).unwrap();
        assert_eq!((recovery.scanned_bytes, contents(&store)), (0, numbered(&["a"])), "{flush:?}");
    }
}

#[test]
fn a_repeated_batch_gets_the_old_offset_also_after_a_restart() {
    let dir = directory();
    let store = open(dir.path(), Flush::Fsync, LogConfig::default());
    append_durably(&store, &stamped(0, 0, &["a", "b"]));
    append_durably(&store, &stamped(0, 2, &["c"]));
    let again = append(&store, &stamped(0, 0, &["x", "y"])).unwrap();
    assert_eq!((again.duplicate, again.base_offset), (true, 0));
    drop(store);
    let store = open(dir.path(), Flush::Fsync, LogConfig::default());
    let again = append(&store, &stamped(0, 2, &["x"])).unwrap();
    assert_eq!((again.duplicate, again.base_offset), (true, 2));
    assert_eq!(contents(&store), numbered(&["a", "b", "c"]));
}

#[test]
fn a_full_disk_leaves_nothing_behind_and_the_same_batch_fits_later() {
    for flush in [Flush::Fsync, Flush::Write] {
        let dir = directory();
        let store = open(dir.path(), flush, LogConfig::default());
        let faults = store.shared.disk.faults();
        faults.set_disk_full(true);
        let refused = append(&store, &stamped(0, 0, &["a"])).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::KAFKA_STORAGE_ERROR);
        faults.set_disk_full(false);
        let follower = append(&store, &stamped(0, 1, &["b"])).unwrap_err();
        assert_eq!(follower.code(), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, "its predecessor was refused");
        append_durably(&store, &stamped(0, 0, &["a"]));
        append_durably(&store, &stamped(0, 1, &["b"]));
        assert_eq!(contents(&store), numbered(&["a", "b"]));
        drop(store);
        let (store, recovery) = PartitionStore::open(dir.path(), config(&disk(), flush, LogConfig::default())).unwrap();
        assert_eq!((recovery.cut_bytes, contents(&store)), (0, numbered(&["a", "b"])));
    }
}

#[test]
fn a_segment_that_found_no_room_leaves_no_file_and_loses_nothing_later() {
    for flush in [Flush::Fsync, Flush::Write] {
        let dir = directory();
        let store = open(dir.path(), flush, small_segments());
        for value in ["0", "1"] {
            append_durably(&store, &plain(&[value]));
        }
        store.shared.disk.faults().set_disk_full(true);
        let large = "2".repeat(100);
        assert_eq!(append(&store, &plain(&[&large])).unwrap_err().code(), ErrorCode::KAFKA_STORAGE_ERROR);
        let names = |extension: &str| {
            let paths = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
            paths.filter(|path| path.extension().is_some_and(|found| found == extension)).count()
        };
        assert_eq!((names("log"), names("new")), (1, 0), "{flush:?}");
        store.shared.disk.faults().set_disk_full(false);
        // What is smaller still fits into the segment that was not closed.
        store.set_config(LogConfig::default());
        for value in ["2", "3"] {
            append_durably(&store, &plain(&[value]));
        }
        drop(store);
        let (store, recovery) = PartitionStore::open(dir.path(), config(&disk(), flush, small_segments())).unwrap();
        assert_eq!((recovery.cut_bytes, recovery.damaged.len()), (0, 0), "{flush:?}: {recovery:?}");
        assert_eq!(contents(&store), numbered(&["0", "1", "2", "3"]), "{flush:?}");
    }
}

#[test]
fn what_was_held_back_is_read_but_lost_with_the_process() {
    let dir = directory();
    let store = open(dir.path(), Flush::Write, LogConfig::default());
    append(&store, &plain(&["a"])).unwrap();
    store.shared.disk.faults().set_hold_unflushed(true);
    append(&store, &plain(&["b"])).unwrap();
    append(&store, &plain(&["c"])).unwrap();
    assert_eq!(contents(&store), numbered(&["a", "b", "c"]));
    drop(store);
    let store = open(dir.path(), Flush::Write, LogConfig::default());
    assert_eq!(contents(&store), numbered(&["a"]));
}

#[test]
fn what_was_held_back_is_written_by_a_flush() {
    let dir = directory();
    let store = open(dir.path(), Flush::Write, LogConfig::default());
    store.shared.disk.faults().set_hold_unflushed(true);
    append(&store, &plain(&["a"])).unwrap();
    store.flush().unwrap();
    append(&store, &plain(&["b"])).unwrap();
    drop(store);
    assert_eq!(contents(&open(dir.path(), Flush::Write, LogConfig::default())), numbered(&["a"]));
}

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 3 * plain(&["0"]).bytes().len() as u64, ..LogConfig::default() }
}

pub(super) fn filled(dir: &Path, log: LogConfig, count: usize) -> PartitionStore {
    let store = open(dir, Flush::Fsync, log);
    for n in 0..count {
        append_durably(&store, &plain(&[&(n % 10).to_string()]));
    }
    store
}

#[test]
fn a_log_of_many_segments_is_read_through_and_opened_again() {
    let dir = directory();
    let store = filled(dir.path(), small_segments(), 20);
    let before = contents(&store);
    assert_eq!(before.len(), 20);
    assert!(store.shared.inner().sealed.len() > 5);
    store.shared.disk.cache.cut(store.shared.id, 0);
    assert_eq!(contents(&store), before);
    store.close().unwrap();
    assert!(store.read(0, 1, true).is_err() && append(&store, &plain(&["x"])).is_err());
    let (store, recovery) = PartitionStore::open(dir.path(), config(&disk(), Flush::Fsync, small_segments())).unwrap();
    assert!(recovery.clean && recovery.scanned_bytes == 0, "{recovery:?}");
    assert_eq!(contents(&store), before);
}

#[test]
fn retention_removes_whole_segments_and_moves_the_log_start() {
    let dir = directory();
    let keep = LogConfig { retention_bytes: 300, ..small_segments() };
    let store = filled(dir.path(), keep.clone(), 20);
    assert!(store.apply_retention(NOW_MS).unwrap() > 0);
    assert!(store.log_start() > 0 && store.size_bytes() < 700, "{} bytes", store.size_bytes());
    assert_eq!(store.read(0, 1, true).unwrap_err().code(), ErrorCode::OFFSET_OUT_OF_RANGE);
    let (start, left) = (store.log_start(), contents(&store));
    drop(store);
    let store = open(dir.path(), Flush::Fsync, keep.clone());
    assert_eq!((store.log_start(), contents(&store)), (start, left));

    store.set_config(LogConfig { retention_ms: 10, ..keep });
    store.apply_retention(NOW_MS + 1_000).unwrap();
    assert_eq!((store.log_start(), store.log_end(), contents(&store)), (20, 20, vec![]));
    assert_eq!(append_durably(&store, &plain(&["z"])), 20);
}

#[test]
fn records_without_a_time_go_when_their_file_is_old() {
    let dir = directory();
    let store = open(dir.path(), Flush::Fsync, LogConfig { retention_ms: 10, ..LogConfig::default() });
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(-1, None, Some(b"v"), &[]).unwrap();
    append_durably(&store, &Batch::split_first(&mut builder.build().unwrap()).unwrap());
    let written = std::time::UNIX_EPOCH + std::time::Duration::from_millis(5_000);
    store.shared.inner().active.file.set_modified(written).unwrap();
    for (now_ms, expect) in [(5_010, 0), (5_011, 1)] {
        assert_eq!(store.apply_retention(now_ms).unwrap(), expect, "at {now_ms}");
    }
}

#[test]
fn deleting_records_moves_the_log_start_for_good() {
    let dir = directory();
    let store = filled(dir.path(), LogConfig::default(), 5);
    assert_eq!(store.delete_records_before(2).unwrap(), 2);
    assert_eq!(store.delete_records_before(1).unwrap(), 2, "it never falls");
    for outside in [6, -2] {
        assert_eq!(store.delete_records_before(outside).unwrap_err().code(), ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    drop(store);
    let store = open(dir.path(), Flush::Fsync, LogConfig::default());
    assert_eq!(store.log_start(), 2);
    assert_eq!(store.delete_records_before(-1).unwrap(), 5);
    assert_eq!(append_durably(&store, &plain(&["z"])), 5);
    assert_eq!(contents(&store), [(5, "z".to_owned())]);
}

#[test]
fn times_find_the_exact_first_record() {
    let dir = directory();
    let store = open(dir.path(), Flush::Fsync, small_segments());
    // Offset n has time 1000 + 10 n, but 5 is newest of all.
    for n in (0..10).step_by(2) {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        for offset in [n, n + 1] {
            let time = if offset == 5 { 5_000 } else { 1_000 + offset * 10 };
            builder.push(time, None, Some(b"v"), &[]).unwrap();
        }
        let batch = Batch::split_first(&mut builder.build().unwrap()).unwrap();
        append_durably(&store, &batch);
    }
    let check = |query, expect: Option<(i64, i64)>| {
        let expect = expect.map(|(offset, timestamp)| TimestampOffset { offset, timestamp, leader_epoch: 0 });
        assert_eq!(store.offset_for_timestamp(query).unwrap(), expect, "{query:?}");
    };
    check(TimeQuery::Earliest, Some((0, -1)));
    check(TimeQuery::Latest, Some((10, -1)));
    check(TimeQuery::MaxTimestamp, Some((5, 5_000)));
    check(TimeQuery::At(0), Some((0, 1_000)));
    check(TimeQuery::At(1_010), Some((1, 1_010)));
    check(TimeQuery::At(1_011), Some((2, 1_020)));
    check(TimeQuery::At(1_050), Some((5, 5_000)));
    check(TimeQuery::At(5_001), None);
    store.delete_records_before(6).unwrap();
    check(TimeQuery::At(0), Some((6, 1_060)));
    check(TimeQuery::MaxTimestamp, Some((9, 1_090)));
    check(TimeQuery::At(1_091), None);
}

#[test]
fn an_empty_log_has_no_newest_time() {
    let dir = directory();
    let store = open(dir.path(), Flush::Fsync, LogConfig::default());
    assert_eq!(store.offset_for_timestamp(TimeQuery::MaxTimestamp).unwrap(), None);
    assert_eq!(store.offset_for_timestamp(TimeQuery::At(0)).unwrap(), None);
}

#[test]
fn an_append_of_an_ended_leader_epoch_is_refused() {
    let dir = directory();
    let store = open(dir.path(), Flush::Fsync, LogConfig::default());
    store.append(&plain(&["a"]), 3, NOW_MS).unwrap();
    let refused = store.append(&plain(&["b"]), 2, NOW_MS).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    drop(store);
    let store = open(dir.path(), Flush::Fsync, LogConfig::default());
    assert_eq!((store.leader_epoch(), store.leader_epoch_at(0)), (5, Some(3)));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "joined below")]
fn a_deleted_store_leaves_no_file_and_tells_who_waits() {
    let dir = directory();
    let at = dir.path().join("t-0");
    let store = open(&at, Flush::Fsync, LogConfig::default());
    let flushing = store.shared.flushing.lock().unwrap();
    let waiting = append(&store, &plain(&["a"])).unwrap().durable;
    let deleting = store.clone();
    let thread = std::thread::spawn(move || deleting.delete());
    drop(flushing);
    thread.join().unwrap().unwrap();
    // It may have been flushed just before.
    if let Err(error) = wait(waiting) {
        assert_eq!(error.code(), ErrorCode::KAFKA_STORAGE_ERROR);
    }
    assert!(!at.exists());
    assert!(matches!(store.read(0, 1, true), Err(ReadError::Storage(_))));
}
