//! The group coordinator: carries out what [`crate::standin::groups`] decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::blocking::blocking;
use super::broker::Broker;
use super::clock::Clock;
use super::journal::{self, COMMANDS_MAX, Command, Journal, chain};
use super::partition::lock;
use crate::standin::StandinConfig;
use crate::standin::groups::Ticket;
use crate::standin::groups::group::{Answer, Claim, Group, GroupState, JoinOutcome, Step, SyncOutcome};
use crate::standin::groups::join::JoinRequest;
use crate::standin::groups::offsets::{Committed, Expiry, GroupOffsets, subscribed_topics};
use crate::standin::groups::record::Change;
use crate::standin::storage::{Disk, PartitionStore, StoreConfig, StoreError};
use crate::wire::ErrorCode;

#[cfg(test)]
mod tests;

/// Groups that are kept. A group costs little, but an id can be made up by any client.
pub(crate) const GROUPS_MAX: usize = 10_000;
/// Sleep of the timer when no group waits for anything; a change wakes it earlier.
const IDLE_TICK: Duration = Duration::from_secs(3600);

/// One group, living or remembered for its offsets.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) group: Group,
    pub(crate) offsets: GroupOffsets,
    /// Commits that are with the log and not yet in `offsets`, by topic and partition: how many.
    committing: BTreeMap<(String, i32), u32>,
    deadline_ms: Option<i64>,
}

impl Entry {
    /// Every offset that stands, or will when what is with the log is written.
    fn offset_keys(&self) -> BTreeSet<&(String, i32)> {
        self.offsets.keys().chain(self.committing.keys()).collect()
    }
}

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct State {
    groups: BTreeMap<String, Entry>,
    deadlines: BTreeSet<(i64, String)>,
    waiting: HashMap<Ticket, oneshot::Sender<Answer>>,
    next_ticket: u64,
    initial_delay_ms: i64,
}

impl State {
    fn entry(&mut self, id: &str, now_ms: i64) -> &mut Entry {
        let delay_ms = self.initial_delay_ms;
        self.groups.entry(id.to_owned()).or_insert_with(|| Entry {
            group: Group::new(now_ms, delay_ms),
            offsets: GroupOffsets::new(),
            committing: BTreeMap::new(),
            deadline_ms: None,
        })
    }

    fn park(&mut self) -> (Ticket, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.insert(ticket, sender);
        (ticket, receiver)
    }

    /// Takes over a durable change of offsets; groups themselves are ahead of their log.
    pub(super) fn apply(&mut self, change: &Change) {
        let Change::Offset { group, topic, partition, committed } = change else { return };
        let key = (topic.clone(), *partition);
        match (committed, self.groups.get_mut(group)) {
            (Some(committed), Some(entry)) => {
                entry.offsets.insert(key, committed.clone());
            }
            (Some(committed), None) => {
                let now_ms = committed.committed_at_ms;
                self.entry(group, now_ms).offsets.insert(key, committed.clone());
            }
            (None, Some(entry)) => {
                entry.offsets.remove(&key);
            }
            (None, None) => {}
        }
    }

