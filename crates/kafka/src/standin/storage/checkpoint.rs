//! What a partition knows besides its records, at one offset, so that a start reads only what came after.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::atomic::{read_if_there, replace};
use crate::standin::log::{LeaderEpochs, ProducerTable};

pub(super) const FILE_NAME: &str = "checkpoint";

/// The newest format: a first line with format and checksum, then JSON.
const VERSION: u32 = 1;
const TITLE: &str = "naru-partition-checkpoint";

/// A partition's state at `recovery_point`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// The first offset that can be read.
    pub log_start: i64,
    /// Everything below it is on disk and was checked.
    pub recovery_point: i64,
    /// The leader epoch of what is appended above it.
    pub leader_epoch: i32,
    /// The store was closed in order, and nothing is above the recovery point.
    pub clean: bool,
    /// Leader epochs with their start offsets.
    pub epochs: LeaderEpochs,
    /// The producers known.
    pub producers: ProducerTable,
}

/// What was found in place of a checkpoint.
#[derive(Debug)]
pub(super) enum Loaded {
    Whole(Checkpoint),
    Missing,
    Damaged,
}

impl Checkpoint {
    pub fn save(&self, dir: &Path) -> Result<(), StoreError> {
        let body = serde_json::to_vec(self).expect("integers and maps with integer keys can be written as JSON");
        let mut out = format!("{TITLE} {VERSION} {:08x}\n", crc32c::crc32c(&body)).into_bytes();
        out.extend_from_slice(&body);
        replace(&dir.join(FILE_NAME), &out)
    }

    pub fn load(dir: &Path) -> Result<Loaded, StoreError> {
        let path = dir.join(FILE_NAME);
        let Some(bytes) = read_if_there(&path)? else { return Ok(Loaded::Missing) };
        match Self::decode(&bytes) {
            Some(Ok(checkpoint)) => Ok(Loaded::Whole(checkpoint)),
            Some(Err(found)) => Err(StoreError::Version { path, found, known: VERSION }),
            None => Ok(Loaded::Damaged),
        }
    }

    // `Err` holds a format that is not known.
    fn decode(bytes: &[u8]) -> Option<Result<Self, u32>> {
        let end = bytes.iter().position(|&byte| byte == b'\n')?;
        let mut title = std::str::from_utf8(&bytes[..end]).ok()?.split(' ');
        if title.next()? != TITLE {
            return None;
        }
        let version: u32 = title.next()?.parse().ok()?;
        let crc = u32::from_str_radix(title.next()?, 16).ok()?;
        let body = &bytes[end + 1..];
        if crc32c::crc32c(body) != crc {
            return None;
        }
        if version != VERSION {
            return Some(Err(version));
        }
        serde_json::from_slice(body).ok().map(Ok)
    }
}

/// How far the disk is known to hold the log, kept beside it. Written after every fsync but not itself synced: it
/// survives SIGKILL, and after a loss of power it is at worst too small. Below it a batch that cannot be read is
/// damage; above it, a write that never finished.
pub(super) mod mark {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use super::{StoreError, read_if_there};

    pub const FILE_NAME: &str = "durable";

    pub fn write(file: &File, path: &Path, durable_end: i64) -> Result<(), StoreError> {
        let mut out = [0; 12];
        out[..8].copy_from_slice(&durable_end.to_be_bytes());
        out[8..].copy_from_slice(&crc32c::crc32c(&durable_end.to_be_bytes()).to_be_bytes());
        file.write_all_at(&out, 0).map_err(StoreError::io("write", path))
    }

    /// 0 if there is none that can be read.
    pub fn read(path: &Path) -> Result<i64, StoreError> {
        let Some(bytes) = read_if_there(path)? else { return Ok(0) };
        let (Some(offset), Some(crc)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<4>()) else { return Ok(0) };
        let whole = bytes.len() == 12 && crc32c::crc32c(offset) == u32::from_be_bytes(*crc);
        Ok(if whole { i64::from_be_bytes(*offset) } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure
    use super::*;
    use crate::standin::log::RetainedBatch;

    fn checkpoint() -> Checkpoint {
        let mut epochs = LeaderEpochs::default();
        epochs.note(0, 0);
        epochs.note(2, 7);
        let mut producers = ProducerTable::default();
        let batch =
            RetainedBatch { first_sequence: 0, last_sequence: 4, base_offset: 7, last_offset: 11, max_timestamp: -1 };
        producers.note(1 << 62, 3, batch);
        Checkpoint { log_start: 3, recovery_point: 12, leader_epoch: 2, clean: true, epochs, producers }
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Checkpoint::load(dir.path()).unwrap(), Loaded::Missing));
        checkpoint().save(dir.path()).unwrap();
        let Loaded::Whole(loaded) = Checkpoint::load(dir.path()).unwrap() else { panic!("not whole") };
        assert_eq!(loaded, checkpoint());
    }

    #[test]
    fn a_change_anywhere_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        checkpoint().save(dir.path()).unwrap();
        let good = std::fs::read(dir.path().join(FILE_NAME)).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(!matches!(Checkpoint::decode(&bad), Some(Ok(found)) if found != checkpoint()), "byte {at}");
        }
    }
}
