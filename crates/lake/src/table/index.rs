//! Where the row of each key is.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

/// A key's row: 128 bits of a keyed hash of the key's columns. The keys of the hash are of this process alone, so that
/// nobody can choose two keys that meet; by chance they meet once in 2^64 rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u128);

/// Makes keys out of the columns that rows are found by.
#[derive(Debug)]
pub struct Keyer {
    hashes: (RandomState, RandomState),
    converter: RowConverter,
    columns: Vec<usize>,
}

impl Keyer {
    /// For keys of these columns of the table, of these types.
    ///
    /// # Errors
    /// When a type has no order.
    pub fn new(columns: Vec<usize>, types: Vec<DataType>) -> Result<Self, ArrowError> {
        let converter = RowConverter::new(types.into_iter().map(SortField::new).collect())?;
        Ok(Self { hashes: (RandomState::new(), RandomState::new()), converter, columns })
    }

    /// The columns, by their place in the table's.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The key of each row, from the columns of the key alone.
    ///
    /// # Errors
    /// When they are of other types.
    pub fn keys(&self, columns: &[ArrayRef]) -> Result<Vec<Key>, ArrowError> {
        let rows = self.converter.convert_columns(columns)?;
        Ok(rows.iter().map(|row| self.of(row.as_ref())).collect())
    }

    fn of(&self, bytes: &[u8]) -> Key {
        Key(u128::from(self.hashes.0.hash_one(bytes)) << 64 | u128::from(self.hashes.1.hash_one(bytes)))
    }
}

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Committed.
    File {
        /// Number of the file in the table's state.
        file: u32,
        /// Number of the row in the file.
        row: u32,
    },
    /// Not yet committed.
    Hot {
        /// Number of the batch.
        batch: u32,
        /// Number of the row in the batch.
        row: u32,
    },
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    place: Place,
    partition: i32,
}

/// The place of each key's row. About 50 bytes a row.
#[derive(Debug, Default)]
pub struct KeyIndex {
    entries: HashMap<Key, Entry>,
}

impl KeyIndex {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The place of a key's row.
    pub fn get(&self, key: Key) -> Option<Place> {
        self.entries.get(&key).map(|entry| entry.place)
    }

    /// Puts a key's row in a place; gives the place of the row that it replaces.
    pub fn put(&mut self, key: Key, partition: i32, place: Place) -> Option<Place> {
        self.entries.insert(key, Entry { place, partition }).map(|entry| entry.place)
    }

    /// Says where a row has gone that is still the key's; whether it was.
    pub fn moved(&mut self, key: Key, from: Place, to: Place) -> bool {
        match self.entries.get_mut(&key) {
            Some(entry) if entry.place == from => {
                entry.place = to;
                true
            }
            _ => false,
        }
    }

    /// Takes a key out; gives the place of its row.
    pub fn remove(&mut self, key: Key) -> Option<Place> {
        self.entries.remove(&key).map(|entry| entry.place)
    }

    /// Takes out every key that came through a partition; gives the places of their rows.
    pub fn remove_partition(&mut self, partition: i32) -> Vec<Place> {
        self.entries.extract_if(|_, entry| entry.partition == partition).map(|(_, entry)| entry.place).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn the_index_follows_a_row_until_another_takes_its_key() {
        let keyer = Keyer::new(vec![0], vec![DataType::Utf8]).unwrap();
        let mut index = KeyIndex::default();
        let (a, b) = (keyer.of(b"a"), keyer.of(b"b"));
        let hot = |row| Place::Hot { batch: 0, row };
        let file = |row| Place::File { file: 7, row };
        assert_eq!(index.put(a, 0, hot(0)), None);
        assert_eq!(index.put(b, 1, hot(1)), None);
        assert!(index.moved(a, hot(0), file(0)));
        assert!(!index.moved(a, hot(0), file(9)));
        assert_eq!(index.put(a, 0, hot(2)), Some(file(0)));
        assert_eq!(index.remove_partition(0), [hot(2)]);
        assert_eq!((index.get(a), index.remove(b), index.len()), (None, Some(hot(1)), 0));
    }
}
