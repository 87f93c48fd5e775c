//! Admission: what a client's batch means, who waits for it, and when it is refused.

use naru_kafka::wire::{Batch, BatchHeader, ErrorCode};
use naru_model::invariant;

use super::line::{Entry, Sent, Waiter};
use super::mutant::mutant;
use super::partition::{Partition, Phase};
use super::window::Verdict;
use super::{Acked, Action, Millis, Refusal, Ticket};

/// How long a stopped partition lets a client wait, milliseconds: it holds the connection's other partitions.
const STOPPED_ANSWER_MS: Millis = 500;

/// Clients that wait for one batch, at most: the original and its repetitions over other connections.
const WAITERS_MAX: usize = 16;

/// Not written, and the client's next try may go better.
pub(super) const NOT_NOW: ErrorCode = ErrorCode::NOT_LEADER_OR_FOLLOWER;

/// A batch that came while nothing could be admitted.
#[derive(Debug)]
pub(super) struct Arrival {
    waiter: Waiter,
    batch: Batch,
}

impl Arrival {
    pub(super) fn bytes(&self) -> usize {
        self.batch.bytes().len()
    }
}

pub(super) fn refuse(ticket: Ticket, code: ErrorCode, why: &'static str, out: &mut Vec<Action>) {
    out.push(Action::Answer { ticket, result: Err(Refusal { code, why }) });
}

impl Partition {
    pub(super) fn produce(&mut self, now: Millis, ticket: Ticket, batch: Batch, out: &mut Vec<Action>) {
        let is_full = self.line.len() + self.arrivals.len() >= self.config.pending_max;
        // What is here already is answered in its order also then, or it falls out of the window while later ones pass.
        let takes_room = !self.admits(now) || self.producers.verdict(batch.header()) == Verdict::Next;
        if is_full && takes_room {
            self.producers.refuse(batch.header());
            return refuse(ticket, NOT_NOW, "too many batches wait in this partition", out);
        }
        let waiter = Waiter { ticket, since: now };
        if self.admits(now) && self.arrivals.is_empty() {
            self.admit(waiter, batch, out);
        } else {
            self.arrivals.push_back(Arrival { waiter, batch });
        }
    }

    /// Whether batches can be judged and taken. While they cannot they wait a little: a start or a switch is short. What
    /// was taken stays until it has its place, so that where nothing moves nothing more is taken: each repetition of a
    /// client without producer id would be kept, and written, once more.
    /// Without a lease a repetition cannot be answered, and must not be overtaken by what comes after it.
    fn admits(&self, now: Millis) -> bool {
        !self.is_stopped() && self.is_leased(now)
    }

    pub(super) fn admit_arrivals(&mut self, now: Millis, out: &mut Vec<Action>) {
        while self.admits(now)
            && let Some(Arrival { waiter, batch }) = self.arrivals.pop_front()
        {
            self.admit(waiter, batch, out);
        }
    }

    fn admit(&mut self, waiter: Waiter, batch: Batch, out: &mut Vec<Action>) {
        let header = *batch.header();
        if !header.has_producer() {
            let mut entry = Entry::new(self.line.key(), batch);
            entry.plain = true;
            entry.waiters.push(waiter);
            self.line.waiting.push_back(entry);
            return;
        }
        let ours = [self.stamp.id, self.config.copier_id];
        invariant!(
            RELAY_6,
            !ours.contains(&header.producer_id),
            "a client's batch under the relay's own {}",
            header.producer_id
        );
        let mut verdict = self.producers.verdict(&header);
        if mutant!(self.config, AdmitLaterAfterRefusal) && matches!(verdict, Verdict::OutOfOrder | Verdict::Later) {
            verdict = Verdict::Next;
        }
        self.producers.came(&header);
        match verdict {
            Verdict::Next => {
                let mut entry = Entry::new(self.line.key(), batch);
                entry.waiters.push(waiter);
                self.producers.wait(entry.key, &header);
                self.line.waiting.push_back(entry);
            }
            Verdict::Joins(key) => match self.line.entry(key) {
                Some(entry) if entry.waiters.len() < WAITERS_MAX => entry.waiters.push(waiter),
                _ => refuse(waiter.ticket, NOT_NOW, "this batch waits already", out),
            },
            Verdict::Duplicate(base_offset) => {
                let acked = Acked { base_offset, log_start: self.log_start };
                out.push(Action::Answer { ticket: waiter.ticket, result: Ok(acked) });
            }
            Verdict::Later => refuse(waiter.ticket, NOT_NOW, "a batch before it was refused", out),
            Verdict::OutOfOrder => {
                refuse(waiter.ticket, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, "the sequence does not follow", out);
            }
            Verdict::OldEpoch => {
                refuse(waiter.ticket, ErrorCode::INVALID_PRODUCER_EPOCH, "a newer epoch has written", out);
            }
        }
    }

