//! The line: batches above the gate, in the order that the active side gave them, and those that wait for a place.

use std::collections::VecDeque;

use naru_kafka::wire::{Batch, BatchHeader, RecordData};

use super::{Acked, Action, Millis, Outgoing, Refusal, Ticket};

/// A waiting client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) since: Millis,
}

/// How far a batch without a place has come on the side that orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is not there: never sent, refused, or read and not found.
    No,
    /// On its way.
    InFlight,
    /// It may be there.
    Unknown,
}

/// One batch of the line.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: u64,
    pub(super) batch: Batch,
    /// As it is written: with the stamp, if it has one; base offset 0.
    pub(super) header: BatchHeader,
    /// It is written under the partition's own producer, which it is given when it is sent: it came without one, or the
    /// active side refuses its own.
    pub(super) plain: bool,
    /// Its stamp, if it is plain and has one, stands in `header`.
    pub(super) stamped: bool,
    pub(super) sent: Sent,
    pub(super) ever_sent: bool,
    /// An offset below the expected one that the side answered with, not yet compared.
    pub(super) claimed: Option<i64>,
    /// The side's records were found whole after it refused this batch's sequence.
    pub(super) refused_before: bool,
    pub(super) waiters: Vec<Waiter>,
    /// It was read from a side, not sent by a client of ours.
    pub(super) found: bool,
    /// Its offset once it has a place, else -1.
    pub(super) offset: i64,
}

impl Entry {
    pub(super) fn new(key: u64, batch: Batch) -> Self {
        let header = BatchHeader { base_offset: 0, partition_leader_epoch: -1, ..*batch.header() };
        Self {
            key,
            batch,
            header,
            plain: false,
            stamped: false,
            sent: Sent::No,
            ever_sent: false,
            claimed: None,
            refused_before: false,
            waiters: Vec::new(),
            found: false,
            offset: -1,
        }
    }

    /// A batch that was found on a side, where it stands.
    pub(super) fn found(key: u64, batch: Batch) -> Self {
        let offset = batch.header().base_offset;
        Self { offset, found: true, ..Self::new(key, batch) }
    }

    pub(super) fn records(&self) -> i64 {
        i64::from(self.header.last_offset_delta) + 1
    }

    pub(super) fn next_offset(&self) -> i64 {
        self.offset + self.records()
    }

    pub(super) fn bytes(&self) -> usize {
        self.batch.bytes().len()
    }

    /// As it is written to a side.
    pub(super) fn outgoing(&self) -> Outgoing {
        outgoing(self.header, &self.batch)
    }

    /// As consumers see it.
    pub(super) fn shown(&self) -> Outgoing {
        let header = BatchHeader { base_offset: self.offset, partition_leader_epoch: 0, ..self.header };
        outgoing(header, &self.batch)
    }

    /// As it stands in a log.
    pub(super) fn standing(&self) -> BatchHeader {
        BatchHeader { base_offset: self.offset, ..self.header }
    }

    /// Gives it another producer; the checksum follows.
    pub(super) fn stamp(&mut self, id: i64, epoch: i16, sequence: i32) {
        self.header = with_producer(&self.batch, id, epoch, sequence);
        self.stamped = true;
    }

    pub(super) fn answer(&mut self, result: Result<Acked, Refusal>, out: &mut Vec<Action>) {
        for waiter in self.waiters.drain(..) {
            out.push(Action::Answer { ticket: waiter.ticket, result });
        }
    }
}

/// A batch's header with another producer and base offset 0, the checksum right.
pub(super) fn with_producer(batch: &Batch, id: i64, epoch: i16, sequence: i32) -> BatchHeader {
    let header = match batch.with_producer(id, epoch, sequence) {
        RecordData::Stamped { header, .. } => BatchHeader::decode(&header),
        other => BatchHeader::decode(&other.to_bytes()),
    };
    let header = header.expect("a header that was read before and has another producer now");
    BatchHeader { base_offset: 0, partition_leader_epoch: -1, ..header }
}

/// A header with the payload of a batch.
pub(super) fn outgoing(header: BatchHeader, batch: &Batch) -> Outgoing {
    Outgoing { header, data: RecordData::Stamped { header: header.encode(), payload: batch.payload() } }
}

/// The batches of one partition that are above its gate.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Everything below is on every side that must hold it.
    pub(super) gate: i64,
    /// Where the next batch is placed.
    pub(super) end: i64,
    /// Batches with an offset, contiguous, the last one ending at `end`.
    pub(super) placed: VecDeque<Entry>,
    /// Batches without one, in the order in which they are to be sent.
    pub(super) waiting: VecDeque<Entry>,
    next_key: u64,
}

impl Line {
    pub(super) fn new(gate: i64) -> Self {
        Self { gate, end: gate, ..Self::default() }
    }

    pub(super) fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    pub(super) fn len(&self) -> usize {
        self.placed.len() + self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.placed.iter().chain(&self.waiting).map(Entry::bytes).sum()
    }

    /// The batch that stands at an offset.
    pub(super) fn at(&self, offset: i64) -> Option<&Entry> {
        let index = self.placed.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        self.placed.get(index)
    }

    /// The entry with a key, wherever it stands.
    pub(super) fn entry(&mut self, key: u64) -> Option<&mut Entry> {
        self.placed.iter_mut().chain(&mut self.waiting).find(|entry| entry.key == key)
    }

    pub(super) fn waiting_index(&self, key: u64) -> Option<usize> {
        self.waiting.iter().position(|entry| entry.key == key)
    }

    /// Gives the waiting entry at an index the next place, and says where it ends.
    pub(super) fn place(&mut self, index: usize) -> Option<&Entry> {
        let mut entry = self.waiting.remove(index)?;
        entry.offset = self.end;
        entry.sent = Sent::No;
        self.push(entry);
        self.placed.back()
    }

    /// Takes back what was placed: clients' batches wait again, in the same order; what was only found is handed back.
    pub(super) fn unplace(&mut self) -> Vec<Entry> {
        let mut dropped = Vec::new();
        while let Some(mut entry) = self.placed.pop_back() {
            if entry.found && entry.waiters.is_empty() {
                dropped.push(entry);
            } else {
                entry.offset = -1;
                entry.found = false;
                self.waiting.push_front(entry);
            }
        }
        self.end = self.gate;
        dropped
    }

    /// Adds a batch that was found where the line ends.
    pub(super) fn push(&mut self, entry: Entry) {
        self.end = entry.next_offset();
        self.placed.push_back(entry);
    }
}
