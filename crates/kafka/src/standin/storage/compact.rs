//! Compaction: closed segments are rewritten with the newest record of each key.

use std::fs::{self, File};
use std::io::Write;
use std::sync::PoisonError;

use bytes::{BufMut, Bytes, BytesMut};

use super::index::Index;
use super::store::{PartitionStore, Sealed};
use super::walk::{EpochRule, Expect, Step, Walker};
use super::{StoreError, atomic, segment};
use crate::standin::log::{LatestByKey, Tombstones};
use crate::wire::batch::{Batch, BatchHeader, HEADER_BYTES};
use crate::wire::compression::{Compression, compress, decompress};
use crate::wire::{Record, WireError};

/// Memory for the keys of one compaction, bytes. Keys beyond it are left for the next one.
const KEY_BYTES_MAX: usize = 16 << 20;

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// The checksum covers a batch from its attributes on.
const CHECKED_FROM: usize = 21;

impl PartitionStore {
    /// Rewrites closed segments so that only the newest record of each key is left, and of those that delete a key only
    /// the ones younger than `delete.retention.ms` by their own time. Offsets stay as they are. Never touches the
    /// newest segment, nor one that is damaged. Does nothing if no segment was closed since the last time. Returns the
    /// bytes freed. Blocks, while appends go on.
    pub fn compact(&self, now_ms: i64) -> Result<u64, StoreError> {
        let shared = &self.shared;
        {
            let inner = shared.inner();
            inner.usable()?;
            if !inner.log.config().cleanup_compact || inner.sealed.iter().all(|sealed| sealed.compacted) {
                return Ok(0);
            }
        }
        // What is compacted must be on disk, and below the high watermark.
        shared.flush_appended()?;
        let _flushing = shared.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let (sealed, config) = {
            let inner = shared.inner();
            inner.usable()?;
            // A segment that was closed since the flush waits for the next time.
            let durable = inner.sealed.iter().take_while(|sealed| sealed.end_offset <= inner.durable_end);
            (durable.cloned().collect::<Vec<_>>(), inner.log.config().clone())
        };
        if sealed.iter().all(|sealed| sealed.compacted) {
            return Ok(0);
        }
        let rewriting = Rewriting {
            store: self,
            bytes_max: config.decompressed_bytes_max,
            tombstones: Tombstones { older_than_ms: now_ms.saturating_sub(config.delete_retention_ms) },
        };
        let mut latest = LatestByKey::default();
        let mut readable = vec![true; sealed.len()];
        // Newest first: if the keys do not fit, it is the older segments that wait, and what they hold is kept.
        for (segment, readable) in sealed.iter().zip(&mut readable).rev() {
            *readable = rewriting.gather(segment, &mut latest)?;
        }
        let mut freed = 0;
        for (segment, readable) in sealed.iter().zip(readable) {
            if readable {
                freed += rewriting.rewrite(segment, &latest)?;
            }
        }
        Ok(freed)
    }
}

struct Rewriting<'a> {
    store: &'a PartitionStore,
    bytes_max: usize,
    tombstones: Tombstones,
}

