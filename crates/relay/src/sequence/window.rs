//! What a relay remembers of a producer in one partition: its last five batches (RELAY-11, RELAY-14).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use naru_kafka::wire::BatchHeader;
use naru_model::invariant;
use serde::{Deserialize, Serialize};

/// How many batches per producer are remembered: Kafka's number, and the most an idempotent client keeps in flight.
pub const BATCHES_REMEMBERED: usize = 5;

/// The most producers remembered per partition: about 8 MB. Beyond it those silent longest are forgotten.
pub const PRODUCERS_MAX: usize = 50_000;

/// The most refusals of producers that have nothing below the gate that are remembered: as many as may wait at once
/// and more. Beyond it the oldest are forgotten.
const REFUSALS_MAX: usize = 10_000;

/// One remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Sequence of its first record.
    pub first_sequence: i32,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Newest time among its records, milliseconds since 1970.
    pub max_timestamp: i64,
}

/// A producer's window as it is kept durably.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSnapshot {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Its last batches, oldest first, at most [`BATCHES_REMEMBERED`].
    pub batches: Vec<Remembered>,
}

/// What a batch's sequence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It comes next.
    Next,
    /// The very range waits already, as this entry.
    Joins(u64),
    /// It is below the gate, at this offset.
    Duplicate(i64),
    /// Something before it was refused and will come again: then this one may, too. A client that is told of a gap
    /// instead gives up what it has in flight and sends it under a new epoch, beside what is written of it already.
    Later,
    /// Something before it is missing, or it is too old.
    OutOfOrder,
    /// A newer epoch has written.
    OldEpoch,
}

/// A batch above the gate or without a place.
#[derive(Debug, Clone, Copy)]
struct Pending {
    key: u64,
    epoch: i16,
    first: i32,
    last: i32,
}

#[derive(Debug, Default)]
struct Producer {
    epoch: i16,
    /// Below the gate, oldest first.
    batches: VecDeque<Remembered>,
    pending: VecDeque<Pending>,
}

/// The producers of one partition.
#[derive(Debug, Default)]
pub(super) struct Producers {
    known: HashMap<i64, Producer>,
    /// Epoch and sequence that must come next, of producers with nothing below the gate.
    refused: Newest<(i16, i32)>,
    /// Epoch and sequence that producers were told to come again with and have not.
    awaited: Newest<(i16, i32)>,
}

/// Notes about producers; beyond [`REFUSALS_MAX`] the oldest are forgotten.
#[derive(Debug, Default)]
struct Newest<T> {
    notes: HashMap<i64, T>,
    order: VecDeque<i64>,
}

impl<T> Newest<T> {
    fn get(&self, producer_id: i64) -> Option<&T> {
        self.notes.get(&producer_id)
    }

    fn get_mut(&mut self, producer_id: i64) -> Option<&mut T> {
        self.notes.get_mut(&producer_id)
    }

    fn remove(&mut self, producer_id: i64) -> Option<T> {
        self.notes.remove(&producer_id)
    }

    /// Unless there is one already.
    fn insert(&mut self, producer_id: i64, note: T) {
        let Entry::Vacant(place) = self.notes.entry(producer_id) else { return };
        place.insert(note);
        self.order.push_back(producer_id);
        if self.order.len() > REFUSALS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.notes.remove(&oldest);
        }
    }
}

/// The sequence after another. After the largest comes 0.
pub(super) fn sequence_after(sequence: i32) -> i32 {
    sequence.wrapping_add(1) & i32::MAX
}

/// Whether a sequence comes at or after another; they go around.
fn is_ahead(sequence: i32, of: i32) -> bool {
    (sequence.wrapping_sub(of) & i32::MAX) < 1 << 30
}

impl Producers {
    pub(super) fn restore(windows: &[WindowSnapshot]) -> Self {
        let known = windows.iter().map(|window| {
            let batches = window.batches.iter().copied().collect();
            (window.producer_id, Producer { epoch: window.epoch, batches, pending: VecDeque::new() })
        });
        Self { known: known.collect(), ..Self::default() }
    }

    /// What must survive, in the order of ids.
    pub(super) fn snapshot(&self) -> Vec<WindowSnapshot> {
        let mut windows: Vec<_> = self
            .known
            .iter()
            .filter(|(_, producer)| !producer.batches.is_empty())
            .map(|(id, producer)| WindowSnapshot {
                producer_id: *id,
                epoch: producer.epoch,
                batches: producer.batches.iter().copied().collect(),
            })
            .collect();
        windows.sort_unstable_by_key(|window| window.producer_id);
        windows
    }

