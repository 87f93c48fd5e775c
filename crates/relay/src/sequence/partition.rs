//! The state machine of one partition: its facts, and the stages run after every event.

use std::collections::VecDeque;

use naru_kafka::wire::Batch;

use super::admit::Arrival;
use super::keep::Keeper;
use super::line::Line;
use super::mutant::mutant;
use super::open::Opening;
use super::stamp::{Restamped, Stamper, copier_ids};
use super::track::Track;
use super::trim::Deletion;
use super::window::Producers;
use super::{Action, Checkpoint, Event, Millis, OrderId};
use crate::side::{Side, SideMap};
use crate::sides::{Absence, Standing};

/// What stays the same in the life of a partition's sequencer.
#[derive(Debug, Clone, Copy)]
pub struct PartitionConfig {
    /// What happens without the standby: under [`Absence::Block`] nothing is admitted or acknowledged while one side
    /// alone is in sync.
    pub absence: Absence,
    /// Whether both sides must hold a record before it is acknowledged; otherwise the standby follows (`async`).
    pub duplex: bool,
    /// Whether the topic was taken in with what the clusters held: until both logs are the same for the first time both
    /// are asked, whatever the standing says. What one of them held was promised by nobody, and is not to be lost.
    pub taken_in: bool,
    /// Batches in flight to the active side, at most.
    pub active_in_flight_max: usize,
    /// Batches that wait or are in flight, at most; beyond it Produce is answered retriably.
    pub pending_max: usize,
    /// How long an order may be without outcome before the side is suspected, milliseconds.
    pub suspect_after_ms: Millis,
    /// About how much is read at once while comparing or copying.
    pub copy_bytes_max: usize,
    /// The producer id for stamping batches that have none (62 random bits, RELAY-6). A checkpoint's is preferred.
    pub stamp_id: i64,
    /// The producer id for history that a side refuses under its own producer (62 random bits, RELAY-6). Durable with
    /// the partition: without it a side that holds batches under it does not compare equal.
    pub copier_id: i64,
    /// A seeded fault.
    #[cfg(feature = "mutation")]
    pub mutant: Option<super::Mutant>,
}

impl PartitionConfig {
    /// A duplex partition as it usually is.
    pub fn new(stamp_id: i64, copier_id: i64) -> Self {
        Self {
            absence: Absence::Available,
            duplex: true,
            taken_in: false,
            // What an idempotent producer keeps in flight; more only queues in the broker.
            active_in_flight_max: 5,
            // Several hundred producers with five batches each.
            pending_max: 2_048,
            suspect_after_ms: 1_000,
            copy_bytes_max: 4 << 20,
            stamp_id,
            copier_id,
            #[cfg(feature = "mutation")]
            mutant: None,
        }
    }
}

impl PartitionConfig {
    /// Whether a partition that starts so has to be compared before it counts.
    pub fn awaits_comparison(&self, checkpoint: Option<&Checkpoint>) -> bool {
        self.taken_in && self.duplex && checkpoint.is_none()
    }
}

/// What clients and operators may see of a partition now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct View {
    /// Whether the gate is known: until then every answer is a retriable error, never a smaller number (RELAY-2);
    /// but see `served_below`.
    pub ready: bool,
    /// Whether batches are admitted.
    pub writable: bool,
    /// Whether both logs were the same once: until then the partition has no voice in its group.
    pub compared: bool,
    /// They are not, and one of them would have to be removed.
    pub differs: bool,
    /// What was there holds transactions: nobody could tell committed records from aborted ones.
    pub transactional: bool,
    /// The high watermark shown.
    pub gate: i64,
    /// Reads below this offset may be served also while the partition is not ready (RELAY-13).
    pub served_below: i64,
    /// The log start shown.
    pub log_start: i64,
    /// Confirmed end of each side's log, if known.
    pub ends: SideMap<Option<i64>>,
    /// Batches waiting or in flight.
    pub pending: usize,
    /// Their bytes.
    pub pending_bytes: usize,
    /// One side acknowledges alone: then reads, too, end with the lease (RELAY-9).
    pub solo: bool,
    /// When the lease ends; 0 before the first.
    pub leased_until: Millis,
}

/// Where a partition is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    /// The line is not known yet.
    Opening(Opening),
    /// It is.
    Running,
}

