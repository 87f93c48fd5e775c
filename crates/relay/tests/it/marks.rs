//! What a side may lose of its committed offsets, and what the relay keeps of those that went back.

use naru_model::invariant;
use naru_relay::offsets::{Event, Kept, Marks};
use naru_relay::sequence::{Millis, OrderId};
use naru_relay::sides::Standing;
use naru_relay::{Side, SideMap};
use rand::RngExt;

use crate::commits::{Commits, RECHECK_MS};
use crate::world::{Due, World};

/// How many positions a lost tail may hold of one place.
const LOST_MAX: usize = 3;

impl Commits {
    /// What the disk holds for a start. The first one finds clusters that no relay was at before.
    pub fn kept(&self, starts: u64) -> Kept {
        Kept { marks: self.marks.clone(), adopts: starts <= 1 }
    }

    /// The end of a side's log of offsets is gone: this place is what it was before, or is not there. Whether it is so.
    pub fn lose_end(&mut self, side: Side, partition: usize, depth: usize, held: Standing, now: Millis) -> bool {
        let other = side.other();
        let is_safe =
            held.in_sync.contains(other) && self.holds(other, partition) && !self.is_excused(other, partition);
        let past = self.stores[side].past.get(&partition).map_or(0, Vec::len);
        // What is so new that nobody was told of it yet is lost with its write.
        if !is_safe || past < 2 || !self.is_settled(side, partition) {
            return false;
        }
        let store = &mut self.stores[side];
        let past = store.past.entry(partition).or_default();
        past.truncate(past.len().saturating_sub(depth.clamp(1, LOST_MAX)));
        match past.last() {
            Some(before) => drop(store.held.insert(partition, *before)),
            None => drop(store.held.remove(&partition)),
        }
        self.excuse(side, partition, now);
        true
    }
}

impl Commits {
    /// The oracle's part: what was acknowledged is on every side in sync. A side that joined by a change sent then does
    /// so with everything that could be known to be there.
    pub fn judge(&mut self, held: Standing, joined: Option<(Side, Millis)>) {
        for side in Side::BOTH.into_iter().filter(|side| held.in_sync.contains(*side)) {
            for partition in 0..self.committers.len() {
                if self.holds(side, partition) {
                    self.excused[side].remove(&partition);
                    continue;
                }
                let excused = self.excused[side].get(&partition).is_some_and(|at| {
                    joined.is_none_or(|(joined, sent_at)| joined != side || sent_at < at + RECHECK_MS + 1_000)
                });
                invariant!(
                    RELAY_4,
                    excused,
                    "partition {partition}: commit {} acknowledged, {side} holds {:?}; {held}",
                    self.committers[partition].acknowledged,
                    self.stores[side].held.get(&partition)
                );
            }
        }
    }

    /// Why it is not quiet; empty if it is.
    pub fn unrest(&self) -> Vec<String> {
        let SideMap { a, b } = &self.stores;
        let differ = (a.held != b.held).then(|| format!("committed offsets {:?} and {:?}", a.held, b.held));
        let asked = self.committers.iter().any(|committer| committer.asked.is_some());
        // Whatever a side lost of them, it was given back.
        let missing = |side: &Side| (0..self.committers.len()).any(|partition| !self.holds(*side, partition));
        let lacks = Side::BOTH.into_iter().find(missing).map(|side| format!("{side} lacks what was acknowledged"));
        differ.into_iter().chain(lacks).chain(asked.then(|| "a commit without answer".to_owned())).collect()
    }
}

impl World {
    pub fn lose_commits_end(&mut self, side: Side, partition: usize) {
        let held = self.durable.coordinator.standing();
        // Unheard of, it must not meet a takeover to that very side: that would be both sides at once.
        let alone = !self.faults.takes_sides_away();
        let depth = self.random.random_range(1..=LOST_MAX);
        let now = self.now;
        if alone && self.commits.lose_end(side, partition, depth, held, now) {
            self.trace.note(now, || format!("{side} loses the end of the offsets of {partition}"));
            if self.random.random_bool(0.5) {
                self.lose_commits(side);
            }
        }
    }

    /// The disk refuses now and then.
    pub fn keep_marks(&mut self, start: u64, order: OrderId, marks: Marks) {
        if !self.is_start(start) {
            return;
        }
        let done = self.random.random_bool(0.9);
        if done {
            self.commits.marks = marks;
        }
        self.mirror_hears(Event::Kept { order, done });
    }

    pub fn keeps_marks_soon(&mut self, order: OrderId, marks: Marks) {
        if let Some(start) = self.relay.as_ref().map(|relay| relay.start) {
            self.after(1, 60, Due::KeepsMarks { start, order, marks });
        }
    }
}
