//! Topics that the relay finds with records in them, on one side or on both: nobody promised them, and none may be lost.

use naru_relay::{Side, SideMap};
use rand::RngExt;

use crate::broker::{Broker, Log};
use crate::clients::{Client, Identity};
use crate::oracle::Origin;
use crate::world::{World, pick};

/// A batch from before the relay came.
#[derive(Debug, Clone, Copy)]
pub struct Old {
    pub offset: i64,
    pub content: u64,
}

/// Those of one partition.
pub type History = Vec<Old>;

/// Whether a log still holds what it held before, from an offset on and above where it begins.
pub fn is_whole(history: &History, log: &Log, from: i64) -> bool {
    let mut wanted = history.iter().filter(|old| old.offset >= from.max(log.log_start));
    wanted.all(|old| log.at(old.offset).is_some_and(|stored| stored.content == old.content))
}

impl World {
    /// Some topics are there already: on one side with everything, on the other with its beginning or nothing.
    pub fn find_history(&mut self) {
        let topics = self.durable.topics.clone();
        let taken_in: Vec<bool> = (0..topics.len()).map(|_| self.random.random_bool(0.25)).collect();
        for (partition, topic) in topics.into_iter().enumerate() {
            if !taken_in[topic] {
                continue;
            }
            self.durable.taken_in[partition] = true;
            let longer = *pick(&mut self.random, &Side::BOTH);
            let (number, id) = (self.new_identity(), self.random_id());
            let identity = self.random.random_bool(0.5).then_some(Identity { id, epoch: 0, sequence: 0 });
            let mut client = Client::new(number, partition, identity, 1);
            let batches = self.random.random_range(0..40);
            let common = self.random.random_range(0..=batches);
            let mut history = History::new();
            for index in 0..batches {
                let records = self.random.random_range(1..=3);
                let Some(batch) = client.make(0, records).cloned() else { break };
                client.unacked.clear();
                self.oracle.made(
                    &batch,
                    Origin { client: number, index, once: identity.is_some(), ordered: identity.is_some() },
                );
                for side in Side::BOTH.into_iter().filter(|side| *side == longer || index < common) {
                    self.brokers[side].logs[partition].append(&batch).expect("an empty log takes it");
                }
                let log = &self.brokers[longer].logs[partition];
                history.extend(log.from(0).last().map(|old| Old { offset: old.base_offset(), content: old.content }));
            }
            self.oracle.found(partition, history);
        }
    }

    /// Whether a partition was taken in and waits to be compared: it has no voice.
    pub fn is_voiceless(&self, partition: usize) -> bool {
        self.relay.as_ref().is_some_and(|relay| !relay.actors[partition].machine.view().compared)
    }

    /// Those that are compared by now join the group.
    pub fn give_voices(&mut self) {
        for partition in 0..self.durable.topics.len() {
            let waits = self.relay.as_ref().is_some_and(|relay| relay.governor.voiceless[partition]);
            if waits && !self.is_voiceless(partition) {
                self.give_voice(partition);
            }
        }
    }
}

/// Whether no side lacks any of it.
pub fn on_both(history: &History, brokers: &SideMap<Broker>, partition: usize) -> bool {
    Side::BOTH.into_iter().all(|side| is_whole(history, &brokers[side].logs[partition], 0))
}
