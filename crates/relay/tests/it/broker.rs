//! A model of one cluster's partition leaders: what a log answers, and nothing of how it is stored.
//!
//! Written from what was measured on Apache Kafka, not from the stand-in's code, so that the two can disagree.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use naru_kafka::wire::{Batch, ErrorCode, TopicId};
use naru_relay::sequence::Millis;

/// How many batches of a producer a broker remembers.
const BATCHES_REMEMBERED: usize = 5;

/// What a batch holds, whoever it was stamped by and wherever it lies.
pub fn content(batch: &Batch) -> u64 {
    let mut hasher = DefaultHasher::new();
    (batch.header().base_timestamp, batch.header().record_count, &batch.bytes()[61..]).hash(&mut hasher);
    hasher.finish()
}

/// A broker's memory of one producer.
#[derive(Debug, Clone)]
struct Producer {
    epoch: i16,
    /// First sequence, last sequence, base offset; oldest first.
    batches: VecDeque<(i32, i32, i64)>,
}

/// A stored batch: base offset and leader epoch are in its header.
#[derive(Debug, Clone)]
pub struct Stored {
    pub batch: Batch,
    pub content: u64,
}

impl Stored {
    pub fn base_offset(&self) -> i64 {
        self.batch.header().base_offset
    }

    pub fn next_offset(&self) -> i64 {
        self.batch.header().next_offset()
    }
}

/// One partition on one side.
#[derive(Debug)]
pub struct Log {
    pub topic_id: TopicId,
    pub leader_epoch: i32,
    pub log_start: i64,
    pub end: i64,
    batches: VecDeque<Stored>,
    producers: BTreeMap<i64, Producer>,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    New(i64),
    Duplicate(i64),
}

impl Appended {
    pub fn offset(self) -> i64 {
        match self {
            Self::New(offset) | Self::Duplicate(offset) => offset,
        }
    }
}

impl Log {
    pub fn new(topic_id: TopicId) -> Self {
        Self { topic_id, leader_epoch: 0, log_start: 0, end: 0, batches: VecDeque::new(), producers: BTreeMap::new() }
    }

    pub fn append(&mut self, batch: &Batch) -> Result<Appended, ErrorCode> {
        let header = *batch.header();
        if batch.verify_crc().is_err() {
            return Err(ErrorCode::CORRUPT_MESSAGE);
        }
        if header.base_offset != 0 || header.is_control() || header.last_offset_delta + 1 != header.record_count {
            return Err(ErrorCode::INVALID_RECORD);
        }
        if header.has_producer()
            && let Some(offset) = self.sequence_allows(batch)?
        {
            return Ok(Appended::Duplicate(offset));
        }
        let base_offset = self.end;
        let bytes = batch.with_offset(base_offset, self.leader_epoch).to_bytes();
        let batch = Batch::split_first(&mut bytes.clone()).expect("it was a batch before");
        self.end = batch.header().next_offset();
        self.remember(&batch);
        self.batches.push_back(Stored { content: content(&batch), batch });
        Ok(Appended::New(base_offset))
    }