    /// Notes that the log is done with a change, written or not.
    pub(super) fn settled(&mut self, change: &Change) {
        let Change::Offset { group, topic, partition, committed: Some(_) } = change else { return };
        let Some(entry) = self.groups.get_mut(group) else { return };
        if let std::collections::btree_map::Entry::Occupied(mut count) =
            entry.committing.entry((topic.clone(), *partition))
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Everything that stands, as changes from nothing.
    pub(super) fn standing(&self) -> Vec<Change> {
        let mut all = Vec::new();
        for (id, entry) in &self.groups {
            if entry.group.generation() > 0 {
                all.push(Change::Group { group: id.clone(), record: Some(entry.group.record()) });
            }
            all.extend(entry.offsets.iter().map(|((topic, partition), committed)| Change::Offset {
                group: id.clone(),
                topic: topic.clone(),
                partition: *partition,
                committed: Some(committed.clone()),
            }));
        }
        all
    }

    fn restore(&mut self, change: Change, now_ms: i64) {
        let Change::Group { group, record } = change else { return self.apply(&change) };
        let delay_ms = self.initial_delay_ms;
        match record {
            Some(record) => {
                let restored = Group::restore(record, now_ms, delay_ms);
                self.entry(&group, now_ms).group = restored;
            }
            None => {
                self.groups.remove(&group);
            }
        }
    }

    fn schedule(&mut self, id: &str) {
        let Some(entry) = self.groups.get_mut(id) else { return };
        let next = entry.group.next_tick_ms();
        if next != entry.deadline_ms {
            if let Some(old) = entry.deadline_ms {
                self.deadlines.remove(&(old, id.to_owned()));
            }
            entry.deadline_ms = next;
            if let Some(next) = next {
                self.deadlines.insert((next, id.to_owned()));
            }
        }
    }

    fn senders(&mut self, answers: Vec<(Ticket, Answer)>) -> Vec<(oneshot::Sender<Answer>, Answer)> {
        answers.into_iter().filter_map(|(t, answer)| self.waiting.remove(&t).map(|to| (to, answer))).collect()
    }

    /// Carries out a step: writes the group down if it must be, then answers.
    fn settle(&mut self, id: &str, step: Step, permit: mpsc::Permit<'_, Command>) {
        let deliver = self.senders(step.answers);
        if step.save
            && let Some(entry) = self.groups.get(id)
        {
            let change = Change::Group { group: id.to_owned(), record: Some(entry.group.record()) };
            permit.send(Command { changes: vec![change], deliver, done: None });
        } else {
            for (to, answer) in deliver {
                // The client is gone: nobody to tell.
                drop(to.send(answer));
            }
        }
        self.schedule(id);
    }
}

/// The coordinator of every group of this broker.
#[derive(Debug)]
pub(crate) struct Coordinator {
    state: Arc<Mutex<State>>,
    journal: mpsc::Sender<Command>,
    store: PartitionStore,
    clock: Arc<Clock>,
    /// A deadline may have come nearer.
    rescheduled: Notify,
    retention_ms: i64,
    /// Somebody has asked where the coordinator is, now or before a restart. Kafka makes its offsets topic then, and
    /// answers NOT_COORDINATOR before.
    asked: AtomicBool,
    /// The writer, and what ends it after its last command.
    writer: TaskTracker,
    finish: CancellationToken,
}

impl Coordinator {
    /// Reads the coordinator's log. Offsets of topics that are no more are not taken over.
    pub(crate) async fn open(
        config: &StandinConfig,
        disk: &Arc<Disk>,
        clock: Arc<Clock>,
        topics: &[String],
    ) -> Result<Self, StoreError> {
        let store_config = StoreConfig { disk: Arc::clone(disk), flush: config.flush, log: journal::log_config() };
        let dir = config.data.join("groups");
        let now_ms = clock.now_ms();
        let delay_ms = i64::try_from(config.group_initial_rebalance_delay.as_millis()).unwrap_or(i64::MAX);
        let (store, mut state) = blocking(move || -> Result<_, StoreError> {
            let (store, _) = PartitionStore::open(dir, store_config)?;
            let mut state = State { initial_delay_ms: delay_ms, ..State::default() };
            if let Err(error) = journal::load(&store, |change| state.restore(change, now_ms)) {
                tracing::error!(error = %chain(&error), "the coordinator's log cannot be read to its end");
                return Err(StoreError::Offline("the coordinator's log is damaged"));
            }
            Ok((store, state))
        })
        .await??;
        // A crash came between a topic's deletion and that of its offsets. They go from the log too: a topic of the same
        // name that is made later must not find them at the next start.
        let mut gone = Vec::new();
        for (id, entry) in &mut state.groups {
            let deleted = entry.offsets.extract_if(.., |(topic, _), _| topics.binary_search(topic).is_err());
            gone.extend(deleted.map(|((topic, partition), _)| forgotten(id, &topic, partition)));
        }
        let ids: Vec<String> = state.groups.keys().cloned().collect();
        ids.iter().for_each(|id| state.schedule(id));
        let state = Arc::new(Mutex::new(state));
        let (journal, commands) = mpsc::channel(COMMANDS_MAX);
        let asked = AtomicBool::new(store.log_end() > 0);
        let (writer, finish) = (TaskTracker::new(), CancellationToken::new());
        let journal_task = Journal {
            store: store.clone(),
            state: Arc::clone(&state),
            clock: Arc::clone(&clock),
            since_snapshot_bytes: store.size_bytes(),
        };
        writer.spawn(journal_task.run(commands, finish.clone()));
        let retention_ms = i64::try_from(config.offsets_retention.as_millis()).unwrap_or(i64::MAX);
        let coordinator =
            Self { state, journal, store, clock, rescheduled: Notify::new(), retention_ms, asked, writer, finish };
        if let Err(code) = coordinator.forget(|_| Ok(gone)).await {
            tracing::warn!(%code, "committed offsets of deleted topics are left until the next start");
        }
        Ok(coordinator)
    }

