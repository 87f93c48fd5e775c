//! Two logs walked side by side, as a pure machine: batches in, differences out.

use std::collections::VecDeque;

use naru_kafka::client::TopicPartition;
use naru_kafka::wire::{Batch, WireError};

use super::batch::{Verdict, compare};
use super::{Difference, Options, Producers, Seen};
use crate::side::{Side, SideMap};

/// Batches held of a side before its first is judged: the second shows whether the other side lacks the first.
const LOOK_AHEAD: usize = 2;

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Compared {
    /// Pairs of batches.
    pub batches: u64,
    /// Those of them that a copier stamped.
    pub restamped: u64,
    /// Bytes of both sides.
    pub bytes: u64,
    /// Everything below was compared: the end of the range, or of the batch that reaches beyond it.
    pub reached: i64,
}

#[derive(Debug, Default)]
struct Reading {
    queue: VecDeque<Batch>,
    /// Where the next read begins.
    next: i64,
    /// Nothing more is wanted or there.
    ended: bool,
    /// The end of the last batch taken off the queue.
    passed: i64,
}

/// One range of one partition on both sides.
#[derive(Debug)]
pub(super) struct Lockstep {
    at: TopicPartition,
    end: i64,
    sides: SideMap<Reading>,
    producers: Producers,
    decompressed_bytes_max: usize,
    compared: Compared,
    stopped: bool,
}

impl Lockstep {
    /// Compares the batches that hold an offset in `start..end`.
    pub fn new(at: TopicPartition, start: i64, end: i64, options: &Options) -> Self {
        let reading = |_| Reading { next: start, passed: start, ended: start >= end, ..Reading::default() };
        Self {
            at,
            end,
            sides: SideMap::from_fn(reading),
            producers: options.producers,
            decompressed_bytes_max: options.decompressed_bytes_max,
            compared: Compared::default(),
            stopped: false,
        }
    }

    /// Where to read the side on; none: not needed now.
    pub fn wants(&self, side: Side) -> Option<i64> {
        let reading = &self.sides[side];
        let wanted = !self.stopped && !reading.ended && reading.queue.len() < LOOK_AHEAD;
        wanted.then_some(reading.next)
    }

    /// Batches read from where [`Lockstep::wants`] said; none at all: the side's log ends there. If the log was cut
    /// meanwhile, this was asked for below what is wanted by now, and says nothing about the end.
    pub fn take(&mut self, side: Side, from: i64, batches: Vec<Batch>, out: &mut Vec<Difference>) {
        let before = self.sides[side].next;
        for batch in batches {
            let header = *batch.header();
            if header.last_offset() < self.sides[side].next {
                continue;
            }
            if header.base_offset >= self.end {
                self.sides[side].ended = true;
                break;
            }
            self.check(side, &batch, out);
            self.compared.bytes += batch.bytes().len() as u64;
            self.sides[side].next = header.next_offset();
            self.sides[side].queue.push_back(batch);
        }
        let reading = &mut self.sides[side];
        reading.ended |= reading.next >= self.end || (reading.next == before && from == before);
    }

    /// The side's log begins later now: nothing below is wanted of either.
    pub fn begin_at(&mut self, log_start: i64) {
        for side in Side::BOTH {
            let reading = &mut self.sides[side];
            reading.queue.retain(|batch| batch.header().last_offset() >= log_start);
            reading.next = reading.next.max(log_start);
            reading.passed = reading.passed.max(log_start);
            reading.ended |= reading.next >= self.end;
        }
    }

    /// Compares as far as what was read allows.
    pub fn step(&mut self, out: &mut Vec<Difference>) {
        while !self.stopped && Side::BOTH.into_iter().all(|side| self.wants(side).is_none()) {
            match (self.sides.a.queue.front(), self.sides.b.queue.front()) {
                (None, None) => self.stopped = true,
                (Some(_), None) => self.only_on(Side::A, out),
                (None, Some(_)) => self.only_on(Side::B, out),
                (Some(a), Some(b)) => {
                    let (at_a, at_b) = (a.header().base_offset, b.header().base_offset);
                    match at_a.cmp(&at_b) {
                        std::cmp::Ordering::Less => self.apart(Side::A, out),
                        std::cmp::Ordering::Greater => self.apart(Side::B, out),
                        std::cmp::Ordering::Equal => self.pair(out),
                    }
                }
            }
        }
    }

    /// Whether the range is compared, or was given up because one side is shifted.
    pub fn is_done(&self) -> bool {
        self.stopped
    }

    /// What was compared so far.
    pub fn compared(&self) -> Compared {
        let reached = self.sides.a.passed.max(self.sides.b.passed);
        Compared { reached: if self.stopped { reached.max(self.end) } else { reached }, ..self.compared }
    }

    fn pop(&mut self, side: Side) -> Option<Batch> {
        let reading = &mut self.sides[side];
        let batch = reading.queue.pop_front()?;
        reading.passed = batch.header().next_offset();
        Some(batch)
    }

