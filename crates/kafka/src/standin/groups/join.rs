//! Joining a group, and the completion of a rebalance.

use bytes::Bytes;

use super::group::{Answer, Group, GroupState, InitialWait, JoinOutcome, JoinedMember, Step, SyncOutcome};
use super::member::{Member, Protocol, protocols_bytes};
use super::{
    MEMBERS_BYTES_MAX, MEMBERS_MAX, NEW_MEMBER_JOIN_TIMEOUT_MS, SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN, Ticket,
};
use crate::wire::error_code::ErrorCode;

/// A JoinGroup request, without its framing.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// Empty at first.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance: Option<String>,
    /// For DescribeGroups.
    pub client_id: String,
    /// For DescribeGroups.
    pub client_host: String,
    /// How long the member may be silent.
    pub session_timeout_ms: i32,
    /// How long the member may take to join again.
    pub rebalance_timeout_ms: i32,
    /// Such as `consumer`.
    pub protocol_type: String,
    /// In order of preference.
    pub protocols: Vec<Protocol>,
    /// JoinGroup 4 and later: a new member is told its id first, and joins with it.
    pub requires_known_id: bool,
    /// JoinGroup 9 and later: a static leader that came back may be told to keep the assignment.
    pub may_skip_assignment: bool,
    /// The id to hand out if the member has none.
    pub fresh_id: String,
}

impl JoinRequest {
    /// What the member will take in its group's record, bytes.
    fn size_bytes(&self) -> usize {
        let texts = [&self.client_id, &self.client_host, &self.protocol_type].map(String::len);
        let id = self.member_id.len().max(self.fresh_id.len());
        let instance = self.instance.as_ref().map_or(0, String::len);
        texts.iter().sum::<usize>() + id + instance + protocols_bytes(&self.protocols)
    }
}

impl Group {
    /// A member joins, or joins again. The answer may come in this step or in a later one, under `ticket`.
    pub fn join(&mut self, request: JoinRequest, ticket: Ticket, now_ms: i64) -> Step {
        let mut step = Step::default();
        if let Err((error, id)) = self.try_join(request, ticket, now_ms, &mut step) {
            step.answers.push((ticket, Answer::Join(JoinOutcome::refused(error, id))));
        }
        step
    }

    fn try_join(
        &mut self,
        request: JoinRequest,
        ticket: Ticket,
        now_ms: i64,
        step: &mut Step,
    ) -> Result<(), (ErrorCode, String)> {
        let id = request.member_id.clone();
        if !(SESSION_TIMEOUT_MS_MIN..=SESSION_TIMEOUT_MS_MAX).contains(&request.session_timeout_ms) {
            return Err((ErrorCode::INVALID_SESSION_TIMEOUT, id));
        }
        if !self.supports(&request) {
            return Err((ErrorCode::INCONSISTENT_GROUP_PROTOCOL, id));
        }
        let size_bytes = request.size_bytes();
        if size_bytes > MEMBERS_BYTES_MAX {
            return Err((ErrorCode::MESSAGE_TOO_LARGE, id));
        }
        // The one that it takes the place of does not count.
        let replaced = |m: &Member| m.id == id || (m.instance.is_some() && m.instance == request.instance);
        let others: usize = self.members.values().filter(|m| !replaced(m)).map(Member::size_bytes).sum();
        if others + size_bytes > MEMBERS_BYTES_MAX {
            return Err((ErrorCode::GROUP_MAX_SIZE_REACHED, id));
        }
        if id.is_empty() {
            return self.join_unknown(request, ticket, now_ms, step);
        }
        if self.pending.contains_key(&id) {
            if request.instance.is_some() {
                return Err((ErrorCode::UNKNOWN_MEMBER_ID, id));
            }
            return self.add(id, request, ticket, now_ms, step);
        }
        self.validate_member(&id, request.instance.as_deref()).map_err(|error| (error, id.clone()))?;
        let unchanged = self.members.get(&id).is_some_and(|m| m.protocols == request.protocols);
        let leads = self.leader.as_deref() == Some(id.as_str());
        match self.state {
            GroupState::Empty => Err((ErrorCode::UNKNOWN_MEMBER_ID, id)),
            // A retry of a JoinGroup whose answer was lost: the same generation again.
            GroupState::CompletingRebalance if unchanged => {
                let outcome = self.joined(&id);
                self.members.entry(id).and_modify(|m| m.touch(now_ms));
                step.answers.push((ticket, Answer::Join(outcome)));
                Ok(())
            }
            GroupState::Stable if unchanged && !leads => {
                let mut outcome = self.joined(&id);
                outcome.members.clear();
                self.members.entry(id).and_modify(|m| m.touch(now_ms));
                step.answers.push((ticket, Answer::Join(outcome)));
                Ok(())
            }
            _ => {
                self.update(&id, request, ticket, now_ms, step);
                Ok(())
            }
        }
    }

