//! One service group: which side is active, which are in sync, and how that changes (RELAY-5).
//!
//! A service group is the topics and consumer groups that fail over, switch and move together.

use std::fmt;

mod adopting;
mod alarms;
mod config;
mod event;
mod group;
mod health;
mod returning;
mod swapping;
mod switching;
#[cfg(test)]
mod tests;

pub use config::GroupConfig;
pub use event::{Action, Alarm, Assessment, Command, CommandRefused, Complaint, Event, Probe, Seen, SwapOutcome};
pub use group::{Boot, Change, Group, GroupView};
pub use returning::ReturnStage;
pub use switching::SwitchStage;

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

/// Why one side acknowledges alone, or why the sides changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The active side could not be reached: the standby took over.
    ActiveAbsent,
    /// The active side lost records that it had, or holds others: the standby took over.
    ActiveDamaged,
    /// The standby could not be reached.
    StandbyAbsent,
    /// The standby refused what the active side took.
    StandbyRefused,
    /// The standby lost records that it had, or holds others.
    StandbyDamaged,
    /// An operator allowed it while the state after a restart was in doubt.
    Operator,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ActiveAbsent => "the active side was absent",
            Self::ActiveDamaged => "the active side lost records",
            Self::StandbyAbsent => "the standby was absent",
            Self::StandbyRefused => "the standby refused records",
            Self::StandbyDamaged => "the standby lost records",
            Self::Operator => "allowed by an operator",
        })
    }
}

/// The value that stands in the coordinator for a service group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Who is active and in sync.
    pub standing: Standing,
    /// The grant by which one side acknowledges alone. None in duplex.
    pub grant: Option<Cause>,
    /// A planned switch to this side has begun: partitions are being quiesced.
    pub switching: Option<Side>,
    /// The side that was active before the last planned switch, until that is confirmed.
    pub rollback: Option<Side>,
    /// Whether it is known that what the active side holds is what counts: both were found to hold the same once, or an
    /// operator has said so. Only then is another tail on the other side removed unasked.
    #[serde(default)]
    pub confirmed: bool,
}

impl GroupRecord {
    /// A group that nobody has used yet.
    pub fn first(active: Side) -> Self {
        Self { standing: Standing::first(active), grant: None, switching: None, rollback: None, confirmed: false }
    }

    /// The record that follows with these sides.
    #[must_use]
    fn then(self, active: Side, in_sync: SideSet) -> Self {
        let standing = Standing { active, in_sync, epoch: self.standing.epoch + 1 };
        Self { standing, grant: None, switching: None, rollback: self.rollback, confirmed: self.confirmed }
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
