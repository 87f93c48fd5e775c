//! The model shell of the service group: its machine, the probes, the coordinator, and the queues between the group and
//! its partitions.

use std::sync::Arc;

use naru_kafka::client::TopicPartition;
use naru_kafka::wire::TopicId;
use naru_relay::offsets::Event as OffsetsEvent;
use naru_relay::sequence::{Event, Millis, Suspicion};
use naru_relay::sides::{
    Action, Alarm, Assessment, Boot, Command, Event as GroupEvent, Group, GroupConfig, GroupRecord, Probe, Seen,
    Standing, SwapOutcome,
};
use naru_relay::{Side, SideMap};
use rand::RngExt;

use crate::coordinator::Mood;
use crate::world::{Due, World};

/// How often a side is probed.
const PROBE_MS: Millis = 150;

/// The group and what its shell knows.
#[derive(Debug)]
pub struct Governor {
    pub group: Group,
    /// Since when each side is not reached.
    away_since: SideMap<Option<Millis>>,
    /// Queues keep their order.
    told_at: Vec<Millis>,
    heard_at: Millis,
    /// What each partition has taken in.
    pub seen: Vec<Seen>,
    /// Which partitions have no voice yet.
    pub voiceless: Vec<bool>,
    /// The coordinator was empty, or held less than was remembered, when this start of the relay began.
    in_doubt: bool,
    /// An operator has allowed one grant.
    allowed: bool,
}

/// Where a group's event comes from, and what is still to be done for it.
#[derive(Debug, Clone)]
pub enum Governing {
    Hears(GroupEvent),
    /// A swap reaches the coordinator.
    Swaps {
        expected: u64,
        record: GroupRecord,
        sent_at: Millis,
    },
    /// A swap that was called unknown is applied all the same.
    SwapsLate {
        expected: u64,
        record: GroupRecord,
        sent_at: Millis,
    },
    ReadsBack,
    Probes(Side),
    Assesses(Side),
    /// A topic is deleted and made again.
    Recreates {
        side: Side,
        topic: Arc<str>,
    },
    /// Its new id is recorded.
    Records {
        side: Side,
        topic: Arc<str>,
        id: TopicId,
    },
}

impl World {
    /// The name of a partition.
    pub fn named(&self, partition: usize) -> TopicPartition {
        TopicPartition::new(self.topic_name(self.durable.topics[partition]), partition as i32)
    }

    fn topic_name(&self, topic: usize) -> Arc<str> {
        Arc::from(format!("topic-{topic}"))
    }

    fn partitions_of(&self, topic: &str) -> Vec<usize> {
        (0..self.durable.topics.len())
            .filter(|partition| *self.topic_name(self.durable.topics[*partition]) == *topic)
            .collect()
    }

    /// The group as a start of the relay finds it.
    pub fn governor(&mut self) -> Governor {
        let found = self.durable.coordinator.read();
        let remembered = self.durable.remembered;
        let in_doubt = found.is_none() && remembered.is_some();
        let boot = Boot { found, remembered, coordinator_in_doubt: in_doubt };
        let config = GroupConfig {
            absence: self.durable.absence,
            first_active: self.durable.first_active,
            #[cfg(feature = "mutation")]
            mutant: self.mutant,
            ..GroupConfig::default()
        };
        let partitions = self.durable.topics.len();
        let mut group = Group::new(config, boot);
        let mut out = Vec::new();
        let awaits = |partition: usize| {
            self.durable.taken_in[partition] && self.durable.duplex && self.durable.checkpoints[partition].1.is_none()
        };
        let voiceless: Vec<bool> = (0..partitions).map(awaits).collect();
        for partition in (0..partitions).filter(|partition| !voiceless[*partition]) {
            let event = GroupEvent::Added { partition: self.named(partition), duplex: self.durable.duplex };
            group.on(self.now, event, &mut out);
        }
        let (held, sent) = group.announcement();
        let governor = Governor {
            group,
            away_since: SideMap::default(),
            told_at: vec![0; partitions],
            heard_at: 0,
            seen: vec![Seen::of(held, sent); partitions],
            voiceless,
            in_doubt: remembered.is_some_and(|remembered| {
                found.is_none_or(|(_, found)| found.standing.epoch < remembered.standing.epoch)
            }),
            allowed: false,
        };
        // What it wants already is carried out once the relay is there.
        self.early = out;
        governor
    }

