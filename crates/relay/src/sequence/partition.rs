//! The state machine of one partition.

use super::{Action, Checkpoint, Event, Millis};
use crate::sides::{Absence, Standing};

/// What stays the same in the life of a partition's sequencer.
#[derive(Debug, Clone, Copy)]
pub struct PartitionConfig {
    /// What happens without the standby.
    pub absence: Absence,
    /// Whether both sides must hold a record before it is acknowledged; otherwise the standby follows (`async`).
    pub duplex: bool,
    /// Batches in flight to the active side, at most.
    pub active_in_flight_max: usize,
    /// Batches that wait or are in flight, at most; beyond it Produce is answered retriably.
    pub pending_max: usize,
    /// How long an order may be without outcome before the side is suspected, milliseconds.
    pub suspect_after_ms: Millis,
    /// About how much is read at once while comparing or copying.
    pub copy_bytes_max: usize,
    /// The producer id for stamping batches that have none (62 random bits).
    pub stamp_id: i64,
}

/// What clients and operators may see of a partition now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct View {
    /// Whether the gate is known: until then every answer is a retriable error, never a smaller number (RELAY-2).
    pub ready: bool,
    /// Whether batches are admitted.
    pub writable: bool,
    /// The high watermark shown.
    pub gate: i64,
    /// The log start shown.
    pub log_start: i64,
    /// Known end of each side's log, if known.
    pub ends: crate::SideMap<Option<i64>>,
    /// Batches waiting or in flight.
    pub pending: usize,
    /// Their bytes.
    pub pending_bytes: usize,
}

/// One partition.
#[derive(Debug)]
pub struct Partition {
    config: PartitionConfig,
    standing: Standing,
    checkpoint: Option<Checkpoint>,
}

impl Partition {
    /// A partition as it is after a start: nothing is known but the checkpoint. The first [`Event::Tick`] sets it going.
    pub fn new(config: PartitionConfig, standing: Standing, checkpoint: Option<Checkpoint>) -> Self {
        Self { config, standing, checkpoint }
    }

    /// One step.
    pub fn on(&mut self, _now: Millis, _event: Event, _out: &mut Vec<Action>) {}

    /// What may be seen.
    pub fn view(&self) -> View {
        View::default()
    }

    /// What must be kept now, consistent with the gate. None while it is not known.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint.clone()
    }

    /// What it was made with.
    pub fn config(&self) -> (&PartitionConfig, Standing) {
        (&self.config, self.standing)
    }
}
