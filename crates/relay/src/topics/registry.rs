//! The topics that the relay knows, durable, and the changes of them on both sides.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use naru_kafka::client::admin::{ConfigOwner, NewTopic};
use naru_kafka::client::{Client, ClientError};
use naru_kafka::wire::{ErrorCode, TopicId};
use tokio::sync::{Mutex, watch};

use super::ask;
use super::plan::{self, Observed, Present, Return, Setting, Step};
use super::record::{Change, Life, TopicRecord};
use crate::coordination::{Coordination, Held, ReadFailed, SwapFailed};
use crate::side::{Side, SideMap, SideSet};

/// Steps of one intent in one go: two sides, a record after each, twice that for brokers that learn of a change late.
const STEPS_MAX: usize = 40;
/// Wait before the same step is tried again: brokers hear of a change within this.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the partitions of a new topic may take to have leaders.
const LEADERS_WAIT_MAX: Duration = Duration::from_secs(10);
/// Where the records are kept.
const PREFIX: &str = "topics/";

/// Why a topic is not changed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The client's side: what it asks for cannot be. A retry does not help.
    #[error("{problem}")]
    Refused {
        /// The code of the answer.
        code: ErrorCode,
        /// For people.
        problem: String,
    },
    /// A side refused what the rules of the relay allow, or failed.
    #[error("side {side} does not do it")]
    Side {
        /// Which.
        side: Side,
        /// Its words.
        #[source]
        source: ClientError,
    },
    /// A side that is needed cannot be asked. A retry helps once it is back; what was begun is finished then.
    #[error("side {side} cannot be asked; what was begun is finished when it is back")]
    Away {
        /// Which.
        side: Side,
    },
    /// A side has something else of that name. A person must look.
    #[error("side {side}: {problem}")]
    Blocked {
        /// Which.
        side: Side,
        /// What is there.
        problem: &'static str,
    },
    /// The sides do not show what they were told, for longer than allowed. It is tried again.
    #[error("the sides take too long to show the change")]
    Slow,
    /// The coordinator cannot be used. A retry helps once it can.
    #[error("the topic's record cannot be kept")]
    Keep(#[from] SwapFailed),
    /// The coordinator cannot be read.
    #[error("the topics' records cannot be read")]
    Read(#[from] ReadFailed),
    /// A record was written by something else. Our side.
    #[error("the record {key} cannot be understood")]
    Record {
        /// Where it is kept.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl AdminError {
    pub(super) fn refused(code: ErrorCode, problem: impl Into<String>) -> Self {
        Self::Refused { code, problem: problem.into() }
    }

    /// The code of the answer to the client.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Side { source, .. } => source.code().unwrap_or(ErrorCode::REQUEST_TIMED_OUT),
            Self::Away { .. } | Self::Slow | Self::Keep(_) | Self::Read(_) => ErrorCode::REQUEST_TIMED_OUT,
            Self::Blocked { .. } => ErrorCode::TOPIC_ALREADY_EXISTS,
            Self::Record { .. } => ErrorCode::UNKNOWN_SERVER_ERROR,
        }
    }
}

#[derive(Debug, Clone)]
struct Kept {
    version: u64,
    record: TopicRecord,
}

/// All topics. Changes are made one at a time: they are rare, and a crash then leaves at most one unfinished.
#[derive(Debug)]
pub struct Registry<C> {
    coordination: Arc<C>,
    clients: SideMap<Client>,
    kept: RwLock<BTreeMap<Arc<str>, Kept>>,
    changes: watch::Sender<u64>,
    pub(super) turn: Mutex<()>,
}

impl<C: Coordination> Registry<C> {
    /// Reads what is kept.
    pub async fn open(coordination: Arc<C>, clients: SideMap<Client>) -> Result<Self, AdminError> {
        let mut kept = BTreeMap::new();
        for (key, held) in coordination.list(PREFIX).await? {
            let record = understood(&key, &held)?;
            kept.insert(Arc::clone(&record.name), Kept { version: held.version, record });
        }
        let (kept, changes, turn) = (RwLock::new(kept), watch::Sender::new(0), Mutex::new(()));
        Ok(Self { coordination, clients, kept, changes, turn })
    }

    /// What is kept of a topic that is not deleted.
    pub fn get(&self, name: &str) -> Option<TopicRecord> {
        self.kept_of(name).map(|kept| kept.record).filter(|record| record.life != Life::Deleted)
    }

    /// A topic by the relay's identity of it.
    pub fn by_id(&self, id: TopicId) -> Option<TopicRecord> {
        self.all().into_iter().find(|record| record.id == id)
    }