impl Rewriting<'_> {
    /// Walks over a closed segment; `false` if it is damaged somewhere.
    fn walk(
        &self,
        sealed: &Sealed,
        mut visit: impl FnMut(Batch) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let open = self.store.shared.open_sealed(sealed)?;
        let mut walker = Walker::new(&open.file, &open.path, segment::HEADER_BYTES, sealed.size_bytes, READ_BYTES);
        let mut next_offset = sealed.base_offset;
        loop {
            let expect = Expect {
                next_offset,
                end_offset: sealed.end_offset,
                base_max: i64::MAX,
                gaps: sealed.compacted,
                epochs: EpochRule::AtLeast(0),
                index: sealed.compacted.then_some(&open.index),
            };
            match walker.next(&expect)? {
                Step::Batch(batch, _) => {
                    next_offset = batch.header().next_offset();
                    visit(batch)?;
                }
                Step::End => return Ok(true),
                Step::Unsound(_) => return Ok(false),
            }
        }
    }

    fn gather(&self, sealed: &Sealed, latest: &mut LatestByKey) -> Result<bool, StoreError> {
        let mut readable = true;
        let whole = self.walk(sealed, |batch| {
            for record in batch.records(self.bytes_max) {
                let Ok(record) = record else {
                    readable = false;
                    break;
                };
                if let Some(key) = record.key {
                    // A key without room is kept wherever it stands.
                    let _noted: bool = latest.note(&key, record.offset, KEY_BYTES_MAX);
                }
            }
            Ok(())
        })?;
        Ok(whole && readable)
    }

    fn rewrite(&self, sealed: &Sealed, latest: &LatestByKey) -> Result<u64, StoreError> {
        let shared = &self.store.shared;
        let temporary = sealed.path.with_extension("compacting");
        let io = |action| StoreError::io(action, &temporary);
        let mut out = File::create(&temporary).map_err(io("create"))?;
        out.write_all(&segment::encode_header(sealed.base_offset, true)).map_err(io("write"))?;
        let mut index = Index::new(sealed.base_offset, segment::HEADER_BYTES, true);
        let keeps = |record: &Record| {
            let key = record.key.as_deref();
            latest.keeps(key, record.offset, record.timestamp, record.value.is_none(), self.tombstones)
        };
        let mut unreadable = None;
        let whole = self.walk(sealed, |batch| {
            let kept = match filter(&batch, self.bytes_max, keeps) {
                Ok(Some(kept)) => kept,
                Ok(None) => return Ok(()),
                Err(error) => {
                    unreadable = Some(error);
                    batch.into_bytes()
                }
            };
            out.write_all(&kept).map_err(io("write"))?;
            if let Ok(header) = BatchHeader::decode(&kept) {
                index.note(header.base_offset, header.next_offset(), kept.len() as u64, header.max_timestamp);
            }
            Ok(())
        })?;
        if !whole || unreadable.is_some() || (sealed.compacted && index.end_position == sealed.size_bytes) {
            atomic::remove_if_there(&temporary)?;
            return Ok(0);
        }
        out.sync_data().map_err(io("sync"))?;

        let index_path = segment::index_path(&sealed.path);
        let mut inner = shared.inner();
        let Some(at) = inner.sealed.iter().position(|other| other.id == sealed.id) else {
            // Retention was quicker.
            drop(inner);
            atomic::remove_if_there(&temporary)?;
            return Ok(0);
        };
        // The old index would be taken for the new segment's after a crash, were it of the same length.
        atomic::remove_if_there(&index_path)?;
        if index.end_position == segment::HEADER_BYTES {
            atomic::remove_if_there(&temporary)?;
            atomic::remove_if_there(&sealed.path)?;
            inner.sealed.remove(at);
        } else {
            fs::rename(&temporary, &sealed.path).map_err(io("rename"))?;
            inner.sealed[at] = Sealed {
                id: shared.disk.new_id(),
                size_bytes: index.end_position,
                max_timestamp: index.max_timestamp,
                compacted: true,
                ..sealed.clone()
            };
        }
        shared.disk.cache.cut_below(shared.id, sealed.end_offset);
        shared.disk.segments.remove(sealed.id);
        drop(inner);
        // Without the lock, for both wait for the disk. A reader that comes before makes the index itself.
        if index.end_position > segment::HEADER_BYTES {
            index.save(&index_path)?;
        }
        atomic::sync_dir(&shared.dir)?;
        Ok(sealed.size_bytes.saturating_sub(index.end_position))
    }
}

/// The batch with only the records that `keeps` wants; `None` if there are none. Offsets, times and producer stay.
fn filter(batch: &Batch, bytes_max: usize, keeps: impl Fn(&Record) -> bool) -> Result<Option<Bytes>, WireError> {
    let verdicts = batch.records(bytes_max).map(|record| record.map(|record| keeps(&record)));
    let verdicts: Vec<bool> = verdicts.collect::<Result<_, _>>()?;
    let kept = verdicts.iter().filter(|kept| **kept).count();
    if kept == verdicts.len() {
        return Ok(Some(batch.bytes().clone()));
    }
    if kept == 0 {
        return Ok(None);
    }
    let codec = batch.header().compression()?;
    let data = match codec {
        Compression::None => batch.payload(),
        _ => decompress(codec, &batch.payload(), bytes_max)?.into(),
    };
    // The records as they are: their deltas count from the header, which keeps its base.
    let mut records = Vec::new();
    let mut left = &data[..];
    for kept in verdicts {
        let (record, rest) = split_record(left)?;
        if kept {
            records.extend_from_slice(record);
        }
        left = rest;
    }
    let payload: Bytes = match codec {
        Compression::None => records.into(),
        _ => compress(codec, &records)?.into(),
    };
    let mut header = *batch.header();
    let size = |bytes: usize| i32::try_from(bytes).map_err(|_| too_large(bytes));
    header.batch_length = size(HEADER_BYTES - 12 + payload.len())?;
    header.record_count = size(kept)?;
    header.crc = crc32c::crc32c_append(crc32c::crc32c(&header.encode()[CHECKED_FROM..]), &payload);
    let mut out = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    out.put_slice(&header.encode());
    out.put_slice(&payload);
    Ok(Some(out.freeze()))
}

fn too_large(bytes: usize) -> WireError {
    WireError::TooLarge { field: "compacted batch", size: bytes as u64, max: i32::MAX as u64 }
}

/// The first record with its length, and what follows. The length is a zigzag varint.
fn split_record(data: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let mut raw: u64 = 0;
    for (at, byte) in data.iter().take(5).enumerate() {
        raw |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let size = at + 1 + usize::try_from(raw >> 1).unwrap_or(usize::MAX / 2);
            return data.split_at_checked(size).ok_or(WireError::Truncated {
                field: "record",
                needed: size,
                left: data.len(),
            });
        }
    }
    Err(WireError::BadVarint { field: "record length" })
}
