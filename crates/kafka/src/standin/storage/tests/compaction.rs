//! Compaction keeps the newest record of each key, at its offset.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn keyed(codec: Compression, records: &[(&str, Option<&str>)]) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for (key, value) in records {
        builder.push(NOW_MS, Some(key.as_bytes()), value.map(str::as_bytes), &[]).unwrap();
    }
    Batch::split_first(&mut builder.build().unwrap()).unwrap()
}

fn compacted() -> LogConfig {
    LogConfig { cleanup_delete: false, cleanup_compact: true, segment_bytes: 400, ..LogConfig::default() }
}

fn everything(store: &PartitionStore) -> Vec<(i64, String, Option<String>)> {
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let (mut out, mut offset) = (Vec::new(), store.log_start());
    while offset < store.high_watermark() {
        let read = batches(store.read(offset, 1 << 20, true).unwrap().chunks);
        offset = read.last().unwrap().header().next_offset();
        out.extend(records(&read).into_iter().map(|r| (r.offset, text(r.key.unwrap()), r.value.map(text))));
    }
    out
}

#[test]
fn the_newest_record_of_each_key_is_left_at_its_offset() {
    for codec in [Compression::None, Compression::Zstd] {
        let dir = directory();
        let store = open(dir.path(), Flush::Fsync, compacted());
        for n in 0..30 {
            let value = n.to_string();
            append_durably(&store, &keyed(codec, &[("a", Some(&value)), ("b", Some(&value)), ("only", None)]));
        }
        append_durably(&store, &keyed(codec, &[("c", Some("c"))]));
        let (end, before) = (store.log_end(), everything(&store));
        assert!(store.compact(NOW_MS).unwrap() > 0);
        let closed = store.shared.inner().active.base_offset;
        let after = everything(&store);
        let newest = |key: &str| before.iter().rfind(|r| r.1 == key && r.0 < closed).cloned();
        let mut expect: Vec<_> = ["a", "b", "only"].into_iter().filter_map(newest).collect();
        expect.extend(before.iter().filter(|r| r.0 >= closed).cloned());
        expect.sort();
        assert_eq!(after, expect, "{codec:?}");
        assert_eq!(store.log_end(), end);

        // Every offset can be asked for, and the same stands there after a restart.
        for offset in 0..end {
            let read = batches(store.read(offset, 1, true).unwrap().chunks);
            assert!(read[0].header().last_offset() >= offset);
        }
        assert_eq!(store.compact(NOW_MS).unwrap(), 0, "nothing was closed since");
        drop(store);
        let store = open(dir.path(), Flush::Fsync, compacted());
        assert_eq!(everything(&store), after);

        // A tombstone goes when it is old; the next compaction comes when a segment was closed.
        for n in 0..10 {
            append_durably(&store, &keyed(codec, &[("a", Some(&n.to_string()))]));
        }
        store.compact(NOW_MS + 86_400_001).unwrap();
        let closed = store.shared.inner().active.base_offset;
        assert!(everything(&store).iter().all(|r| r.1 != "only" || r.0 >= closed));
    }
}

#[test]
fn a_damaged_compacted_segment_is_never_served() {
    let dir = directory();
    let store = open(dir.path(), Flush::Fsync, compacted());
    for n in 0..12 {
        append_durably(&store, &keyed(Compression::None, &[("a", Some(&n.to_string())), (&n.to_string(), Some("v"))]));
    }
    store.compact(NOW_MS).unwrap();
    let good = everything(&store);
    let path = store.shared.inner().sealed[0].path.clone();
    let bytes = std::fs::read(&path).unwrap();
    for at in 24..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x20;
        std::fs::write(&path, &bad).unwrap();
        for offset in 0..6 {
            match store.read(offset, 1, true) {
                Ok(read) => {
                    for record in records(&batches(read.chunks)) {
                        let value = record.value.map(|value| String::from_utf8(value.to_vec()).unwrap());
                        assert!(good.iter().any(|g| g.0 == record.offset && g.2 == value), "byte {at}");
                    }
                }
                Err(error) => assert_eq!(error.code(), ErrorCode::CORRUPT_MESSAGE, "byte {at}"),
            }
        }
    }
}

#[test]
fn a_compacted_topic_refuses_a_record_without_a_key() {
    let dir = directory();
    let store = open(dir.path(), Flush::Fsync, compacted());
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(NOW_MS, None, Some(b"v"), &[]).unwrap();
    let batch = Batch::split_first(&mut builder.build().unwrap()).unwrap();
    assert_eq!(append(&store, &batch).unwrap_err().code(), ErrorCode::INVALID_RECORD);
}

/// Reads from every offset, from files, until told to stop: what is there or out of range, never an error of ours.
fn read_until(store: &PartitionStore, stop: &AtomicBool) -> usize {
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        store.shared.disk.cache.cut(store.shared.id, 0);
        for offset in 0..store.high_watermark() {
            match store.read(offset, 1, true) {
                Ok(read) => assert!(batches(read.chunks)[0].header().last_offset() >= offset),
                Err(error) => assert_eq!(error.code(), ErrorCode::OFFSET_OUT_OF_RANGE, "offset {offset}: {error:?}"),
            }
            reads += 1;
        }
    }
    reads
}

#[test]
fn a_read_beside_compaction_or_retention_is_never_an_error_of_ours() {
    let deleting = LogConfig { cleanup_delete: true, cleanup_compact: false, retention_bytes: 800, ..compacted() };
    for log in [compacted(), deleting] {
        let dir = directory();
        let store = open(dir.path(), Flush::Fsync, log);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers = [(); 2].map(|()| scope.spawn(|| read_until(&store, &stop)));
            for n in 0..300 {
                append_durably(&store, &keyed(Compression::None, &[("a", Some(&n.to_string())), ("b", Some("b"))]));
                if n % 3 == 0 {
                    store.compact(NOW_MS).unwrap();
                    store.apply_retention(NOW_MS).unwrap();
                }
            }
            stop.store(true, Ordering::Relaxed);
            for reader in readers {
                assert!(reader.join().unwrap() > 0);
            }
        });
    }
}