/// One partition.
#[derive(Debug)]
pub struct Partition {
    pub(super) config: PartitionConfig,
    pub(super) standing: Standing,
    /// A change of the standing that was sent and not read back.
    pub(super) sent: Option<Standing>,
    pub(super) leased_until: Millis,
    pub(super) phase: Phase,
    /// Taken in, and the logs were not the same yet.
    pub(super) uncompared: bool,
    /// And a transaction was found in them: the comparison goes no further.
    pub(super) transactional: bool,
    pub(super) sides: SideMap<Track>,
    pub(super) line: Line,
    pub(super) producers: Producers,
    pub(super) stamp: Stamper,
    pub(super) restamped: SideMap<Restamped>,
    /// As it is shown.
    pub(super) log_start: i64,
    /// As it will be shown once that is durable.
    pub(super) begins: i64,
    pub(super) keeper: Keeper,
    /// Batches not admitted yet: a start or a switch is under way.
    pub(super) arrivals: VecDeque<Arrival>,
    pub(super) deletions: Vec<Deletion>,
    pub(super) quiescing: bool,
    pub(super) quiesced: bool,
    /// The last gate told, once it is known.
    pub(super) shown: Option<i64>,
    /// Offset and CRC of the last batch below the gate.
    pub(super) last_batch: (i64, u32),
    /// What a start begins from.
    pub(super) checkpoint: Option<Checkpoint>,
    next_order: u64,
}