    /// All topics that are not deleted, by name.
    pub fn all(&self) -> Vec<TopicRecord> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.values().map(|kept| kept.record.clone()).filter(|record| record.life != Life::Deleted).collect()
    }

    /// Is told a rising number whenever a record changes.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The client of a side.
    pub fn client(&self, side: Side) -> &Client {
        &self.clients[side]
    }

    fn kept_of(&self, name: &str) -> Option<Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Makes a topic on the needed sides, or says whether it could be made. When it returns the topic is there.
    pub async fn create(
        &self,
        record: TopicRecord,
        needed: SideSet,
        validate_only: bool,
    ) -> Result<TopicRecord, AdminError> {
        let _turn = self.turn.lock().await;
        let name = Arc::clone(&record.name);
        match self.get(&name).filter(|known| known.life != Life::Gone) {
            // Asked for again, after an answer that came too late.
            Some(begun) if begun.life == Life::Creating && begun.partitions == record.partitions && !validate_only => {}
            Some(_) => {
                let problem = format!("Topic '{name}' already exists.");
                return Err(AdminError::refused(ErrorCode::TOPIC_ALREADY_EXISTS, problem));
            }
            None => {
                for side in Side::BOTH.into_iter().filter(|side| needed.contains(*side)) {
                    let made = self.clients[side].create_topic(&new_topic(&record), true).await;
                    made.map_err(|source| AdminError::Side { side, source })?;
                }
                if validate_only {
                    return Ok(record);
                }
                self.keep(record).await?;
            }
        }
        match self.drive(&name, needed).await {
            Err(error @ AdminError::Side { .. }) if !is_transient(&error) => {
                // One side has it, the other one will not: nobody is to have it.
                self.undo_creation(&name).await?;
                Err(error)
            }
            other => other,
        }
    }

    async fn undo_creation(&self, name: &str) -> Result<(), AdminError> {
        let Some(mut record) = self.get(name) else { return Ok(()) };
        for (side, there) in self.observe(name, SideSet::PAIR).await.iter() {
            if let Observed::Present(there) = there {
                record.sides[side] = Some(there.id);
            }
        }
        self.keep(TopicRecord { life: Life::Deleting, ..record }).await?;
        self.drive(name, SideSet::PAIR).await.map(drop)
    }

    /// Takes a topic in that at least one side has already, in the state that the record says.
    pub async fn adopt(&self, record: TopicRecord, needed: SideSet) -> Result<TopicRecord, AdminError> {
        let _turn = self.turn.lock().await;
        if let Some(known) = self.get(&record.name).filter(|known| known.life != Life::Gone) {
            return Ok(known);
        }
        let name = Arc::clone(&record.name);
        self.keep(record).await?;
        self.drive(&name, needed).await
    }

    /// Deletes a topic on both sides; on one that is away and not needed, when it is back.
    pub async fn delete(&self, name: &str, needed: SideSet) -> Result<(), AdminError> {
        let _turn = self.turn.lock().await;
        let record = self.known(name)?;
        if record.life != Life::Deleting {
            self.keep(TopicRecord { life: Life::Deleting, ..record }).await?;
        }
        match self.drive(name, needed).await {
            Err(AdminError::Away { side }) if !needed.contains(side) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Raises the number of partitions, or says whether it could be raised.
    pub async fn grow(&self, name: &str, to: i32, needed: SideSet, validate_only: bool) -> Result<(), AdminError> {
        let _turn = self.turn.lock().await;
        let record = self.settled(name, needed).await?;
        if to <= record.partitions {
            let problem = format!("Topic already has {} partition(s).", record.partitions);
            return Err(AdminError::refused(ErrorCode::INVALID_PARTITIONS, problem));
        }
        for side in Side::BOTH.into_iter().filter(|side| needed.contains(*side)) {
            ask::validate_growth(side, &self.clients[side], name, to).await?;
        }
        if !validate_only {
            self.keep(TopicRecord { life: Life::Growing { to }, ..record }).await?;
            self.drive(name, needed).await?;
        }
        Ok(())
    }

    /// Changes configurations, or says whether they could be changed. What breaks equality was refused before.
    pub async fn alter(
        &self,
        name: &str,
        changes: Vec<Change>,
        needed: SideSet,
        validate_only: bool,
    ) -> Result<(), AdminError> {
        let _turn = self.turn.lock().await;
        let record = self.settled(name, needed).await?;
        for side in Side::BOTH.into_iter().filter(|side| needed.contains(*side)) {
            ask::validate_change(side, &self.clients[side], name, &changes).await?;
        }
        if !validate_only {
            self.keep(TopicRecord { life: Life::Altering { changes }, ..record }).await?;
            self.drive(name, needed).await?;
        }
        Ok(())
    }

    /// Takes down what both sides have by now, changed by hand.
    pub async fn note(&self, name: &str, config: &str, value: String) -> Result<(), AdminError> {
        let _turn = self.turn.lock().await;
        let mut record = self.known(name)?;
        record.configs.insert(config.to_owned(), value);
        self.keep(record).await
    }

    /// Finishes what was begun: after a start, and now and then. Says what is still unfinished, and why.
    pub async fn finish(&self, needed: impl Fn(&str) -> SideSet) -> Vec<(Arc<str>, AdminError)> {
        let mut unfinished = Vec::new();
        for record in self.all().into_iter().filter(TopicRecord::has_intent) {
            let _turn = self.turn.lock().await;
            if let Err(error) = self.drive(&record.name, needed(&record.name)).await {
                unfinished.push((record.name, error));
            }
        }
        unfinished
    }

    /// What a side that is back lacks: topics to be made again there, empty. What can be mended in place is mended.
    pub async fn assess(&self, side: Side, of: impl Fn(&str) -> bool) -> Result<Vec<Arc<str>>, AdminError> {
        let mut rebuild = Vec::new();
        for record in self.all().into_iter().filter(|record| record.is_served() && of(&record.name)) {
            let there = match observe(&self.clients[side], &record.name).await {
                Observed::Unreachable => return Err(AdminError::Away { side }),
                Observed::Absent => None,
                Observed::Present(there) => Some(there),
            };
            match plan::assess(&record, side, there.as_ref()) {
                Return::Same => {}
                Return::Rebuild => rebuild.push(record.name),
                Return::Mend(steps) => {
                    let _turn = self.turn.lock().await;
                    for step in steps {
                        self.carry_out(&record, step).await?;
                    }
                }
            }
        }
        Ok(rebuild)
    }

    /// Deletes a topic on one side, whatever it is there, makes it again, empty, and keeps its new identity.
    pub async fn remake(&self, side: Side, name: &str) -> Result<(), AdminError> {
        let _turn = self.turn.lock().await;
        let record = self.known(name)?;
        let mut last_seen = None;
        for _ in 0..STEPS_MAX {
            let step = match observe(&self.clients[side], name).await {
                Observed::Unreachable => return Err(AdminError::Away { side }),
                Observed::Absent => Step::Create(side),
                // Made a moment ago, or deleted a moment ago and still shown.
                Observed::Present(there) if last_seen.is_some_and(|id| id != there.id) => {
                    let mut known = self.known(name)?;
                    known.sides[side] = Some(there.id);
                    return self.keep(known).await;
                }
                Observed::Present(there) => {
                    last_seen = Some(there.id);
                    Step::Delete(side)
                }
            };
            if let Step::Create(_) = step {
                last_seen = last_seen.or(Some(TopicId::NIL));
            }
            self.carry_out(&record, step).await?;
            tokio::time::sleep(PAUSE).await;
        }
        Err(AdminError::Slow)
    }

    pub(super) fn known(&self, name: &str) -> Result<TopicRecord, AdminError> {
        let problem = || AdminError::refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "The relay has no such topic.");
        self.get(name).ok_or_else(problem)
    }

    /// A topic without an intent: an older one is finished first.
    async fn settled(&self, name: &str, needed: SideSet) -> Result<TopicRecord, AdminError> {
        match self.known(name)? {
            record if matches!(record.life, Life::Deleting | Life::Gone) => Err(AdminError::refused(
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                "The topic is being deleted, or is gone.",
            )),
            record if record.has_intent() => self.drive(name, needed).await,
            record => Ok(record),
        }
    }

    /// Brings an intent to its end, step by step.
    async fn drive(&self, name: &str, needed: SideSet) -> Result<TopicRecord, AdminError> {
        let mut before = None;
        for _ in 0..STEPS_MAX {
            let Some(Kept { record, .. }) = self.kept_of(name).filter(|kept| kept.record.has_intent()) else {
                return self.known(name).or_else(|_| self.last(name));
            };
            let step = plan::next(&record, needed, &self.observe(name, needed).await);
            if before.as_ref() == Some(&step) {
                tokio::time::sleep(PAUSE).await;
            }
            before = Some(step.clone());
            match step {
                Step::Record(next) => self.keep(next).await?,
                Step::Wait(side) => return Err(AdminError::Away { side }),
                Step::Blocked(side, problem) => return Err(AdminError::Blocked { side, problem }),
                step => self.carry_out(&record, step).await?,
            }
        }
        Err(AdminError::Slow)
    }

    fn last(&self, name: &str) -> Result<TopicRecord, AdminError> {
        self.kept_of(name).map(|kept| kept.record).ok_or(AdminError::Slow)
    }

    async fn carry_out(&self, record: &TopicRecord, step: Step) -> Result<(), AdminError> {
        let name = &*record.name;
        let (side, done) = match step {
            Step::Create(side) => (side, self.make(side, record).await),
            Step::Delete(side) => {
                let deleted = self.clients[side].delete_topic(name).await;
                (side, deleted.or_else(unless(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)))
            }
            Step::Grow(side, to) => {
                let grown = self.clients[side].create_partitions(name, to).await;
                // Already so, and this broker did not know yet.
                (side, grown.or_else(unless(ErrorCode::INVALID_PARTITIONS)))
            }
            Step::Alter(side, changes) => {
                let changes: Vec<_> = changes.iter().map(Into::into).collect();
                (side, self.clients[side].alter_configs(&ConfigOwner::Topic(name.to_owned()), &changes).await)
            }
            Step::Record(_) | Step::Wait(_) | Step::Blocked(..) | Step::Done => return Ok(()),
        };
        tracing::info!(topic = name, %side, ok = done.is_ok(), "changed a topic on a side");
        done.map_err(|source| AdminError::Side { side, source })
    }

    async fn make(&self, side: Side, record: &TopicRecord) -> Result<(), ClientError> {
        let client = &self.clients[side];
        let made = client.create_topic(&new_topic(record), false).await.map(drop);
        made.or_else(unless(ErrorCode::TOPIC_ALREADY_EXISTS))?;
        let partitions = usize::try_from(record.partitions).unwrap_or_default();
        client.await_topic(&record.name, partitions, LEADERS_WAIT_MAX).await.map(drop)
    }

    /// What the needed sides show. The other one is away as far as a change goes: asking it would take its time-outs.
    async fn observe(&self, name: &str, needed: SideSet) -> SideMap<Observed> {
        let one = async |side: Side| match needed.contains(side) {
            true => observe(&self.clients[side], name).await,
            false => Observed::Unreachable,
        };
        let (a, b) = tokio::join!(one(Side::A), one(Side::B));
        SideMap { a, b }
    }

    /// Writes a record down. An unknown outcome is read back.
    pub(super) async fn keep(&self, record: TopicRecord) -> Result<(), AdminError> {
        let key = format!("{PREFIX}{}", record.name);
        let expected = self.kept_of(&record.name).map_or(0, |kept| kept.version);
        let value = serde_json::to_vec(&record).map_err(|source| AdminError::Record { key: key.clone(), source })?;
        let value = Bytes::from(value);
        let version = match self.coordination.swap(&key, expected, value.clone()).await {
            Ok(version) => version,
            Err(SwapFailed::Unknown { key }) => match self.coordination.read(&key).await? {
                Some(held) if held.value == value => held.version,
                held => return Err(SwapFailed::Conflict { key, held }.into()),
            },
            Err(error) => return Err(error.into()),
        };
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        kept.insert(Arc::clone(&record.name), Kept { version, record });
        drop(kept);
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }
}

