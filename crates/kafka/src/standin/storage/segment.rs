//! Segment files: names and headers.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{StoreError, atomic};

/// What stands before the first batch of a segment.
pub(super) const HEADER_BYTES: u64 = 24;

const MAGIC: [u8; 8] = *b"NARULOG\0";
const VERSION: u16 = 1;
const FLAG_COMPACTED: u16 = 1;

/// What the header says. The base offset is in the file's name too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Compaction has passed over it: offsets have gaps, and the index lists every batch.
    pub compacted: bool,
    /// The header cannot be read; it was taken to be of the newest format.
    pub damaged: bool,
}

pub(super) fn log_path(dir: &Path, base_offset: i64) -> PathBuf {
    dir.join(format!("{base_offset:020}.log"))
}

pub(super) fn index_path(log: &Path) -> PathBuf {
    log.with_extension("index")
}

/// The base offset in a segment's file name.
pub(super) fn base_of(path: &Path) -> Option<i64> {
    if path.extension()? != "log" {
        return None;
    }
    path.file_stem()?.to_str().filter(|stem| stem.len() == 20)?.parse().ok().filter(|base| *base >= 0)
}

pub(super) fn encode_header(base_offset: i64, compacted: bool) -> [u8; HEADER_BYTES as usize] {
    let mut out = [0; HEADER_BYTES as usize];
    out[..8].copy_from_slice(&MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_be_bytes());
    out[10..12].copy_from_slice(&if compacted { FLAG_COMPACTED } else { 0 }.to_be_bytes());
    out[12..20].copy_from_slice(&base_offset.to_be_bytes());
    let crc = crc32c::crc32c(&out[..20]);
    out[20..].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Makes an empty segment, or empties the one that is there. It gets its name only when it is whole: one that stayed
/// behind a failed roll would be taken for the end of the segment before it, into which the log goes on. `disk_full` is
/// the fault: the device refuses the header.
pub(super) fn create(path: &Path, base_offset: i64, disk_full: bool) -> Result<File, StoreError> {
    // Recovery sweeps files of this name.
    let temporary = path.with_extension("new");
    let create = || {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&temporary)?;
        if disk_full {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        file.write_all_at(&encode_header(base_offset, false), 0)?;
        fs::rename(&temporary, path)?;
        Ok(file)
    };
    create().map_err(|error| {
        if let Err(left) = atomic::remove_if_there(&temporary) {
            tracing::warn!(error = %left, "a segment that was not made stays until the next start");
        }
        StoreError::io("create segment", path)(error)
    })
}

pub(super) fn open(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().read(true).write(true).open(path).map_err(StoreError::io("open segment", path))
}

/// When a file was last written, milliseconds since 1970; `None` if that cannot be told.
pub(super) fn written_ms(path: &Path) -> Option<i64> {
    let modified = fs::metadata(path).and_then(|found| found.modified()).ok()?;
    i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// Reads a header. One that is too short, or whose checksum fails, is reported as damaged and not refused: every batch
/// behind it carries its own checksum.
pub(super) fn read_header(file: &File, path: &Path) -> Result<SegmentHeader, StoreError> {
    const DAMAGED: SegmentHeader = SegmentHeader { compacted: false, damaged: true };
    let mut header = [0; HEADER_BYTES as usize];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(DAMAGED),
        other => other.map_err(StoreError::io("read", path))?,
    }
    let crc = crc32c::crc32c(&header[..20]);
    if header[..8] != MAGIC || header[20..] != crc.to_be_bytes() {
        return Ok(DAMAGED);
    }
    let found = u16::from_be_bytes([header[8], header[9]]);
    if found != VERSION {
        return Err(StoreError::Version { path: path.to_owned(), found: found.into(), known: VERSION.into() });
    }
    let flags = u16::from_be_bytes([header[10], header[11]]);
    Ok(SegmentHeader { compacted: flags & FLAG_COMPACTED != 0, damaged: false })
}
