//! The state machine of one classic consumer group: members, generations, assignments, time-outs.
//!
//! Joining and the completion of a rebalance are in [`super::join`].

use std::collections::BTreeMap;

use bytes::Bytes;

use super::member::Member;
use super::record::GroupRecord;
use super::{ASSIGNMENTS_BYTES_MAX, Ticket};
use crate::wire::error_code::ErrorCode;

/// Where a group stands. Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// No members; offsets may be there.
    Empty,
    /// Waiting for members to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// Everyone has an assignment.
    Stable,
}

impl GroupState {
    /// The name that DescribeGroups and ListGroups show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// What the leader learns about a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member's id.
    pub id: String,
    /// Its `group.instance.id`.
    pub instance: Option<String>,
    /// Its metadata for the protocol that was chosen.
    pub metadata: Bytes,
}

/// The answer to a JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinOutcome {
    /// Why not, or none.
    pub error: ErrorCode,
    /// The generation joined, -1 on an error.
    pub generation: i32,
    /// Such as `consumer`.
    pub protocol_type: Option<String>,
    /// The assignor that all members support.
    pub protocol: Option<String>,
    /// The member that assigns.
    pub leader: String,
    /// The leader keeps the assignment that stands (a static leader came back).
    pub skip_assignment: bool,
    /// The caller's member id.
    pub member_id: String,
    /// Everyone, for the leader only.
    pub members: Vec<JoinedMember>,
}

impl JoinOutcome {
    /// A refusal.
    pub fn refused(error: ErrorCode, member_id: impl Into<String>) -> Self {
        Self {
            error,
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.into(),
            members: Vec::new(),
        }
    }
}

/// The answer to a SyncGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncOutcome {
    /// Why not, or none.
    pub error: ErrorCode,
    /// Such as `consumer`.
    pub protocol_type: Option<String>,
    /// The assignor that all members support.
    pub protocol: Option<String>,
    /// Opaque to the broker.
    pub assignment: Bytes,
}

impl SyncOutcome {
    /// A refusal.
    pub fn refused(error: ErrorCode) -> Self {
        Self { error, protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

/// The answer to one parked request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To a JoinGroup.
    Join(JoinOutcome),
    /// To a SyncGroup.
    Sync(SyncOutcome),
}

/// What a step of the state machine wants done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Parked requests that are answered now.
    pub answers: Vec<(Ticket, Answer)>,
    /// The group must be written down before the answers go out.
    pub save: bool,
}

/// Who a request says it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The generation claimed; negative when none is.
    pub generation: i32,
    /// The member id claimed; empty when none is.
    pub member_id: &'a str,
    /// The static instance claimed.
    pub instance: Option<&'a str>,
}

/// One classic group.
#[derive(Debug)]
pub struct Group {
    pub(super) state: GroupState,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Instance to member id.
    pub(super) statics: BTreeMap<String, String>,
    /// Members that were given an id and have not joined with it: id to the time they are forgotten.
    pub(super) pending: BTreeMap<String, i64>,
    /// When the running rebalance ends whoever is missing.
    pub(super) rebalance_ends_at_ms: Option<i64>,
    /// The first rebalance of an empty group waits for more members: until when it may go on waiting at most.
    pub(super) initial_wait: Option<InitialWait>,
    /// When members that have not synced are dropped.
    pub(super) sync_ends_at_ms: Option<i64>,
    /// When the group came into its state.
    pub(super) state_since_ms: i64,
    pub(super) initial_delay_ms: i64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct InitialWait {
    pub(super) latest_ms: i64,
    pub(super) joined_since: bool,
}

impl Group {
    /// An empty group. `initial_delay_ms` is Kafka's `group.initial.rebalance.delay.ms`.
    pub fn new(now_ms: i64, initial_delay_ms: i64) -> Self {
        Self {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            rebalance_ends_at_ms: None,
            initial_wait: None,
            sync_ends_at_ms: None,
            state_since_ms: now_ms,
            initial_delay_ms,
        }
    }

    /// A group as it was written down; its members have one session time-out from now to be heard of.
    pub fn restore(record: GroupRecord, now_ms: i64, initial_delay_ms: i64) -> Self {
        let mut group = Self::new(now_ms, initial_delay_ms);
        group.generation = record.generation;
        group.protocol_type = record.protocol_type;
        group.protocol = record.protocol;
        group.leader = record.leader;
        group.state_since_ms = record.state_since_ms;
        for mut member in record.members {
            member.touch(now_ms);
            if let Some(instance) = &member.instance {
                group.statics.insert(instance.clone(), member.id.clone());
            }
            group.members.insert(member.id.clone(), member);
        }
        if !group.members.is_empty() {
            group.state = GroupState::Stable;
        }
        group
    }

