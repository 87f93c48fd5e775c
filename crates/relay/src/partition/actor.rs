//! The task of one partition.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use naru_kafka::serve::memory::Growing;
use naru_kafka::wire::TopicId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::lane::Lane;
use super::orders::{self, Asked, Done, Wanted};
use super::{Inbound, Inner, Report, Reported, Shared, Shown, Start, Waiting};
use crate::clock;
use crate::govern::Made;
use crate::sequence::{Acked, Action, Event, Millis, Partition, Refusal, Suspicion, Ticket};
use crate::side::{Side, SideMap};
use crate::sides::{Seen, Standing};

/// How often a busy partition looks at the time: a fifth of the shortest patience, the 500 ms within which a stopped
/// partition answers.
const TICK: Duration = Duration::from_millis(100);
/// The same where nobody waits for anything: thousands of idle partitions must not cost a processor. Connections that
/// were lost meanwhile are noticed with the next batch at the latest.
const TICK_IDLE: Duration = Duration::from_millis(500);
/// Messages taken from the inbox before outcomes are looked at again.
const INBOX_TURN_MAX: usize = 16;

/// A client that waits for its batch.
pub(super) struct Waiter {
    reply: oneshot::Sender<Result<Acked, Refusal>>,
    deadline: Millis,
    /// Told of the end of its patience.
    expired: bool,
    since: Instant,
    /// Given back when it is answered.
    _share: Arc<Growing>,
}

type Order = Pin<Box<dyn Future<Output = Done> + Send>>;

/// See the module.
pub(super) struct Actor {
    core: Partition,
    topic: TopicId,
    shared: Shared,
    inner: Arc<Inner>,
    shown: watch::Sender<Shown>,
    standing: Standing,
    seen: Seen,
    topic_ids: SideMap<Option<TopicId>>,
    lanes: SideMap<Lane>,
    /// Reads and deletions under way: the core has at most a few at a time.
    orders: Vec<(Side, Order)>,
    waiting: Waiting,
    deleting: HashMap<Ticket, oneshot::Sender<Result<i64, Refusal>>>,
    reports: mpsc::Sender<Report>,
    /// What the group has not been told for want of room: the latest of each kind.
    untold: SideMap<Option<(Suspicion, Seen)>>,
    untold_end: Option<(i64, Seen)>,
    actions: Vec<Action>,
    /// Answers to clients, which go out when what they tell of is shown.
    answers: Vec<Action>,
    lease_until: Millis,
    /// A side that is copied to is to wait until then.
    pause: Option<(Side, Millis)>,
    /// When something has to be done before the next tick.
    wake_at: Option<Millis>,
    /// As last told, to see it fall.
    gate: i64,
}

impl Actor {
    pub(super) fn new(
        start: Start,
        shared: Shared,
        inner: Arc<Inner>,
        shown: watch::Sender<Shown>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let Start { at, topic, config, standing, sent, checkpoint, topic_ids, lease_until } = start;
        let announced = Inbound::Event(Event::Standing { held: standing, sent });
        let mut actor = Self {
            core: Partition::new(config, standing, checkpoint),
            topic,
            lanes: SideMap::from_fn(|side| Lane::new(side, at.clone(), shared.replica_wait)),
            shared,
            inner,
            shown,
            standing,
            seen: Seen::of(standing, None),
            topic_ids,
            orders: Vec::new(),
            waiting: HashMap::new(),
            deleting: HashMap::new(),
            reports,
            untold: SideMap::default(),
            untold_end: None,
            actions: Vec::new(),
            answers: Vec::new(),
            lease_until,
            pause: None,
            wake_at: None,
            gate: 0,
        };
        actor.take(announced);
        actor
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Inbound>) {
        let retired = self.inner.retired.clone();
        let tick = sleep(Duration::ZERO);
        tokio::pin!(tick);
        let mut idle = false;
        self.step(Event::Lease { until: self.lease_until });
        loop {
            tokio::select! {
                biased;
                () = retired.cancelled() => return,
                outcome = poll_fn(|context| self.poll_outcome(context)) => self.outcome(outcome),
                inbound = inbox.recv() => {
                    let Some(inbound) = inbound else { return };
                    self.take(inbound);
                    for _ in 1..INBOX_TURN_MAX {
                        let Ok(inbound) = inbox.try_recv() else { break };
                        self.take(inbound);
                    }
                }
                () = &mut tick => {
                    self.tick();
                    idle = self.is_idle();
                    tick.as_mut().reset(Instant::now() + if idle { TICK_IDLE } else { TICK });
                }
            }
            if let Some(at) = self.wake_at.take() {
                let wake = Instant::now() + Duration::from_millis(at.saturating_sub(clock::now()));
                let next = wake.min(tick.deadline());
                tick.as_mut().reset(next);
            }
            if idle && !self.is_idle() {
                idle = false;
                tick.as_mut().reset(Instant::now() + TICK);
            }
        }
    }