    /// Both heads begin at the same offset.
    fn pair(&mut self, out: &mut Vec<Difference>) {
        let equal = |a: &Batch, b: &Batch| compare(a, b, self.producers, self.decompressed_bytes_max);
        let (Some(a), Some(b)) = (self.sides.a.queue.front(), self.sides.b.queue.front()) else { return };
        let part = match equal(a, b) {
            Verdict::Equal => None,
            Verdict::Restamped => {
                self.compared.restamped += 1;
                None
            }
            Verdict::Differs(part) => {
                let second = |side: Side| self.sides[side].queue.get(1);
                let twin = |next: Option<&Batch>, head| next.is_some_and(|next| equal(next, head) == Verdict::Equal);
                let missing_on = if twin(second(Side::A), b) {
                    Some((Side::B, a, b))
                } else if twin(second(Side::B), a) {
                    Some((Side::A, b, a))
                } else {
                    None
                };
                if let Some((missing_on, held, instead)) = missing_on {
                    let missing = self.missing(missing_on, held, Some(instead), true);
                    out.push(missing);
                    self.stopped = true;
                    return;
                }
                Some((part, SideMap { a: Seen::of(a), b: Seen::of(b) }))
            }
        };
        if let Some((part, sides)) = part {
            let (topic, partition) = self.named();
            out.push(Difference::Batch { topic, partition, offset: sides.a.first_offset, part, sides });
        }
        self.compared.batches += 1;
        self.pop(Side::A);
        self.pop(Side::B);
    }

    /// The head of `side` begins before the other's.
    fn apart(&mut self, side: Side, out: &mut Vec<Difference>) {
        let other = side.other();
        let (Some(held), Some(later)) = (self.sides[side].queue.front(), self.sides[other].queue.front()) else {
            return;
        };
        // Inside a batch of the other side that was already said to end elsewhere.
        if held.header().base_offset >= self.sides[other].passed {
            let overlaps = held.header().last_offset() >= later.header().base_offset;
            let missing = self.missing(other, held, overlaps.then_some(later), false);
            out.push(missing);
        }
        self.pop(side);
    }

    /// The other side has nothing more below the end.
    fn only_on(&mut self, side: Side, out: &mut Vec<Difference>) {
        let other = side.other();
        if let Some(held) = self.sides[side].queue.front() {
            let offset = held.header().base_offset.max(self.sides[other].passed);
            if held.header().last_offset() >= offset {
                let (topic, partition) = self.named();
                let (records, held) = (self.end - offset, Some(Seen::of(held)));
                out.push(Difference::MissingTail { topic, partition, offset, missing_on: other, records, held });
                self.stopped = true;
            }
        }
        self.pop(side);
    }

    fn missing(&self, missing_on: Side, held: &Batch, instead: Option<&Batch>, shifts: bool) -> Difference {
        let (topic, partition) = self.named();
        let (offset, instead) = (held.header().base_offset, instead.map(Seen::of));
        Difference::MissingBatch { topic, partition, offset, missing_on, held: Seen::of(held), instead, shifts }
    }

    fn check(&self, side: Side, batch: &Batch, out: &mut Vec<Difference>) {
        if let Err(WireError::BadCrc { stored, computed }) = batch.verify_crc() {
            let (topic, partition) = self.named();
            let offset = batch.header().base_offset;
            out.push(Difference::Damaged { topic, partition, offset, side, stored, computed });
        }
    }