    /// Refuses a batch that came and was not judged, and those of its producer that came after it: none is taken before
    /// the first of them comes again (RELAY-14).
    fn refuse_arrival(&mut self, from: usize, why: &'static str, out: &mut Vec<Action>) {
        let Some(Arrival { waiter, batch }) = self.arrivals.remove(from) else { return };
        let header = *batch.header();
        self.producers.refuse(&header);
        refuse(waiter.ticket, NOT_NOW, why, out);
        if !header.has_producer() {
            return;
        }
        let mut index = 0;
        self.arrivals.retain(|later| {
            let follows = index >= from && later.batch.header().producer_id == header.producer_id;
            index += 1;
            if follows {
                refuse(later.waiter.ticket, NOT_NOW, "a batch before it was refused", out);
            }
            !follows
        });
    }

    /// The client waits no longer. What was never sent is dropped, so that it is not written behind its back.
    pub(super) fn expire_ticket(&mut self, ticket: Ticket, out: &mut Vec<Action>) {
        if let Some(index) = self.arrivals.iter().position(|arrival| arrival.waiter.ticket == ticket) {
            self.refuse_arrival(index, "not admitted in time", out);
            return;
        }
        let mut entries = self.line.waiting.iter_mut().chain(&mut self.line.placed);
        let Some(entry) = entries.find(|entry| entry.waiters.iter().any(|waiter| waiter.ticket == ticket)) else {
            return;
        };
        entry.waiters.retain(|waiter| waiter.ticket != ticket);
        if entry.ever_sent || entry.offset >= 0 {
            let (key, gone) = (entry.key, entry.waiters.is_empty());
            refuse(ticket, ErrorCode::REQUEST_TIMED_OUT, "not on every side in time, and may yet be", out);
            if gone {
                self.refuse_behind(key, out);
            }
        } else {
            refuse(ticket, NOT_NOW, "not sent in time", out);
            if entry.waiters.is_empty() {
                let key = entry.key;
                self.drop_waiting(key, NOT_NOW, "a batch before it was not sent in time", out);
            }
        }
    }

    /// A client was told to come again with a batch that is on its way: until it does, nothing of that producer is
    /// answered or taken that comes after it (RELAY-14). Otherwise later ones would push it out of the window that
    /// tells it again, while the client holds no more than it may.
    fn refuse_behind(&mut self, key: u64, out: &mut Vec<Action>) {
        let mut line = self.line.placed.iter_mut().chain(&mut self.line.waiting).skip_while(|entry| entry.key != key);
        let Some(header) = line.next().map(|entry| *entry.batch.header()).filter(BatchHeader::has_producer) else {
            return;
        };
        let mut unsent = None;
        for entry in line.filter(|entry| entry.batch.header().producer_id == header.producer_id) {
            if !entry.ever_sent && entry.offset < 0 {
                unsent = unsent.or(Some(entry.key));
                continue;
            }
            for waiter in entry.waiters.drain(..) {
                refuse(waiter.ticket, ErrorCode::REQUEST_TIMED_OUT, "a batch before it was not there in time", out);
            }
        }
        if let Some(key) = unsent {
            self.drop_waiting(key, NOT_NOW, "a batch before it was not there in time", out);
        }
        self.producers.refuse(&header);
    }

