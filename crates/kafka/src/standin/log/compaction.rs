//! Which records compaction keeps. Decides only; the storage shell rewrites segments.

use std::collections::HashMap;

use bytes::Bytes;

/// When a record that deletes its key may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstones {
    /// A record without a value goes if its time is before this, milliseconds since 1970.
    pub older_than_ms: i64,
}

/// The newest offset of each key, up to a bound in memory.
#[derive(Debug, Default)]
pub struct LatestByKey {
    offsets: HashMap<Bytes, i64>,
    key_bytes: usize,
}

/// What an entry costs besides its key: the map's slot and the handle of the key.
const ENTRY_BYTES: usize = 64;

impl LatestByKey {
    /// Notes a record; `false` if there is no room for its key under `bytes_max`, and then nothing was noted.
    #[must_use]
    pub fn note(&mut self, key: &[u8], offset: i64, bytes_max: usize) -> bool {
        if let Some(latest) = self.offsets.get_mut(key) {
            *latest = (*latest).max(offset);
            return true;
        }
        if self.bytes() + key.len() + ENTRY_BYTES > bytes_max {
            return false;
        }
        self.key_bytes += key.len();
        // Copied: a slice would keep the whole batch in memory.
        self.offsets.insert(Bytes::copy_from_slice(key), offset);
        true
    }

    /// Memory held, bytes.
    pub fn bytes(&self) -> usize {
        self.key_bytes + self.offsets.len() * ENTRY_BYTES
    }

    /// Whether a record stays: it is the newest of its key, and if it deletes the key, it is young enough for every
    /// consumer to have seen it.
    pub fn keeps(
        &self,
        key: Option<&[u8]>,
        offset: i64,
        timestamp: i64,
        deletes: bool,
        tombstones: Tombstones,
    ) -> bool {
        let Some(key) = key else { return false };
        let newest = self.offsets.get(key).is_none_or(|&latest| offset >= latest);
        newest && !(deletes && timestamp < tombstones.older_than_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_record_of_a_key_stays_and_old_tombstones_go() {
        let mut latest = LatestByKey::default();
        for (key, offset) in [("a", 0), ("b", 1), ("a", 5)] {
            assert!(latest.note(key.as_bytes(), offset, 1 << 20));
        }
        let check = |key: Option<&str>, offset, timestamp, deletes, expect| {
            let tombstones = Tombstones { older_than_ms: 100 };
            let found = latest.keeps(key.map(str::as_bytes), offset, timestamp, deletes, tombstones);
            assert_eq!(found, expect, "{key:?} at {offset}");
        };
        check(Some("a"), 0, 0, false, false);
        check(Some("a"), 5, 0, false, true);
        check(Some("b"), 1, 0, false, true);
        check(Some("c"), 9, 0, false, true);
        check(None, 9, 0, false, false);
        check(Some("a"), 5, 99, true, false);
        check(Some("a"), 5, 100, true, true);
    }

    #[test]
    fn a_key_that_does_not_fit_is_refused_and_known_ones_are_still_noted() {
        let mut latest = LatestByKey::default();
        let room = ENTRY_BYTES + 1;
        assert!(latest.note(b"a", 0, room));
        assert!(!latest.note(b"b", 1, room));
        assert!(latest.note(b"a", 2, room));
        assert_eq!(latest.bytes(), room);
    }
}