    fn named(&self) -> (String, i32) {
        (self.at.topic.to_string(), self.at.partition)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use naru_kafka::wire::{BatchBuilder, Compression, batch as raw};

    use super::*;

    /// A batch at an offset, as `OFFSET:VALUE,VALUE`; a `!` in front breaks its checksum.
    fn batch(text: &str) -> Batch {
        let (text, broken) = text.strip_prefix('!').map_or((text, false), |text| (text, true));
        let (offset, values) = text.split_once(':').unwrap();
        let mut builder = BatchBuilder::new(Compression::None);
        for value in values.split(',') {
            builder.push(1_000, None, Some(value.as_bytes()), &[]).unwrap();
        }
        let mut bytes = builder.build().unwrap().to_vec();
        raw::set_base_offset(&mut bytes, offset.parse().unwrap()).unwrap();
        bytes[17] ^= u8::from(broken);
        Batch::split_first(&mut bytes.into()).unwrap()
    }

    /// What comes of the two logs, read `at_once` batches at a time.
    fn walked(a: &str, b: &str, end: i64, at_once: usize) -> (Vec<String>, Compared) {
        let logs = SideMap { a, b }.iter().map(|(_, text)| text.split_whitespace().map(batch).collect()).collect();
        let logs: [Vec<Batch>; 2] = <[_; 2]>::try_from(Vec::from_iter::<Vec<_>>(logs)).unwrap();
        let mut lockstep = Lockstep::new(TopicPartition::new("t", 0), 0, end, &Options::default());
        let mut out = Vec::new();
        while !lockstep.is_done() {
            for (side, log) in Side::BOTH.into_iter().zip(&logs) {
                if let Some(from) = lockstep.wants(side) {
                    let rest = log.iter().filter(|batch| batch.header().last_offset() >= from);
                    lockstep.take(side, from, rest.take(at_once).cloned().collect(), &mut out);
                }
            }
            lockstep.step(&mut out);
        }
        (out.iter().map(ToString::to_string).collect(), lockstep.compared())
    }

    fn check(a: &str, b: &str, end: i64, expect: &[&str]) {
        for at_once in [1, 2, 100] {
            let (found, _) = walked(a, b, end, at_once);
            assert_eq!(found.len(), expect.len(), "{a} | {b}: {found:?}");
            for (found, expect) in found.iter().zip(expect) {
                // Checksums are the codec's business: the expectation names the place and the kind.
                let parts = expect.split("..").collect::<Vec<_>>();
                assert!(parts.iter().all(|part| found.contains(part)), "{a} | {b}: {expect:?} is not in {found:?}");
            }
        }
    }

    #[test]
    fn equal_logs_have_no_difference() {
        check("", "", 0, &[]);
        check("0:a,b 2:c", "0:a,b 2:c", 3, &[]);
        // Above the end nothing is looked at.
        check("0:a,b 2:c", "0:a,b 2:d", 2, &[]);
        check("0:a 3:b", "0:a 3:b", 4, &[]);
        let (_, compared) = walked("0:a,b 2:c", "0:a,b 2:c", 3, 1);
        assert_eq!((compared.batches, compared.restamped, compared.reached), (2, 0, 3));
        // A batch that reaches beyond the end is compared whole, and not again.
        let (_, compared) = walked("0:a,b 2:c,d,e", "0:a,b 2:c,d,e", 3, 1);
        assert_eq!((compared.batches, compared.reached), (2, 5));
    }

    #[test]
    fn a_changed_record_is_named_and_what_follows_is_compared() {
        check("0:a 1:b,c 3:d", "0:a 1:b,X 3:d", 4, &["t-0 offset 1:..record at offset 2.. on a, .. on b"]);
        check("0:a 1:b 2:c", "0:x 1:b 2:y", 3, &["t-0 offset 0", "t-0 offset 2"]);
    }

    #[test]
    fn a_missing_batch_is_named_with_the_side_that_lacks_it() {
        check("0:a 1:b 2:c", "0:a 2:c", 3, &["t-0 offset 1: batch..of a is missing on b, where nothing stands"]);
        check("0:a 2:c", "0:a 1:b 2:c", 3, &["t-0 offset 1: batch..of b is missing on a"]);
        // The one behind it took its place.
        check("0:a 1:b 2:c 3:d", "0:a 1:c 2:d", 3, &["t-0 offset 1: batch..is missing on b..shifted"]);
        check("0:a 1:c", "0:a 1:b 2:c", 3, &["t-0 offset 1: batch..is missing on a..shifted"]);
    }

    #[test]
    fn a_log_that_ends_early_is_named_once() {
        check("0:a 1:b 2:c", "0:a", 3, &["t-0 offset 1: b ends here, a has 2 more"]);
        check("", "0:a,b", 2, &["t-0 offset 0: a ends here, b has 2 more"]);
    }

    #[test]
    fn batches_that_end_elsewhere_are_said_once() {
        check("0:a,b,c 3:d", "0:a,b 2:c 3:d", 4, &["t-0 offset 0: batches differ in where they end"]);
        check("0:a 1:b,c 3:d", "0:a,b,c 3:d", 4, &["t-0 offset 0: batches differ in where they end"]);
    }

    #[test]
    fn what_was_asked_of_a_side_before_the_log_was_cut_says_nothing_of_its_end() {
        for late in [vec![], vec![batch("0:a"), batch("1:b")]] {
            let mut lockstep = Lockstep::new(TopicPartition::new("t", 0), 0, 4, &Options::default());
            let mut out = Vec::new();
            // Both were asked at 0, and the first answer was that nothing below 2 is there any more.
            lockstep.begin_at(2);
            lockstep.take(Side::B, 0, late, &mut out);
            assert_eq!((lockstep.wants(Side::A), lockstep.wants(Side::B)), (Some(2), Some(2)));
            for side in Side::BOTH {
                lockstep.take(side, 2, vec![batch("2:c,d")], &mut out);
            }
            lockstep.step(&mut out);
            assert!(lockstep.is_done() && out.is_empty(), "{out:?}");
        }
    }

    #[test]
    fn a_damaged_batch_is_named_with_both_checksums() {
        let expect = ["t-0 offset 1: the batch on b is damaged; it carries checksum", "t-0 offset 1: batches differ"];
        check("0:a 1:b 2:c", "0:a !1:b 2:c", 3, &expect);
    }
}