    fn join_unknown(
        &mut self,
        request: JoinRequest,
        ticket: Ticket,
        now_ms: i64,
        step: &mut Step,
    ) -> Result<(), (ErrorCode, String)> {
        let fresh = request.fresh_id.clone();
        if let Some(instance) = &request.instance {
            return match self.statics.get(instance).cloned() {
                Some(old) => {
                    self.replace_static(&old, request, ticket, now_ms, step);
                    Ok(())
                }
                None => self.add(fresh, request, ticket, now_ms, step),
            };
        }
        if request.requires_known_id {
            if self.members.len() + self.pending.len() >= MEMBERS_MAX {
                return Err((ErrorCode::GROUP_MAX_SIZE_REACHED, String::new()));
            }
            self.pending.insert(fresh.clone(), now_ms + i64::from(request.session_timeout_ms));
            return Err((ErrorCode::MEMBER_ID_REQUIRED, fresh));
        }
        self.add(fresh, request, ticket, now_ms, step)
    }

    /// Whether every member, the new one too, could use one protocol.
    fn supports(&self, request: &JoinRequest) -> bool {
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return false;
        }
        if self.members.is_empty() {
            return true;
        }
        self.protocol_type.as_deref() == Some(request.protocol_type.as_str())
            && request.protocols.iter().any(|p| self.members.values().all(|m| m.supports(&p.name)))
    }

    fn add(
        &mut self,
        id: String,
        request: JoinRequest,
        ticket: Ticket,
        now_ms: i64,
        step: &mut Step,
    ) -> Result<(), (ErrorCode, String)> {
        self.pending.remove(&id);
        if self.members.len() >= MEMBERS_MAX {
            return Err((ErrorCode::GROUP_MAX_SIZE_REACHED, String::new()));
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        if let Some(instance) = &request.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
        let member = Member {
            id: id.clone(),
            instance: request.instance,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms.max(0),
            protocols: request.protocols,
            assignment: Bytes::new(),
            joining: Some(ticket),
            syncing: None,
            unsynced: false,
            expires_at_ms: now_ms + NEW_MEMBER_JOIN_TIMEOUT_MS,
            is_new: true,
        };
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.members.insert(id, member);
        if let Some(wait) = &mut self.initial_wait {
            wait.joined_since = true;
        }
        self.prepare_or_complete(now_ms, step);
        Ok(())
    }

    fn update(&mut self, id: &str, request: JoinRequest, ticket: Ticket, now_ms: i64, step: &mut Step) {
        if let Some(member) = self.members.get_mut(id) {
            member.protocols = request.protocols;
            member.session_timeout_ms = request.session_timeout_ms;
            member.rebalance_timeout_ms = request.rebalance_timeout_ms.max(0);
            member.client_id = request.client_id;
            member.client_host = request.client_host;
            member.touch(now_ms);
            if let Some(earlier) = member.joining.replace(ticket) {
                let refused = JoinOutcome::refused(ErrorCode::UNKNOWN_MEMBER_ID, id);
                step.answers.push((earlier, Answer::Join(refused)));
            }
        }
        self.prepare_or_complete(now_ms, step);
    }

    /// A static member came back under a new member id: the old id is fenced, the assignment stays if it can.
    fn replace_static(&mut self, old: &str, request: JoinRequest, ticket: Ticket, now_ms: i64, step: &mut Step) {
        let id = request.fresh_id.clone();
        let Some(mut member) = self.members.remove(old) else { return };
        if let Some(earlier) = member.joining.take() {
            let refused = JoinOutcome::refused(ErrorCode::FENCED_INSTANCE_ID, old);
            step.answers.push((earlier, Answer::Join(refused)));
        }
        if let Some(earlier) = member.syncing.take() {
            step.answers.push((earlier, Answer::Sync(SyncOutcome::refused(ErrorCode::FENCED_INSTANCE_ID))));
        }
        let led = self.leader.as_deref() == Some(old);
        let chosen_before = self.protocol.clone();
        member.id.clone_from(&id);
        member.protocols = request.protocols;
        member.session_timeout_ms = request.session_timeout_ms;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms.max(0);
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        member.touch(now_ms);
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.members.insert(id.clone(), member);
        if led {
            self.leader = Some(id.clone());
        }
        if self.state == GroupState::Stable && self.choose_protocol() == chosen_before {
            let mut outcome = self.joined(&id);
            if led && request.may_skip_assignment {
                outcome.skip_assignment = true;
            } else {
                // An older client would assign anew without the others joining: it must not believe that it leads.
                if led {
                    old.clone_into(&mut outcome.leader);
                }
                outcome.members.clear();
            }
            step.save = true;
            step.answers.push((ticket, Answer::Join(outcome)));
            return;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.joining = Some(ticket);
        }
        self.prepare_or_complete(now_ms, step);
    }

    fn prepare_or_complete(&mut self, now_ms: i64, step: &mut Step) {
        if self.state == GroupState::PreparingRebalance {
            self.complete_join_if_ready(now_ms, step);
        } else {
            self.prepare_rebalance(now_ms, step);
        }
    }

    /// Asks everyone to join again.
    pub(super) fn prepare_rebalance(&mut self, now_ms: i64, step: &mut Step) {
        for member in self.members.values_mut() {
            if let Some(ticket) = member.syncing.take() {
                let refused = SyncOutcome::refused(ErrorCode::REBALANCE_IN_PROGRESS);
                step.answers.push((ticket, Answer::Sync(refused)));
                member.touch(now_ms);
            }
            member.unsynced = false;
        }
        self.sync_ends_at_ms = None;
        let was_empty = self.state == GroupState::Empty;
        self.enter(GroupState::PreparingRebalance, now_ms);
        let longest_ms = self.rebalance_timeout_ms();
        if was_empty && self.initial_delay_ms > 0 {
            let delay_ms = self.initial_delay_ms.min(longest_ms);
            self.rebalance_ends_at_ms = Some(now_ms + delay_ms);
            self.initial_wait = Some(InitialWait { latest_ms: now_ms + longest_ms, joined_since: false });
        } else {
            self.rebalance_ends_at_ms = Some(now_ms + longest_ms);
            self.complete_join_if_ready(now_ms, step);
        }
    }

    fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|m| i64::from(m.rebalance_timeout_ms)).max().unwrap_or(0)
    }

    pub(super) fn complete_join_if_ready(&mut self, now_ms: i64, step: &mut Step) {
        if self.state == GroupState::PreparingRebalance
            && self.initial_wait.is_none()
            && self.pending.is_empty()
            && self.members.values().all(|m| m.joining.is_some())
        {
            self.complete_join(now_ms, step);
        }
    }

    pub(super) fn end_rebalance_if_due(&mut self, now_ms: i64, step: &mut Step) {
        if self.state != GroupState::PreparingRebalance || self.rebalance_ends_at_ms.is_none_or(|at| now_ms < at) {
            return;
        }
        if let Some(wait) = &mut self.initial_wait
            && wait.joined_since
            && now_ms < wait.latest_ms
        {
            wait.joined_since = false;
            self.rebalance_ends_at_ms = Some((now_ms + self.initial_delay_ms).min(wait.latest_ms));
            return;
        }
        self.complete_join(now_ms, step);
    }

    fn complete_join(&mut self, now_ms: i64, step: &mut Step) {
        self.initial_wait = None;
        let missing: Vec<String> = self
            .members
            .values()
            .filter(|m| m.joining.is_none() && m.instance.is_none())
            .map(|m| m.id.clone())
            .collect();
        for id in missing {
            self.members.remove(&id);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only silent static members are left: wait for one of them, or for its session to end.
            self.rebalance_ends_at_ms = Some(now_ms + self.rebalance_timeout_ms().max(1));
            return;
        }
        self.rebalance_ends_at_ms = None;
        self.generation = self.generation.wrapping_add(1).max(0);
        if self.members.is_empty() {
            self.leader = None;
            self.protocol = None;
            self.enter(GroupState::Empty, now_ms);
            step.save = true;
            return;
        }
        self.protocol = self.choose_protocol();
        self.enter(GroupState::CompletingRebalance, now_ms);
        self.sync_ends_at_ms = Some(now_ms + self.rebalance_timeout_ms());
        let waiting: Vec<(String, Ticket)> =
            self.members.values_mut().filter_map(|m| m.joining.take().map(|t| (m.id.clone(), t))).collect();
        for (id, ticket) in waiting {
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
                member.unsynced = true;
                member.touch(now_ms);
            }
            step.answers.push((ticket, Answer::Join(self.joined(&id))));
        }
    }

    /// The leader stays if it joined; otherwise one that joined leads.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |m: &&Member| m.joining.is_some();
        if self.leader.as_ref().and_then(|id| self.members.get(id)).as_ref().is_some_and(joined) {
            return true;
        }
        match self.members.values().find(joined) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// Every member votes for its first choice among what all support; the first of the most voted wins.
    fn choose_protocol(&self) -> Option<String> {
        let first = self.members.values().next()?;
        let candidates: Vec<&str> = first
            .protocols
            .iter()
            .map(|p| p.name.as_str())
            .filter(|name| self.members.values().all(|m| m.supports(name)))
            .collect();
        let votes = |name: &str| self.members.values().filter(|m| m.vote(&candidates) == Some(name)).count();
        let most = candidates.iter().map(|name| votes(name)).max()?;
        candidates.iter().find(|name| votes(name) == most).map(|name| (*name).to_owned())
    }

    /// What a member is told about the generation that stands.
    fn joined(&self, id: &str) -> JoinOutcome {
        let leads = self.leader.as_deref() == Some(id);
        let protocol = self.protocol.as_deref().unwrap_or("");
        let members = if leads {
            let joined = |m: &Member| JoinedMember {
                id: m.id.clone(),
                instance: m.instance.clone(),
                metadata: m.metadata(protocol),
            };
            self.members.values().map(joined).collect()
        } else {
            Vec::new()
        };
        JoinOutcome {
            error: ErrorCode::NONE,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: id.to_owned(),
            members,
        }
    }
}
