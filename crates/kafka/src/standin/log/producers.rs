//! Producers: the sequences that were appended, and which may come next.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

/// How many of a producer's batches are remembered, so that a repeated one is recognised. Kafka's number; it is also
/// the most that an idempotent client keeps in flight.
pub const RETAINED_BATCHES: usize = 5;

/// How often a broker looks for expired producers: Kafka's `producer.id.expiration.check.interval.ms`.
pub const PRODUCER_EXPIRY_CHECK_MS: i64 = 600_000;

/// The most producers remembered per partition. Kafka has no bound; ours is about 8 MB per partition. Beyond it the
/// ones that have been silent longest are forgotten, which has the effect of expiry.
pub const PRODUCERS_MAX: usize = 50_000;

/// A batch that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetainedBatch {
    /// Sequence of its first record.
    pub first_sequence: i32,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// The newest time among its records, milliseconds since 1970.
    pub max_timestamp: i64,
}

/// What is known of one producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerState {
    /// The epoch of its last batch.
    pub epoch: i16,
    /// Its last batches, oldest first; never empty, at most [`RETAINED_BATCHES`].
    pub batches: VecDeque<RetainedBatch>,
}

impl ProducerState {
    /// The newest batch.
    pub fn last(&self) -> &RetainedBatch {
        self.batches.back().expect("a producer is entered with its first batch")
    }

    /// Whether the producer is forgotten at `now_ms`. The time inside its last batch counts, not the time at which that
    /// batch came: a batch dated two days back expires at the next check.
    pub fn is_expired(&self, now_ms: i64, expiry_ms: i64) -> bool {
        now_ms.saturating_sub(self.last().max_timestamp) >= expiry_ms
    }
}

/// The batch, already in the log, that a repeated one equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuplicateOf(pub RetainedBatch);

/// What a batch's sequence means for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceVerdict {
    /// It comes next, or its producer is not known.
    Next,
    /// It has been appended before.
    Duplicate(DuplicateOf),
}

/// Why a sequence is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// Something between this batch and the last is missing, or it is older than what is remembered.
    #[error(
        "producer {producer_id} epoch {epoch}: sequence {sequence} does not follow {last_sequence} of epoch {last_epoch}"
    )]
    OutOfOrder {
        /// The producer.
        producer_id: i64,
        /// The batch's epoch.
        epoch: i16,
        /// The batch's first sequence.
        sequence: i32,
        /// The epoch of the last batch.
        last_epoch: i16,
        /// The last sequence appended.
        last_sequence: i32,
    },
    /// A producer with a newer epoch has written since.
    #[error("producer {producer_id}: epoch {epoch} is older than {current}")]
    OldEpoch {
        /// The producer.
        producer_id: i64,
        /// The batch's epoch.
        epoch: i16,
        /// The newest epoch seen.
        current: i16,
    },
}

/// The producers of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProducerTable(HashMap<i64, ProducerState>);

impl ProducerTable {
    /// Whether the sequences `first..=last` of a producer may be appended.
    ///
    /// # Errors
    /// As Kafka answers: a gap or a sequence older than those remembered is out of order, a lower epoch is refused. A
    /// producer that is not known may start anywhere.
    pub fn check(&self, producer_id: i64, epoch: i16, first: i32, last: i32) -> Result<SequenceVerdict, ProducerError> {
        let Some(known) = self.0.get(&producer_id) else { return Ok(SequenceVerdict::Next) };
        if epoch == known.epoch
            && let Some(same) =
                known.batches.iter().find(|batch| batch.first_sequence == first && batch.last_sequence == last)
        {
            return Ok(SequenceVerdict::Duplicate(DuplicateOf(*same)));
        }
        if epoch < known.epoch {
            return Err(ProducerError::OldEpoch { producer_id, epoch, current: known.epoch });
        }
        let last_sequence = known.last().last_sequence;
        let expected = if epoch > known.epoch { 0 } else { sequence_after(last_sequence, 1) };
        if first == expected {
            return Ok(SequenceVerdict::Next);
        }
        Err(ProducerError::OutOfOrder { producer_id, epoch, sequence: first, last_epoch: known.epoch, last_sequence })
    }

