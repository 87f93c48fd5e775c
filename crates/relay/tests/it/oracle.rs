//! What must be true of the world, whatever the relay thinks: the RELAY rules as they can be seen from outside.
//!
//! The oracle sees both logs, the coordinator's durable state and every fault. It keeps for each partition what was
//! exposed or acknowledged at an offset; from then on nothing else may ever stand there.

use std::collections::BTreeMap;

use naru_kafka::wire::Batch;
use naru_model::invariant;
use naru_relay::sequence::{Checkpoint, Millis, View};
use naru_relay::sides::Standing;
use naru_relay::{Side, SideMap};

use crate::broker::{Broker, Log, content};
use crate::history::{History, is_whole, on_both};

/// A reading that a broker answered is known to the group after this, at the latest.
const HEARD_MS: Millis = 600;

/// Who made a batch.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    pub client: usize,
    pub index: u64,
    /// A plain client's batch may stand in the log more than once.
    pub once: bool,
    /// The order of first appearances is the order of making.
    pub ordered: bool,
}

/// One batch below the gate.
#[derive(Debug, Clone, Copy)]
struct Exposed {
    content: u64,
    next_offset: i64,
}

/// A tail that a fault took.
#[derive(Debug, Clone, Copy)]
struct Lost {
    from: i64,
    end: i64,
    /// When the side's log end was read first since.
    told_at: Option<Millis>,
}

/// One partition.
#[derive(Debug, Default)]
struct Judged {
    exposed: BTreeMap<i64, Exposed>,
    /// Where each content was exposed first.
    places: BTreeMap<u64, i64>,
    acknowledged: BTreeMap<i64, u64>,
    acknowledged_end: i64,
    /// The largest gate shown, and the end of what is in `exposed`.
    gate: i64,
    log_start: i64,
    /// Clients wanted everything below deleted.
    deletable: i64,
    /// What a fault took of a side's log, until it holds everything again.
    lost: SideMap<Option<Lost>>,
    /// What stood there before the relay came.
    history: History,
    /// The last batch of each client that was exposed.
    newest: BTreeMap<usize, u64>,
}

/// The judge.
#[derive(Debug)]
pub struct Oracle {
    partitions: Vec<Judged>,
    origins: BTreeMap<u64, Origin>,
    pub acknowledged: u64,
    /// Whether both sides must hold what is acknowledged.
    duplex: bool,
    /// Also without the standby: then nothing is acknowledged.
    blocks: bool,
}

impl Oracle {
    pub fn new(partitions: usize, duplex: bool, blocks: bool) -> Self {
        Self {
            partitions: std::iter::repeat_with(Judged::default).take(partitions).collect(),
            origins: BTreeMap::new(),
            acknowledged: 0,
            duplex,
            blocks,
        }
    }

    /// What a partition holds before the relay comes, on the side that has more of it.
    pub fn found(&mut self, partition: usize, history: History) {
        self.partitions[partition].history = history;
    }

    /// Whether a batch is from before the relay came.
    pub fn was_there(&self, partition: usize, content: u64) -> bool {
        self.partitions[partition].history.iter().any(|old| old.content == content)
    }

    /// A client made a batch.
    pub fn made(&mut self, batch: &Batch, origin: Origin) {
        self.origins.insert(content(batch), origin);
    }

    /// A side lost its log from here on, by a fault.
    pub fn lost(&mut self, partition: usize, side: Side, from: i64, end: i64) {
        let lost = &mut self.partitions[partition].lost[side];
        let before = lost.unwrap_or(Lost { from, end, told_at: None });
        *lost = Some(Lost { from: before.from.min(from), end: before.end.max(end), told_at: None });
    }

    /// A side's log end was read.
    pub fn told(&mut self, partition: usize, side: Side, now: Millis) {
        if let Some(lost) = &mut self.partitions[partition].lost[side] {
            lost.told_at.get_or_insert(now);
        }
    }

    /// Whether a side may lose its log from here on without a record being lost that was promised: the other side is
    /// in sync and whole, also in the other partitions, since sides change for all of them together.
    pub fn may_lose(
        &mut self,
        (partition, from): (usize, i64),
        side: Side,
        brokers: &SideMap<Broker>,
        held: Standing,
    ) -> bool {
        let other = side.other();
        (0..self.partitions.len()).for_each(|partition| self.heal(partition, other, brokers));
        held.in_sync.contains(other)
            && self.partitions.iter().all(|judged| judged.lost[other].is_none())
            && self.first_missing(partition, &brokers[other].logs[partition], from).is_none()
            && self.partitions.iter().enumerate().all(|(at, judged)| on_both(&judged.history, brokers, at))
    }