    pub fn governor_starts(&mut self, start: u64) {
        for action in std::mem::take(&mut self.early) {
            self.govern(action);
        }
        for side in Side::BOTH {
            self.after(1, 20, Due::Govern { start, what: Governing::Probes(side) });
        }
    }

    /// A partition joins the group, and says what it thinks of the sides.
    pub fn give_voice(&mut self, partition: usize) {
        let event = GroupEvent::Added { partition: self.named(partition), duplex: self.durable.duplex };
        let Some(relay) = &mut self.relay else { return };
        relay.governor.voiceless[partition] = false;
        let (held, sent) = relay.governor.group.announcement();
        self.tell_group(event);
        self.tell_partition(partition, Event::Standing { held, sent });
    }

    /// A partition speaks of a side.
    pub fn suspected(&mut self, partition: usize, side: Side, suspicion: Suspicion) {
        let named = self.named(partition);
        let Some(relay) = &self.relay else { return };
        let seen = relay.governor.seen[partition];
        self.tell_group(GroupEvent::Report { partition: named, side, suspicion, seen });
    }

    pub fn quiesced(&mut self, partition: usize, end: i64) {
        let named = self.named(partition);
        let Some(relay) = &self.relay else { return };
        let seen = relay.governor.seen[partition];
        self.tell_group(GroupEvent::Quiesced { partition: named, end, seen });
    }

    /// By the queue towards the group.
    pub fn tell_group(&mut self, event: GroupEvent) {
        let delay = self.random.random_range(0..=2);
        let now = self.now;
        let Some(relay) = &mut self.relay else { return };
        relay.governor.heard_at = relay.governor.heard_at.max(now + delay);
        let (at, start) = (relay.governor.heard_at, relay.start);
        self.at(at, Due::Govern { start, what: Governing::Hears(event) });
    }

    /// By the queue towards a partition.
    fn tell_partition(&mut self, partition: usize, event: Event) {
        let delay = self.random.random_range(0..=2);
        let now = self.now;
        let Some(relay) = &mut self.relay else { return };
        relay.governor.told_at[partition] = relay.governor.told_at[partition].max(now + delay);
        let (at, start) = (relay.governor.told_at[partition], relay.start);
        self.at(at, Due::Hear { start, partition, lane: None, event });
    }

    /// A step of the group.
    pub fn group_hears(&mut self, event: GroupEvent) {
        let now = self.now;
        if !matches!(event, GroupEvent::Tick | GroupEvent::Probed { .. } | GroupEvent::Lease { .. }) {
            self.trace.note(now, || format!("  group <- {event:?}"));
        }
        let Some(relay) = &mut self.relay else { return };
        let mut actions = Vec::new();
        relay.governor.group.on(now, event, &mut actions);
        for action in actions {
            self.govern(action);
        }
    }

    fn govern(&mut self, action: Action) {
        self.trace.note(self.now, || format!("  group -> {action:?}"));
        let Some(relay) = &self.relay else { return };
        let start = relay.start;
        let partitions = self.durable.topics.len();
        match action {
            Action::Swap { expected, record } => {
                let what = Governing::Swaps { expected, record, sent_at: self.now };
                self.after(1, 10, Due::Govern { start, what });
            }
            Action::ReadBack => self.after(1, 10, Due::Govern { start, what: Governing::ReadsBack }),
            Action::Announce { held, sent } => {
                self.durable.remembered = self.relay.as_ref().map(|relay| relay.governor.group.view().record);
                for partition in 0..partitions {
                    self.tell_partition(partition, Event::Standing { held, sent });
                }
                self.mirror_hears(OffsetsEvent::Standing { held, sent });
            }
            Action::Quiesce => {
                (0..partitions).for_each(|partition| self.tell_partition(partition, Event::Quiesce));
                self.mirror_quiesces(true);
            }
            Action::Resume => {
                (0..partitions).for_each(|partition| self.tell_partition(partition, Event::Resume));
                self.mirror_quiesces(false);
            }
            Action::AssessReturn { side } => {
                self.after(1, 40, Due::Govern { start, what: Governing::Assesses(side) });
            }
            Action::Recreate { side, topics } => {
                for topic in topics {
                    self.after(1, 100, Due::Govern { start, what: Governing::Recreates { side, topic } });
                }
            }
            Action::CopyOffsets { side, attempt } => {
                let now = self.now;
                if let Some(relay) = &mut self.relay {
                    relay.mirror.copies(side, attempt, now);
                }
            }
            Action::RemoveMembers { .. } | Action::Alarm { .. } | Action::Calm { .. } | Action::Answer { .. } => {}
        }
    }

