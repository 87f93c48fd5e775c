//! What a group knows of its partitions and sides.

use std::collections::BTreeMap;

use naru_kafka::client::TopicPartition;

use super::event::{Complaint, Probe, Seen};
use crate::sequence::{Millis, Suspicion};
use crate::side::{Side, SideMap};

/// What a partition thinks of a side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opinion {
    pub suspicion: Suspicion,
    pub seen: Seen,
    /// When a suspicion of this kind was first reported without another in between.
    pub since: Millis,
}

/// One partition as the group sees it.
#[derive(Debug, Clone, Default)]
pub(super) struct Member {
    pub duplex: bool,
    pub opinions: SideMap<Option<Opinion>>,
    /// Whether the side was read since the start.
    pub read: SideMap<bool>,
    /// Where both logs end, at rest, and which announcement it knew then.
    pub quiesced: Option<(i64, Seen)>,
}

/// A group's view of its sides.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    pub members: BTreeMap<TopicPartition, Member>,
    /// Of the mirror of committed offsets.
    pub complaints: SideMap<Option<Complaint>>,
    probes: SideMap<Option<(Probe, Millis)>>,
}

/// What makes a side unfit to be in sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Lost records, holds others, or another topic.
    Damaged,
    /// Refuses what the other takes, since this time.
    Refuses(Millis),
}

impl Health {
    pub fn report(&mut self, now: Millis, partition: &TopicPartition, side: Side, suspicion: Suspicion, seen: Seen) {
        let Some(member) = self.members.get_mut(partition) else { return };
        let before = member.opinions[side].filter(|before| same_kind(before.suspicion, suspicion));
        let since = before.map_or(now, |before| before.since);
        member.opinions[side] = Some(Opinion { suspicion, seen, since });
        // Another topic of the name is absence (RELAY-12): what the recorded one held was not read.
        member.read[side] |= !matches!(suspicion, Suspicion::Absent { .. } | Suspicion::OtherTopic);
    }

    pub fn probed(&mut self, now: Millis, side: Side, probe: Probe) {
        let before = self.probes[side];
        let since = match (before, probe) {
            (Some((Probe::Serving, since)), Probe::Serving) => since,
            (_, Probe::Serving) => now,
            (_, Probe::Absent { since } | Probe::WrongCluster { since }) => since,
        };
        self.probes[side] = Some((probe, since));
    }

    /// Since when the side answers probes without a gap.
    pub fn serving_since(&self, side: Side) -> Option<Millis> {
        self.probes[side].filter(|(probe, _)| *probe == Probe::Serving).map(|(_, since)| since)
    }

    pub fn is_wrong_cluster(&self, side: Side) -> bool {
        matches!(self.probes[side], Some((Probe::WrongCluster { .. }, _)))
    }

    /// Since when the side is not reached, by any partition's traffic, by probes or for committed offsets.
    pub fn absent_since(&self, side: Side) -> Option<Millis> {
        let probe = match self.probes[side] {
            Some((Probe::Absent { since } | Probe::WrongCluster { since }, _)) => Some(since),
            _ => None,
        };
        let traffic = self.opinions(side).filter_map(|(_, opinion)| match opinion.suspicion {
            Suspicion::Absent { since } => Some(since),
            _ => None,
        });
        let complaint = self.complaints[side].as_ref().and_then(|complaint| match complaint.suspicion {
            Suspicion::Absent { .. } => Some(complaint.since),
            _ => None,
        });
        traffic.chain(probe).chain(complaint).min()
    }

    /// The worst that is known against the side, and of what.
    pub fn unfit(&self, side: Side) -> Option<(String, Unfit)> {
        let mut refuses: Option<(&TopicPartition, Millis)> = None;
        for (partition, opinion) in self.opinions(side) {
            match opinion.suspicion {
                Suspicion::Damaged | Suspicion::Diverged { .. } | Suspicion::OtherTopic => {
                    return Some((format!("{}-{}", partition.topic, partition.partition), Unfit::Damaged));
                }
                Suspicion::Refuses(_) if refuses.is_none_or(|(_, since)| opinion.since < since) => {
                    refuses = Some((partition, opinion.since));
                }
                _ => {}
            }
        }
        let records = refuses.map(|(at, since)| (format!("records of {}-{}", at.topic, at.partition), since));
        let offsets = self.complaints[side].as_ref();
        let offsets = offsets.filter(|complaint| matches!(complaint.suspicion, Suspicion::Refuses(_)));
        let offsets = offsets.map(|complaint| (format!("offsets of group {}", complaint.consumers), complaint.since));
        records.or(offsets).map(|(what, since)| (what, Unfit::Refuses(since)))
    }

    /// Whether a side that is not active could go on alone now as far as can be known: it answers, and nothing is
    /// known against it.
    pub fn is_fit(&self, side: Side) -> bool {
        self.serving_since(side).is_some() && self.absent_since(side).is_none() && self.unfit(side).is_none()
    }

    /// RELAY-13: whether what this side holds is known to be everything that counts.
    pub fn is_beyond_doubt(&self, side: Side, coordinator_in_doubt: bool) -> bool {
        self.members.values().all(|member| {
            let changed = member.opinions[side].is_some_and(|opinion| opinion.suspicion == Suspicion::Changed);
            member.read[side] && !changed && (member.read[side.other()] || !coordinator_in_doubt)
        })
    }

    /// Whether both sides were read in every partition since the start.
    pub fn has_read_both(&self) -> bool {
        !self.members.is_empty() && self.members.values().all(|member| member.read.a && member.read.b)
    }

    /// Records that the side lacks, in all partitions; None while one has not said.
    pub fn lag(&self, side: Side) -> Option<i64> {
        self.members.values().map(|member| lag_of(member, side)).sum()
    }

    /// The largest lag of one partition; None while one has not said.
    pub fn lag_max(&self, side: Side) -> Option<i64> {
        let mut max = 0;
        for member in self.members.values() {
            max = max.max(lag_of(member, side)?);
        }
        Some(max)
    }

    /// Whether every partition has reported equal ends since this announcement, or ends so near where the standby only
    /// follows: there records go on being acknowledged without it.
    pub fn has_caught_up(&self, side: Side, seen: Seen, near: i64) -> bool {
        self.members.values().all(|member| {
            let lag = member.opinions[side].filter(|opinion| opinion.seen == seen).and_then(|_| lag_of(member, side));
            lag.is_some_and(|lag| lag <= if member.duplex { 0 } else { near })
        })
    }

    /// Whether every partition is at rest under this announcement.
    pub fn is_quiesced(&self, seen: Seen) -> bool {
        self.members.values().all(|member| member.quiesced.is_some_and(|(_, at)| at == seen))
    }

    /// Forgets what was thought of a side, in one topic or in all.
    pub fn forget(&mut self, side: Side, topic: Option<&str>) {
        for (partition, member) in &mut self.members {
            if topic.is_none_or(|topic| &*partition.topic == topic) {
                member.opinions[side] = None;
            }
        }
    }

    pub fn opinions(&self, side: Side) -> impl Iterator<Item = (&TopicPartition, Opinion)> {
        self.members
            .iter()
            .filter_map(move |(partition, member)| member.opinions[side].map(|opinion| (partition, opinion)))
    }
}

fn lag_of(member: &Member, side: Side) -> Option<i64> {
    match member.opinions[side]?.suspicion {
        Suspicion::Behind { records } => Some(records),
        _ => None,
    }
}

fn same_kind(one: Suspicion, other: Suspicion) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
}