    /// The old offset if the batch is a known one; None if it is the next one; the error otherwise.
    fn sequence_allows(&self, batch: &Batch) -> Result<Option<i64>, ErrorCode> {
        let header = batch.header();
        let Some(known) = self.producers.get(&header.producer_id) else {
            return Ok(None);
        };
        if header.producer_epoch < known.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if header.producer_epoch > known.epoch {
            return if header.base_sequence == 0 { Ok(None) } else { Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER) };
        }
        let range = (header.base_sequence, header.last_sequence());
        if let Some((.., offset)) = known.batches.iter().find(|(first, last, _)| (*first, *last) == range) {
            return Ok(Some(*offset));
        }
        let next = known.batches.back().map(|(_, last, _)| last.wrapping_add(1) & i32::MAX);
        if next.is_none_or(|next| next == header.base_sequence) {
            Ok(None)
        } else {
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        }
    }

    fn remember(&mut self, stored: &Batch) {
        let header = stored.header();
        if !header.has_producer() {
            return;
        }
        let fresh = || Producer { epoch: header.producer_epoch, batches: VecDeque::new() };
        let producer = self.producers.entry(header.producer_id).or_insert_with(fresh);
        if producer.epoch != header.producer_epoch {
            *producer = fresh();
        }
        if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back((header.base_sequence, header.last_sequence(), header.base_offset));
    }

    /// Whole batches from the one that holds `from`, below `before`.
    pub fn read(&self, from: i64, before: i64, bytes_max: usize) -> Result<Vec<Batch>, ErrorCode> {
        if from < self.log_start || from > self.end {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        let first = self.batches.partition_point(|stored| stored.next_offset() <= from);
        for stored in self.batches.iter().skip(first).take_while(|stored| stored.base_offset() < before) {
            if !found.is_empty() && bytes + stored.batch.bytes().len() > bytes_max {
                break;
            }
            bytes += stored.batch.bytes().len();
            found.push(stored.batch.clone());
        }
        Ok(found)
    }

    /// The batch that begins here.
    pub fn at(&self, base_offset: i64) -> Option<&Stored> {
        let index = self.batches.partition_point(|stored| stored.base_offset() < base_offset);
        self.batches.get(index).filter(|stored| stored.base_offset() == base_offset)
    }

    /// Every batch from an offset on.
    pub fn from(&self, offset: i64) -> impl Iterator<Item = &Stored> {
        let index = self.batches.partition_point(|stored| stored.next_offset() <= offset);
        self.batches.iter().skip(index)
    }

    /// Where what came under a leader epoch, or an older one, ends.
    pub fn epoch_end(&self, epoch: i32) -> Option<i64> {
        let newer = self.batches.iter().find(|stored| stored.batch.header().partition_leader_epoch > epoch);
        (0..=self.leader_epoch).contains(&epoch).then(|| newer.map_or(self.end, Stored::base_offset))
    }

    pub fn delete_before(&mut self, before: i64) -> Result<i64, ErrorCode> {
        if before > self.end {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        self.log_start = self.log_start.max(before);
        while self.batches.front().is_some_and(|stored| stored.next_offset() <= self.log_start) {
            self.batches.pop_front();
        }
        Ok(self.log_start)
    }

    /// An election that keeps everything below `end` only, at the boundary of a batch.
    pub fn lose_from(&mut self, end: i64) {
        while self.batches.back().is_some_and(|stored| stored.next_offset() > end) {
            self.end = self.batches.pop_back().map_or(self.end, |stored| stored.base_offset());
        }
        self.leader_epoch += 2;
        self.log_start = self.log_start.min(self.end);
        self.recall_producers();
    }

    /// What a broker knows of producers after a start: what its batches say.
    pub fn recall_producers(&mut self) {
        self.producers.clear();
        for stored in std::mem::take(&mut self.batches) {
            self.remember(&stored.batch);
            self.batches.push_back(stored);
        }
    }

    pub fn producer_ids(&self) -> Vec<i64> {
        self.producers.keys().copied().collect()
    }

    /// Forgets a producer as if its time was over.
    pub fn forget(&mut self, producer_id: i64) {
        self.producers.remove(&producer_id);
    }

    /// The log as a topic made again under the same name.
    pub fn recreate(&mut self, topic_id: TopicId) {
        *self = Self::new(topic_id);
    }
}

/// One side's cluster.
#[derive(Debug)]
pub struct Broker {
    pub logs: Vec<Log>,
    /// The process is not there.
    pub down: bool,
    /// The process is stopped: what arrives waits until then.
    pub frozen_until: Millis,
    /// Writes are refused until then with this code.
    pub refuses: (Millis, ErrorCode),
    /// As long as it is not active it refuses what the other takes, for good, until then.
    pub rejects_until: Millis,
    /// Everything takes this many times as long until then.
    pub slow: (Millis, u64),
}

impl Broker {
    pub fn new(logs: Vec<Log>) -> Self {
        Self { logs, down: false, frozen_until: 0, refuses: (0, ErrorCode::NONE), rejects_until: 0, slow: (0, 1) }
    }
}
