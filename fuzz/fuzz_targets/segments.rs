//! Recovery of a partition from any bytes on disk: it opens, serves nothing whose checksum fails, takes new records,
//! and finds the same again after another start.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use naru_kafka::standin::log::LogConfig;
use naru_kafka::standin::storage::{Disk, DiskConfig, Flush, PartitionStore, StoreConfig};
use naru_kafka::wire::{Batch, BatchBuilder, Compression};

/// What is in the directory: each byte string is a file. The first byte of the input says which there are, the next two
/// how the rest is shared out.
const FILES: [&str; 4] =
    ["00000000000000000000.log", "00000000000000000000.index", "checkpoint", "00000000000000000005.log"];

/// Reads until the end of a log; no input holds more batches or damaged places than it has bytes.
const STEPS_MAX: usize = 1 << 16;

static DISK: OnceLock<Arc<Disk>> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let [which, share, durable, rest @ ..] = data else { return };
    let dir = directory();
    if dir.exists() {
        fs::remove_dir_all(&dir).expect("our own directory");
    }
    fs::create_dir_all(&dir).expect("a directory in memory");
    let (first, second) = rest.split_at(rest.len() * usize::from(*share) / 256);
    // The whole input is the segment, unless it is shared with one of the other files.
    let other = usize::from(*which) % FILES.len();
    let files = if other == 0 { vec![(0, rest)] } else { vec![(0, first), (other, second)] };
    for (file, bytes) in files {
        fs::write(dir.join(FILES[file]), bytes).expect("a file in memory");
    }
    let mut mark = i64::from(*durable).to_be_bytes().to_vec();
    mark.extend_from_slice(&crc32c::crc32c(&mark).to_be_bytes());
    fs::write(dir.join("durable"), mark).expect("a file in memory");

    // A file of a later format is refused; nothing else is.
    let Some(store) = open(&dir) else { return };
    let readable = readable(&store);
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1, None, Some(b"new"), &[]).expect("a small record");
    let batch = Batch::split_first(&mut builder.build().expect("a small batch")).expect("a whole batch");
    // Only a log whose offsets are used up takes no more.
    let appended = store.append(&batch, store.leader_epoch(), 1).ok();
    store.flush().expect("a disk in memory");
    if let Some(appended) = &appended {
        assert!(store.read(appended.base_offset, 1, true).is_ok_and(|read| !read.chunks.is_empty()));
    }
    drop(store);
    let again = open(&dir).expect("what was recovered once is opened again");
    let mut found = self::readable(&again);
    if let Some(appended) = appended {
        found.retain(|(offset, _)| *offset < appended.base_offset);
    }
    assert_eq!(found, readable);
});

/// In memory where that exists: an fsync costs nothing there.
fn directory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
    parent.join(format!("naru-fuzz-segments-{}", std::process::id()))
}

fn open(dir: &std::path::Path) -> Option<PartitionStore> {
    let disk = DISK.get_or_init(|| Disk::start(&DiskConfig::default()));
    let config = StoreConfig { disk: Arc::clone(disk), flush: Flush::Fsync, log: LogConfig::default() };
    PartitionStore::open(dir, config).ok().map(|(store, _)| store)
}

/// Every batch that is served, with its checksum; damaged offsets are passed over.
fn readable(store: &PartitionStore) -> Vec<(i64, u32)> {
    let (mut offset, end) = (store.log_start(), store.high_watermark());
    let mut found = Vec::new();
    for _ in 0..STEPS_MAX {
        if offset >= end {
            break;
        }
        let Ok(read) = store.read(offset, 1 << 20, true) else {
            offset += 1;
            continue;
        };
        let from = offset;
        for mut chunk in read.chunks {
            while !chunk.is_empty() {
                let batch = Batch::split_first(&mut chunk).expect("a chunk of whole batches");
                batch.verify_crc().expect("a batch whose checksum fails is never served");
                assert!(batch.header().last_offset() >= offset, "offsets rise");
                offset = batch.header().next_offset();
                found.push((batch.header().base_offset, batch.header().crc));
            }
        }
        if offset == from {
            break;
        }
    }
    found
}
