//! One service group: which side is active, which are in sync, and how that changes (RELAY-5).
//!
//! A service group is the topics and consumer groups that fail over, switch and move together.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::side::{Side, SideSet};

/// What the coordinator holds for a service group. Changed by one compare-and-swap at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The side that orders records.
    pub active: Side,
    /// The sides of which each alone holds every acknowledged record. Never empty, always with the active side.
    pub in_sync: SideSet,
    /// Rises by one with every change.
    pub epoch: u64,
}

impl Standing {
    /// A group that nobody has used yet.
    pub fn first(active: Side) -> Self {
        Self { active, in_sync: SideSet::PAIR, epoch: 1 }
    }

    /// Whether a record is acknowledged only when both sides hold it.
    pub fn is_duplex(self) -> bool {
        self.in_sync.is_pair()
    }

    /// The side that follows.
    pub fn standby(self) -> Side {
        self.active.other()
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "active {}, in sync {}, epoch {}", self.active, self.in_sync, self.epoch)
    }
}

/// What a group does without its standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Absence {
    /// Goes on alone by a durable grant, with an alarm.
    Available,
    /// Refuses writes retriably until both are there.
    Block,
}
