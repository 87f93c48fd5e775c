//! The comparer: reads both sides by a path of its own and says where they differ.
//!
//! Owns no decision and shares no code with what writes the log: only [`naru_kafka::client`]. So it can be wrong only
//! by itself, and not in the way in which the relay is. Two shapes: [`Verifier::once`] compares everything that both
//! sides should hold now, [`Follower`] goes behind the gate of a running relay for as long as that runs. Memory is
//! bounded by [`Options::chunk_bytes`] and [`Options::differences_max`], whatever the logs hold.
//!
//! Of a batch everything is compared but its base offset in the header field (it must stand where its twin stands) and
//! the brokers' leader epoch. `lockstep` and `batch` are pure; the rest reads.

mod batch;
mod commits;
mod difference;
mod error;
mod follow;
mod lockstep;
mod once;
mod read;
pub(crate) mod running;

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

pub use self::difference::{Committed, Difference, Part, Seen};
pub use self::error::VerifyError;
pub use self::follow::{Followed, Follower, Mismatch, Watch};
pub use self::once::{Report, Verifier};
use crate::sequence::spare_id;

/// What is said of a batch whose producer id, epoch or sequence differ between the sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Producers {
    /// They must be the same.
    Compared,
    /// Equal records are enough under the stamp of the copier with this id: history that a side refused was copied so.
    /// Such batches are counted.
    Copiers(i64),
    /// Equal records are enough under any stamp: for whoever does not know the copier's. Such batches are counted.
    LeftOut,
}

/// Ids that a copier may have gone on to: each has 32,768 epochs, and one is used up in years.
const COPIERS_IDS_MAX: usize = 4;

impl Producers {
    /// Whether batches of these two producers may hold the same records.
    fn may_differ(self, a: i64, b: i64) -> bool {
        match self {
            Self::Compared => false,
            Self::LeftOut => true,
            Self::Copiers(id) => {
                let ids = std::iter::successors(Some(id), |id| Some(spare_id(*id)));
                ids.take(COPIERS_IDS_MAX).any(|id| id == a || id == b)
            }
        }
    }
}

/// How two sides are compared.
#[derive(Debug, Clone)]
pub struct Options {
    /// The topics; none: all that either side has, without the brokers' own.
    pub topics: Option<BTreeSet<String>>,
    /// Batches under the copier's stamp.
    pub producers: Producers,
    /// Whether records that only one side has at its end are a difference. Not for topics whose standby follows.
    pub tails: bool,
    /// Whether committed offsets are compared.
    pub commits: bool,
    /// Bytes read at once from each side; one batch that is larger comes whole. Default 4 MiB: large enough that a
    /// round trip does not show, small beside the brokers' own answers of 55 MiB.
    pub chunk_bytes: i32,
    /// Bytes that one batch may be decompressed to, where two differ and the first differing record is looked for.
    /// Default 128 MiB, as the client's reader.
    pub decompressed_bytes_max: usize,
    /// Bytes read per second, both sides together; none: as fast as they answer.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Differences kept; more are counted. Default 1,000: enough to see a pattern, nobody reads more.
    pub differences_max: usize,
    /// How long ends, log starts and committed offsets that differ may need to become equal, since a running relay
    /// writes the sides one after the other. Default 5 s, above its slowest write while both sides are in sync.
    pub settle: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            topics: None,
            producers: Producers::LeftOut,
            tails: true,
            commits: true,
            chunk_bytes: 4 << 20,
            decompressed_bytes_max: 128 << 20,
            bytes_per_second: None,
            differences_max: 1_000,
            settle: Duration::from_secs(5),
        }
    }
}
