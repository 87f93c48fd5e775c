//! Which rows of a file, or of a batch, are gone.

use arrow::array::BooleanArray;
use arrow::buffer::{BooleanBuffer, Buffer};

/// A set of row numbers, one bit each, that grows with the largest of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    words: Vec<u64>,
    count: usize,
}

impl Positions {
    /// Takes a row in; whether it was not in before.
    pub fn insert(&mut self, row: u32) -> bool {
        let (word, bit) = (row as usize / 64, 1u64 << (row % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += usize::from(is_new);
        is_new
    }

    /// Whether a row is in.
    pub fn contains(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    /// How many rows are in.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is in.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The rows, rising.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let base = u32::try_from(index * 64).unwrap_or(u32::MAX);
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| base + bit)
        })
    }

    /// Of `rows` rows from `start` on, those that are not in.
    pub fn living(&self, start: usize, rows: usize) -> BooleanArray {
        let buffer =
            BooleanBuffer::collect_bool(rows, |row| !self.contains(u32::try_from(start + row).unwrap_or(u32::MAX)));
        BooleanArray::new(buffer, None)
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        self.words.len() * std::mem::size_of::<u64>() + std::mem::size_of::<Buffer>()
    }
}

impl FromIterator<u32> for Positions {
    fn from_iter<I: IntoIterator<Item = u32>>(rows: I) -> Self {
        let mut positions = Self::default();
        for row in rows {
            positions.insert(row);
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_once_and_come_out_in_order() {
        let mut positions = Positions::default();
        for (row, is_new) in [(70, true), (3, true), (70, false), (64, true), (0, true)] {
            assert_eq!(positions.insert(row), is_new, "{row}");
        }
        assert_eq!(positions.iter().collect::<Vec<_>>(), [0, 3, 64, 70]);
        assert_eq!((positions.len(), positions.contains(64), positions.contains(65)), (4, true, false));
        let living: Vec<_> = positions.living(63, 4).iter().flatten().collect();
        assert_eq!(living, [true, false, true, true]);
    }
}
