//! What a service group is told and what it wants done.

use std::sync::Arc;

use naru_kafka::client::TopicPartition;

use super::{GroupRecord, Standing};
use crate::sequence::{Millis, Suspicion};
use crate::side::Side;

/// The last [`crate::sequence::Event::Standing`] that a partition had taken in when it spoke. A report that is older
/// than an announcement says nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Epoch of what held.
    pub held: u64,
    /// Epoch of the change that was sent, if there was one.
    pub sent: Option<u64>,
}

impl Seen {
    /// What a partition has seen once it took in this announcement.
    pub fn of(held: Standing, sent: Option<Standing>) -> Self {
        Self { held: held.epoch, sent: sent.map(|sent| sent.epoch) }
    }
}

/// How a side answers beside the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// It answers.
    Serving,
    /// It has not answered since this time.
    Absent {
        /// Since when.
        since: Millis,
    },
    /// Another cluster answers at its address: absence, with an alarm of its own.
    WrongCluster {
        /// Since when.
        since: Millis,
    },
}

/// What the mirror of committed offsets has against a side. Commits wait for both sides as records do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The consumer group.
    pub consumers: Arc<str>,
    /// What.
    pub suspicion: Suspicion,
    /// Since when.
    pub since: Millis,
}

/// What became of [`Action::Swap`]. The shell answers each exactly once; a time-out is `Unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapOutcome {
    /// It was written.
    Done,
    /// Something else stands there; nothing was written by this swap.
    Conflict,
    /// It may have been applied, or may be later.
    Unknown,
    /// Nothing was written: the coordinator cannot be used.
    Unavailable,
}

/// What a side that is back looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assessment {
    /// It is the recorded cluster. These topics are not there, or have another id than the recorded one (RELAY-12).
    Ready {
        /// Topics to be made again.
        rebuild: Vec<Arc<str>>,
    },
    /// It could not be looked at.
    Failed,
}

/// What an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Make this side the active one, by a planned switch.
    Switch {
        /// The new active side.
        to: Side,
    },
    /// Stop a switch that is under way, or switch back one that is not confirmed.
    Cancel,
    /// The last switch stays; or, while the state is in doubt, what the active side holds is what counts, and the other
    /// side's different tail may be removed.
    Confirm,
    /// One grant of acknowledging alone although the state after a restart is in doubt.
    AllowSoloOnce,
}

/// Why a command was not carried out. The operator's side unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefused {
    /// Nothing to do.
    #[error("that side is active already")]
    AlreadyActive,
    /// The side does not hold everything.
    #[error("that side is not in sync; wait for it")]
    NotInSync,
    /// One change at a time; a retry helps.
    #[error("another change is under way; try again when it has ended")]
    Busy,
    /// There is no switch to cancel or to confirm, and nothing in doubt.
    #[error("there is nothing to cancel or confirm")]
    Nothing,
    /// A start left no doubt that keeps a side from going on alone.
    #[error("nothing is in doubt: no permission to go on alone is needed")]
    NotInDoubt,
    /// A side is absent or out of order; a retry helps once it is not.
    #[error("a side cannot be used at the moment")]
    SideUnfit,
    /// The relay has no lease, or the coordinator cannot be used; a retry helps.
    #[error("the coordinator cannot be used at the moment")]
    NoCoordinator,
    /// The group's committed offsets did not become equal in time; a retry helps.
    #[error("cancelled: the committed offsets of both sides did not become equal in time")]
    OffsetsDiffer,
    /// Writes would have stood still for longer than allowed; a retry helps when there is less traffic.
    #[error("cancelled: not every partition came to rest within the bound on the stall")]
    StallTooLong,
    /// Cancelled by an operator, or by a takeover that came first.
    #[error("cancelled")]
    Cancelled,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A partition belongs to the group. The shell gives it the last announcement.
    Added {
        /// Which.
        partition: TopicPartition,
        /// Whether both sides must hold its records.
        duplex: bool,
    },
    /// A partition does not belong to it any more.
    Removed {
        /// Which.
        partition: TopicPartition,
    },
    /// What a partition thinks of a side. Every partition reports both sides after it was opened, and anew after each
    /// announcement.
    Report {
        /// The partition.
        partition: TopicPartition,
        /// The side.
        side: Side,
        /// The suspicion.
        suspicion: Suspicion,
        /// The last announcement that it knew.
        seen: Seen,
    },
    /// A partition is at rest: both logs end here.
    Quiesced {
        /// The partition.
        partition: TopicPartition,
        /// The end of both logs.
        end: i64,
        /// The last announcement that it knew.
        seen: Seen,
    },
    /// A side was probed.
    Probed {
        /// The side.
        side: Side,
        /// How it answered.
        outcome: Probe,
    },
    /// What the mirror of committed offsets has against a side; None: nothing any more.
    Complained {
        /// The side.
        side: Side,
        /// The oldest complaint.
        complaint: Option<Complaint>,
    },
    /// The outcome of [`Action::Swap`].
    Swapped(SwapOutcome),
    /// The outcome of [`Action::ReadBack`]: what stands there with its version; the outer None: it could not be read.
    Read(Option<Option<(u64, GroupRecord)>>),
    /// The record may have been changed by someone else.
    Changed,
    /// The outcome of [`Action::CopyOffsets`]: whether the side's committed offsets equal the active side's.
    OffsetsCopied {
        /// The side.
        side: Side,
        /// Which try it is the outcome of.
        attempt: u64,
        /// Whether they are equal.
        equal: bool,
    },
    /// The outcome of [`Action::AssessReturn`].
    Assessed {
        /// The side.
        side: Side,
        /// What it looks like.
        outcome: Assessment,
    },
    /// One topic of [`Action::Recreate`] was made again, or could not be.
    Recreated {
        /// The side.
        side: Side,
        /// The topic.
        topic: Arc<str>,
        /// Whether it is there, empty.
        done: bool,
    },
    /// An operator's command.
    Command {
        /// Comes back in [`Action::Answer`].
        id: u64,
        /// What is wanted.
        command: Command,
    },
    /// The right to decide ends at this time (RELAY-9).
    Lease {
        /// On the same clock as every `now`.
        until: Millis,
    },
    /// Time passes.
    Tick,
}