    /// What a client's batch means here.
    pub(super) fn verdict(&self, header: &BatchHeader) -> Verdict {
        let (epoch, first, last) = (header.producer_epoch, header.base_sequence, header.last_sequence());
        if let Some((awaited_epoch, awaited)) = self.awaited.get(header.producer_id)
            && epoch == *awaited_epoch
            && first != *awaited
            && is_ahead(first, *awaited)
        {
            return Verdict::Later;
        }
        let Some(known) = self.known.get(&header.producer_id) else {
            return match self.refused.get(header.producer_id) {
                Some((refused_epoch, _)) if epoch < *refused_epoch => Verdict::OldEpoch,
                Some((refused_epoch, sequence)) if epoch == *refused_epoch && first != *sequence => {
                    self.gap(header.producer_id, *sequence, first)
                }
                Some((refused_epoch, _)) if epoch > *refused_epoch && first != 0 => Verdict::OutOfOrder,
                _ => Verdict::Next,
            };
        };
        if let Some(pending) =
            known.pending.iter().find(|pending| (pending.epoch, pending.first, pending.last) == (epoch, first, last))
        {
            return Verdict::Joins(pending.key);
        }
        if epoch == known.epoch
            && let Some(batch) =
                known.batches.iter().find(|batch| (batch.first_sequence, batch.last_sequence) == (first, last))
        {
            return Verdict::Duplicate(batch.base_offset);
        }
        let newest = match (known.pending.back(), known.batches.back()) {
            (Some(pending), _) => Some((pending.epoch, pending.last)),
            (None, Some(batch)) => Some((known.epoch, batch.last_sequence)),
            (None, None) => None,
        };
        match newest {
            Some((newest, _)) if epoch < newest => Verdict::OldEpoch,
            Some((newest, _)) if epoch > newest && first != 0 => Verdict::OutOfOrder,
            Some((newest, last)) if epoch == newest && first != sequence_after(last) => {
                self.gap(header.producer_id, sequence_after(last), first)
            }
            _ => Verdict::Next,
        }
    }

    /// What it means that another sequence came than the expected one.
    fn gap(&self, producer_id: i64, expected: i32, first: i32) -> Verdict {
        let awaited = self.awaited.get(producer_id).is_some();
        if awaited && is_ahead(first, expected) { Verdict::Later } else { Verdict::OutOfOrder }
    }

    /// A batch came that is judged: if it is the one that was awaited, what follows it may come, too.
    pub(super) fn came(&mut self, header: &BatchHeader) {
        let came = (header.producer_epoch, header.base_sequence);
        if self.awaited.get(header.producer_id).is_some_and(|awaited| *awaited == came || came.0 > awaited.0) {
            self.awaited.remove(header.producer_id);
        }
    }

    /// A batch waits from now on.
    pub(super) fn wait(&mut self, key: u64, header: &BatchHeader) {
        if let Some((epoch, sequence)) = self.refused.remove(header.producer_id) {
            let (next_epoch, next) = (header.producer_epoch, header.base_sequence);
            let follows = (next_epoch, next) == (epoch, sequence) || next_epoch > epoch && next == 0;
            invariant!(RELAY_14, follows, "sequence {next} admitted, {sequence} refused before");
        }
        let producer = self.known.entry(header.producer_id).or_default();
        let (first, last) = (header.base_sequence, header.last_sequence());
        producer.pending.push_back(Pending { key, epoch: header.producer_epoch, first, last });
    }

    /// A batch was found above the gate: a client that sends it again joins it.
    pub(super) fn found(&mut self, key: u64, header: &BatchHeader) {
        if !header.has_producer() {
            return;
        }
        self.refused.remove(header.producer_id);
        let producer = self.known.entry(header.producer_id).or_default();
        let (epoch, first, last) = (header.producer_epoch, header.base_sequence, header.last_sequence());
        // What waits comes after what has a place.
        let index = producer.pending.iter().position(|pending| (pending.epoch, pending.first) > (epoch, first));
        let index = index.unwrap_or(producer.pending.len());
        producer.pending.insert(index, Pending { key, epoch, first, last });
    }

