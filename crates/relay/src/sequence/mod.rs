//! One partition: sequencer, gate, follower, takeover, stamping, as a pure state machine.
//!
//! Events set down facts; after each, every stage does what can be done now (`partition.rs`, `advance`). The files are
//! the stages of a record: `admit`, `active` (the side that orders), `standby` (the side that lacks placed batches),
//! `gate`. Beside them what happens when an answer is in doubt: `resolve` (one side against the line), `open` (a start),
//! `follow` (a side that is not in sync), `standing` (takeover), all of which compare by `compare`.
//!
//! The one fact everything rests on is a side's confirmed end (`track`): below it that side is known to hold what the
//! line holds. It rises only by an answer with the expected offset or by batches that were read and compared.

mod action;
mod active;
mod admit;
mod compare;
mod event;
mod follow;
mod gate;
mod keep;
mod line;
mod mutant;
mod open;
mod pad;
mod partition;
mod resolve;
mod stamp;
mod standby;
mod standing;
mod suspect;
mod track;
mod trim;
mod window;

#[cfg(test)]
mod tests;

pub use action::{Acked, Action, Checkpoint, Outgoing, Refusal, Suspicion};
pub(crate) use compare::is_same_batch;
pub use event::{Event, Located, Outcome, ReadFailed, Ticket, WriteRefused};
pub use keep::Lent;
#[cfg(feature = "mutation")]
pub use mutant::Mutant;
pub use partition::{Partition, PartitionConfig, View};
pub use stamp::Restamped;
pub(crate) use stamp::spare_id;
pub use window::{BATCHES_REMEMBERED, Remembered, WindowSnapshot};

/// Milliseconds on a clock that never goes back (CLOCK_BOOTTIME in the shell, virtual in simulation).
pub type Millis = u64;

/// Names one write or read that was ordered, so that its outcome can be told apart from an older one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub u64);
