//! The side that orders: batches without a place are sent to it in order, and its answers give them their places.

use naru_kafka::wire::ErrorCode;
use naru_model::invariant;

use super::event::WriteRefused;
use super::line::{Entry, Sent};
use super::mutant::mutant;
use super::partition::Partition;
use super::stamp::{STAMPED_IN_FLIGHT_MAX, spare_id};
use super::track::{Cargo, Flight, RETRY_MS};
use super::{Action, Millis, OrderId, Outgoing};
use crate::side::Side;

/// What a side means by refusing a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Not now: replicas that are missing.
    Later,
    /// Not by this broker: its leader has to be found again, over a new connection, and the log looked at (RELAY-3).
    Elsewhere,
    /// The batch's sequence does not follow what the side has.
    Sequence,
    /// The batch's epoch is older than what the side has.
    Epoch,
    /// We may not write there.
    Forbidden,
    /// Never this batch.
    Never,
}

pub(super) fn meaning(code: ErrorCode) -> Meaning {
    match code {
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode::UNKNOWN_PRODUCER_ID => Meaning::Sequence,
        ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED => Meaning::Epoch,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED | ErrorCode::CLUSTER_AUTHORIZATION_FAILED => Meaning::Forbidden,
        code if code.is_about_leadership() => Meaning::Elsewhere,
        code if code.is_retriable() => Meaning::Later,
        ErrorCode::UNKNOWN_SERVER_ERROR | ErrorCode::BROKER_NOT_AVAILABLE => Meaning::Later,
        _ => Meaning::Never,
    }
}

impl Partition {
    /// Sends what has no place yet, as far as that is allowed.
    pub(super) fn order(&mut self, now: Millis, out: &mut Vec<Action>) {
        let Some(side) = self.orderer() else { return };
        let track = &self.sides[side];
        if !self.is_running() || !self.is_leased(now) || now < track.retry_at {
            return;
        }
        // First it must hold what has a place; and after a refusal the batches behind come after the refused one.
        let refused = track.flight.iter().any(|flight| matches!(flight.outcome, Some(Err(_))));
        let behind = track.flight.iter().any(|flight| matches!(flight.what, Cargo::Placed { .. }));
        if !track.is_checked() || track.end != self.line.end || refused || behind {
            return;
        }
        self.replace_producers(side);
        let (mut stamped, mut unknown) = (0, false);
        let stamp = (self.stamp.id, self.stamp.epoch);
        let mut held = Vec::new();
        let mut index = 0;
        while let Some(entry) = self.line.waiting.get(index)
            && self.sides[side].flight.len() < self.config.active_in_flight_max
        {
            let id = entry.batch.header().producer_id;
            if entry.sent == Sent::InFlight {
                // Of an older epoch than stamps have now: if it is refused it is stamped again, and comes before what
                // waits behind it.
                if entry.stamped && (entry.header.producer_id, entry.header.producer_epoch) != stamp {
                    break;
                }
                stamped += usize::from(entry.plain);
                held.extend(self.is_alone(entry).then_some(id));
            } else if entry.plain {
                if stamped == STAMPED_IN_FLIGHT_MAX {
                    break;
                }
                stamped += 1;
                self.stamp_waiting(index);
                // Behind one that is not known yet whose it is nothing under the same producer is sent.
                unknown |= !self.is_stamp_known(index);
                if !unknown {
                    self.send(now, side, index, out);
                }
            } else if !held.contains(&id) && !self.waits_for_place(entry) {
                held.extend(self.is_alone(entry).then_some(id));
                self.send(now, side, index, out);
            } else if !held.contains(&id) {
                held.push(id);
            }
            index += 1;
        }
    }

    /// Batches whose producer the side refuses go under the partition's own.
    fn replace_producers(&mut self, side: Side) {
        let restamped = &self.restamped[side].producers;
        if restamped.is_empty() {
            return;
        }
        for entry in self.line.waiting.iter_mut().filter(|entry| entry.sent == Sent::No) {
            let client = entry.batch.header();
            entry.plain |= restamped.contains(&(client.producer_id, client.producer_epoch));
        }
    }

    /// Whether the batch's producer has one batch in flight at most: a side that does not know it takes any sequence.
    fn is_alone(&self, entry: &Entry) -> bool {
        !entry.plain && self.producers.is_fresh(entry.batch.header().producer_id)
    }

