//! A sketch: what a window of records comes to, in a few kilobytes. Pure.
//!
//! It holds the count of the records, the sums of their amounts, the sum of their hashes, and a table of cells from
//! which the difference of two sketches can be taken apart into the records that differ, each with its multiplicity
//! (a counting invertible Bloom lookup table over sums, not over exclusive ors: two or three copies do not cancel).
//! Sketches of parts are merged; those of two readers are subtracted. The same records give the same sketch in any order.
//!
//! - hash of a record: SipHash-2-4 with 128 bits, keyed, over its canonical bytes; the lowest 112 bits. The upper 16 are
//!   left free so that the sum of up to 65,535 copies of one record can be divided by their count again.
//! - cells: four tables of equal length. In table `i` the record stands in cell `(w * length) >> 28`, `w` being bits
//!   `28 i` to `28 i + 27` of its hash: the hash is keyed and uniform, no further one is needed.
//! - a cell: count, sum of packed identities, sum of hashes (modulo 2^128), sum of checks (modulo 2^64). The check, a
//!   mixture of identity and hash, says whether a cell holds copies of one record only.
//!
//! # How many cells
//!
//! [`Shape::for_differences`] takes the larger of two bounds. Four tables can be taken apart as long as there are at
//! least 1.295 cells per record that differs (the threshold of random 4-uniform hypergraphs is 0.772); two per record
//! keep away from it. And two records that share all four cells block each other: among `d` there are `d (d - 1) / 2`
//! pairs, each with the chance `(4 / cells)^4`; it is kept below 1 in 100,000. What cannot be taken apart is no wrong
//! answer: [`Sketch::peel`] says so, and the window is cut in two and read again.

mod encode;
mod peel;

use siphasher::sip128::SipHasher24;

use crate::canonical::Identity;

pub use encode::{DecodeError, ENCODING_VERSION};
pub use peel::{Copies, Stuck};

/// Tables, and cells in which a record stands.
pub const HASHES: usize = 4;

/// Bits of a record's hash.
pub const HASH_BITS: u32 = 112;

/// Most sums of amounts in a sketch: more than any table has columns of money, and [`Shape::STANDARD`] stays in 64 KiB.
pub const SUMS_MAX: usize = 8;

/// Most cells: 48 MiB, far beyond what anyone wants to have named.
pub const CELLS_MAX: usize = 1 << 20;

/// Bits of a record's hash that pick its cell in one table.
const WORD_BITS: u32 = HASH_BITS / HASHES as u32;

/// Hashed under a key to name it; the name says nothing of the key.
const KEY_NAME: &[u8] = b"naru audit sketch key 1";

/// The secret under which records are hashed: without it nobody can make two records of one hash, or look for a record
/// in a sketch.
#[derive(Clone)]
pub struct Key {
    hasher: SipHasher24,
    name: u64,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:016x})", self.name)
    }
}

impl Key {
    /// From 16 secret bytes.
    pub fn new(secret: &[u8; 16]) -> Self {
        let hasher = SipHasher24::new_with_key(secret);
        let name = hasher.hash(KEY_NAME).as_u128() as u64;
        Self { hasher, name }
    }

    /// Which key it is; public.
    pub fn name(&self) -> u64 {
        self.name
    }

    /// The hash of a record's canonical bytes, below 2^112.
    pub fn hash(&self, canonical: &[u8]) -> u128 {
        self.hasher.hash(canonical).as_u128() & ((1 << HASH_BITS) - 1)
    }
}

/// How large a sketch is. Sketches of different shapes cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    cells: u32,
    sums: u8,
}

impl Shape {
    /// 1,360 cells, 65,280 bytes: names 500 differing records and stays within 64 KiB with all its sums.
    pub const STANDARD: Self = Self { cells: 1360, sums: 0 };

    /// With this many cells and sums.
    ///
    /// # Errors
    /// Cells that are none, too many or no multiple of [`HASHES`]; too many sums.
    pub fn new(cells: usize, sums: usize) -> Result<Self, ShapeError> {
        if cells == 0 || cells > CELLS_MAX || !cells.is_multiple_of(HASHES) {
            return Err(ShapeError::Cells(cells));
        }
        if sums > SUMS_MAX {
            return Err(ShapeError::Sums(sums));
        }
        Ok(Self { cells: cells as u32, sums: sums as u8 })
    }

    /// The smallest that takes `differences` records apart, but for 1 window in 100,000; at most [`CELLS_MAX`].
    pub fn for_differences(differences: usize, sums: usize) -> Result<Self, ShapeError> {
        let of_threshold = differences.saturating_mul(2);
        let d = differences as f64;
        let of_pairs = HASHES as f64 * (d * (d - 1.0) / 2.0 * 1e5).max(1.0).powf(1.0 / HASHES as f64);
        let cells = of_threshold.max(of_pairs.ceil() as usize).max(HASHES);
        Self::new(cells.next_multiple_of(HASHES).min(CELLS_MAX), sums)
    }

    /// The same with this many sums.
    ///
    /// # Errors
    /// More than [`SUMS_MAX`].
    pub fn with_sums(self, sums: usize) -> Result<Self, ShapeError> {
        Self::new(self.cells as usize, sums)
    }

    /// Its cells, over all tables.
    pub fn cells(self) -> usize {
        self.cells as usize
    }

    /// Its sums.
    pub fn sums(self) -> usize {
        usize::from(self.sums)
    }
}

