//! One consumer group at work: its state machine, what it has in flight, who waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::TopicPartition;
use naru_kafka::wire::ErrorCode;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::carry::{Job, Sides};
use super::complaints::Complaints;
use super::fence::{Fence, ORPHANED_MS_MAX};
use crate::clock;
use crate::govern::State;
use crate::offsets::{Action, Changes, Event, Group, View};
use crate::sequence::{Millis, Suspicion, Ticket};
use crate::side::{Side, SideMap};
use crate::sides::Standing;

/// Requests on their way to a group. Each client connection has one at a time; beyond this they wait with their client.
const INBOX_MAX: usize = 64;
/// How often a group with something under way looks at its clock.
const TICK: Duration = Duration::from_millis(100);
/// The same at rest: only for leases and repeated attempts.
const TICK_AT_REST: Duration = Duration::from_secs(2);

/// How often both sides are read without a cause: a broker forgets offsets of idle groups, by default after a week.
const COMPARED_EVERY: Duration = Duration::from_secs(3_600);

/// What holds for all consumer groups of a service group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// What holds, read back from the coordinator.
    pub held: Standing,
    /// A change that may or may not have been applied.
    pub sent: Option<Standing>,
    /// The right to decide ends at this time (RELAY-9).
    pub lease_until: Millis,
    /// Whether commits are held.
    pub quiescing: bool,
    /// Rises when both sides are to be compared again.
    pub comparison: u64,
    /// Rises when a topic was made again on a side, which drops its offsets there.
    pub recreated: SideMap<u64>,
}

/// What is known of a group now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupStatus {
    /// As its machine sees it.
    pub view: View,
    /// The comparison that `view.equal` is about.
    pub comparison: u64,
    /// Until then members may still be those of the side that was active, and not know that they have to join again.
    pub orphaned_until: Millis,
}

impl GroupStatus {
    /// Whether a member that the active side does not know may have lost its membership by a takeover.
    pub(super) fn has_orphans(&self) -> bool {
        clock::now() < self.orphaned_until
    }
}

/// What a client is answered: a code by partition, or one for all.
pub(super) type Answered = Result<Vec<(TopicPartition, ErrorCode)>, ErrorCode>;

pub(super) struct Request {
    pub(super) job: Job,
    pub(super) changes: Changes,
    pub(super) answer: oneshot::Sender<Answered>,
}

/// The way to a group's actor.
#[derive(Debug, Clone)]
pub(super) struct GroupHandle {
    inbox: mpsc::Sender<Request>,
    status: watch::Receiver<GroupStatus>,
}

impl GroupHandle {
    pub(super) fn status(&self) -> GroupStatus {
        *self.status.borrow()
    }

    /// Whether nobody but the mirror may ask for anything.
    pub(super) fn is_alone(&self) -> bool {
        self.inbox.strong_count() == 1
    }

    pub(super) fn watch(&self) -> watch::Receiver<GroupStatus> {
        self.status.clone()
    }

    /// Carries a commit or a deletion out. Answered retriably when `patience` is over: it goes on all the same.
    pub(super) async fn change(&self, job: Job, changes: Changes, patience: Duration) -> Answered {
        let (answer, answered) = oneshot::channel();
        let carried = async {
            self.inbox.send(Request { job, changes, answer }).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(patience, carried).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(ErrorCode::NOT_COORDINATOR),
            Err(_) => Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        }
    }
}

/// What came of something that was begun.
struct Ended {
    event: Event,
    /// The active side took a commit of a member of this generation.
    by_member_of: Option<i32>,
}

impl From<Event> for Ended {
    fn from(event: Event) -> Self {
        Self { event, by_member_of: None }
    }
}