    fn is_idle(&self) -> bool {
        let shown = self.shown.borrow();
        self.waiting.is_empty() && self.orders.is_empty() && shown.view.pending == 0 && shown.view.ready
    }

    fn poll_outcome(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        for (side, lane) in [(Side::A, &mut self.lanes.a), (Side::B, &mut self.lanes.b)] {
            if let Poll::Ready((event, took)) = lane.poll_outcome(context) {
                return Poll::Ready(Outcome::Written { side, event, took });
            }
        }
        for index in 0..self.orders.len() {
            let (side, order) = &mut self.orders[index];
            if let Poll::Ready(done) = order.as_mut().poll(context) {
                let side = *side;
                drop(self.orders.swap_remove(index));
                return Poll::Ready(Outcome::Done { side, done });
            }
        }
        Poll::Pending
    }

    fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Written { side, event, took } => {
                if let Some(took) = took {
                    self.shared.stages.wrote(side == self.standing.active, took);
                }
                self.step(event);
            }
            Outcome::Done { side, done } => {
                if let Some(connection) = done.connection {
                    self.lanes[side].use_connection(connection);
                }
                if let Event::BatchesRead { outcome: Ok(batches), .. } = &done.event {
                    let mut sizes = self.inner.sizes();
                    for batch in batches {
                        let header = batch.header();
                        sizes.learn(header.next_offset() - header.base_offset, batch.bytes().len());
                    }
                }
                self.step(done.event);
            }
        }
    }

    fn take(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Produce { ticket, batch, deadline, reply, share } => {
                let waiter = Waiter { reply, deadline, expired: false, since: Instant::now(), _share: share };
                self.waiting.insert(ticket, waiter);
                self.step(Event::Produce { ticket, batch });
            }
            Inbound::Delete { ticket, offset, reply } => {
                self.deleting.insert(ticket, reply);
                self.step(Event::DeleteBefore { ticket, offset });
            }
            Inbound::Event(event) => {
                if let Event::Standing { held, sent } = &event {
                    self.seen = Seen::of(*held, *sent);
                    // Between sending and reading back the stricter holds.
                    let in_sync =
                        sent.map_or(held.in_sync, |sent| if sent.is_duplex() { held.in_sync } else { sent.in_sync });
                    self.standing = Standing { in_sync, ..*held };
                }
                self.step(event);
            }
            Inbound::Recreated { side, id } => {
                self.topic_ids[side] = id;
                self.step(Event::Recreated { side });
            }
            Inbound::Checkpoint(reply) => {
                // Whoever asked and went away does not want to know.
                let made = self.shared.tickets.fetch_add(1, Ordering::Relaxed);
                drop(reply.send(self.core.checkpoint().map(|checkpoint| (made, checkpoint))));
            }
        }
    }

    fn tick(&mut self) {
        for side in Side::BOTH {
            if self.lanes[side].lost_connection() {
                self.step(Event::Reconnected { side });
            }
        }
        let now = clock::now();
        let overdue = self.waiting.iter_mut().filter(|(_, waiter)| !waiter.expired && waiter.deadline <= now);
        let expired: Vec<_> = overdue
            .map(|(ticket, waiter)| {
                waiter.expired = true;
                *ticket
            })
            .collect();
        for ticket in expired {
            self.step(Event::Expired { ticket });
        }
        // Those who went away are not answered.
        self.deleting.retain(|_, reply| !reply.is_closed());
        self.step(Event::Tick);
    }

    /// One event, and everything that the core wants done because of it.
    fn step(&mut self, event: Event) {
        if let Event::Lease { until } = event {
            Side::BOTH.into_iter().for_each(|side| self.lanes[side].lease(until));
        }
        let mut actions = std::mem::take(&mut self.actions);
        self.core.on(clock::now(), event, &mut actions);
        for action in actions.drain(..) {
            self.carry_out_or_keep(action);
        }
        self.actions = actions;
        while let Some((side, until)) = self.pause.take() {
            self.wake_at = Some(until);
            self.core.on(clock::now(), Event::CopyPause { side, until }, &mut self.actions);
            for action in std::mem::take(&mut self.actions) {
                self.carry_out_or_keep(action);
            }
        }
        self.tell_group();
        let Standing { active, in_sync, .. } = self.standing;
        let next = Shown { view: self.core.view(), active, in_sync };
        self.shown.send_if_modified(|shown| {
            let changed = *shown != next;
            *shown = next;
            changed
        });
        // Who reads what was acknowledged to him must not be told that it is not there yet.
        let mut answers = std::mem::take(&mut self.answers);
        for answer in answers.drain(..) {
            self.carry_out(answer);
        }
        self.answers = answers;
    }

    fn carry_out_or_keep(&mut self, action: Action) {
        match action {
            Action::Answer { .. } | Action::AnswerDelete { .. } => self.answers.push(action),
            action => self.carry_out(action),
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Write { order, side, batch } => {
                if !self.standing.in_sync.contains(side)
                    && let Some(until) = self.shared.pace.copied(batch.data.len(), clock::now())
                {
                    self.pause = Some((side, until));
                }
                self.lanes[side].write(order, batch);
            }
            Action::ReadEnd { order, side, epoch } => {
                let (upstream, at) = self.way(side);
                self.order(
                    side,
                    orders::read_end(upstream, at, Asked { recorded: self.topic_ids[side], epoch }, order),
                );
            }
            Action::Read { order, side, from, before, bytes_max } => {
                let (upstream, at) = self.way(side);
                self.order(side, orders::read(upstream, at, Wanted { from, before, bytes_max }, order));
            }
            Action::DeleteRecords { order, side, before } => {
                let (upstream, at) = self.way(side);
                self.order(side, orders::delete_records(upstream, at, before, order));
            }
            Action::Keep { order, checkpoint } => {
                let made = Made { topic: self.topic, made: self.shared.tickets.fetch_add(1, Ordering::Relaxed) };
                let (state, at) = (Arc::clone(&self.shared.state), self.inner.at.clone());
                self.order(self.standing.active, orders::keep(state, at, made, checkpoint, order));
            }
            Action::Answer { ticket, result } => {
                if let Some(waiter) = self.waiting.remove(&ticket) {
                    self.shared.stages.answered(&result, waiter.since.elapsed());
                    if waiter.reply.send(result).is_err() {
                        tracing::trace!(at = %self.inner.at, "a client went away before its answer");
                    }
                }
            }
            Action::AnswerDelete { ticket, result } => {
                if let Some(reply) = self.deleting.remove(&ticket)
                    && reply.send(result).is_err()
                {
                    tracing::trace!(at = %self.inner.at, "a client went away before its answer");
                }
            }
            Action::Gate { gate, batches } => {
                let mut cache = self.inner.cache();
                if gate < self.gate {
                    cache.forget_from(gate);
                }
                let mut sizes = self.inner.sizes();
                sizes.cut(gate.min(self.gate));
                self.gate = gate;
                for batch in &batches {
                    cache.push(batch);
                    sizes.push(batch.header.base_offset, batch.header.next_offset(), batch.data.len());
                }
                let ends = self.core.ends();
                if let (Some(a), Some(b)) = (ends.a, ends.b) {
                    sizes.forget_below(a.min(b));
                }
            }
            // The view says it.
            Action::LogStart { .. } => {}
            Action::Suspect { side, suspicion } => self.untold[side] = Some((suspicion, self.seen)),
            Action::Quiesced { end } => self.untold_end = Some((end, self.seen)),
        }
    }

    fn way(&self, side: Side) -> (Arc<crate::upstream::Upstream>, naru_kafka::client::TopicPartition) {
        (Arc::clone(&self.shared.upstreams[side]), self.inner.at.clone())
    }

    fn order(&mut self, side: Side, order: impl Future<Output = Done> + Send + 'static) {
        self.orders.push((side, Box::pin(order)));
    }

    /// As much as the group has room for; the rest with the next event, of which there is one a tick.
    fn tell_group(&mut self) {
        let at = &self.inner.at;
        let tell = |what, seen| self.reports.try_send(Report { at: at.clone(), what, seen }).is_ok();
        for side in Side::BOTH {
            if let Some((suspicion, seen)) = self.untold[side]
                && tell(Reported::Suspicion { side, suspicion }, seen)
            {
                self.untold[side] = None;
            }
        }
        if let Some((end, seen)) = self.untold_end
            && tell(Reported::Quiesced { end }, seen)
        {
            self.untold_end = None;
        }
    }
}

/// What came of something that was ordered.
enum Outcome {
    Written { side: Side, event: Event, took: Option<Duration> },
    Done { side: Side, done: Done },
}