    /// Whether what a side holds can be held against the relay: no fault has touched it.
    pub fn trusts(&self, partition: usize, side: Side) -> bool {
        self.partitions[partition].lost[side].is_none()
    }

    /// A client asked for records to be deleted; -1 means all.
    pub fn deletion_wanted(&mut self, partition: usize, before: i64) {
        let judged = &mut self.partitions[partition];
        judged.deletable = judged.deletable.max(if before < 0 { i64::MAX } else { before });
    }

    pub fn gate(&self, partition: usize) -> i64 {
        self.partitions[partition].gate
    }

    /// The first offset from `from` on at which a side does not hold what was promised there.
    fn first_missing(&self, partition: usize, log: &Log, from: i64) -> Option<i64> {
        let judged = &self.partitions[partition];
        let from = from.max(judged.log_start).max(log.log_start.min(judged.deletable));
        let exposed = judged.exposed.range(from..).map(|(offset, exposed)| (*offset, exposed.content));
        let acknowledged = judged.acknowledged.range(from..).map(|(offset, content)| (*offset, *content));
        exposed
            .chain(acknowledged)
            .filter(|(offset, content)| log.at(*offset).is_none_or(|stored| stored.content != *content))
            .map(|(offset, _)| offset)
            .min()
    }

    /// Whether a side holds all that was promised.
    pub fn is_whole(&self, side: Side, brokers: &SideMap<Broker>) -> bool {
        let is_whole = |partition| self.first_missing(partition, &brokers[side].logs[partition], 0).is_none();
        (0..self.partitions.len()).all(is_whole)
    }

    /// Forgets a loss that was made good.
    fn heal(&mut self, partition: usize, side: Side, brokers: &SideMap<Broker>) {
        let log = &brokers[side].logs[partition];
        if let Some(Lost { from, end, .. }) = self.partitions[partition].lost[side]
            && self.partitions[partition].gate >= end
            && self.first_missing(partition, log, from).is_none()
        {
            self.partitions[partition].lost[side] = None;
        }
    }

    /// Whether a side holds a batch at an offset, or a fault is to blame that it does not.
    fn holds(&self, partition: usize, side: Side, brokers: &SideMap<Broker>, offset: i64, content: u64) -> bool {
        let log = &brokers[side].logs[partition];
        let excused = self.partitions[partition].lost[side].is_some_and(|lost| offset >= lost.from);
        log.at(offset).is_some_and(|stored| stored.content == content) || excused || offset < log.log_start
    }

    /// A client is told that its batch stands at an offset.
    pub fn answered(
        &mut self,
        partition: usize,
        batch: &Batch,
        offset: i64,
        brokers: &SideMap<Broker>,
        held: Standing,
    ) {
        let content = content(batch);
        self.acknowledged += 1;
        for side in Side::BOTH {
            let needed = held.in_sync.contains(side) && (self.duplex || side == held.active);
            if !needed && !self.blocks {
                continue;
            }
            let holds = self.holds(partition, side, brokers, offset, content);
            let other = self.holds(partition, side.other(), brokers, offset, content);
            if holds || offset < self.partitions[partition].log_start {
                continue;
            }
            invariant!(
                RELAY_5,
                !other,
                "partition {partition} offset {offset}: acknowledged by {} alone while the coordinator holds: {held}",
                side.other()
            );
            invariant!(RELAY_1, false, "partition {partition} offset {offset}: acknowledged, not on {side}; {held}");
        }
        let end = offset + i64::from(batch.header().record_count);
        let judged = &mut self.partitions[partition];
        judged.acknowledged_end = judged.acknowledged_end.max(end);
        if let Some(before) = judged.acknowledged.insert(offset, content) {
            invariant!(
                RELAY_1,
                before == content,
                "partition {partition} offset {offset}: acknowledged for two batches"
            );
        }
        if let Some(exposed) = judged.exposed.get(&offset) {
            invariant!(
                RELAY_1,
                exposed.content == content,
                "partition {partition} offset {offset}: acknowledged, and another batch stands there"
            );
        }
    }