    /// Whether a batch of the same producer, which no side is known to know, has a place and is not below the gate.
    fn waits_for_place(&self, entry: &Entry) -> bool {
        let id = entry.batch.header().producer_id;
        self.is_alone(entry)
            && !mutant!(self.config, AdmitLaterAfterRefusal)
            && self.line.placed.iter().any(|placed| placed.header.producer_id == id)
    }

    /// Gives a batch the partition's own producer, if it is to be written under that and is not yet.
    fn stamp_waiting(&mut self, index: usize) {
        let (id, epoch) = (self.stamp.id, self.stamp.epoch);
        let Some(entry) = self.line.waiting.get_mut(index) else { return };
        if !entry.plain || entry.stamped || mutant!(self.config, NoStamp) {
            return;
        }
        let mut sequence = self.stamp.take(entry.records());
        if mutant!(self.config, ReuseId) {
            sequence = 0;
        }
        entry.stamp(id, epoch, sequence);
    }

    /// Whether it is durable whose the batch is that goes under the partition's own producer.
    fn is_stamp_known(&mut self, index: usize) -> bool {
        let Some(entry) = self.line.waiting.get(index) else { return false };
        let (client, written) = (*entry.batch.header(), entry.header);
        self.is_known_whose(&client, &written)
    }

    fn send(&mut self, now: Millis, side: Side, index: usize, out: &mut Vec<Action>) {
        let Some(entry) = self.line.waiting.get_mut(index) else { return };
        invariant!(RELAY_7, entry.header.has_producer(), "a batch of {} records without producer", entry.records());
        entry.sent = Sent::InFlight;
        entry.ever_sent = true;
        let (key, batch) = (entry.key, entry.outgoing());
        let (client, written) = (*entry.batch.header(), entry.header);
        invariant!(RELAY_11, self.says_whose(&client, &written), "nothing durable says whose {written:?} is");
        self.write(now, side, Cargo::New(key), batch, out);
    }

    pub(super) fn write(&mut self, now: Millis, side: Side, what: Cargo, batch: Outgoing, out: &mut Vec<Action>) {
        invariant!(RELAY_9, now < self.leased_until, "written at {now}, lease until {}", self.leased_until);
        let is_other = self.sides[side].fault == Some(super::Suspicion::OtherTopic);
        invariant!(RELAY_12, !is_other, "written to side {side}, which holds another topic");
        let order = self.order_id();
        self.sides[side].flight.push_back(Flight { order, given: now, what, outcome: None });
        out.push(Action::Write { order, side, batch });
    }

    /// Takes the outcome of a write. Outcomes are acted upon in the order in which the writes were given.
    pub(super) fn written(
        &mut self,
        now: Millis,
        side: Side,
        order: OrderId,
        outcome: Result<i64, WriteRefused>,
        out: &mut Vec<Action>,
    ) {
        let track = &mut self.sides[side];
        let Some(flight) = track.flight.iter_mut().find(|flight| flight.order == order) else { return };
        flight.outcome = Some(outcome);
        while let Some(flight) = self.sides[side].flight.pop_front_if(|flight| flight.outcome.is_some()) {
            let Some(outcome) = flight.outcome else { break };
            self.sides[side].tried(now, flight.given, outcome);
            match flight.what {
                Cargo::New(key) => self.new_written(now, side, key, outcome, out),
                Cargo::Placed { offset, header } => self.placed_written(now, side, (offset, header), outcome),
            }
        }
    }

    fn new_written(
        &mut self,
        now: Millis,
        side: Side,
        key: u64,
        outcome: Result<i64, WriteRefused>,
        out: &mut Vec<Action>,
    ) {
        let index = self.line.waiting_index(key);
        // Not ours to order by any more: what it did there is found by reading.
        let (Some(index), true) = (index, self.standing.active == side && self.is_running()) else {
            if matches!(outcome, Ok(_) | Err(WriteRefused::Unknown)) {
                self.sides[side].doubt();
            }
            return;
        };
        let (end, checked) = (self.sides[side].end, self.sides[side].is_checked());
        let Some(entry) = self.line.waiting.get_mut(index) else { return };
        match outcome {
            Ok(base) if mutant!(self.config, SkipBaseOffsetCheck) || checked && base == end && end == self.line.end => {
                entry.claimed = None;
                self.place(side, index, base);
            }
            Ok(base) if base < end && mutant!(self.config, TrustDuplicateAnswer) => {
                if let Some(mut entry) = self.line.waiting.remove(index) {
                    entry.offset = base;
                    entry.answer(Ok(super::Acked { base_offset: base, log_start: self.log_start }), out);
                    self.producers.done(entry.key, entry.header.producer_id);
                }
            }
            // Above: an older writer's late batch came first. Below: taken for a duplicate, or records were lost.
            Ok(base) => {
                entry.sent = Sent::Unknown;
                if base < end {
                    entry.claimed = Some(base);
                    self.sides[side].contradict(base);
                } else {
                    self.sides[side].doubt();
                }
            }
            Err(WriteRefused::Unknown) => {
                entry.sent = Sent::Unknown;
                if mutant!(self.config, ResendBlind) {
                    entry.sent = Sent::No;
                } else {
                    self.sides[side].doubt();
                }
            }
            Err(WriteRefused::NotSent) => entry.sent = Sent::No,
            Err(WriteRefused::Refused(code)) => self.refused(now, side, index, code, out),
        }
    }

