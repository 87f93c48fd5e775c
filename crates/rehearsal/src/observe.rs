//! Observers: the consumer group that a customer would run, and one reader outside it.
//!
//! Each is a thread, because librdkafka's consumer is polled from one. They take down what they are given, in the order in
//! which they are given it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;

use crate::history::{Claim, Observation, Observer, Place};
use crate::pulse;
use crate::record_value;
use crate::recorder::{Recorder, topics};

/// How long one poll waits: also how quickly an observer notices that it should leave.
const POLL: Duration = Duration::from_millis(50);
/// How often a member commits what it was given, as a customer's consumer does.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How long one question for a partition's end may take.
const WATERMARK_WITHIN: Duration = Duration::from_millis(500);

/// How long a member may take to leave or to join: a broker that is away at the time, and a session time-out, fit into it.
const REBALANCE_WITHIN: Duration = Duration::from_secs(30);

/// What all observers of a run share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Where the log is; who reads it goes along when that changes.
    pub bootstrap: watch::Receiver<String>,
    /// The group's id.
    pub group: String,
    /// Partitions of every topic.
    pub partitions: i32,
    /// The run's seed.
    pub seed: u64,
    /// How many operations were planned.
    pub operations: usize,
    /// Whether there are pulses, which the group reads along.
    pub pulses: bool,
    /// Takes the observations.
    pub recorder: Arc<Recorder>,
}

/// Why observations are not to be relied on. The subject's side or this machine's; a retry may help.
#[derive(Debug, thiserror::Error)]
pub enum ObserverError {
    /// It could not be set up, and observed nothing from then on.
    #[error("{name} could not be set up")]
    Setup {
        /// Which observer.
        name: String,
        /// What librdkafka says.
        #[source]
        source: KafkaError,
    },
    /// Its thread panicked: a bug of ours.
    #[error("an observer panicked: its observations end early")]
    Panicked,
    /// It did not leave the group, or was given no partitions, within [`REBALANCE_WITHIN`].
    #[error("member {member} did not {what} within {REBALANCE_WITHIN:?}")]
    NotMoved {
        /// Which member.
        member: usize,
        /// "leave the group", "join the group".
        what: &'static str,
    },
}

/// What a member has done, for whoever waits for it.
#[derive(Debug, Clone, Copy, Default)]
struct Moves {
    /// Its consumer was dropped: it has left the group.
    left: u32,
    /// It was given partitions, be it none.
    assigned: u32,
}

/// One member as the run steers it.
#[derive(Debug)]
struct Member {
    away: AtomicBool,
    moves: watch::Sender<Moves>,
}

/// The running observers. Dropping them stops their threads.
#[derive(Debug)]
pub struct Observers {
    stop: Arc<AtomicBool>,
    members: Vec<Arc<Member>>,
    threads: Vec<JoinHandle<Result<(), ObserverError>>>,
}

/// Number of the consumer group among observers' groups.
pub const GROUP: u16 = 0;
/// Number of the lone reader's.
pub const LONE: u16 = 1;

impl Observers {
    /// Starts `members` members and the lone reader.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(shared: &Shared, members: usize) -> std::io::Result<Self> {
        let mut observers = Self { stop: Arc::default(), members: Vec::new(), threads: Vec::new() };
        for member in 0..members {
            let steered = Arc::new(Member { away: AtomicBool::new(false), moves: watch::Sender::default() });
            observers.members.push(Arc::clone(&steered));
            let (shared, stop) = (shared.clone(), Arc::clone(&observers.stop));
            let thread = thread::Builder::new().name(format!("member-{member}"));
            observers.threads.push(thread.spawn(move || member_loop(&shared, member as u16, &stop, &steered))?);
        }
        let (shared, stop) = (shared.clone(), Arc::clone(&observers.stop));
        let thread = thread::Builder::new().name("lone-reader".to_owned());
        observers.threads.push(thread.spawn(move || lone_loop(&shared, members as u16, &stop))?);
        Ok(observers)
    }

    /// Makes a member leave the group, or join it again, and waits until it has.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub async fn set_away(&self, member: usize, away: bool) -> Result<(), ObserverError> {
        let Some(steered) = self.members.get(member) else { return Ok(()) };
        let mut moves = steered.moves.subscribe();
        let before = *moves.borrow_and_update();
        steered.away.store(away, Ordering::Relaxed);
        let moved = moves.wait_for(|now| if away { now.left > before.left } else { now.assigned > before.assigned });
        match tokio::time::timeout(REBALANCE_WITHIN, moved).await {
            Ok(Ok(_moves)) => Ok(()),
            // The sender lives as long as the member does, so only the time can end.
            Ok(Err(_)) | Err(_) => {
                let what = if away { "leave the group" } else { "join the group" };
                Err(ObserverError::NotMoved { member, what })
            }
        }
    }

    /// Stops all of them and waits for their threads; blocks for up to a session's close.
    ///
    /// # Errors
    /// If one of them had ended before: it has not seen what there was to see.
    pub fn stop(&mut self) -> Result<(), ObserverError> {
        self.stop.store(true, Ordering::Relaxed);
        let mut outcome = Ok(());
        for thread in self.threads.drain(..) {
            outcome = outcome.and(thread.join().unwrap_or(Err(ObserverError::Panicked)));
        }
        outcome
    }

    /// As the history names them.
    pub fn names(members: usize) -> Vec<Observer> {
        let mut names: Vec<Observer> =
            (0..members).map(|member| Observer { name: format!("member {member}"), group: GROUP }).collect();
        names.push(Observer { name: "lone reader".to_owned(), group: LONE });
        names
    }
}