impl Partition {
    /// A partition as it is after a start: nothing is known but the checkpoint. The first [`Event::Tick`] sets it
    /// going; nothing is written before the first [`Event::Lease`].
    pub fn new(config: PartitionConfig, standing: Standing, checkpoint: Option<Checkpoint>) -> Self {
        let track = |side: Side| match &checkpoint {
            Some(checkpoint) => Track::new(checkpoint.agreed[side], checkpoint.leader_epochs[side]),
            None => Track::new(0, -1),
        };
        let mut stamp = Stamper::new(config.stamp_id, 0);
        let mut restamped = SideMap::default();
        let mut producers = Producers::default();
        if let Some(checkpoint) = &checkpoint {
            let (id, epoch) = checkpoint.stamp;
            stamp = Stamper::new(id, epoch);
            stamp.beyond(epoch, super::stamp::spare_id);
            restamped = checkpoint.restamped.clone();
            for side in Side::BOTH {
                if !restamped[side].producers.is_empty() {
                    restamped[side].begin_epoch();
                }
            }
            producers = Producers::restore(&checkpoint.windows);
        }
        let gate = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.gate);
        let last_batch = checkpoint.as_ref().map_or((-1, 0), |checkpoint| checkpoint.last_batch);
        let log_start = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.log_start);
        Self {
            config,
            standing,
            sent: None,
            leased_until: 0,
            phase: Phase::Opening(Opening::default()),
            uncompared: config.awaits_comparison(checkpoint.as_ref()),
            transactional: false,
            sides: SideMap::from_fn(track),
            line: Line::new(gate),
            producers,
            stamp,
            restamped,
            log_start,
            begins: log_start,
            keeper: Keeper::restore(checkpoint.as_ref()),
            arrivals: VecDeque::new(),
            deletions: Vec::new(),
            quiescing: false,
            quiesced: false,
            shown: None,
            last_batch,
            checkpoint,
            next_order: 0,
        }
    }

    /// One step. Never fails: outcomes of orders that are not known (any more) are ignored.
    pub fn on(&mut self, now: Millis, event: Event, out: &mut Vec<Action>) {
        let tick = matches!(event, Event::Tick);
        match event {
            Event::Produce { ticket, batch } => self.produce(now, ticket, batch, out),
            Event::Expired { ticket } => self.expire_ticket(ticket, out),
            Event::Written { order, side, outcome } => self.written(now, side, order, outcome, out),
            Event::EndRead { order, side, outcome } => self.end_read(now, side, order, outcome, out),
            Event::BatchesRead { order, side, outcome } => self.batches_read(now, side, order, outcome, out),
            Event::RecordsDeleted { order, side, outcome } => self.records_deleted(now, side, order, outcome, out),
            Event::Reconnected { side } => self.reconnected(side),
            Event::Recreated { side } => self.recreated(side),
            Event::Standing { held, sent } => self.stand(now, held, sent, out),
            Event::BeginsAt { side, log_start } => self.begins_at(side, log_start),
            Event::CopyPause { side, until } => self.pause_copying(side, until),
            Event::Kept { order, done } => self.kept(now, order, done, out),
            Event::DeleteBefore { ticket, offset } => self.delete_before(now, ticket, offset, out),
            Event::Quiesce => self.quiescing = true,
            Event::Resume => (self.quiescing, self.quiesced) = (false, false),
            Event::Lease { until } => self.leased_until = self.leased_until.max(until),
            Event::Tick => {}
        }
        self.advance(now, tick, out);
    }

    /// Does what can be done now, stage by stage.
    fn advance(&mut self, now: Millis, tick: bool, out: &mut Vec<Action>) {
        self.suspect_overdue(now);
        self.open(now, out);
        self.move_gate(now, out);
        self.admit_arrivals(now, out);
        self.move_log_start();
        self.advance_deletions(now, out);
        for side in Side::BOTH {
            self.examine(now, side, out);
            self.follow(now, side, out);
        }
        self.order(now, out);
        for side in Side::BOTH {
            self.catch_up(now, side, out);
        }
        self.keep(now, out);
        self.refuse_stopped(now, out);
        self.quiesce(out);
        self.tell(tick, out);
    }

    /// What may be seen.
    pub fn view(&self) -> View {
        let ready = self.is_running();
        View {
            ready,
            writable: ready && !self.is_stopped(),
            compared: !self.uncompared,
            transactional: self.transactional,
            differs: self.uncompared && Side::BOTH.into_iter().any(|side| self.sides[side].fault.is_some()),
            gate: self.line.gate,
            served_below: self.line.gate,
            log_start: self.log_start,
            ends: self.ends(),
            pending: self.line.len() + self.arrivals.len(),
            pending_bytes: self.line.bytes() + self.arrivals.iter().map(Arrival::bytes).sum::<usize>(),
            solo: !self.standing.is_duplex(),
            leased_until: self.leased_until,
        }
    }

    /// Where each side's log ends; none where that is not known.
    pub fn ends(&self) -> SideMap<Option<i64>> {
        let ready = self.is_running();
        SideMap::from_fn(|side| {
            let track = &self.sides[side];
            (ready && track.fault.is_none()).then_some(track.end)
        })
    }

    /// What must be kept now, consistent with the gate. None while it is not known.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.is_running().then(|| self.present())
    }

    pub(super) fn present(&self) -> Checkpoint {
        Checkpoint {
            gate: self.line.gate,
            log_start: self.begins,
            agreed: SideMap::from_fn(|side| self.sides[side].end.min(self.line.gate)),
            last_batch: self.last_batch,
            leader_epochs: SideMap::from_fn(|side| self.sides[side].whole_epoch),
            windows: self.producers.snapshot(),
            stamp: (self.stamp.id, self.stamp.epoch),
            restamped: self.restamped.clone(),
            lent: self.keeper.lent(),
        }
    }

    /// What it was made with, and the standing that was read back last.
    pub fn config(&self) -> (&PartitionConfig, Standing) {
        (&self.config, self.standing)
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    /// The side that orders records; none while a change of it is not read back.
    pub(super) fn orderer(&self) -> Option<Side> {
        let active = self.standing.active;
        self.sent.is_none_or(|sent| sent.active == active).then_some(active)
    }

    /// Whether a record must be on this side before it is acknowledged: the stricter of the standing held and of the
    /// one that was sent (RELAY-5).
    pub(super) fn requires(&self, side: Side) -> bool {
        let standings = [Some(self.standing), self.sent];
        self.uncompared
            || standings.into_iter().flatten().any(|standing| match self.config.duplex {
                true => standing.in_sync.contains(side),
                false => standing.active == side,
            })
    }

    /// Whether the side is in sync by the standing, or may be by one that was sent.
    pub(super) fn is_in_sync(&self, side: Side) -> bool {
        [Some(self.standing), self.sent]
            .into_iter()
            .flatten()
            .any(|standing| standing.active == side || self.config.duplex && standing.in_sync.contains(side))
    }

    /// Whether one side alone acknowledges nothing: it takes what was on its way and waits for the other, until the
    /// pair is set (what is below the gate may have to be copied there again before it can be acknowledged again).
    pub(super) fn is_blocked(&self) -> bool {
        self.config.duplex && self.config.absence == Absence::Block && !self.standing.is_duplex()
    }

    /// Whether something may be written and acknowledged (RELAY-9).
    pub(super) fn is_leased(&self, now: Millis) -> bool {
        now < self.leased_until || mutant!(self.config, IgnoreLease)
    }

    pub(super) fn order_id(&mut self) -> OrderId {
        self.next_order += 1;
        OrderId(self.next_order)
    }

    /// Every id that the copier has used on either side.
    pub(super) fn copiers(&self) -> Vec<i64> {
        let generation = self.restamped.a.generation.max(self.restamped.b.generation);
        copier_ids(self.config.copier_id, generation).collect()
    }

    /// The one that it uses on a side now.
    pub(super) fn copier_id(&self, side: Side) -> i64 {
        let newest = copier_ids(self.config.copier_id, self.restamped[side].generation).last();
        newest.unwrap_or(self.config.copier_id)
    }

    pub(super) fn is_copier(&self, id: i64) -> bool {
        id == self.config.copier_id || self.copiers().contains(&id)
    }

    /// Whether a batch that stands in a side's log is the one that the line holds.
    pub(super) fn is_same(&self, entry: &super::line::Entry, found: &Batch) -> bool {
        super::compare::same(&entry.header, &entry.batch, found, |id| self.is_copier(id))
    }
}