    /// Gives a waiting batch its place where the side's log ends.
    pub(super) fn place(&mut self, side: Side, index: usize, base: i64) {
        invariant!(RELAY_3, base == self.line.end, "side {side} placed at {base}, the line ends at {}", self.line.end);
        let Some(entry) = self.line.place(index) else { return };
        let (header, next, plain) = (entry.standing(), entry.next_offset(), entry.plain);
        let (id, offset) = (entry.header.producer_id, entry.offset);
        if plain {
            self.stamp.placed(header.producer_epoch, header.last_sequence());
        }
        self.sides[side].took(next, header);
        if mutant!(self.config, WindowAboveGate) {
            self.producers.remember(offset, &header);
            self.check_window(id);
        }
    }

    fn refused(&mut self, now: Millis, side: Side, index: usize, code: ErrorCode, out: &mut Vec<Action>) {
        let stamp = (self.stamp.id, self.stamp.epoch);
        let Some(entry) = self.line.waiting.get(index) else { return };
        let (key, plain, id, epoch) = (entry.key, entry.plain, entry.header.producer_id, entry.header.producer_epoch);
        let precedes =
            |before: &Entry| if plain { before.plain } else { !before.plain && before.header.producer_id == id };
        let is_first = !self.line.waiting.range(..index).any(precedes);
        let Some(entry) = self.line.waiting.get_mut(index) else { return };
        entry.sent = Sent::No;
        match meaning(code) {
            Meaning::Later => self.sides[side].retry_at = now + RETRY_MS,
            Meaning::Elsewhere => {
                self.sides[side].retry_at = now + RETRY_MS;
                self.sides[side].doubt();
            }
            Meaning::Forbidden => {
                self.sides[side].refuses = Some(code);
                self.sides[side].retry_at = now + super::track::REFUSED_RETRY_MS;
            }
            // A plain client never sees a sequence error: its batch is stamped again.
            Meaning::Sequence | Meaning::Epoch if plain && (id, epoch) != stamp => entry.stamped = false,
            Meaning::Sequence | Meaning::Epoch if plain && is_first => {
                self.stamp.beyond(epoch, spare_id);
                self.stamp_again();
            }
            // Something before it was refused: it comes after that.
            Meaning::Sequence if !is_first => {}
            // Did the side lose what came before it?
            Meaning::Sequence if !entry.refused_before => {
                entry.refused_before = true;
                self.sides[side].contradict(self.line.gate);
            }
            // Its log is whole and its memory of the producer is not.
            Meaning::Sequence if !self.producers.is_fresh(id) => self.restamp(side, (id, epoch)),
            Meaning::Sequence => self.drop_waiting(key, code, "the active side refuses its sequence", out),
            Meaning::Epoch => self.drop_waiting(key, code, "the active side knows a newer epoch", out),
            Meaning::Never => {
                self.drop_waiting(key, code, "refused by the active side", out);
                if plain {
                    self.stamp_again();
                }
            }
        }
    }

    /// What has a stamp and no place loses the stamp. Where one of them may yet come late, stamps go on in a new epoch:
    /// the broker then refuses the late one.
    pub(super) fn stamp_again(&mut self) {
        let stamp = (self.stamp.id, self.stamp.epoch);
        let is_current = |entry: &Entry| (entry.header.producer_id, entry.header.producer_epoch) == stamp;
        if self.line.waiting.iter().any(|entry| entry.stamped && entry.sent != Sent::No && is_current(entry)) {
            self.stamp.beyond(self.stamp.epoch, spare_id);
        } else {
            self.stamp.rewind();
        }
        for entry in self.line.waiting.iter_mut().filter(|entry| entry.stamped && entry.sent == Sent::No) {
            entry.stamped = false;
        }
    }
}