    /// What is written down of the group.
    pub fn record(&self) -> GroupRecord {
        GroupRecord {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since_ms: self.state_since_ms,
            members: self.members.values().cloned().collect(),
        }
    }

    /// Where the group stands.
    pub fn state(&self) -> GroupState {
        self.state
    }

    /// When the group came into its state, milliseconds since the epoch.
    pub fn state_since_ms(&self) -> i64 {
        self.state_since_ms
    }

    /// The current generation.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// Such as `consumer`; none before the first member.
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// The chosen assignor.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// The members by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Nobody is in the group or about to be.
    pub fn is_idle(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    pub(super) fn enter(&mut self, state: GroupState, now_ms: i64) {
        self.state = state;
        self.state_since_ms = now_ms;
    }

    /// The rule for every request that names a member: fenced before unknown, as Kafka has it.
    pub(super) fn validate_member(&self, member_id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(current) if current != member_id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    fn validate_claim(&self, claim: Claim<'_>) -> Result<(), ErrorCode> {
        self.validate_member(claim.member_id, claim.instance)?;
        if claim.generation == self.generation { Ok(()) } else { Err(ErrorCode::ILLEGAL_GENERATION) }
    }

    /// Whether offsets may be committed by the caller.
    pub fn validate_commit(&mut self, claim: Claim<'_>, now_ms: i64) -> Result<(), ErrorCode> {
        if claim.generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        if claim.generation >= 0 || !claim.member_id.is_empty() || claim.instance.is_some() {
            self.validate_claim(claim)?;
        } else {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        match self.state {
            GroupState::CompletingRebalance => return Err(ErrorCode::REBALANCE_IN_PROGRESS),
            GroupState::Empty => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
            GroupState::Stable | GroupState::PreparingRebalance => {}
        }
        self.touch(claim.member_id, now_ms);
        Ok(())
    }

    fn touch(&mut self, member_id: &str, now_ms: i64) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.touch(now_ms);
        }
    }

    /// A member says that it lives.
    pub fn heartbeat(&mut self, claim: Claim<'_>, now_ms: i64) -> ErrorCode {
        if let Err(error) = self.validate_claim(claim) {
            return error;
        }
        self.touch(claim.member_id, now_ms);
        match self.state {
            GroupState::Empty => ErrorCode::UNKNOWN_MEMBER_ID,
            GroupState::PreparingRebalance => ErrorCode::REBALANCE_IN_PROGRESS,
            GroupState::CompletingRebalance | GroupState::Stable => ErrorCode::NONE,
        }
    }

    /// A member asks for its assignment; the leader brings everyone's.
    pub fn sync(
        &mut self,
        claim: Claim<'_>,
        protocol: (Option<&str>, Option<&str>),
        assignments: Vec<(String, Bytes)>,
        ticket: Ticket,
        now_ms: i64,
    ) -> Step {
        let mut step = Step::default();
        let mismatch =
            |given: Option<&str>, ours: &Option<String>| given.is_some_and(|g| ours.as_deref().is_some_and(|o| o != g));
        let checked = self.validate_claim(claim).and_then(|()| {
            if mismatch(protocol.0, &self.protocol_type) || mismatch(protocol.1, &self.protocol) {
                return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
            }
            match self.state {
                GroupState::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
                GroupState::PreparingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
                GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
            }
        });
        if let Err(error) = checked {
            step.answers.push((ticket, Answer::Sync(SyncOutcome::refused(error))));
            return step;
        }
        if assignments.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > ASSIGNMENTS_BYTES_MAX {
            step.answers.push((ticket, Answer::Sync(SyncOutcome::refused(ErrorCode::MESSAGE_TOO_LARGE))));
            return step;
        }
        self.touch(claim.member_id, now_ms);
        if self.state == GroupState::Stable {
            let outcome = self.assignment_of(claim.member_id);
            step.answers.push((ticket, Answer::Sync(outcome)));
            return step;
        }
        if let Some(member) = self.members.get_mut(claim.member_id)
            && let Some(earlier) = member.syncing.replace(ticket)
        {
            // The client sent it again over another connection; the first one must not wait for ever.
            step.answers.push((earlier, Answer::Sync(SyncOutcome::refused(ErrorCode::REBALANCE_IN_PROGRESS))));
        }
        if self.leader.as_deref() == Some(claim.member_id) {
            self.assign(assignments, now_ms, &mut step);
        }
        step
    }

    fn assign(&mut self, assignments: Vec<(String, Bytes)>, now_ms: i64, step: &mut Step) {
        let mut assignments: BTreeMap<String, Bytes> = assignments.into_iter().collect();
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        self.enter(GroupState::Stable, now_ms);
        step.save = true;
        let waiting: Vec<(String, Ticket)> =
            self.members.values_mut().filter_map(|m| m.syncing.take().map(|t| (m.id.clone(), t))).collect();
        for (id, ticket) in waiting {
            self.touch(&id, now_ms);
            step.answers.push((ticket, Answer::Sync(self.assignment_of(&id))));
        }
        // Members that have not asked yet keep their deadline: `tick` drops those that never do.
    }

    fn assignment_of(&mut self, member_id: &str) -> SyncOutcome {
        if let Some(member) = self.members.get_mut(member_id) {
            member.unsynced = false;
        }
        if self.members.values().all(|m| !m.unsynced) {
            self.sync_ends_at_ms = None;
        }
        SyncOutcome {
            error: ErrorCode::NONE,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members.get(member_id).map(|m| m.assignment.clone()).unwrap_or_default(),
        }
    }

    /// A member goes by itself, or an administrator removes it.
    pub fn leave(&mut self, member_id: &str, instance: Option<&str>, now_ms: i64, step: &mut Step) -> ErrorCode {
        // An administrator removes a static member by its instance alone.
        let member_id = match instance {
            Some(instance) if member_id.is_empty() => match self.statics.get(instance) {
                Some(id) => id.clone(),
                None => return ErrorCode::UNKNOWN_MEMBER_ID,
            },
            _ => member_id.to_owned(),
        };
        if self.pending.remove(&member_id).is_some() {
            self.complete_join_if_ready(now_ms, step);
            return ErrorCode::NONE;
        }
        if let Err(error) = self.validate_member(&member_id, instance) {
            return error;
        }
        self.remove(&member_id, now_ms, step);
        ErrorCode::NONE
    }

    /// Takes a member out and lets the others join again.
    pub(super) fn remove(&mut self, member_id: &str, now_ms: i64, step: &mut Step) {
        let Some(member) = self.members.remove(member_id) else { return };
        if let Some(instance) = &member.instance
            && self.statics.get(instance).is_some_and(|id| *id == member.id)
        {
            self.statics.remove(instance);
        }
        if let Some(ticket) = member.joining {
            step.answers.push((ticket, Answer::Join(JoinOutcome::refused(ErrorCode::UNKNOWN_MEMBER_ID, ""))));
        }
        if let Some(ticket) = member.syncing {
            step.answers.push((ticket, Answer::Sync(SyncOutcome::refused(ErrorCode::UNKNOWN_MEMBER_ID))));
        }
        if self.leader.as_deref() == Some(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(now_ms, step),
            GroupState::PreparingRebalance => self.complete_join_if_ready(now_ms, step),
            GroupState::Empty => {}
        }
    }

    /// What time alone brings about: sessions that end, rebalances that are over, ids that were never used.
    pub fn tick(&mut self, now_ms: i64) -> Step {
        let mut step = Step::default();
        let pending_before = self.pending.len();
        self.pending.retain(|_, deadline| now_ms < *deadline);
        if self.pending.len() != pending_before {
            self.complete_join_if_ready(now_ms, &mut step);
        }
        let silent: Vec<String> =
            self.members.values().filter(|m| m.is_expired(now_ms)).map(|m| m.id.clone()).collect();
        for id in silent {
            self.remove(&id, now_ms, &mut step);
        }
        if self.sync_ends_at_ms.is_some_and(|at| now_ms >= at) {
            self.sync_ends_at_ms = None;
            if matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable) {
                let late: Vec<String> =
                    self.members.values().filter(|m| m.unsynced && m.syncing.is_none()).map(|m| m.id.clone()).collect();
                for id in late {
                    self.remove(&id, now_ms, &mut step);
                }
            }
        }
        self.end_rebalance_if_due(now_ms, &mut step);
        step
    }

    /// When [`Self::tick`] has something to do next, milliseconds since the epoch.
    pub fn next_tick_ms(&self) -> Option<i64> {
        let sessions = self
            .members
            .values()
            .filter(|m| m.is_new || (m.joining.is_none() && m.syncing.is_none()))
            .map(|m| m.expires_at_ms);
        sessions
            .chain(self.pending.values().copied())
            .chain(self.rebalance_ends_at_ms)
            .chain(self.sync_ends_at_ms)
            .min()
    }
}
