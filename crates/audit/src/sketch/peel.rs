//! Taking the difference of two sketches apart.

use super::{Cell, HASH_BITS, Sketch, check_of, places};
use crate::canonical::Identity;

/// Copies of one record, exactly, that one reader has more than the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copies {
    /// Which record.
    pub identity: Identity,
    /// The hash of its canonical bytes: two records of one identity differ in it.
    pub hash: u128,
    /// How many more the reader has that was subtracted from; negative: the other one.
    pub more: i64,
}

/// A difference too large for the sketch: cut the window in two and read again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("more records differ than the sketch can name: {} were named", .named.len())]
pub struct Stuck {
    /// What could be named. Right, but not all.
    pub named: Vec<Copies>,
}

/// Sums of more copies would not divide: 2^16 of 112 bits leave the 128.
const COPIES_MAX: u64 = (1 << (128 - HASH_BITS)) - 1;

impl Sketch {
    /// Every record of a difference with its multiplicity, sorted.
    ///
    /// # Errors
    /// A difference that is too large to be taken apart, with the part that could be.
    pub fn peel(mut self) -> Result<Vec<Copies>, Stuck> {
        let length = self.cells.len() / super::HASHES;
        let mut named = Vec::new();
        let mut waiting: Vec<usize> = (0..self.cells.len()).collect();
        // Each step that names something empties a cell; a check that deceives (1 in 2^64) must not go on for ever.
        let mut steps_left = self.cells.len() * 2;
        while let Some(index) = waiting.pop() {
            let Some(copies) = only(&self.cells[index]) else { continue };
            if !places(copies.hash, length).contains(&index) {
                continue;
            }
            if steps_left == 0 {
                break;
            }
            steps_left -= 1;
            let all = cell_of(copies);
            for place in places(copies.hash, length) {
                self.cells[place].subtract(&all);
                waiting.push(place);
            }
            named.push(copies);
        }
        named.sort_unstable();
        if self.cells.iter().all(|cell| *cell == Cell::default()) { Ok(named) } else { Err(Stuck { named }) }
    }
}

/// What a cell holds, if that is copies of one record only.
fn only(cell: &Cell) -> Option<Copies> {
    let count = cell.count.unsigned_abs();
    if count == 0 || count > COPIES_MAX {
        return None;
    }
    let positive = |sum: u128| if cell.count < 0 { sum.wrapping_neg() } else { sum };
    let one = |sum: u128| {
        let (sum, count) = (positive(sum), u128::from(count));
        (sum % count == 0 && (sum / count) >> HASH_BITS == 0).then_some(sum / count)
    };
    let (identity, hash) = (one(cell.identity)?, one(cell.hash)?);
    let check = check_of(identity, hash).wrapping_mul(cell.count as u64);
    (check == cell.check).then(|| Copies { identity: Identity::unpacked(identity), hash, more: cell.count })
}

/// What so many copies come to in a cell.
fn cell_of(copies: Copies) -> Cell {
    let identity = copies.identity.packed();
    let times = copies.more as u128;
    Cell {
        count: copies.more,
        check: check_of(identity, copies.hash).wrapping_mul(copies.more as u64),
        identity: identity.wrapping_mul(times),
        hash: copies.hash.wrapping_mul(times),
    }
}
