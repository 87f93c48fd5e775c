//! Takes down what happens while it happens, for the history and for the live display.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::RunClock;
use crate::history::{
    Commit, Failure, History, OBSERVATIONS_PER_OPERATION_MAX, Observation, Observer, Operation, Outcome, Place, Session,
};
use crate::load;
use crate::plan::Plan;
use crate::pulse::{Acknowledged, Pulse};
use crate::relay_status::Standing;
use crate::scenario::{Scenario, ServiceKind};

/// Observations that are kept at least, whatever the number of operations.
const OBSERVATIONS_MIN: usize = 10_000;
/// Backlog samples and marks; at two samples a second this is a run of more than a day.
const SAMPLES_MAX: usize = 200_000;

/// Something that happened to the subject, at a time on the run's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When, in microseconds.
    pub at_us: u64,
    /// What.
    pub kind: MarkKind,
    /// To whom: "cluster a", "member 1".
    pub subject: String,
}

/// What a [`Mark`] marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// SIGKILL was sent and the process is gone.
    Killed,
    /// It was started again and answers.
    Answering,
    /// SIGSTOP was sent.
    Paused,
    /// SIGCONT was sent.
    Continued,
    /// It left the group.
    Left,
    /// It joined again.
    Joined,
    /// A planned switch was asked for.
    Switching,
    /// The planned switch is done.
    Switched,
    /// Clients were pointed at another cluster.
    Pointed,
}

impl MarkKind {
    /// The word in displays.
    pub fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Answering => "answers again",
            Self::Paused => "paused",
            Self::Continued => "continued",
            Self::Left => "left",
            Self::Joined => "joined again",
            Self::Switching => "switching",
            Self::Switched => "switched",
            Self::Pointed => "used by the clients from now on",
        }
    }
}

/// How much waits between the services and the consumers at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BacklogSample {
    /// When, in microseconds on the run's clock.
    pub at_us: u64,
    /// Records committed by the services that the log has not taken yet; `None` if a service did not say.
    pub outbox: Option<u64>,
    /// Records in the log that the group has not been given; `None` if the log did not say.
    pub lag: Option<u64>,
}

/// How the relay said that it stood at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingSample {
    /// When, in microseconds on the run's clock.
    pub at_us: u64,
    /// `None` if it gave no answer.
    pub standing: Option<Standing>,
}

/// Live figures of one service.
#[derive(Debug)]
pub struct Live {
    /// Requests sent.
    pub sent: AtomicU64,
    /// Answered 201.
    pub acknowledged: AtomicU64,
    /// Refused or not sent.
    pub failed: AtomicU64,
    /// Open for good.
    pub unknown: AtomicU64,
    /// Latencies in microseconds since the display last took them.
    recent: Mutex<Histogram<u64>>,
}

/// See the module.
#[derive(Debug)]
pub struct Recorder {
    clock: RunClock,
    operations: Mutex<Vec<Operation>>,
    observed: Mutex<Observed>,
    observations_max: usize,
    live: Vec<Live>,
    marks: Mutex<Vec<Mark>>,
    backlog: Mutex<Vec<BacklogSample>>,
    standings: Mutex<Vec<StandingSample>>,
    pulses: Mutex<Pulses>,
    group: Mutex<Group>,
}

#[derive(Debug, Default)]
struct Pulses {
    list: Vec<Pulse>,
    delivered: Vec<(i32, u64)>,
}

/// What members do as members.
#[derive(Debug, Default)]
struct Group {
    sessions: Vec<Session>,
    commits: Vec<Commit>,
}

#[derive(Debug, Default)]
struct Observed {
    list: Vec<Observation>,
    dropped: u64,
    /// The next offset that a group waits for in a partition.
    next: HashMap<(u16, Place), i64>,
}

/// A panic while recording leaves whole entries behind: the lists stay readable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Highest latency that is told apart: ten minutes in microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;

fn histogram() -> Histogram<u64> {
    // Two digits: 1 % is finer than a picture shows.
    Histogram::new_with_max(LATENCY_US_MAX, 2).expect("the bounds are valid constants")
}

