//! What the model of the relay keeps over its death, and when: checkpoints now and then, and those that something waits
//! for; beside it what it looks for now and then.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use naru_kafka::wire::TopicId;
use naru_relay::sequence::{Checkpoint, Event, Millis, OrderId};
use naru_relay::sides::{Absence, GroupRecord};
use naru_relay::{Side, SideMap};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::coordinator::Coordinator;
use crate::world::{Due, World, pick};

const SAVE_MS: Millis = 400;
/// How often the leaders are looked at.
const LEADERS_MS: Millis = 3_000;

/// What survives the relay's process.
#[derive(Debug)]
pub struct Durable {
    /// With when they were made.
    pub checkpoints: Vec<(u64, Option<Checkpoint>)>,
    /// The group's record as it was read back last.
    pub remembered: Option<GroupRecord>,
    /// The topic of each partition.
    pub topics: Vec<usize>,
    /// The recorded id of each topic.
    pub topic_ids: SideMap<Vec<TopicId>>,
    pub coordinator: Coordinator,
    pub first_active: Side,
    pub absence: Absence,
    pub duplex: bool,
    /// From which each start draws its own for stamping, and the copier's.
    pub ids: Vec<(i64, i64)>,
    /// Every id that was drawn for stamping.
    pub stamps: Vec<Vec<i64>>,
    pub starts: u64,
    /// Which partitions the relay finds with records in them.
    pub taken_in: Vec<bool>,
    pub tickets: u64,
}

impl Durable {
    pub fn new(topics: Vec<usize>, topic_ids: SideMap<Vec<TopicId>>, random: &mut ChaCha8Rng) -> Self {
        let first_active = *pick(random, &Side::BOTH);
        let partitions = topics.len();
        Self {
            checkpoints: vec![(0, None); partitions],
            remembered: None,
            topics,
            topic_ids,
            coordinator: Coordinator::new(first_active),
            first_active,
            absence: *pick(random, &[Absence::Available, Absence::Available, Absence::Block]),
            duplex: true,
            ids: (0..partitions).map(|_| (random.random_range(0..1 << 62), random.random_range(0..1 << 62))).collect(),
            stamps: vec![Vec::new(); partitions],
            starts: 0,
            taken_in: vec![false; partitions],
            tickets: 0,
        }
    }

    /// The ids of a start for stamping and for the copier: the first is new each time.
    pub fn draw(&mut self, partition: usize) -> (i64, i64) {
        let (drawn, copier_id) = self.ids[partition];
        let mut hasher = DefaultHasher::new();
        (drawn, self.starts).hash(&mut hasher);
        let stamp_id = (hasher.finish() >> 2) as i64;
        self.stamps[partition].push(stamp_id);
        (stamp_id, copier_id)
    }
}

impl World {
    pub fn begins_keeping(&mut self, start: u64) {
        self.after(1, SAVE_MS, Due::RelaySaves(start));
        self.after(LEADERS_MS / 2, LEADERS_MS, Due::RelayLooks(start));
    }

    pub fn relay_saves(&mut self, start: u64) {
        if !self.is_start(start) {
            return;
        }
        (0..self.durable.topics.len()).for_each(|partition| self.save(partition));
        self.after(SAVE_MS / 2, SAVE_MS, Due::RelaySaves(start));
    }

    fn save(&mut self, partition: usize) {
        let Some(relay) = &self.relay else { return };
        if let Some(checkpoint) = relay.actors[partition].machine.checkpoint() {
            self.made += 1;
            let made = self.made;
            self.write_down(partition, made, checkpoint);
        }
    }

    /// The newer of two counts, whichever reaches the disk first.
    fn write_down(&mut self, partition: usize, made: u64, checkpoint: Checkpoint) {
        self.oracle.checkpointed(partition, &checkpoint);
        let (before, kept) = &mut self.durable.checkpoints[partition];
        if *before < made {
            (*before, *kept) = (made, Some(checkpoint));
        }
    }

    /// Something waits for a checkpoint. A disk refuses now and then.
    pub fn keeps(&mut self, start: u64, partition: usize, order: OrderId, made: u64, checkpoint: Checkpoint) {
        if !self.is_start(start) {
            return;
        }
        let done = self.random.random_bool(0.95);
        if done {
            self.write_down(partition, made, checkpoint);
        }
        self.hear(start, partition, None, Event::Kept { order, done });
    }

    /// Leaders that are new, also where no connection ended.
    pub fn relay_looks(&mut self, start: u64) {
        if !self.is_start(start) {
            return;
        }
        for side in Side::BOTH.into_iter().filter(|side| self.is_reachable(*side)).collect::<Vec<_>>() {
            let Some(relay) = &mut self.relay else { return };
            for (partition, log) in self.brokers[side].logs.iter().enumerate() {
                let seen = relay.leaders[side][partition].replace(log.leader_epoch);
                if seen.is_some_and(|seen| seen < log.leader_epoch) {
                    relay.inbox.push_back((partition, Event::Reconnected { side }));
                }
            }
        }
        self.relay_works();
        self.after(LEADERS_MS / 2, LEADERS_MS, Due::RelayLooks(start));
    }
}
