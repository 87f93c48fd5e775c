//! What happens when, on a virtual clock in microseconds.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

struct Entry<E> {
    at_us: u64,
    nth: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at_us, self.nth).cmp(&(other.at_us, other.nth))
    }
}

/// Events in the order of their times; those of one moment in the order in which they were planned.
pub struct Agenda<E> {
    planned: BinaryHeap<Reverse<Entry<E>>>,
    nth: u64,
}

impl<E> Agenda<E> {
    pub fn new() -> Self {
        Self { planned: BinaryHeap::new(), nth: 0 }
    }

    pub fn plan(&mut self, at_us: u64, event: E) {
        self.nth += 1;
        self.planned.push(Reverse(Entry { at_us, nth: self.nth, event }));
    }

    pub fn next(&mut self) -> Option<(u64, E)> {
        self.planned.pop().map(|Reverse(entry)| (entry.at_us, entry.event))
    }
}

/// The time until the next of events that come at random, so many per second.
pub fn gap_us(rng: &mut rand_chacha::ChaCha8Rng, per_s: f64) -> u64 {
    let unit: f64 = rand::RngExt::random(rng);
    (-(1.0 - unit).ln() / per_s * 1e6) as u64 + 1
}