impl Recorder {
    /// Ready to take down the operations of `plan`.
    pub fn new(clock: RunClock, scenario: &Scenario, plan: &Plan) -> Self {
        let operations = plan.operations.iter().map(|planned| {
            let kind = scenario.services[usize::from(planned.service)].kind;
            Operation {
                topic: topic_of(kind),
                user: planned.user,
                peer: load::peer(kind, planned.peer).into(),
                amount_minor: planned.amount_minor,
                planned_us: planned.at_us,
                sent_us: None,
                attempts: 0,
                ended_us: None,
                outcome: Outcome::Invoked,
            }
        });
        let live = || Live {
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            recent: Mutex::new(histogram()),
        };
        Self {
            clock,
            operations: Mutex::new(operations.collect()),
            observed: Mutex::default(),
            observations_max: (plan.operations.len() * OBSERVATIONS_PER_OPERATION_MAX).max(OBSERVATIONS_MIN),
            live: scenario.services.iter().map(|_| live()).collect(),
            marks: Mutex::default(),
            backlog: Mutex::default(),
            standings: Mutex::default(),
            pulses: Mutex::default(),
            group: Mutex::default(),
        }
    }

    /// The run's clock.
    pub fn clock(&self) -> RunClock {
        self.clock
    }

    /// Live figures by service.
    pub fn live(&self) -> &[Live] {
        &self.live
    }