fn understood(key: &str, held: &Held) -> Result<TopicRecord, AdminError> {
    serde_json::from_slice(&held.value).map_err(|source| AdminError::Record { key: key.to_owned(), source })
}

/// A refusal that says that it is so already.
fn unless(code: ErrorCode) -> impl FnOnce(ClientError) -> Result<(), ClientError> {
    move |error| if error.code() == Some(code) { Ok(()) } else { Err(error) }
}

fn is_transient(error: &AdminError) -> bool {
    match error {
        AdminError::Side { source, .. } => source.retry_can_help() || source.outcome_unknown(),
        AdminError::Away { .. } | AdminError::Slow => true,
        _ => false,
    }
}

fn new_topic(record: &TopicRecord) -> NewTopic {
    NewTopic {
        name: record.name.to_string(),
        partitions: record.partitions,
        replication: record.replication,
        configs: record.configs.clone(),
    }
}

/// What a side shows of a topic.
pub async fn observe(client: &Client, name: &str) -> Observed {
    match look(client, name).await {
        Ok(found) => found.map_or(Observed::Absent, Observed::Present),
        Err(error) => {
            tracing::debug!(topic = name, %error, "a side cannot be asked about a topic");
            Observed::Unreachable
        }
    }
}

async fn look(client: &Client, name: &str) -> Result<Option<Present>, ClientError> {
    client.forget_leaders(name);
    let topic = match client.topic(name).await {
        Ok(topic) => topic,
        Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => return Ok(None),
        Err(error) => return Err(error),
    };
    let entries = client.describe_configs(&ConfigOwner::Topic(name.to_owned())).await?;
    let configs = entries.into_iter().filter_map(|entry| {
        let is_default = entry.is_default;
        Some((entry.name, Setting { value: entry.value?, is_default }))
    });
    Ok(Some(Present {
        id: topic.id,
        partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
        replication: topic
            .partitions
            .first()
            .map_or(1, |partition| i32::try_from(partition.replicas.len()).unwrap_or(i32::MAX)),
        configs: configs.collect(),
    }))
}