    /// Somebody asks where the coordinator is: from now on it is here.
    pub(crate) fn found(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    fn check_asked(&self) -> Result<(), ErrorCode> {
        if self.asked.load(Ordering::Relaxed) { Ok(()) } else { Err(ErrorCode::NOT_COORDINATOR) }
    }

    async fn permit(&self) -> Result<mpsc::Permit<'_, Command>, ErrorCode> {
        self.journal.reserve().await.map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE)
    }

    /// As [`Self::permit`], for what members and committers ask.
    async fn member_permit(&self) -> Result<mpsc::Permit<'_, Command>, ErrorCode> {
        self.check_asked()?;
        self.permit().await
    }

    /// A JoinGroup; waits until the group is ready.
    pub(crate) async fn join(&self, id: &str, request: JoinRequest) -> JoinOutcome {
        let member_id = request.member_id.clone();
        let permit = match self.member_permit().await {
            Ok(permit) => permit,
            Err(code) => return JoinOutcome::refused(code, member_id),
        };
        let answer = {
            let mut state = lock(&self.state);
            if !state.groups.contains_key(id) {
                // A member of a group that is no more; or one group too many.
                if !member_id.is_empty() {
                    return JoinOutcome::refused(ErrorCode::UNKNOWN_MEMBER_ID, member_id);
                }
                if state.groups.len() >= GROUPS_MAX {
                    return JoinOutcome::refused(ErrorCode::COORDINATOR_NOT_AVAILABLE, member_id);
                }
            }
            let now_ms = self.clock.now_ms();
            let (ticket, answer) = state.park();
            let step = state.entry(id, now_ms).group.join(request, ticket, now_ms);
            state.settle(id, step, permit);
            answer
        };
        self.rescheduled.notify_one();
        match answer.await {
            Ok(Answer::Join(outcome)) => outcome,
            Ok(Answer::Sync(_)) | Err(_) => JoinOutcome::refused(ErrorCode::COORDINATOR_NOT_AVAILABLE, member_id),
        }
    }

    /// A SyncGroup; waits until the leader has assigned.
    pub(crate) async fn sync(
        &self,
        id: &str,
        claim: Claim<'_>,
        protocol: (Option<&str>, Option<&str>),
        assignments: Vec<(String, bytes::Bytes)>,
    ) -> SyncOutcome {
        let permit = match self.member_permit().await {
            Ok(permit) => permit,
            Err(code) => return SyncOutcome::refused(code),
        };
        let answer = {
            let mut state = lock(&self.state);
            let (ticket, answer) = state.park();
            let now_ms = self.clock.now_ms();
            let Some(entry) = state.groups.get_mut(id) else {
                state.waiting.remove(&ticket);
                return SyncOutcome::refused(ErrorCode::UNKNOWN_MEMBER_ID);
            };
            let step = entry.group.sync(claim, protocol, assignments, ticket, now_ms);
            state.settle(id, step, permit);
            answer
        };
        self.rescheduled.notify_one();
        match answer.await {
            Ok(Answer::Sync(outcome)) => outcome,
            Ok(Answer::Join(_)) | Err(_) => SyncOutcome::refused(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        }
    }

    /// A Heartbeat.
    pub(crate) fn heartbeat(&self, id: &str, claim: Claim<'_>) -> ErrorCode {
        if let Err(code) = self.check_asked() {
            return code;
        }
        let mut state = lock(&self.state);
        let code = match state.groups.get_mut(id) {
            Some(entry) => entry.group.heartbeat(claim, self.clock.now_ms()),
            None => ErrorCode::UNKNOWN_MEMBER_ID,
        };
        state.schedule(id);
        code
    }

    /// A LeaveGroup: what became of each member.
    pub(crate) async fn leave(&self, id: &str, members: &[(&str, Option<&str>)]) -> Result<Vec<ErrorCode>, ErrorCode> {
        let permit = self.member_permit().await?;
        let mut state = lock(&self.state);
        let now_ms = self.clock.now_ms();
        let Some(entry) = state.groups.get_mut(id) else {
            return Ok(vec![ErrorCode::UNKNOWN_MEMBER_ID; members.len()]);
        };
        let mut step = Step::default();
        let codes =
            members.iter().map(|(member, instance)| entry.group.leave(member, *instance, now_ms, &mut step)).collect();
        state.settle(id, step, permit);
        drop(state);
        self.rescheduled.notify_one();
        Ok(codes)
    }

    /// Commits offsets; durable when this returns without an error.
    pub(crate) async fn commit(
        &self,
        id: &str,
        claim: Claim<'_>,
        offsets: Vec<(String, i32, Committed)>,
    ) -> Result<(), ErrorCode> {
        let permit = self.member_permit().await?;
        let (done, told) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            let now_ms = self.clock.now_ms();
            if !state.groups.contains_key(id) {
                if claim.generation >= 0 {
                    return Err(ErrorCode::ILLEGAL_GENERATION);
                }
                if state.groups.len() >= GROUPS_MAX {
                    return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
                }
            }
            let entry = state.entry(id, now_ms);
            entry.group.validate_commit(claim, now_ms)?;
            let changes = offsets.into_iter().map(|(topic, partition, committed)| {
                *entry.committing.entry((topic.clone(), partition)).or_default() += 1;
                Change::Offset { group: id.to_owned(), topic, partition, committed: Some(committed) }
            });
            let changes = changes.collect();
            permit.send(Command { changes, deliver: Vec::new(), done: Some(done) });
            state.schedule(id);
        }
        told.await.unwrap_or(Err(ErrorCode::COORDINATOR_NOT_AVAILABLE))
    }

    /// Looks at one group, if it is there.
    pub(crate) fn look<T>(&self, id: &str, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        lock(&self.state).groups.get(id).map(look)
    }

    /// Looks at every group.
    pub(crate) fn look_at_all<T>(&self, mut look: impl FnMut(&str, &Entry) -> T) -> Vec<T> {
        lock(&self.state).groups.iter().map(|(id, entry)| look(id, entry)).collect()
    }

    /// What is forgotten is decided and sent under one lock, so that the log has it behind every commit that was seen.
    async fn forget(&self, choose: impl FnOnce(&mut State) -> Result<Vec<Change>, ErrorCode>) -> Result<(), ErrorCode> {
        let permit = self.permit().await?;
        let (done, told) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            let changes = choose(&mut state)?;
            if changes.is_empty() {
                return Ok(());
            }
            permit.send(Command { changes, deliver: Vec::new(), done: Some(done) });
        }
        told.await.unwrap_or(Err(ErrorCode::COORDINATOR_NOT_AVAILABLE))
    }

    /// DeleteGroups: an idle group and its offsets.
    pub(crate) async fn delete(&self, id: &str) -> Result<(), ErrorCode> {
        self.forget(|state| {
            let entry = state.groups.get(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
            if entry.group.state() != GroupState::Empty {
                return Err(ErrorCode::NON_EMPTY_GROUP);
            }
            if !entry.committing.is_empty() {
                // Somebody uses it. Retriable: the commit is over in a moment, and the group may go then.
                return Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
            }
            Ok(state.remove(id))
        })
        .await
    }

    /// The offsets of a topic that is being deleted.
    pub(crate) async fn forget_topic(&self, topic: &str) {
        let forgotten = self.forget(|state| {
            let gone = |id: &String, entry: &Entry| -> Vec<Change> {
                let keys = entry.offset_keys().into_iter().filter(|(t, _)| t == topic);
                keys.map(|(topic, partition)| forgotten(id, topic, *partition)).collect()
            };
            Ok(state.groups.iter().flat_map(|(id, entry)| gone(id, entry)).collect())
        });
        if let Err(code) = forgotten.await {
            tracing::warn!(topic, %code, "committed offsets of a deleted topic are left until the next start");
        }
    }

    /// OffsetDelete: those of the given partitions that nobody in the group subscribes to.
    pub(crate) async fn delete_offsets(
        &self,
        id: &str,
        partitions: &[(String, i32)],
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        let mut codes = Vec::new();
        self.forget(|state| {
            let entry = state.groups.get(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
            let subscribed = subscribed(&entry.group);
            if entry.group.state() != GroupState::Empty && subscribed.is_none() {
                return Err(ErrorCode::NON_EMPTY_GROUP);
            }
            let present = entry.offset_keys();
            let mut changes = Vec::new();
            for (topic, partition) in partitions {
                if subscribed.as_ref().is_some_and(|topics| topics.contains(topic)) {
                    codes.push(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
                    continue;
                }
                codes.push(ErrorCode::NONE);
                if present.contains(&(topic.clone(), *partition)) {
                    changes.push(forgotten(id, topic, *partition));
                }
            }
            Ok(changes)
        })
        .await?;
        Ok(codes)
    }

    /// Drops offsets that are too old, and groups of which nothing is left.
    pub(crate) async fn expire(&self) {
        let now_ms = self.clock.now_ms();
        let retention_ms = self.retention_ms;
        let expired = self.forget(|state| {
            let mut changes = Vec::new();
            let mut empty = Vec::new();
            // A group that commits right now is not old; the next round looks at it again.
            for (id, entry) in state.groups.iter().filter(|(_, entry)| entry.committing.is_empty()) {
                let topics = subscribed(&entry.group);
                let expiry = Expiry {
                    now_ms,
                    retention_ms,
                    idle: entry.group.state() == GroupState::Empty,
                    idle_since_ms: (entry.group.generation() > 0).then(|| entry.group.state_since_ms()),
                    subscribed: topics.as_deref(),
                };
                let old = entry.offsets.iter().filter(|((topic, _), c)| expiry.is_expired(topic, c));
                let before = changes.len();
                changes.extend(old.map(|((topic, partition), _)| forgotten(id, topic, *partition)));
                if changes.len() - before == entry.offsets.len() && entry.group.is_idle() && expiry.idle {
                    empty.push(id.clone());
                }
            }
            for id in empty {
                changes.extend(state.remove(&id));
            }
            Ok(changes)
        });
        if let Err(code) = expired.await {
            tracing::warn!(%code, "old offsets could not be dropped; the next round tries again");
        }
    }

    /// Answers everyone who waits for a group: the broker stops.
    pub(crate) fn release_waiting(&self) {
        lock(&self.state).waiting.clear();
    }

    /// Ends the writer after the commands it has; takes none after that.
    pub(crate) fn abandon(&self) {
        self.finish.cancel();
    }

    /// Writes down what is not yet, and closes the log.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        self.finish.cancel();
        self.writer.close();
        self.writer.wait().await;
        let store = self.store.clone();
        blocking(move || store.close()).await?
    }
}

impl State {
    /// Takes a group out; the changes that say so.
    fn remove(&mut self, id: &str) -> Vec<Change> {
        let Some(entry) = self.groups.remove(id) else { return Vec::new() };
        if let Some(at) = entry.deadline_ms {
            self.deadlines.remove(&(at, id.to_owned()));
        }
        let mut changes: Vec<Change> =
            entry.offsets.keys().map(|(topic, partition)| forgotten(id, topic, *partition)).collect();
        if entry.group.generation() > 0 {
            changes.push(Change::Group { group: id.to_owned(), record: None });
        }
        changes
    }
}

fn forgotten(group: &str, topic: &str, partition: i32) -> Change {
    Change::Offset { group: group.to_owned(), topic: topic.to_owned(), partition, committed: None }
}

/// What a living `consumer` group subscribes to; none when it is not one or has no members.
fn subscribed(group: &Group) -> Option<Vec<String>> {
    if group.protocol_type() != Some("consumer") || group.state() != GroupState::Stable {
        return None;
    }
    let protocol = group.protocol()?;
    let mut topics = Vec::new();
    for member in group.members() {
        topics.extend(subscribed_topics(&member.metadata(protocol))?);
    }
    Some(topics)
}

impl Broker {
    /// Lets time pass for the groups, until the broker stops.
    pub(crate) async fn tick_groups(self: Arc<Self>) {
        let coordinator = &self.coordinator;
        loop {
            let now_ms = coordinator.clock.now_ms();
            let next = lock(&coordinator.state).deadlines.first().cloned();
            let wait = match &next {
                Some((at_ms, _)) => Duration::from_millis(u64::try_from(at_ms - now_ms).unwrap_or(0)),
                None => IDLE_TICK,
            };
            if !wait.is_zero() {
                tokio::select! {
                    () = self.stopping.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                    () = coordinator.rescheduled.notified() => {}
                }
                continue;
            }
            let Some((_, id)) = next else { continue };
            let Ok(permit) = coordinator.permit().await else { return };
            let mut state = lock(&coordinator.state);
            let Some(entry) = state.groups.get_mut(&id) else { continue };
            let step = entry.group.tick(now_ms);
            state.settle(&id, step, permit);
        }
    }
}
