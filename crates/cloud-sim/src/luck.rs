//! What the seed decides about a machine: the same at every start.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Draws for one purpose, from one seed.
pub(crate) struct Luck(ChaCha8Rng);

impl Luck {
    /// Draws that belong to a number: of a machine, or of a request.
    pub(crate) fn of(seed: u64, purpose: u64, number: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ purpose.rotate_left(32));
        random.set_stream(number);
        Self(random)
    }

    /// From 0 inclusive to 1 exclusive.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something with this chance, in millionths, happens.
    pub(crate) fn happens(&mut self, chance_ppm: u32) -> bool {
        self.unit() * 1e6 < f64::from(chance_ppm)
    }

    /// Near enough to a standard normal: twelve uniform draws have a variance of one.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}
