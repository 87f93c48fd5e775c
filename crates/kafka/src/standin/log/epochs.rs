//! Leader epochs and the offset at which each began.

use serde::{Deserialize, Serialize};

/// The answer to OffsetForLeaderEpoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch that is not above the one asked for; -1 if there is none.
    pub leader_epoch: i32,
    /// The offset at which that epoch ended: where the next one began, or the end of the log; -1 if there is none.
    pub end_offset: i64,
}

impl EpochEnd {
    const UNKNOWN: Self = Self { leader_epoch: -1, end_offset: -1 };
}

/// The epochs that have records in the log, oldest first. Both columns rise strictly.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaderEpochs(Vec<(i32, i64)>);

impl LeaderEpochs {
    /// Notes that a batch of `epoch` stands at `offset`; only the first of an epoch counts.
    pub fn note(&mut self, epoch: i32, offset: i64) {
        if self.latest().is_none_or(|latest| epoch > latest) {
            self.0.retain(|&(_, start)| start < offset);
            self.0.push((epoch, offset));
        }
    }

    /// The newest epoch that has a record.
    pub fn latest(&self) -> Option<i32> {
        self.0.last().map(|&(epoch, _)| epoch)
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        let after = self.0.partition_point(|&(_, start)| start <= offset);
        after.checked_sub(1).map(|index| self.0[index].0)
    }

    /// Where `epoch`, or the nearest one below it, ended.
    ///
    /// `current` is the leader's epoch now, which may have no record yet: asked for it, the answer is the log end; asked
    /// for a later one, the answer is unknown.
    pub fn end_of(&self, epoch: i32, current: i32, log_end: i64) -> EpochEnd {
        if epoch < 0 || epoch > current {
            return EpochEnd::UNKNOWN;
        }
        if epoch == current {
            return EpochEnd { leader_epoch: epoch, end_offset: log_end };
        }
        let after = self.0.partition_point(|&(known, _)| known <= epoch);
        let end_offset = self.0.get(after).map_or(log_end, |&(_, start)| start);
        match after.checked_sub(1) {
            Some(index) => EpochEnd { leader_epoch: self.0[index].0, end_offset },
            // The epoch is older than all that is left: what it held ended where the oldest known one began.
            None if self.0.is_empty() => EpochEnd::UNKNOWN,
            None => EpochEnd { leader_epoch: epoch, end_offset },
        }
    }

    /// Forgets what lies below a new log start; the epoch that the start falls into begins there.
    pub fn cut_start(&mut self, log_start: i64) {
        let below = self.0.partition_point(|&(_, start)| start <= log_start);
        if let Some(last) = below.checked_sub(1) {
            self.0.drain(..last);
            self.0[0].1 = self.0[0].1.max(log_start);
        }
    }

    /// Forgets what lies at or above a new log end.
    pub fn cut_end(&mut self, log_end: i64) {
        self.0.retain(|&(_, start)| start < log_end);
    }

    /// Epochs with their start offsets, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for &(epoch, offset) in entries {
            epochs.note(epoch, offset);
        }
        epochs
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let log = epochs(&[(0, 0), (0, 4), (2, 10), (5, 20)]);
        let check = |asked, epoch, end| {
            let expect = EpochEnd { leader_epoch: epoch, end_offset: end };
            assert_eq!(log.end_of(asked, 7, 30), expect, "asked for {asked}");
        };
        check(0, 0, 10);
        check(1, 0, 10);
        check(2, 2, 20);
        check(4, 2, 20);
        check(5, 5, 30);
        check(6, 5, 30);
        check(7, 7, 30);
        check(8, -1, -1);
        check(-1, -1, -1);
    }

    #[test]
    fn an_offset_has_the_epoch_that_wrote_it() {
        let log = epochs(&[(1, 5), (3, 9)]);
        let found: Vec<_> = [4, 5, 8, 9, 100].map(|offset| log.epoch_at(offset)).into();
        assert_eq!(found, [None, Some(1), Some(1), Some(3), Some(3)]);
    }

    #[test]
    fn cutting_keeps_the_epoch_that_the_cut_falls_into() {
        let mut log = epochs(&[(0, 0), (2, 10), (5, 20)]);
        log.cut_start(15);
        assert_eq!(log.iter().collect::<Vec<_>>(), [(2, 15), (5, 20)]);
        log.cut_end(20);
        assert_eq!(log.iter().collect::<Vec<_>>(), [(2, 15)]);
    }

    #[test]
    fn an_epoch_without_records_gives_way_to_one_at_the_same_offset() {
        let log = epochs(&[(0, 0), (2, 10), (4, 10)]);
        assert_eq!(log.iter().collect::<Vec<_>>(), [(0, 0), (4, 10)]);
    }
}