    /// Enters a batch that was appended.
    pub fn note(&mut self, producer_id: i64, epoch: i16, batch: RetainedBatch) {
        if self.0.len() >= PRODUCERS_MAX && !self.0.contains_key(&producer_id) {
            self.forget_silent();
        }
        let state =
            self.0.entry(producer_id).or_insert_with(|| ProducerState { epoch, batches: VecDeque::with_capacity(1) });
        if state.epoch != epoch {
            state.epoch = epoch;
            state.batches.clear();
        }
        if state.batches.len() == RETAINED_BATCHES {
            state.batches.pop_front();
        }
        state.batches.push_back(batch);
    }

    // A sixteenth at once, so that the search is paid for by many appends.
    fn forget_silent(&mut self) {
        let mut ends: Vec<i64> = self.0.values().map(|state| state.last().last_offset).collect();
        let (_, &mut bound, _) = ends.select_nth_unstable(PRODUCERS_MAX / 16);
        self.0.retain(|_, state| state.last().last_offset > bound);
    }

    /// Forgets the producers whose last batch is dated too far back; how many they were.
    pub fn expire(&mut self, now_ms: i64, expiry_ms: i64) -> usize {
        let before = self.0.len();
        self.0.retain(|_, state| !state.is_expired(now_ms, expiry_ms));
        before - self.0.len()
    }

    /// Notes that the batch at `sequence` could not be written, if its producer or epoch has none that was: only the same
    /// sequence comes next then.
    pub fn note_failed(&mut self, producer_id: i64, epoch: i16, sequence: i32, max_timestamp: i64) {
        if self.0.get(&producer_id).is_none_or(|state| state.epoch != epoch) {
            self.note(producer_id, epoch, before(sequence, max_timestamp));
        }
    }

    /// Forgets the batches at or above a new log end. A producer of which nothing is left starts again where the first
    /// of them did.
    pub fn cut_end(&mut self, log_end: i64) {
        for state in self.0.values_mut() {
            let Some(first) = state.batches.front().copied() else { continue };
            state.batches.retain(|batch| batch.last_offset < log_end);
            if state.batches.is_empty() {
                state.batches.push_back(before(first.first_sequence, first.max_timestamp));
            }
        }
    }

    /// Every producer with its state, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerState)> {
        self.0.iter().map(|(id, state)| (*id, state))
    }

    /// One producer.
    pub fn get(&self, producer_id: i64) -> Option<&ProducerState> {
        self.0.get(&producer_id)
    }

    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// Stands for what came before `sequence`. No batch equals it, since none has a negative first sequence.
fn before(sequence: i32, max_timestamp: i64) -> RetainedBatch {
    let last_sequence = sequence - 1;
    RetainedBatch { first_sequence: i32::MIN, last_sequence, base_offset: -1, last_offset: -1, max_timestamp }
}

