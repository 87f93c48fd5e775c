//! How many bytes a part of a log has: for the lag of a side that lacks it.

use std::collections::VecDeque;

/// Places whose bytes are known. Beyond it every second one is given up: what a side lacks is then known to a 32nd.
const MARKS_MAX: usize = 64;

/// The bytes up to an offset, counted from anywhere.
#[derive(Debug, Clone, Copy)]
struct Mark {
    offset: i64,
    bytes: u64,
}

/// The bytes of the batches that have passed, by their offsets. What has not passed since the start is taken to be of the
/// mean size of what has.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// In order of offsets, from where counting began, or where nobody lags behind, to the end.
    marks: VecDeque<Mark>,
    /// The last mark moves with the end until it is this far from the one before it.
    bytes_step: u64,
    seen_records: u64,
    seen_bytes: u64,
}

impl Sizes {
    /// A batch was seen, anywhere.
    pub(super) fn learn(&mut self, records: i64, bytes: usize) {
        self.seen_records += records.max(0).unsigned_abs();
        self.seen_bytes += bytes as u64;
    }

    /// A batch is the next of the log.
    pub(super) fn push(&mut self, offset: i64, next: i64, bytes: usize) {
        let bytes = bytes as u64;
        self.learn(next - offset, bytes as usize);
        if self.marks.back().is_none_or(|last| last.offset != offset) {
            // The first, or behind something that was not seen: counting begins anew.
            self.marks.clear();
            self.marks.push_back(Mark { offset, bytes: 0 });
            self.bytes_step = 0;
        }
        let count = self.marks.len();
        let end = Mark { offset: next, bytes: self.marks[count - 1].bytes + bytes };
        match count.checked_sub(2).map(|before| self.marks[before]) {
            Some(before) if end.bytes - before.bytes <= self.bytes_step => self.marks[count - 1] = end,
            _ => self.marks.push_back(end),
        }
        if self.marks.len() > MARKS_MAX {
            let last = self.marks.len() - 1;
            let mut index = 0;
            self.marks.retain(|_| {
                index += 1;
                index % 2 == 1 || index == last + 1
            });
            let span = self.marks[self.marks.len() - 1].bytes - self.marks[0].bytes;
            self.bytes_step = span / (MARKS_MAX as u64 / 2);
        }
    }

    /// The log ends there now.
    pub(super) fn cut(&mut self, end: i64) {
        if self.marks.back().is_some_and(|last| last.offset > end) {
            self.marks.clear();
        }
    }

    /// Every side has what is below.
    pub(super) fn forget_below(&mut self, offset: i64) {
        while self.marks.len() > 1 && self.marks[1].offset <= offset {
            self.marks.pop_front();
        }
        if self.marks.len() == 1 {
            self.bytes_step = 0;
        }
    }

    /// Bytes of the records from an offset up to another. None while no record was seen to judge them by.
    pub(super) fn between(&self, from: i64, to: i64) -> Option<i64> {
        if from >= to {
            return Some(0);
        }
        let (first, last) = match (self.marks.front(), self.marks.back()) {
            (Some(first), Some(last)) => (first.offset, last.offset.max(first.offset)),
            _ => (to, to),
        };
        let (low, high) = (from.clamp(first, last), to.clamp(first, last));
        let counted = self.up_to(high) - self.up_to(low);
        let uncounted = (to - from) - (high - low);
        if uncounted == 0 {
            return Some(counted as i64);
        }
        let mean = (self.seen_records > 0).then(|| self.seen_bytes as f64 / self.seen_records as f64)?;
        Some((counted + uncounted as f64 * mean) as i64)
    }

    /// Counted bytes up to an offset between the first mark and the last; between two marks all records are alike.
    fn up_to(&self, offset: i64) -> f64 {
        let above = self.marks.partition_point(|mark| mark.offset <= offset);
        let Some(below) = above.checked_sub(1).map(|below| self.marks[below]) else { return 0.0 };
        let Some(above) = self.marks.get(above) else { return below.bytes as f64 };
        let part = (offset - below.offset) as f64 / (above.offset - below.offset) as f64;
        below.bytes as f64 + part * (above.bytes - below.bytes) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of ten records from an offset on, of these sizes.
    fn sizes(from: i64, bytes: impl IntoIterator<Item = usize>) -> Sizes {
        let mut sizes = Sizes::default();
        let mut offset = from;
        for bytes in bytes {
            sizes.push(offset, offset + 10, bytes);
            offset += 10;
        }
        sizes
    }

    #[test]
    fn bytes_are_those_of_the_batches_that_passed() {
        let check = |sizes: Sizes, from: i64, to: i64, expect: Option<i64>| {
            assert_eq!(sizes.between(from, to), expect, "{from}..{to} of {sizes:?}");
        };
        check(Sizes::default(), 5, 5, Some(0));
        check(Sizes::default(), 0, 10, None);
        check(sizes(100, [1000, 50, 3000]), 100, 130, Some(4050));
        check(sizes(100, [1000, 50, 3000]), 110, 120, Some(50));
        check(sizes(100, [1000, 50, 3000]), 130, 130, Some(0));
        check(sizes(100, [1000, 50, 3000]), 130, 100, Some(0));
        // What passed before the start, or is on its way, is of the mean size.
        check(sizes(100, [500, 1500]), 90, 120, Some(3000));
        check(sizes(100, [500, 1500]), 0, 50, Some(5000));
        check(sizes(100, [500, 1500]), 110, 121, Some(1600));
        let mut after_a_gap = sizes(0, [700]);
        after_a_gap.push(50, 60, 900);
        check(after_a_gap, 50, 60, Some(900));
        let mut of_the_other_side = Sizes::default();
        of_the_other_side.learn(10, 200);
        check(of_the_other_side, 0, 100, Some(2000));
        let mut cut = sizes(0, [100, 100, 100]);
        cut.cut(20);
        cut.push(20, 30, 5000);
        check(cut, 20, 30, Some(5000));
    }

    #[test]
    fn a_long_lag_costs_no_more_memory_and_is_known_to_a_part_of_itself() {
        // Small batches first, then large ones: the mean would say half of either.
        let mut sizes = sizes(0, (0..200_000).map(|index| if index < 100_000 { 100 } else { 10_000 }));
        assert!(sizes.marks.len() <= MARKS_MAX, "{}", sizes.marks.len());
        let total: i64 = 100_000 * 10_100;
        assert_eq!(sizes.between(0, 2_000_000), Some(total));
        for (from, expect) in [(1_000_000, 1_000_000_000), (1_500_000, 500_000_000), (1_900_000, 100_000_000)] {
            let found = sizes.between(from, 2_000_000).unwrap_or_default();
            assert!((found - expect).abs() <= total / 32, "{from}: {found}, not {expect}");
        }
        // Once the side has caught up, the next lag is exact again.
        sizes.forget_below(2_000_000);
        assert_eq!(sizes.marks.len(), 1);
        for index in 0..20 {
            sizes.push(2_000_000 + index * 10, 2_000_010 + index * 10, 100 + index as usize);
        }
        assert_eq!(sizes.between(2_000_150, 2_000_200), Some(115 + 116 + 117 + 118 + 119));
    }
}