/// A shape that no sketch has. The caller's mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Too few, too many, or no multiple of [`HASHES`].
    #[error("{0} cells: a multiple of {HASHES} up to {CELLS_MAX} is needed")]
    Cells(usize),
    /// Too many sums.
    #[error("{0} sums: at most {SUMS_MAX}")]
    Sums(usize),
}

/// Two sketches that have nothing to say to each other. The caller's mistake, or a key that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unlike {
    /// Hashed under different keys.
    #[error("sketches under the keys {0:016x} and {1:016x} cannot be compared")]
    Key(u64, u64),
    /// Of different shapes.
    #[error("sketches of {} and {} cells, {} and {} sums cannot be compared", .0.cells, .1.cells, .0.sums, .1.sums)]
    Shape(Shape, Shape),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cell {
    count: i64,
    check: u64,
    identity: u128,
    hash: u128,
}

impl Cell {
    fn add(&mut self, other: &Self) {
        self.count = self.count.wrapping_add(other.count);
        self.check = self.check.wrapping_add(other.check);
        self.identity = self.identity.wrapping_add(other.identity);
        self.hash = self.hash.wrapping_add(other.hash);
    }

    fn subtract(&mut self, other: &Self) {
        self.count = self.count.wrapping_sub(other.count);
        self.check = self.check.wrapping_sub(other.check);
        self.identity = self.identity.wrapping_sub(other.identity);
        self.hash = self.hash.wrapping_sub(other.hash);
    }
}

/// What records come to. The difference of two is one too; its counts and sums may be negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    key: u64,
    shape: Shape,
    count: i64,
    hash: u128,
    sums: [i128; SUMS_MAX],
    cells: Box<[Cell]>,
}

impl Sketch {
    /// Of no records.
    pub fn new(key: &Key, shape: Shape) -> Self {
        let cells = vec![Cell::default(); shape.cells()].into_boxed_slice();
        Self { key: key.name, shape, count: 0, hash: 0, sums: [0; SUMS_MAX], cells }
    }

    /// Adds a record by its identity, its [`Key::hash`] and its amounts in the order of the sums; what amounts are more
    /// than the shape has sums are not summed.
    pub fn add(&mut self, identity: Identity, hash: u128, amounts: &[i128]) {
        let identity = identity.packed();
        let one = Cell { count: 1, check: check_of(identity, hash), identity, hash };
        self.count = self.count.wrapping_add(1);
        self.hash = self.hash.wrapping_add(hash);
        for (sum, amount) in self.sums[..self.shape.sums()].iter_mut().zip(amounts) {
            *sum = sum.wrapping_add(*amount);
        }
        let length = self.cells.len() / HASHES;
        for index in places(hash, length) {
            self.cells[index].add(&one);
        }
    }

    /// Adds the records of another.
    ///
    /// # Errors
    /// Sketches that cannot be compared.
    pub fn merge(&mut self, other: &Self) -> Result<(), Unlike> {
        self.alike(other)?;
        self.count = self.count.wrapping_add(other.count);
        self.hash = self.hash.wrapping_add(other.hash);
        self.sums.iter_mut().zip(other.sums).for_each(|(sum, other)| *sum = sum.wrapping_add(other));
        self.cells.iter_mut().zip(&other.cells).for_each(|(cell, other)| cell.add(other));
        Ok(())
    }

    /// Takes the records of another away: what is left is how this reader differs from that.
    ///
    /// # Errors
    /// Sketches that cannot be compared.
    pub fn subtract(&mut self, other: &Self) -> Result<(), Unlike> {
        self.alike(other)?;
        self.count = self.count.wrapping_sub(other.count);
        self.hash = self.hash.wrapping_sub(other.hash);
        self.sums.iter_mut().zip(other.sums).for_each(|(sum, other)| *sum = sum.wrapping_sub(other));
        self.cells.iter_mut().zip(&other.cells).for_each(|(cell, other)| cell.subtract(other));
        Ok(())
    }

    fn alike(&self, other: &Self) -> Result<(), Unlike> {
        if self.key != other.key {
            return Err(Unlike::Key(self.key, other.key));
        }
        if self.shape != other.shape {
            return Err(Unlike::Shape(self.shape, other.shape));
        }
        Ok(())
    }

    /// Records.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// The sums of their amounts, in the order they were given.
    pub fn sums(&self) -> &[i128] {
        &self.sums[..self.shape.sums()]
    }

    /// The sum of their hashes, modulo 2^128.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// Which key the records were hashed under.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Its shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether it is what no records come to, in every cell.
    pub fn is_empty(&self) -> bool {
        self.count == 0
            && self.hash == 0
            && self.sums == [0; SUMS_MAX]
            && self.cells.iter().all(|cell| *cell == Cell::default())
    }
}

/// The record's cell in each table.
#[inline]
fn places(hash: u128, length: usize) -> [usize; HASHES] {
    std::array::from_fn(|table| {
        let word = (hash >> (table as u32 * WORD_BITS)) as u64 & ((1 << WORD_BITS) - 1);
        table * length + ((word * length as u64) >> WORD_BITS) as usize
    })
}

/// Mixes identity and hash so that no sum of other records' checks is likely to be it.
#[inline]
fn check_of(identity: u128, hash: u128) -> u64 {
    let mut mixed = finish(hash as u64 ^ 0x9E37_79B9_7F4A_7C15);
    mixed = finish(mixed ^ (hash >> 64) as u64);
    mixed = finish(mixed ^ identity as u64);
    finish(mixed ^ (identity >> 64) as u64)
}

/// The finaliser of SplitMix64: every bit of the input changes half of the output's.
#[inline]
const fn finish(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests;