    pub fn governs(&mut self, start: u64, what: Governing) {
        let now = self.now;
        let is_on = self.is_start(start);
        match what {
            // On its way to the coordinator: it arrives also when its sender is gone.
            Governing::Swaps { expected, record, sent_at } => {
                let outcome = self.swap(start, expected, record, sent_at);
                if is_on && let Some(outcome) = outcome {
                    let late = if outcome == SwapOutcome::Unknown { 500 } else { 10 };
                    self.after(1, late, Due::Govern { start, what: Governing::Hears(GroupEvent::Swapped(outcome)) });
                }
            }
            Governing::SwapsLate { expected, record, sent_at } => {
                let applied = self.durable.coordinator.swap(expected, record);
                self.trace.note(now, || format!("coordinator: late swap to {}: {applied:?}", record.standing));
                let is_new = applied.is_ok();
                self.stands(start, applied.ok().flatten(), sent_at);
                // Who watches the coordinator is told, whoever had sent it.
                if is_new && let Some(start) = self.relay.as_ref().map(|relay| relay.start) {
                    self.after(1, 50, Due::Govern { start, what: Governing::Hears(GroupEvent::Changed) });
                }
            }
            _ if !is_on => {}
            Governing::Recreates { side, topic } => self.recreate(start, side, topic),
            Governing::Hears(event) => self.group_hears(event),
            Governing::ReadsBack => {
                let well = !matches!(self.durable.coordinator.mood_at(now), Mood::Unavailable | Mood::Loses);
                let found = well.then(|| self.durable.coordinator.read());
                self.after(1, 10, Due::Govern { start, what: Governing::Hears(GroupEvent::Read(found)) });
            }
            Governing::Probes(side) => self.probe(start, side),
            Governing::Assesses(side) => {
                let outcome = if self.is_reachable(side) {
                    let mut rebuild: Vec<Arc<str>> = (0..self.durable.topics.len())
                        .filter(|partition| {
                            let recorded = self.durable.topic_ids[side][self.durable.topics[*partition]];
                            self.brokers[side].logs[*partition].topic_id != recorded
                        })
                        .map(|partition| self.topic_name(self.durable.topics[partition]))
                        .collect();
                    rebuild.dedup();
                    Assessment::Ready { rebuild }
                } else {
                    Assessment::Failed
                };
                self.tell_group(GroupEvent::Assessed { side, outcome });
            }
            Governing::Records { side, topic, id } => {
                for partition in self.partitions_of(&topic) {
                    let number = self.durable.topics[partition];
                    self.durable.topic_ids[side][number] = id;
                    self.tell_partition(partition, Event::Recreated { side });
                }
                self.mirror_hears(OffsetsEvent::Recreated { side });
                self.tell_group(GroupEvent::Recreated { side, topic, done: true });
            }
        }
    }

    /// What the coordinator makes of a swap, and says; None if it says nothing for good.
    fn swap(&mut self, start: u64, expected: u64, record: GroupRecord, sent_at: Millis) -> Option<SwapOutcome> {
        let now = self.now;
        let mood = self.durable.coordinator.mood_at(now);
        match mood {
            Mood::Unavailable => return Some(SwapOutcome::Unavailable),
            Mood::Loses => return Some(SwapOutcome::Unknown),
            Mood::AppliesLate => {
                let what = Governing::SwapsLate { expected, record, sent_at };
                self.after(100, 3_000, Due::Govern { start, what });
                return Some(SwapOutcome::Unknown);
            }
            Mood::Well | Mood::AppliesInSilence => {}
        }
        let applied = self.durable.coordinator.swap(expected, record);
        self.trace.note(now, || format!("coordinator: swap to {}: {applied:?}", record.standing));
        let outcome = match applied {
            Ok(before) => {
                self.stands(start, before, sent_at);
                SwapOutcome::Done
            }
            Err(outcome) => outcome,
        };
        Some(if mood == Mood::AppliesInSilence { SwapOutcome::Unknown } else { outcome })
    }