impl Drop for Observers {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(error = &error as &dyn std::error::Error, "an observer had ended early");
        }
    }
}

/// Counts a member's sessions: each assignment begins one.
#[derive(Default)]
struct Sessions {
    count: Arc<AtomicU32>,
    /// None of those who are in no group.
    member: Option<Steered>,
}

/// A member, and who takes down what it does.
struct Steered {
    observer: u16,
    member: Arc<Member>,
    recorder: Arc<Recorder>,
}

impl ClientContext for Sessions {
    fn log(&self, _level: RDKafkaLogLevel, fac: &str, message: &str) {
        // A broker that is killed on purpose makes librdkafka log; none of it is an error of the run.
        tracing::debug!(fac, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(error = &error as &dyn std::error::Error, reason, "librdkafka");
    }
}

impl ConsumerContext for Sessions {
    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            let session = self.count.fetch_add(1, Ordering::Relaxed) + 1;
            if let Some(steered) = &self.member {
                steered.recorder.assigned(steered.observer, session);
                steered.member.moves.send_modify(|moves| moves.assigned += 1);
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let (Some(steered), Ok(())) = (&self.member, result) else { return };
        let names = topics();
        let places = offsets.elements().into_iter().filter_map(|element| {
            let topic = names.iter().position(|topic| topic == element.topic())?;
            let offset = match (element.offset(), element.error()) {
                (Offset::Offset(offset), Ok(())) => offset,
                _ => return None,
            };
            Some(Place { topic: topic as u16, partition: element.partition(), offset })
        });
        steered.recorder.committed(places);
    }
}

fn config(shared: &Shared, client_id: &str, group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", shared.bootstrap.borrow().as_str())
        .set("client.id", client_id)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        // Come back quickly after the broker does: the outage is what is measured, not the client's patience.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "1000")
        .set("fetch.wait.max.ms", "50")
        .set("fetch.error.backoff.ms", "100")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

fn member_loop(shared: &Shared, member: u16, stop: &AtomicBool, steered: &Arc<Member>) -> Result<(), ObserverError> {
    let away = &steered.away;
    let setup = |source| ObserverError::Setup { name: format!("member {member}"), source };
    let sessions = Arc::new(AtomicU32::new(0));
    let mut at = shared.bootstrap.clone();
    while !stop.load(Ordering::Relaxed) {
        if away.load(Ordering::Relaxed) {
            thread::sleep(POLL);
            continue;
        }
        at.mark_unchanged();
        sessions.fetch_add(1, Ordering::Relaxed);
        let of = Steered { observer: member, member: Arc::clone(steered), recorder: Arc::clone(&shared.recorder) };
        let context = Sessions { count: Arc::clone(&sessions), member: Some(of) };
        let consumer: BaseConsumer<Sessions> = config(shared, &format!("rehearsal-member-{member}"), &shared.group)
            .create_with_context(context)
            .map_err(setup)?;
        let names = topics();
        let pulses = shared.pulses.then_some(pulse::TOPIC);
        let names: Vec<&str> = names.iter().map(String::as_str).chain(pulses).collect();
        consumer.subscribe(&names).map_err(setup)?;
        let mut committed = Instant::now();
        while !stop.load(Ordering::Relaxed) && !away.load(Ordering::Relaxed) && !moved(&at) {
            if let Some(Ok(message)) = consumer.poll(POLL) {
                note(shared, &message, member, GROUP, sessions.load(Ordering::Relaxed));
            }
            if committed.elapsed() >= COMMIT_EVERY {
                committed = Instant::now();
                commit(&consumer, CommitMode::Async, member);
            }
        }
        // Leaving in order: whoever takes over goes on where this member stopped. What was left is not there any more.
        if !stop.load(Ordering::Relaxed) && !moved(&at) {
            commit(&consumer, CommitMode::Sync, member);
        }
        drop(consumer);
        steered.moves.send_modify(|moves| moves.left += 1);
    }
    Ok(())
}

/// Whether the log is elsewhere by now; nobody can tell when the run is over.
fn moved(at: &watch::Receiver<String>) -> bool {
    at.has_changed().unwrap_or(false)
}

fn commit(consumer: &BaseConsumer<Sessions>, mode: CommitMode, member: u16) {
    match consumer.commit_consumer_state(mode) {
        // Nothing new to commit is no error; a commit that fails in an outage is made again a second later.
        Ok(()) => {}
        Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, member, "commit"),
    }
}

/// Reads every partition from its beginning, without a group. Where the log moves it begins again.
fn lone_loop(shared: &Shared, observer: u16, stop: &AtomicBool) -> Result<(), ObserverError> {
    let mut at = shared.bootstrap.clone();
    let mut session = 0;
    while !stop.load(Ordering::Relaxed) {
        at.mark_unchanged();
        let created: KafkaResult<BaseConsumer<Sessions>> =
            config(shared, "rehearsal-lone-reader", "rehearsal-lone-reader").create_with_context(Sessions::default());
        let assigned = created.and_then(|consumer| {
            let mut list = TopicPartitionList::new();
            for topic in topics() {
                for partition in 0..shared.partitions {
                    list.add_partition_offset(&topic, partition, Offset::Beginning)?;
                }
            }
            consumer.assign(&list)?;
            Ok(consumer)
        });
        let consumer = assigned.map_err(|source| ObserverError::Setup { name: "lone reader".to_owned(), source })?;
        while !stop.load(Ordering::Relaxed) && !moved(&at) {
            if let Some(Ok(message)) = consumer.poll(POLL) {
                note(shared, &message, observer, LONE, session);
            }
        }
        session += 1;
    }
    Ok(())
}

fn note(shared: &Shared, message: &BorrowedMessage<'_>, observer: u16, group: u16, session: u32) {
    if message.topic() == pulse::TOPIC {
        shared.recorder.pulse_delivered(message.partition());
        return;
    }
    let Some(topic) = topics().iter().position(|topic| topic == message.topic()) else { return };
    let place = Place { topic: topic as u16, partition: message.partition(), offset: message.offset() };
    let (key, value) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
    let record = record_value::read(shared.seed, shared.operations, place, key, value);
    let operation = match record.claim {
        Claim::Operation(number) => Some(number),
        Claim::Stranger(_) => None,
    };
    let at_us = shared.recorder.clock().now_us();
    let seen = Observation { observer, session, place, fingerprint: record.fingerprint, operation, at_us };
    shared.recorder.observed(group, seen);
}

/// Asks the log for its partitions' ends: what the group has not been given is its lag.
pub struct LagProbe {
    shared: Shared,
    /// With where it asks.
    consumer: Mutex<(String, BaseConsumer<Sessions>)>,
}

impl LagProbe {
    /// Made without touching the network.
    ///
    /// # Errors
    /// If librdkafka refuses its configuration.
    pub fn new(shared: &Shared) -> KafkaResult<Self> {
        Ok(Self { shared: shared.clone(), consumer: Mutex::new(Self::made(shared)?) })
    }

