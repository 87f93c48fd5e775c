//! Writing batches to the newest segment, wholly or not at all, and beginning the next one.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::uio::pwritev;

use super::disk::OpenSegment;
use super::index::Index;
use super::store::{Active, Held, Inner, Sealed, Shared};
use super::{StoreError, segment};
use crate::standin::log::Entry;
use crate::wire::batch::Batch;

/// Memory for what the fault "hold unflushed" keeps from the file, bytes per partition. Beyond it, it is written.
const HELD_BYTES_MAX: u64 = 8 << 20;

impl Shared {
    /// Puts a stamped batch behind the last one: into the file, or among what is held.
    pub fn write(&self, inner: &mut Inner, batch: &Batch, entry: &Entry) -> Result<(), StoreError> {
        let size = batch.bytes().len() as u64;
        if inner.wants_roll(size, entry.max_timestamp) {
            self.write_held(inner)?;
            self.roll(inner)?;
        }
        let (header, payload) = (entry.stamp.header(batch).encode(), batch.payload());
        // A copy, so that neither the cache nor what is held keeps a whole request in memory.
        let copy = || Bytes::from([&header, &payload[..]].concat());
        let (base_offset, last_offset) = (entry.stamp.base_offset, entry.last_offset);
        let position = inner.active.index.end_position;
        let held_bytes = position - inner.held.front().map_or(position, |first| first.position);
        if held_bytes + size > HELD_BYTES_MAX {
            self.write_held(inner)?;
        }
        if self.disk.faults().hold_unflushed() || !inner.held.is_empty() {
            self.full_on_request(inner, &[], position)?;
            inner.held.push_back(Held { base_offset, last_offset, position, bytes: copy() });
        } else {
            self.write_at(inner, &header, &payload, position)?;
            // What nobody has asked for since as much was appended as the cache holds would leave it unread.
            if inner.unread_bytes <= self.disk.cache.bytes_max() as u64 {
                self.disk.cache.insert(self.id, base_offset, last_offset, copy());
            }
        }
        inner.unread_bytes = inner.unread_bytes.saturating_add(size);
        inner.active.index.note(base_offset, entry.next_offset(), size, entry.max_timestamp);
        Ok(())
    }

    /// Writes two pieces at the end of the active segment's file, wholly or not at all.
    fn write_at(&self, inner: &mut Inner, head: &[u8], tail: &[u8], position: u64) -> Result<(), StoreError> {
        let Active { file, path, .. } = &inner.active;
        if let Some(cut) = inner.cut_to {
            file.set_len(cut).map_err(StoreError::io("cut", path))?;
            inner.cut_to = None;
        }
        self.full_on_request(inner, tail, position)?;
        let Active { file, path, .. } = &inner.active;
        let Err(error) = write_pieces(file, head, tail, position) else { return Ok(()) };
        // Part of it may be there: take it back, now or before the next write.
        inner.cut_to = file.set_len(position).is_err().then_some(position);
        Err(StoreError::io("write", path)(error))
    }

    /// The fault "disk full": half of the batch reaches the file before the device refuses, as with a real one.
    fn full_on_request(&self, inner: &mut Inner, bytes: &[u8], position: u64) -> Result<(), StoreError> {
        if !self.disk.faults().disk_full() {
            return Ok(());
        }
        let Active { file, path, .. } = &inner.active;
        if !bytes.is_empty() {
            let half = file.write_all_at(&bytes[..bytes.len() / 2], position);
            inner.cut_to = half.and_then(|()| file.set_len(position)).is_err().then_some(position);
        }
        Err(StoreError::io("write (fault on request)", path)(io::Error::from(io::ErrorKind::StorageFull)))
    }

    /// Writes what the fault "hold unflushed" kept back.
    pub fn write_held(&self, inner: &mut Inner) -> Result<(), StoreError> {
        while let Some(held) = inner.held.pop_front() {
            if let Err(error) = self.write_at(inner, &[], &held.bytes, held.position) {
                inner.held.push_front(held);
                return Err(error);
            }
            self.disk.cache.insert(self.id, held.base_offset, held.last_offset, held.bytes);
        }
        Ok(())
    }

    /// Closes the active segment and begins another at the log end. Nothing is held.
    pub fn roll(&self, inner: &mut Inner) -> Result<(), StoreError> {
        let base_offset = inner.log.log_end();
        let path = segment::log_path(&self.dir, base_offset);
        let file = segment::create(&path, base_offset, self.disk.faults().disk_full())?;
        let next = Active {
            id: self.disk.new_id(),
            base_offset,
            path,
            file: Arc::new(file),
            index: Index::new(base_offset, segment::HEADER_BYTES, false),
        };
        let closed = std::mem::replace(&mut inner.active, next);
        inner.cut_to = None;
        inner.durable_position = None;
        let opened =
            Arc::new(OpenSegment { file: closed.file, path: closed.path.clone(), index: Arc::new(closed.index) });
        inner.sealed.push(Sealed {
            id: closed.id,
            base_offset: closed.base_offset,
            end_offset: base_offset,
            path: closed.path,
            size_bytes: opened.index.end_position,
            max_timestamp: opened.index.max_timestamp,
            compacted: false,
        });
        self.disk.segments.insert(closed.id, Arc::clone(&opened));
        inner.rolled.push(opened);
        Ok(())
    }
}

/// Writes both pieces, without joining them in memory.
fn write_pieces(file: &File, head: &[u8], tail: &[u8], mut position: u64) -> io::Result<()> {
    let mut pieces = [IoSlice::new(head), IoSlice::new(tail)];
    let mut pieces = &mut pieces[..];
    // A write takes all unless the device is full or it is interrupted; each round gets on or ends.
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        let at = i64::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge)?;
        match pwritev(file, pieces, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                IoSlice::advance_slices(&mut pieces, written);
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Inner {
    fn wants_roll(&self, size: u64, max_timestamp: i64) -> bool {
        let index = &self.active.index;
        if index.end_position == segment::HEADER_BYTES {
            return false;
        }
        let config = self.log.config();
        let full = index.end_position + size > config.segment_bytes;
        let old = index.first_timestamp >= 0 && max_timestamp.saturating_sub(index.first_timestamp) > config.segment_ms;
        full || old
    }
}