/// Something that wants a person's attention. Raised once and cleared when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Alarm {
    /// One side acknowledges alone, or, where a topic's policy is `block`, nothing is acknowledged.
    Solo,
    /// Neither side can go on.
    Stopped,
    /// After a restart the state is in doubt and a side is away: nothing is acknowledged (RELAY-13).
    InDoubt,
    /// A side lost records that it had, holds others, or holds another topic of the name.
    Damaged(Side),
    /// A side refuses what the other took.
    Refused(Side),
    /// Another cluster answers at a side's address.
    WrongCluster(Side),
    /// The coordinator cannot be used; changes of sides wait for it.
    CoordinatorLost,
    /// The coordinator held something older than this relay remembers.
    CoordinatorRestored,
    /// The lease has ended.
    LeaseEnded,
    /// A side's different tail would have to be removed, and nothing says which side counts: confirm it.
    Unconfirmed(Side),
}

impl Alarm {
    /// The name in status and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Solo => "solo",
            Self::Stopped => "stopped",
            Self::InDoubt => "in-doubt",
            Self::Damaged(_) => "damaged",
            Self::Refused(_) => "refused",
            Self::WrongCluster(_) => "wrong-cluster",
            Self::CoordinatorLost => "coordinator-lost",
            Self::CoordinatorRestored => "coordinator-restored",
            Self::LeaseEnded => "lease-ended",
            Self::Unconfirmed(_) => "unconfirmed",
        }
    }
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Compare and swap the group's record; [`Event::Swapped`] tells.
    Swap {
        /// The version that must stand there; 0: none.
        expected: u64,
        /// The new value.
        record: GroupRecord,
    },
    /// Read the group's record; [`Event::Read`] tells.
    ReadBack,
    /// Tell every partition and the mirror of committed offsets what holds, and what was sent and is not read back.
    Announce {
        /// What holds.
        held: Standing,
        /// A change that may or may not hold. With `held` the stricter of both is observed.
        sent: Option<Standing>,
    },
    /// Bring every partition to rest, and hold commits.
    Quiesce,
    /// Let every partition, and commits, go on.
    Resume,
    /// Look at a side that is back: its cluster id, its topics and their ids. [`Event::Assessed`] tells.
    AssessReturn {
        /// The side.
        side: Side,
    },
    /// Delete these topics on a side and make them again, empty. [`Event::Recreated`] tells, once a topic.
    Recreate {
        /// The side.
        side: Side,
        /// The topics.
        topics: Vec<Arc<str>>,
    },
    /// Make a side's committed offsets equal the active side's. [`Event::OffsetsCopied`] tells.
    CopyOffsets {
        /// The side.
        side: Side,
        /// Comes back in the event: only the last try's outcome counts.
        attempt: u64,
    },
    /// Remove the members of consumer groups from a side that is not active: they would block commits there. Carried
    /// out before a later [`Action::CopyOffsets`] of the same side.
    RemoveMembers {
        /// The side.
        side: Side,
    },
    /// Raise an alarm.
    Alarm {
        /// Which.
        which: Alarm,
        /// For people; holds no data of records.
        text: String,
    },
    /// The alarm is over.
    Calm {
        /// Which.
        which: Alarm,
    },
    /// Answer a command.
    Answer {
        /// Which.
        id: u64,
        /// How it went.
        result: Result<(), CommandRefused>,
    },
}
