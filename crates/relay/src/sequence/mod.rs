//! One partition: sequencer, gate, follower, takeover, stamping, as a pure state machine.

mod action;
mod event;
mod partition;
mod window;

pub use action::{Acked, Action, Checkpoint, Outgoing, Refusal, Suspicion};
pub use event::{Event, Located, Outcome, ReadFailed, Ticket, WriteRefused};
pub use partition::{Partition, PartitionConfig, View};
pub use window::{BATCHES_REMEMBERED, Remembered, WindowSnapshot};

/// Milliseconds on a clock that never goes back (CLOCK_BOOTTIME in the shell, virtual in simulation).
pub type Millis = u64;

/// Names one write or read that was ordered, so that its outcome can be told apart from an older one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub u64);