    /// Nothing can be acknowledged now, for a reason that lasts.
    pub(super) fn is_stopped(&self) -> bool {
        let lacks = |side| {
            let track = &self.sides[side];
            self.requires(side) && (track.fault.is_some() || track.absent_since.is_some())
        };
        !self.is_running()
            || self.quiescing
            || self.is_blocked()
            || self.orderer().is_none()
            || crate::side::Side::BOTH.into_iter().any(lacks)
    }

    /// A stopped partition answers retriably, and soon, so that it does not hold its clients' connections (RELAY-14).
    pub(super) fn refuse_stopped(&mut self, now: Millis, out: &mut Vec<Action>) {
        if !self.is_stopped() && self.is_leased(now) {
            return;
        }
        let is_over = |waiter: &Waiter| now >= waiter.since + STOPPED_ANSWER_MS;
        while self.arrivals.front().is_some_and(|arrival| is_over(&arrival.waiter)) {
            self.refuse_arrival(0, "this partition is stopped", out);
        }
        let mut refused = Vec::new();
        for entry in self.line.placed.iter_mut().chain(&mut self.line.waiting) {
            if (entry.ever_sent || entry.offset >= 0) && entry.waiters.iter().any(is_over) {
                for waiter in entry.waiters.extract_if(.., |waiter| is_over(waiter)) {
                    refuse(waiter.ticket, ErrorCode::REQUEST_TIMED_OUT, "this partition is stopped", out);
                }
                refused.extend(entry.waiters.is_empty().then_some(entry.key));
            }
        }
        for key in refused {
            self.refuse_behind(key, out);
        }
        while let Some(entry) = self
            .line
            .waiting
            .iter_mut()
            .find(|entry| !entry.ever_sent && (entry.waiters.is_empty() || entry.waiters.iter().any(is_over)))
        {
            // A client that sent it again over another connection waits for itself.
            for waiter in entry.waiters.extract_if(.., |waiter| is_over(waiter)) {
                refuse(waiter.ticket, NOT_NOW, "this partition is stopped", out);
            }
            if entry.waiters.is_empty() {
                let key = entry.key;
                self.drop_waiting(key, NOT_NOW, "this partition is stopped", out);
            }
        }
    }

    /// Takes a batch that has no place out of the line, with those of its producer that were never sent and would not
    /// follow without it; those after it that were sent are judged by their answers.
    pub(super) fn drop_waiting(&mut self, key: u64, code: ErrorCode, why: &'static str, out: &mut Vec<Action>) {
        let Some(index) = self.line.waiting_index(key) else { return };
        let Some(mut entry) = self.line.waiting.remove(index) else { return };
        entry.answer(Err(Refusal { code, why }), out);
        let header = *entry.batch.header();
        if !header.has_producer() {
            return;
        }
        self.producers.done(entry.key, header.producer_id);
        let follows = |entry: &Entry| {
            entry.batch.header().producer_id == header.producer_id && !entry.ever_sent && entry.sent == Sent::No
        };
        let code = if code.is_retriable() { code } else { ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER };
        let mut kept = index;
        while let Some(later) = self.line.waiting.get(kept) {
            if follows(later) {
                if let Some(mut later) = self.line.waiting.remove(kept) {
                    later.answer(Err(Refusal { code, why: "a batch before it was refused" }), out);
                    self.producers.done(later.key, header.producer_id);
                }
            } else {
                kept += 1;
            }
        }
        self.producers.refuse(&header);
    }

    /// Starts over from what is confirmed: after a change that the line does not survive.
    pub(super) fn reopen(&mut self) {
        self.phase = Phase::Opening(super::open::Opening::default());
    }
}