pub(super) struct Actor {
    name: Arc<str>,
    sides: Sides,
    state: Arc<State>,
    group: Group,
    announced: watch::Receiver<Announcement>,
    seen: Option<Announcement>,
    inbox: mpsc::Receiver<Request>,
    status: watch::Sender<GroupStatus>,
    complaints: Arc<Complaints>,
    fence: Fence,
    jobs: HashMap<Ticket, Job>,
    answers: HashMap<Ticket, oneshot::Sender<Answered>>,
    running: JoinSet<Ended>,
    last_ticket: u64,
    compared_at: Instant,
}

impl Actor {
    pub(super) fn new(
        name: Arc<str>,
        sides: Sides,
        state: Arc<State>,
        group: Group,
        announced: watch::Receiver<Announcement>,
        complaints: Arc<Complaints>,
    ) -> (GroupHandle, Self) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let (status, shown) = watch::channel(GroupStatus::default());
        let (jobs, answers, running) = Default::default();
        let actor = Self {
            name,
            sides,
            state,
            group,
            announced,
            seen: None,
            inbox,
            status,
            complaints,
            fence: Fence::default(),
            jobs,
            answers,
            running,
            last_ticket: 0,
            compared_at: Instant::now(),
        };
        (GroupHandle { inbox: sender, status: shown }, actor)
    }

    pub(super) async fn run(mut self, stopping: CancellationToken) {
        self.heed();
        loop {
            let view = self.group.view();
            // Without the other side it is asked for, or comes by the longer tick, that both are compared.
            let alone = self.seen.is_some_and(|seen| !seen.held.is_duplex() && seen.sent.is_none());
            let rests = view.waiting == 0 && view.behind == 0 && view.ready && (view.equal || alone);
            tokio::select! {
                () = stopping.cancelled() => return,
                request = self.inbox.recv() => match request {
                    Some(request) => self.begin(request),
                    None => return,
                },
                Some(ended) = self.running.join_next() => match ended {
                    Ok(Ended { event, by_member_of }) => {
                        if let Some(generation) = by_member_of {
                            self.fence.took(generation);
                        }
                        self.take_heart(&event);
                        self.on(event);
                    }
                    // Ends this task, and with it the process, in good order: what it had begun has no outcome.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => return,
                },
                changed = self.announced.changed() => match changed {
                    Ok(()) => self.heed(),
                    Err(_) => return,
                },
                () = tokio::time::sleep(if rests { TICK_AT_REST } else { TICK }) => self.tick(),
            }
            self.expire();
            self.show();
        }
    }

    fn tick(&mut self) {
        if self.compared_at.elapsed() >= COMPARED_EVERY {
            self.compared_at = Instant::now();
            self.on(Event::Recheck);
        }
        self.on(Event::Tick);
    }

    /// Takes in what was announced.
    fn heed(&mut self) {
        let now = *self.announced.borrow_and_update();
        let before = self.seen.replace(now);
        if before.is_some_and(|before| before.held.active != now.held.active) {
            let moved = clock::now();
            self.fence.moved(moved);
            let until = moved + ORPHANED_MS_MAX;
            self.status.send_modify(|status| status.orphaned_until = until);
        }
        self.on(Event::Lease { until: now.lease_until });
        if before.is_none_or(|before| (before.held, before.sent) != (now.held, now.sent)) {
            self.on(Event::Standing { held: now.held, sent: now.sent });
        }
        if before.is_some_and(|before| before.quiescing) != now.quiescing {
            self.on(if now.quiescing { Event::Quiesce } else { Event::Resume });
        }
        for side in Side::BOTH {
            if before.is_some_and(|before| before.recreated[side] != now.recreated[side]) {
                self.on(Event::Recreated { side });
            }
        }
        if before.is_some_and(|before| before.comparison != now.comparison) {
            self.on(Event::Recheck);
        }
    }

    fn begin(&mut self, request: Request) {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.jobs.insert(ticket, request.job);
        self.answers.insert(ticket, request.answer);
        self.on(Event::Commit { ticket, changes: request.changes });
    }

    /// Clients that no longer wait.
    fn expire(&mut self) {
        let gone: Vec<_> =
            self.answers.iter().filter(|(_, answer)| answer.is_closed()).map(|(ticket, _)| *ticket).collect();
        for ticket in gone {
            self.answers.remove(&ticket);
            self.on(Event::Expired { ticket });
        }
    }

    fn on(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.group.on(clock::now(), event, &mut actions);
        for action in actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        let (name, sides) = (Arc::clone(&self.name), self.sides.clone());
        match action {
            Action::Forward { ticket, side } => {
                if let Some(mut job) = self.jobs.remove(&ticket) {
                    if let Job::Commit { request, orphaned } = &mut job {
                        let generation = request.generation_id_or_member_epoch;
                        *orphaned = self.fence.admits(generation, clock::now()) && !self.group.sets_back(ticket);
                    }
                    self.running.spawn(async move {
                        let (outcome, by_member_of) = sides.forward(side, &name, job).await;
                        Ended { event: Event::Forwarded { ticket, outcome }, by_member_of }
                    });
                }
            }
            Action::Write { order, side, changes } => {
                self.running.spawn(async move {
                    Event::Written { order, side, outcome: sides.write(side, &name, changes).await }.into()
                });
            }
            Action::Read { order, side } => {
                self.running.spawn(async move {
                    Event::OffsetsRead { order, side, outcome: sides.read(side, &name).await }.into()
                });
            }
            Action::RemoveMembers { order, side } => {
                self.running.spawn(async move {
                    Event::MembersRemoved { order, side, outcome: sides.remove_members(side, &name).await }.into()
                });
            }
            Action::Keep { order, marks } => {
                let state = Arc::clone(&self.state);
                self.running.spawn(async move {
                    let kept = tokio::task::spawn_blocking(move || state.keep_marks(&name, &marks)).await;
                    let done = match kept {
                        Ok(Ok(())) => true,
                        Ok(Err(error)) => {
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(error, "a consumer group that was set back waits for the state directory");
                            false
                        }
                        // Only when the runtime ends.
                        Err(error) => {
                            tracing::warn!(%error, "where a consumer group was set back was not kept");
                            false
                        }
                    };
                    Event::Kept { order, done }.into()
                });
            }
            Action::Answer { ticket, result } => {
                self.jobs.remove(&ticket);
                if let Some(answer) = self.answers.remove(&ticket) {
                    // The client may have lost patience meanwhile: then nobody waits for this.
                    drop(answer.send(result));
                }
            }
            Action::Suspect { side, suspicion } => self.suspect(side, suspicion),
            Action::Quiesced => {}
        }
    }

    /// A side that takes a write refuses no more.
    fn take_heart(&self, event: &Event) {
        if let Event::Written { side, outcome: Ok(codes), .. } = event
            && codes.iter().all(|(_, code)| code.is_ok())
        {
            self.complaints.clear(&self.name, *side);
        }
    }

    fn suspect(&mut self, side: Side, suspicion: Suspicion) {
        let group = &self.name;
        match suspicion {
            Suspicion::Refuses(code) => {
                tracing::debug!(%group, %side, %code, "a side refuses committed offsets that the other side took");
                self.complaints.raise(group, side, suspicion, clock::now());
            }
            Suspicion::Absent { .. } => {
                tracing::debug!(%group, %side, "a side does not answer for a consumer group");
                self.complaints.raise(group, side, suspicion, clock::now());
            }
            _ => self.complaints.clear(group, side),
        }
    }

    fn show(&mut self) {
        let view = self.group.view();
        let comparison = self.seen.map_or(0, |seen| seen.comparison);
        self.status.send_if_modified(|status| {
            let changed = status.view != view || status.comparison != comparison;
            (status.view, status.comparison) = (view, comparison);
            changed
        });
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        Side::BOTH.into_iter().for_each(|side| self.complaints.clear(&self.name, side));
    }
}