    /// Consumers may read below a gate from now on.
    pub fn gate_moved(&mut self, partition: usize, gate: i64, brokers: &SideMap<Broker>, held: Standing) {
        let from = self.partitions[partition].gate;
        if gate <= from {
            return;
        }
        for side in Side::BOTH {
            self.heal(partition, side, brokers);
        }
        // Taken from a side in sync that no fault has touched there.
        let source = [held.active, held.active.other()]
            .into_iter()
            .find(|side| {
                held.in_sync.contains(*side)
                    && self.partitions[partition].lost[*side].is_none_or(|lost| lost.from >= gate)
                    && brokers[*side].logs[partition].end >= gate
            })
            .unwrap_or(held.active);
        let log = &brokers[source].logs[partition];
        invariant!(
            RELAY_2,
            log.end >= gate,
            "partition {partition}: gate {gate}, and no side in sync ({held}) reaches it: {} {}",
            brokers.a.logs[partition].end,
            brokers.b.logs[partition].end
        );
        let news: Vec<(i64, Exposed, Batch)> = log
            .from(from)
            .take_while(|stored| stored.base_offset() < gate)
            .map(|stored| {
                let exposed = Exposed { content: stored.content, next_offset: stored.next_offset() };
                (stored.base_offset(), exposed, stored.batch.clone())
            })
            .collect();
        for (offset, exposed, batch) in news {
            invariant!(RELAY_2, exposed.next_offset <= gate, "partition {partition}: the gate {gate} cuts a batch");
            for side in Side::BOTH.into_iter().filter(|side| held.in_sync.contains(*side) && self.duplex) {
                invariant!(
                    RELAY_2,
                    self.holds(partition, side, brokers, offset, exposed.content),
                    "partition {partition} offset {offset}: below the gate {gate}, not on {side}; {held}"
                );
            }
            self.expose(partition, offset, exposed, &batch);
        }
        self.partitions[partition].gate = gate;
    }

    fn expose(&mut self, partition: usize, offset: i64, exposed: Exposed, batch: &Batch) {
        let Some(origin) = self.origins.get(&exposed.content).copied() else {
            invariant!(LOG_5, false, "partition {partition} offset {offset}: nobody made {:?}", batch.header());
            return;
        };
        let Origin { client, index, once, ordered } = origin;
        let judged = &mut self.partitions[partition];
        let first = *judged.places.entry(exposed.content).or_insert(offset);
        invariant!(
            LOG_2,
            !once || first == offset,
            "partition {partition}: batch {index} of client {client} at {first} and at {offset}"
        );
        if ordered && first == offset {
            let newest = judged.newest.insert(client, index);
            let next = newest.map_or(0, |newest| newest + 1);
            // Of an idempotent producer nothing may be left out either: that is how a refusal is skipped (RELAY-14).
            invariant!(
                LOG_3,
                index >= next,
                "partition {partition} offset {offset}: batch {index} of client {client} after {newest:?}"
            );
            invariant!(
                RELAY_14,
                !once || index == next,
                "partition {partition} offset {offset}: batch {index} of client {client}, and {next} was left out"
            );
        }
        self.partitions[partition].exposed.insert(offset, exposed);
    }

    /// What the relay shows to clients after a step.
    pub fn viewed(&mut self, partition: usize, view: View, brokers: &SideMap<Broker>, held: Standing) {
        // Shown is shown, also if it was not said.
        self.gate_moved(partition, view.served_below, brokers, held);
        let judged = &mut self.partitions[partition];
        invariant!(
            RELAY_1,
            judged.acknowledged_end <= judged.gate || !view.ready,
            "partition {partition}: acknowledged up to {}, the gate is {}",
            judged.acknowledged_end,
            judged.gate
        );
        if view.ready {
            invariant!(
                RELAY_2,
                view.gate >= judged.gate,
                "partition {partition}: gate {} after {}",
                view.gate,
                judged.gate
            );
            invariant!(
                RELAY_2,
                view.gate <= judged.gate,
                "partition {partition}: gate {} shown and not said, {} was",
                view.gate,
                judged.gate
            );
            invariant!(
                RELAY_2,
                view.log_start >= judged.log_start && view.log_start <= view.gate,
                "partition {partition}: log start {} after {}, gate {}",
                view.log_start,
                judged.log_start,
                view.gate
            );
            invariant!(
                RELAY_1,
                view.log_start <= judged.deletable,
                "partition {partition}: the log begins at {}, and nothing above {} was to be deleted",
                view.log_start,
                judged.deletable
            );
            judged.log_start = view.log_start;
        }
    }