    fn stands(&mut self, start: u64, before: Option<Standing>, sent_at: Millis) {
        if let Some(before) = before {
            let held = self.durable.coordinator.standing();
            self.oracle.stands(before, held, sent_at, &self.brokers);
            if self.is_start(start) && before.in_sync.is_pair() {
                self.grants(held);
            }
            let joined = Side::BOTH.into_iter().find(|s| held.in_sync.contains(*s) && !before.in_sync.contains(*s));
            self.commits.judge(held, joined.map(|side| (side, sent_at)));
        }
    }

    /// RELAY-13: who is left alone was read since the start, and so was the other where the coordinator is in doubt.
    fn grants(&self, held: Standing) {
        let Some(relay) = &self.relay else { return };
        let Governor { in_doubt, allowed, .. } = relay.governor;
        // What was granted before is only written again.
        let is_old = relay.governor.group.view().record.standing.in_sync == held.in_sync;
        if held.in_sync.is_pair() || allowed || is_old {
            return;
        }
        for side in Side::BOTH {
            naru_model::invariant!(
                RELAY_13,
                relay.has_read(side) || !in_doubt && side != held.active,
                "{held}: {side} was not read in every partition since the start, coordinator in doubt: {in_doubt}"
            );
        }
    }

    /// An operator looks at the alarms once the faults are over, and answers those that wait for one: with what is true.
    pub fn operate(&mut self) {
        self.after(2_000, 3_000, Due::Operate);
        let (calm, now) = (self.is_calm(), self.now);
        let Some(relay) = self.relay.as_mut().filter(|relay| !relay.is_paused()) else { return };
        let view = relay.governor.group.view();
        let active = view.record.standing.active;
        let asked = |alarm: &Alarm| match alarm {
            Alarm::InDoubt => Some(Command::AllowSoloOnce),
            Alarm::Unconfirmed(_) => Some(Command::Confirm),
            _ => None,
        };
        let command = view.alarms.keys().find_map(asked);
        let is_damaged = view.alarms.contains_key(&Alarm::Damaged(active));
        let goes_on = if is_damaged { active.other() } else { active };
        if let Some(command) = command
            && calm
            && self.oracle.is_whole(goes_on, &self.brokers)
        {
            relay.governor.allowed = true;
            self.trace.note(now, || format!("the operator says {command:?}"));
            let id = self.steps;
            self.group_hears(GroupEvent::Command { id, command });
        }
    }

    fn probe(&mut self, start: u64, side: Side) {
        let (now, reached) = (self.now, self.is_reachable(side));
        let Some(relay) = &mut self.relay else { return };
        let since = &mut relay.governor.away_since[side];
        let outcome = if reached {
            *since = None;
            Probe::Serving
        } else {
            Probe::Absent { since: *since.get_or_insert(now) }
        };
        self.tell_group(GroupEvent::Probed { side, outcome });
        self.at(now + PROBE_MS, Due::Govern { start, what: Governing::Probes(side) });
    }

    fn recreate(&mut self, start: u64, side: Side, topic: Arc<str>) {
        if !self.is_reachable(side) {
            self.tell_group(GroupEvent::Recreated { side, topic, done: false });
            return;
        }
        let id = TopicId(self.random.random::<u128>().to_be_bytes());
        let held = self.durable.coordinator.standing();
        self.trace.note(self.now, || format!("{topic} is made again on {side}"));
        self.network.connections_at[side] = self.network.connections;
        for partition in self.partitions_of(&topic) {
            naru_model::invariant!(
                RELAY_5,
                !held.in_sync.contains(side),
                "partition {partition} is made again on {side}, which is in sync: {held}"
            );
            self.brokers[side].logs[partition].recreate(id);
            self.commits.forget(side, partition, None);
        }
        self.after(1, 60, Due::Govern { start, what: Governing::Records { side, topic, id } });
    }
}
