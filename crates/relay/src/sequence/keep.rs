//! What must be durable before it counts: where the log is shown to begin, and whose a batch is that is written under
//! another's name. After a kill nothing else would say either.
//!
//! All of it stands in the checkpoint. One is being written at a time; what is wanted meanwhile goes into the next.

use std::collections::VecDeque;

use naru_kafka::wire::{Batch, BatchHeader};
use serde::{Deserialize, Serialize};

use super::mutant::mutant;
use super::partition::Partition;
use super::track::RETRY_MS;
use super::{Action, Checkpoint, Millis, OrderId};
use crate::side::SideMap;

/// Names of batches that are remembered although the line holds them no more: a write of the relay before may yet come
/// late. As many as its partitions may have had in flight, several times over.
const LOANS_MAX: usize = 256;

/// Producer, epoch and first sequence: the name of a batch.
type Name = (i64, i16, i32);

fn name(header: &BatchHeader) -> Name {
    (header.producer_id, header.producer_epoch, header.base_sequence)
}

/// A client's batch that is written under another's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lent {
    /// The name that it has in a side's log: producer, epoch, first sequence.
    pub written: (i64, i16, i32),
    /// The client's own.
    pub client: (i64, i16, i32),
    /// The checksum under the client's name: another batch may be given the same name later, if this one never came.
    pub crc: u32,
}

#[derive(Debug, Clone, Copy)]
struct Loan {
    lent: Lent,
    number: u64,
    kept: bool,
}

/// A checkpoint on its way to the disk.
#[derive(Debug, Clone, Copy)]
struct Keeping {
    order: OrderId,
    gate: i64,
    log_start: i64,
    /// The newest loan in it.
    number: u64,
}

/// What is durable, and what has to be.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    under_way: Option<Keeping>,
    wanted: bool,
    again_at: Millis,
    /// Below this the producers' windows are durable.
    gate: i64,
    loans: VecDeque<Loan>,
    number: u64,
}

impl Keeper {
    pub(super) fn restore(checkpoint: Option<&Checkpoint>) -> Self {
        let Some(checkpoint) = checkpoint else { return Self::default() };
        let loans = checkpoint.lent.iter().map(|lent| Loan { lent: *lent, number: 0, kept: true });
        Self { gate: checkpoint.gate, loans: loans.collect(), ..Self::default() }
    }

    /// What has to be in every checkpoint.
    pub(super) fn lent(&self) -> Vec<Lent> {
        self.loans.iter().map(|loan| loan.lent).collect()
    }

    /// The gate of an `async` topic fell.
    pub(super) fn fell_to(&mut self, gate: i64) {
        self.gate = self.gate.min(gate);
    }

    /// Up to where the windows are durable; what is not, will be.
    pub(super) fn has_kept(&mut self, gate: i64) -> bool {
        self.wanted |= self.gate < gate && self.under_way.is_none_or(|keeping| keeping.gate < gate);
        self.gate >= gate
    }

    fn is_kept(&self, written: &BatchHeader) -> bool {
        self.loans.iter().any(|loan| loan.kept && loan.lent.written == name(written))
    }
}

impl Partition {
    /// Whether it is durable whose a batch is that is to be written under another's name. If not, it will be.
    pub(super) fn is_known_whose(&mut self, client: &BatchHeader, written: &BatchHeader) -> bool {
        if !self.needs_keeping(client, written) {
            return true;
        }
        let lent = Lent { written: name(written), client: name(client), crc: client.crc };
        if let Some(loan) = self.keeper.loans.iter().find(|loan| loan.lent == lent) {
            return loan.kept;
        }
        // A name that was taken back and is given again.
        self.keeper.loans.retain(|loan| loan.lent.written != lent.written);
        if self.keeper.loans.len() >= LOANS_MAX {
            let line = &self.line;
            let mut in_line = line.placed.iter().chain(&line.waiting).map(|entry| name(entry.batch.header()));
            let oldest = self.keeper.loans.iter().position(|loan| in_line.all(|name| name != loan.lent.client));
            if let Some(index) = oldest {
                self.keeper.loans.remove(index);
            }
        }
        self.keeper.number += 1;
        self.keeper.loans.push_back(Loan { lent, number: self.keeper.number, kept: false });
        self.keeper.wanted = true;
        false
    }