/// The sequence `count` records after `sequence`. After the largest comes 0.
pub(crate) fn sequence_after(sequence: i32, count: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(count);
    i32::try_from(sum % (i64::from(i32::MAX) + 1)).expect("reduced below the largest sequence")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure
    use super::*;

    const ID: i64 = 1 << 62;

    fn batch(first: i32, count: i32, base_offset: i64) -> RetainedBatch {
        RetainedBatch {
            first_sequence: first,
            last_sequence: sequence_after(first, count - 1),
            base_offset,
            last_offset: base_offset + i64::from(count) - 1,
            max_timestamp: 1_000,
        }
    }

    fn table(epoch: i16, batches: &[RetainedBatch]) -> ProducerTable {
        let mut table = ProducerTable::default();
        for batch in batches {
            table.note(ID, epoch, *batch);
        }
        table
    }

    fn verdict(table: &ProducerTable, epoch: i16, first: i32, count: i32) -> Result<Option<i64>, &'static str> {
        match table.check(ID, epoch, first, sequence_after(first, count - 1)) {
            Ok(SequenceVerdict::Next) => Ok(None),
            Ok(SequenceVerdict::Duplicate(DuplicateOf(batch))) => Ok(Some(batch.base_offset)),
            Err(ProducerError::OutOfOrder { .. }) => Err("out of order"),
            Err(ProducerError::OldEpoch { .. }) => Err("old epoch"),
        }
    }

    #[test]
    fn a_sequence_is_next_a_duplicate_or_refused() {
        let known = table(3, &[batch(0, 10, 100), batch(10, 5, 110)]);
        let check = |epoch, first, count, expect| {
            assert_eq!(verdict(&known, epoch, first, count), expect, "epoch {epoch} sequence {first} x {count}");
        };
        check(3, 15, 1, Ok(None));
        check(3, 16, 1, Err("out of order"));
        check(3, 0, 10, Ok(Some(100)));
        check(3, 10, 5, Ok(Some(110)));
        check(3, 10, 4, Err("out of order"));
        check(3, 0, 1, Err("out of order"));
        check(4, 0, 1, Ok(None));
        check(4, 5, 1, Err("out of order"));
        check(4, 15, 1, Err("out of order"));
        check(2, 0, 1, Err("old epoch"));
        check(2, 15, 1, Err("old epoch"));
        assert_eq!(verdict(&ProducerTable::default(), 0, 7, 1), Ok(None), "an unknown producer starts anywhere");
    }

    #[test]
    fn the_largest_epoch_is_not_followed_by_zero() {
        assert_eq!(verdict(&table(i16::MAX, &[batch(0, 1, 0)]), 0, 0, 1), Err("old epoch"));
    }

    #[test]
    fn the_last_five_batches_are_recognised_and_no_more() {
        let batches: Vec<_> = (0..6).map(|n| batch(n, 1, i64::from(n))).collect();
        let known = table(0, &batches);
        assert_eq!(verdict(&known, 0, 0, 1), Err("out of order"));
        for n in 1..6 {
            assert_eq!(verdict(&known, 0, n, 1), Ok(Some(i64::from(n))));
        }
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let known = table(0, &[batch(i32::MAX - 1, 4, 0)]);
        assert_eq!(known.get(ID).unwrap().last().last_sequence, 1);
        assert_eq!(verdict(&known, 0, 2, 1), Ok(None));
        assert_eq!(verdict(&known, 0, i32::MAX - 1, 4), Ok(Some(0)));
        assert_eq!(verdict(&table(0, &[batch(i32::MAX, 1, 0)]), 0, 0, 1), Ok(None));
    }

    #[test]
    fn expiry_counts_from_the_time_inside_the_last_batch() {
        let mut known = table(0, &[batch(0, 1, 0)]);
        assert_eq!(known.expire(1_000 + 99, 100), 0);
        assert_eq!(known.expire(1_000 + 100, 100), 1);
        assert_eq!(verdict(&known, 0, 0, 1), Ok(None), "the same batch is taken again");
    }

    #[test]
    fn cutting_the_end_forgets_what_was_cut() {
        let mut known = table(0, &[batch(0, 2, 0), batch(2, 2, 2)]);
        known.cut_end(3);
        assert_eq!(verdict(&known, 0, 2, 2), Ok(None));
        known.cut_end(0);
        assert_eq!(verdict(&known, 0, 2, 2), Err("out of order"), "what was cut comes first");
        assert_eq!(verdict(&known, 0, 0, 2), Ok(None));
    }

    #[test]
    fn after_a_failed_write_of_an_unknown_producer_only_that_sequence_comes_next() {
        let mut known = ProducerTable::default();
        known.note_failed(ID, 0, 0, 1_000);
        assert_eq!(verdict(&known, 0, 1, 1), Err("out of order"));
        assert_eq!(verdict(&known, 0, 0, 1), Ok(None));
    }

    #[test]
    fn beyond_the_bound_the_longest_silent_are_forgotten() {
        let mut known = ProducerTable::default();
        for id in 0..=i64::try_from(PRODUCERS_MAX).unwrap() {
            known.note(id, 0, batch(0, 1, id));
        }
        assert!(known.len() <= PRODUCERS_MAX, "{}", known.len());
        assert!(known.get(0).is_none());
        assert!(known.get(i64::try_from(PRODUCERS_MAX).unwrap()).is_some());
    }
}
