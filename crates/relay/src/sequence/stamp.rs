//! Stamps: the producer that batches get which have none (RELAY-7), and the copier's for history that a side refuses.

use serde::{Deserialize, Serialize};

/// Stamped batches in flight to the active side, at most: a broker tells duplicates among the last five of a producer.
pub(super) const STAMPED_IN_FLIGHT_MAX: usize = 5;

/// The producers whose batches a side holds under the copier's id, because it refused them under their own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Restamped {
    /// The highest epoch used with the copier's id.
    pub epoch: i16,
    /// Producers with their epochs.
    pub producers: Vec<(i64, i16)>,
    /// How often the copier's id was used up on that side: each time another follows from it.
    #[serde(default)]
    pub generation: u32,
}

impl Restamped {
    /// A batch may yet come late, or the side takes the sequence for another's: what follows is of a newer epoch. After
    /// the last one another id begins.
    pub(super) fn begin_epoch(&mut self) {
        match self.epoch.checked_add(1) {
            Some(next) => self.epoch = next,
            None => (self.epoch, self.generation) = (0, self.generation + 1),
        }
    }
}

/// The copier's ids, oldest first, up to the one that is in use after so many were used up.
pub(super) fn copier_ids(first: i64, generation: u32) -> impl Iterator<Item = i64> {
    std::iter::successors(Some(first), |id| Some(spare_id(*id))).take(generation as usize + 1)
}

/// A partition's own producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamper {
    pub(super) id: i64,
    pub(super) epoch: i16,
    /// The sequence of the next record to be stamped.
    next: i32,
    /// The sequence after the last stamped record that has a place.
    placed: i32,
}

impl Stamper {
    /// Starts with sequence 0, so the epoch must be one that was never used with the id.
    pub(super) fn new(id: i64, epoch: i16) -> Self {
        Self { id, epoch, next: 0, placed: 0 }
    }

    /// The sequence for so many records.
    pub(super) fn take(&mut self, records: i64) -> i32 {
        let first = self.next;
        self.next = after(first, records);
        first
    }

    /// A stamped batch has a place.
    pub(super) fn placed(&mut self, epoch: i16, last_sequence: i32) {
        if epoch == self.epoch {
            self.placed = after(last_sequence, 1);
        }
    }

    /// What has a stamp and no place is stamped again, from after the last that has one.
    pub(super) fn rewind(&mut self) {
        self.next = self.placed;
    }

    /// An epoch was seen in a log or an answer, or a stamp was given to a batch that may yet come late: the next is
    /// higher. At the end of the epochs the id is changed: `spare_id` is asked for another.
    pub(super) fn beyond(&mut self, epoch: i16, spare_id: impl FnOnce(i64) -> i64) {
        if epoch < self.epoch {
            return;
        }
        *self = match epoch.checked_add(1) {
            Some(next) => Self::new(self.id, next),
            None => Self::new(spare_id(self.id), 0),
        };
    }
}

fn after(sequence: i32, records: i64) -> i32 {
    let sum = (i64::from(sequence) + records) & i64::from(i32::MAX);
    i32::try_from(sum).expect("masked to 31 bits")
}

/// Another id with no relation to any that was drawn: the same 62 random bits, stirred (RELAY-6).
pub(crate) fn spare_id(id: i64) -> i64 {
    // splitmix64's finaliser: a bijection, so two partitions' spare ids are as unlikely to meet as their ids.
    let mut x = id.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 2).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_last_epoch_the_copier_has_another_id_and_the_old_one_is_known() {
        let mut restamped = Restamped { epoch: i16::MAX, ..Restamped::default() };
        restamped.begin_epoch();
        assert_eq!((restamped.epoch, restamped.generation), (0, 1));
        let ids: Vec<i64> = copier_ids(5, restamped.generation).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(ids[0], 5);
        assert!(ids[1] >= 0 && ids[1] != 5);
    }
}