    fn needs_keeping(&self, client: &BatchHeader, written: &BatchHeader) -> bool {
        // Before anything was acknowledged here there is nobody who could ask.
        client.has_producer()
            && client.producer_id != written.producer_id
            && client.producer_id != self.stamp.id
            && !self.is_copier(client.producer_id)
            && self.knows_of_before()
            && !mutant!(self.config, ForgetWhose)
    }

    /// The same as a rule: what is on its way to a side says whose it is, or something durable does (RELAY-11).
    pub(super) fn says_whose(&self, client: &BatchHeader, written: &BatchHeader) -> bool {
        !self.needs_keeping(client, written) || self.keeper.is_kept(written)
    }

    /// A client's batch that stands in a log under another's name, if it is known whose it is.
    pub(super) fn owned(&self, found: &Batch) -> Option<Batch> {
        let written = name(found.header());
        let Lent { client: (id, epoch, sequence), crc, .. } =
            self.keeper.loans.iter().map(|loan| loan.lent).find(|lent| lent.written == written)?;
        let mut bytes = found.with_producer(id, epoch, sequence).to_bytes();
        Batch::split_first(&mut bytes).ok().filter(|own| own.header().crc == crc)
    }

    /// A batch went below the gate: from now on its producer's window tells it.
    pub(super) fn is_remembered(&mut self, client: &BatchHeader) {
        self.keeper.loans.retain(|loan| loan.lent.client != name(client));
    }

    /// Where the log begins now: shown when that is durable.
    pub(super) fn begin_at(&mut self, log_start: i64) {
        self.begins = self.begins.max(log_start);
        let begins = self.begins;
        let comes = self.keeper.under_way.is_some_and(|keeping| keeping.log_start >= begins);
        self.keeper.wanted |= begins > self.log_start && !comes;
    }

    /// Orders the next checkpoint to be written, if one is wanted.
    pub(super) fn keep(&mut self, now: Millis, out: &mut Vec<Action>) {
        if !self.keeper.wanted || self.keeper.under_way.is_some() || now < self.keeper.again_at {
            return;
        }
        let Some(checkpoint) = self.checkpoint().or_else(|| self.interrupted()) else { return };
        let order = self.order_id();
        let (gate, log_start, number) = (checkpoint.gate, checkpoint.log_start, self.keeper.number);
        self.keeper.wanted = false;
        self.keeper.under_way = Some(Keeping { order, gate, log_start, number });
        out.push(Action::Keep { order, checkpoint: Box::new(checkpoint) });
    }

    /// What may be kept while a start is under way: the gate and what is below it, and no more of either side than
    /// before.
    fn interrupted(&self) -> Option<Checkpoint> {
        let agreed = self.checkpoint.as_ref().map_or_else(SideMap::default, |checkpoint| checkpoint.agreed);
        self.knows_of_before().then(|| Checkpoint { agreed, ..self.present() })
    }

    /// A checkpoint is durable, or could not be written.
    pub(super) fn kept(&mut self, now: Millis, order: OrderId, done: bool, out: &mut Vec<Action>) {
        let Some(keeping) = self.keeper.under_way.take_if(|keeping| keeping.order == order) else { return };
        if !done {
            (self.keeper.wanted, self.keeper.again_at) = (true, now + RETRY_MS);
            return;
        }
        self.keeper.gate = self.keeper.gate.max(keeping.gate.min(self.line.gate));
        for loan in self.keeper.loans.iter_mut().filter(|loan| loan.number <= keeping.number) {
            loan.kept = true;
        }
        if keeping.log_start > self.log_start {
            self.log_start = keeping.log_start;
            out.push(Action::LogStart { offset: self.log_start });
        }
    }
}