    fn made(shared: &Shared) -> KafkaResult<(String, BaseConsumer<Sessions>)> {
        let at = shared.bootstrap.borrow().clone();
        let config = config(shared, "rehearsal-lag-probe", "rehearsal-lag-probe");
        Ok((at, config.create_with_context(Sessions::default())?))
    }

    /// The high watermark of every partition; `None` as soon as the log does not answer. Blocks.
    pub fn ends(&self) -> Option<Vec<(Place, i64)>> {
        // Nothing that holds it leaves half of it behind.
        let mut consumer = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        if consumer.0 != *self.shared.bootstrap.borrow() {
            *consumer = Self::made(&self.shared).ok()?;
        }
        let mut ends = Vec::new();
        for (index, topic) in topics().iter().enumerate() {
            for partition in 0..self.shared.partitions {
                let (_, high) = consumer.1.fetch_watermarks(topic, partition, WATERMARK_WITHIN).ok()?;
                ends.push((Place { topic: index as u16, partition, offset: 0 }, high));
            }
        }
        Some(ends)
    }
}

/// How far a group is from the ends of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records below the ends that the group has not been given.
    pub behind: u64,
    /// Offsets at and above the ends that the group was given: the log took them back, or has grown since it was asked.
    pub beyond: u64,
}

impl Lag {
    /// Zero only when the group stands at the end of every partition.
    pub fn from_rest(self) -> u64 {
        self.behind + self.beyond
    }
}

/// Compares what `group` was given with `ends`.
pub fn lag(recorder: &Recorder, group: u16, ends: &[(Place, i64)]) -> Lag {
    let mut lag = Lag::default();
    for (partition, end) in ends {
        let next = recorder.next_offset(group, *partition);
        lag.behind += u64::try_from(end - next).unwrap_or(0);
        lag.beyond += u64::try_from(next - end).unwrap_or(0);
    }
    lag
}
