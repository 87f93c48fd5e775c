//! Who was reached lately: for the frequency cap, and so that nobody gets a campaign twice.
//!
//! An open-addressing table from a token's 64-bit hash to the last campaign and its day: 12 bytes a slot, at most two thirds
//! full, so 10 million recipients take 200 MiB and growing takes half of that more for a moment. Two tokens of 10
//! million share a hash with a probability of 3 in a million; the second then counts as reached: nobody gets anything
//! twice for it.

use std::hash::{BuildHasher as _, RandomState};

/// What a slot says of an unused one.
const EMPTY: u64 = 0;
const SLOTS_FIRST: usize = 1 << 10;

/// The last campaign of a recipient.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Last {
    /// Its number in the log.
    pub campaign: u16,
    /// Days since 1970, by the recipient's clock; enough until 2149.
    pub day: u16,
}

/// The table.
#[derive(Debug)]
pub struct Reached {
    hasher: RandomState,
    hashes: Vec<u64>,
    last: Vec<Last>,
    used: usize,
}

impl Default for Reached {
    fn default() -> Self {
        let (hashes, last) = (vec![EMPTY; SLOTS_FIRST], vec![Last::default(); SLOTS_FIRST]);
        Self { hasher: RandomState::new(), hashes, last, used: 0 }
    }
}

impl Reached {
    /// The hash of a token, good for this process only.
    pub fn hash(&self, token: &str) -> u64 {
        self.hasher.hash_one(token).max(1)
    }

    /// How many recipients it holds.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The last campaign of a recipient.
    pub fn last(&self, hash: u64) -> Option<Last> {
        let slot = self.slot(hash);
        (self.hashes[slot] == hash).then(|| self.last[slot])
    }

    /// Notes a campaign of a recipient.
    pub fn put(&mut self, hash: u64, last: Last) {
        if (self.used + 1) * 3 > self.hashes.len() * 2 {
            self.grow();
        }
        let slot = self.slot(hash);
        if self.hashes[slot] == EMPTY {
            self.used += 1;
            self.hashes[slot] = hash;
        }
        self.last[slot] = last;
    }

    fn slot(&self, hash: u64) -> usize {
        let mask = self.hashes.len() - 1;
        let mut slot = hash as usize & mask;
        // There is always an unused slot.
        while self.hashes[slot] != EMPTY && self.hashes[slot] != hash {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let slots = self.hashes.len() * 2;
        let hashes = std::mem::replace(&mut self.hashes, vec![EMPTY; slots]);
        let last = std::mem::replace(&mut self.last, vec![Last::default(); slots]);
        for (hash, last) in hashes.into_iter().zip(last).filter(|(hash, _)| *hash != EMPTY) {
            let slot = self.slot(hash);
            (self.hashes[slot], self.last[slot]) = (hash, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_as_it_grows() {
        let mut reached = Reached::default();
        let last = |number: u16| Last { campaign: number, day: number / 2 };
        for number in 0..5000_u16 {
            let hash = reached.hash(&format!("token {number}"));
            assert_eq!(reached.last(hash), None);
            reached.put(hash, last(number));
        }
        assert_eq!(reached.len(), 5000);
        for number in 0..5000_u16 {
            assert_eq!(reached.last(reached.hash(&format!("token {number}"))), Some(last(number)));
        }
        let hash = reached.hash("token 7");
        reached.put(hash, last(9));
        assert_eq!((reached.len(), reached.last(hash)), (5000, Some(last(9))));
    }
}