    /// A consumer got a batch.
    pub fn consumed(&self, partition: usize, batch: &Batch) {
        let offset = batch.header().base_offset;
        let judged = &self.partitions[partition];
        invariant!(
            RELAY_2,
            batch.header().next_offset() <= judged.gate,
            "partition {partition} offset {offset}: read above the gate {}",
            judged.gate
        );
        if let Some(exposed) = judged.exposed.get(&offset) {
            invariant!(
                LOG_4,
                exposed.content == content(batch),
                "partition {partition} offset {offset}: another batch than was shown before"
            );
        }
    }

    /// What is kept durably must be consistent with the gate.
    pub fn checkpointed(&self, partition: usize, checkpoint: &Checkpoint) {
        let judged = &self.partitions[partition];
        invariant!(
            RELAY_11,
            checkpoint.gate <= judged.gate,
            "partition {partition}: checkpoint {} above the gate {}",
            checkpoint.gate,
            judged.gate
        );
        for window in &checkpoint.windows {
            invariant!(RELAY_11, window.batches.len() <= 5, "partition {partition}: {} batches", window.batches.len());
            for batch in &window.batches {
                let records = i64::from(batch.last_sequence.wrapping_sub(batch.first_sequence) & i32::MAX) + 1;
                invariant!(
                    RELAY_11,
                    batch.base_offset + records <= checkpoint.gate,
                    "partition {partition}: {:?} of {} above the gate {}",
                    batch,
                    window.producer_id,
                    checkpoint.gate
                );
            }
        }
    }

    /// The coordinator holds something new, which was sent then.
    pub fn stands(&mut self, before: Standing, now: Standing, sent_at: Millis, brokers: &SideMap<Broker>) {
        invariant!(RELAY_5, now.in_sync.contains(now.active), "the active side is not in sync: {now}");
        for partition in 0..self.partitions.len() {
            for side in Side::BOTH.into_iter().filter(|side| now.in_sync.contains(*side)) {
                self.heal(partition, side, brokers);
                let missing = self.first_missing(partition, &brokers[side].logs[partition], 0);
                let lost = self.partitions[partition].lost[side];
                // A side that comes into the set, or is left alone in it, is not one of which the relay has heard that
                // something is gone.
                let changed = (before.active, before.in_sync) != (now.active, now.in_sync);
                let chosen = changed && (!before.in_sync.contains(side) || !now.in_sync.is_pair());
                let unheard = |lost: Lost| lost.told_at.is_none_or(|told_at| sent_at < told_at + HEARD_MS);
                let excused = |offset: i64| lost.is_some_and(|lost| offset >= lost.from && (!chosen || unheard(lost)));
                invariant!(
                    RELAY_5,
                    missing.is_none_or(excused),
                    "partition {partition}: {side} in sync ({now}) without offset {missing:?}"
                );
                let is_back = lost.is_none_or(|lost| brokers[side].logs[partition].end >= lost.end);
                if missing.is_none() && is_back && !before.in_sync.contains(side) {
                    self.partitions[partition].lost[side] = None;
                }
            }
        }
    }

    /// At the end, when everything is quiet: both sides hold everything, and the same.
    pub fn ended(&mut self, brokers: &SideMap<Broker>, held: Standing) {
        invariant!(RELAY_5, held.in_sync.is_pair(), "at the end: {held}");
        for partition in 0..self.partitions.len() {
            let judged = &self.partitions[partition];
            for side in Side::BOTH {
                let log = &brokers[side].logs[partition];
                let missing = self.first_missing(partition, log, 0);
                invariant!(LOG_1, missing.is_none(), "partition {partition}: {side} has lost offset {missing:?}");
                let is_kept = is_whole(&judged.history, log, judged.log_start);
                invariant!(LOG_1, is_kept, "partition {partition}: {side} has lost what was there before the relay");
                invariant!(
                    RELAY_3,
                    log.end == judged.gate,
                    "partition {partition}: {side} ends at {}, the gate is {}",
                    log.end,
                    judged.gate
                );
            }
        }
    }

    /// Nothing may be written or acknowledged without a lease.
    pub fn leased(&self, now: Millis, until: Millis, what: &str) {
        invariant!(RELAY_9, now <= until, "{what} at {now}, the lease ended at {until}");
    }
}