    /// A batch waits no more.
    pub(super) fn done(&mut self, key: u64, producer_id: i64) {
        if let Some(producer) = self.known.get_mut(&producer_id) {
            producer.pending.retain(|pending| pending.key != key);
            if producer.pending.is_empty() && producer.batches.is_empty() {
                self.known.remove(&producer_id);
            }
        }
    }

    /// Whether this batch stands below the gate already, or comes before one that does: it is a late one, since a
    /// producer's batches were admitted in their order.
    pub(super) fn is_past(&self, header: &BatchHeader) -> bool {
        let Some(known) = self.known.get(&header.producer_id) else { return false };
        let Some(last) = known.batches.back() else { return false };
        let (epoch, first) = (header.producer_epoch, header.base_sequence);
        epoch < known.epoch || epoch == known.epoch && is_ahead(last.last_sequence, first)
    }

    /// The producer, epoch and first sequence of the batch that stands at this offset below the gate.
    pub(super) fn name_at(&self, offset: i64) -> Option<(i64, i16, i32)> {
        self.known.iter().find_map(|(id, known)| {
            let batch = known.batches.iter().find(|batch| batch.base_offset == offset)?;
            Some((*id, known.epoch, batch.first_sequence))
        })
    }

    /// Whether nothing of the producer is known to be below the gate.
    pub(super) fn is_fresh(&self, producer_id: i64) -> bool {
        self.known.get(&producer_id).is_none_or(|producer| producer.batches.is_empty())
    }

    /// A batch is not acknowledged and its client may send it again: only that one comes next (RELAY-14). Producers
    /// with something below the gate need no note: what comes next follows from that.
    pub(super) fn refuse(&mut self, header: &BatchHeader) {
        let id = header.producer_id;
        if id < 0 {
            return;
        }
        self.await_again(id, (header.producer_epoch, header.base_sequence));
        if !self.known.contains_key(&id) {
            self.refused.insert(id, (header.producer_epoch, header.base_sequence));
        }
    }

    /// The oldest of what has to come again is awaited.
    fn await_again(&mut self, id: i64, batch: (i16, i32)) {
        if let Some(awaited) = self.awaited.get_mut(id) {
            if batch.0 > awaited.0 || batch.0 == awaited.0 && is_ahead(awaited.1, batch.1) {
                *awaited = batch;
            }
        } else {
            self.awaited.insert(id, batch);
        }
    }

    /// A batch went below the gate.
    pub(super) fn remember(&mut self, offset: i64, header: &BatchHeader) {
        if !header.has_producer() {
            return;
        }
        if self.known.len() >= PRODUCERS_MAX && !self.known.contains_key(&header.producer_id) {
            self.forget_silent();
        }
        // What comes next follows from this.
        self.refused.remove(header.producer_id);
        let producer = self.known.entry(header.producer_id).or_default();
        if producer.batches.is_empty() || header.producer_epoch > producer.epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        } else if header.producer_epoch < producer.epoch {
            return;
        }
        if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Remembered {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: offset,
            max_timestamp: header.max_timestamp,
        });
    }

    /// Forgets the producers of batches at or above a gate that fell, and says which they were.
    pub(super) fn cut(&mut self, gate: i64) -> Vec<(i64, i16)> {
        let is_cut = |producer: &Producer| producer.batches.back().is_some_and(|batch| batch.base_offset >= gate);
        let mut cut: Vec<_> =
            self.known.iter().filter(|(_, known)| is_cut(known)).map(|(id, known)| (*id, known.epoch)).collect();
        cut.sort_unstable();
        for (id, _) in &cut {
            if let Some(known) = self.known.get_mut(id) {
                known.batches.clear();
            }
        }
        self.known.retain(|_, known| !known.batches.is_empty() || !known.pending.is_empty());
        cut
    }

    // A sixteenth at once, so that the search is paid for by many batches.
    fn forget_silent(&mut self) {
        let newest = |producer: &Producer| producer.batches.back().map_or(i64::MAX, |batch| batch.base_offset);
        let mut ends: Vec<i64> = self.known.values().map(newest).collect();
        let (_, &mut bound, _) = ends.select_nth_unstable(PRODUCERS_MAX / 16);
        self.known.retain(|_, producer| !producer.pending.is_empty() || newest(producer) > bound);
    }

    /// The highest offset remembered, for the rule that nothing above the gate is (RELAY-11).
    pub(super) fn newest_of(&self, producer_id: i64) -> Option<i64> {
        self.known.get(&producer_id)?.batches.back().map(|batch| batch.base_offset)
    }
}