    /// Notes that a request goes out now, for the first time or again.
    pub fn sent(&self, service: usize, operation: usize) {
        let now_us = self.clock.now_us();
        let mut operations = lock(&self.operations);
        let entry = &mut operations[operation];
        entry.attempts += 1;
        if entry.sent_us.is_none() {
            entry.sent_us = Some(now_us);
            drop(operations);
            self.live[service].sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes what became of a request.
    pub fn ended(&self, service: usize, operation: usize, outcome: Outcome) {
        let now_us = self.clock.now_us();
        let live = &self.live[service];
        let counter = match &outcome {
            Outcome::Acknowledged { .. } => &live.acknowledged,
            Outcome::Failed { .. } => &live.failed,
            Outcome::Unknown { .. } | Outcome::Invoked => &live.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut operations = lock(&self.operations);
        let entry = &mut operations[operation];
        // A connection that was refused never carried the request.
        if outcome == (Outcome::Failed { why: Failure::NotConnected }) {
            entry.sent_us = None;
        }
        entry.ended_us = Some(now_us);
        entry.outcome = outcome;
        let latency_us = now_us.saturating_sub(entry.planned_us);
        drop(operations);
        lock(&live.recent).saturating_record(latency_us);
    }

    /// The p99 of what ended since the last call, in microseconds from the planned time; `None` if nothing did.
    pub fn take_p99_us(&self, service: usize) -> Option<u64> {
        let mut recent = lock(&self.live[service].recent);
        let p99 = (!recent.is_empty()).then(|| recent.value_at_quantile(0.99));
        recent.reset();
        p99
    }

    /// Notes a record that an observer was given.
    pub fn observed(&self, group: u16, observation: Observation) {
        let mut observed = lock(&self.observed);
        let next = observed.next.entry((group, observation.place.partition_key())).or_default();
        *next = (*next).max(observation.place.offset + 1);
        if observed.list.len() < self.observations_max {
            observed.list.push(observation);
        } else {
            observed.dropped += 1;
        }
    }

    /// The next offset that a group waits for in a partition (a place with offset 0).
    pub fn next_offset(&self, group: u16, partition: Place) -> i64 {
        lock(&self.observed).next.get(&(group, partition)).copied().unwrap_or(0)
    }

    /// How many observations were made.
    pub fn observations(&self) -> usize {
        lock(&self.observed).list.len()
    }

    /// Notes something that happened to the subject, and gives it back for display.
    pub fn mark(&self, kind: MarkKind, subject: String) -> Mark {
        let mark = Mark { at_us: self.clock.now_us(), kind, subject };
        let mut marks = lock(&self.marks);
        if marks.len() < SAMPLES_MAX {
            marks.push(mark.clone());
        }
        mark
    }

    /// What was marked so far.
    pub fn marks(&self) -> Vec<Mark> {
        lock(&self.marks).clone()
    }

    /// Notes how much waits.
    pub fn backlog(&self, outbox: Option<u64>, lag: Option<u64>) {
        let mut backlog = lock(&self.backlog);
        if backlog.len() < SAMPLES_MAX {
            backlog.push(BacklogSample { at_us: self.clock.now_us(), outbox, lag });
        }
    }

    /// The latest sample.
    pub fn last_backlog(&self) -> Option<BacklogSample> {
        lock(&self.backlog).last().copied()
    }

    /// Everything that was sampled.
    pub fn backlog_samples(&self) -> Vec<BacklogSample> {
        lock(&self.backlog).clone()
    }

    /// Notes that a pulse is handed over now, and gives its number; `None` if there is no room for more.
    pub fn pulse_sent(&self, partition: i32) -> Option<usize> {
        let mut pulses = lock(&self.pulses);
        if pulses.list.len() >= SAMPLES_MAX {
            return None;
        }
        pulses.list.push(Pulse { partition, sent_us: self.clock.now_us(), acknowledged: None });
        Some(pulses.list.len() - 1)
    }

    /// Notes that a pulse was acknowledged; librdkafka gives a negative offset if it was told none.
    pub fn pulse_acknowledged(&self, number: usize, offset: i64) {
        let at_us = self.clock.now_us();
        if let Some(pulse) = lock(&self.pulses).list.get_mut(number) {
            pulse.acknowledged = Some(Acknowledged { offset: (offset >= 0).then_some(offset), at_us });
        }
    }

    /// Notes that the group was given a pulse.
    pub fn pulse_delivered(&self, partition: i32) {
        let mut pulses = lock(&self.pulses);
        if pulses.delivered.len() < SAMPLES_MAX {
            pulses.delivered.push((partition, self.clock.now_us()));
        }
    }

    /// Notes that a member was given partitions.
    pub fn assigned(&self, observer: u16, session: u32) {
        let mut group = lock(&self.group);
        if group.sessions.len() < SAMPLES_MAX {
            group.sessions.push(Session { observer, session, at_us: self.clock.now_us() });
        }
    }

    /// Notes that a commit was acknowledged.
    pub fn committed(&self, places: impl Iterator<Item = Place>) {
        let at_us = self.clock.now_us();
        let mut group = lock(&self.group);
        let room = SAMPLES_MAX.saturating_sub(group.commits.len());
        group.commits.extend(places.take(room).map(|place| Commit { place, at_us }));
    }

    /// Notes how the relay stands.
    pub fn standing(&self, standing: Option<Standing>) {
        let mut standings = lock(&self.standings);
        if standings.len() < SAMPLES_MAX {
            standings.push(StandingSample { at_us: self.clock.now_us(), standing });
        }
    }

    /// Everything that the relay said of itself.
    pub fn standings(&self) -> Vec<StandingSample> {
        lock(&self.standings).clone()
    }

    /// Ends the record: what is still open stays unknown. The log's contents are added by whoever reads them. The second
    /// value says how many observations did not fit.
    pub fn close(&self, observers: Vec<Observer>) -> (History, u64) {
        let mut operations = std::mem::take(&mut *lock(&self.operations));
        for operation in &mut operations {
            if operation.outcome == Outcome::Invoked {
                operation.outcome = match operation.sent_us {
                    Some(_) => Outcome::Unknown { why: crate::history::Doubt::Unanswered },
                    None => Outcome::Failed { why: Failure::NotSent },
                };
            }
        }
        let observed = std::mem::take(&mut *lock(&self.observed));
        let (pulses, group) = (std::mem::take(&mut *lock(&self.pulses)), std::mem::take(&mut *lock(&self.group)));
        let history = History {
            topics: topics(),
            operations,
            observers,
            observations: observed.list,
            sessions: group.sessions,
            commits: group.commits,
            pulses: pulses.list,
            pulses_delivered: pulses.delivered,
            ..Default::default()
        };
        (history, observed.dropped)
    }
}

/// The topics of the sample services, in the order of [`Place::topic`].
pub fn topics() -> Vec<String> {
    ServiceKind::ALL.iter().map(|kind| kind.topic().to_owned()).collect()
}

/// A service's topic as [`Place::topic`] counts it.
pub fn topic_of(kind: ServiceKind) -> u16 {
    match kind {
        ServiceKind::Payment => 0,
        ServiceKind::Transfer => 1,
    }
}
