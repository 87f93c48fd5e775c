//! One member of a classic group.

use bytes::Bytes;

use super::Ticket;

/// A protocol (assignor) that a member supports, with the member's metadata for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// The assignor's name, such as `range` or `cooperative-sticky`.
    pub name: String,
    /// Opaque to the broker: the subscription, encoded by the client.
    pub metadata: Bytes,
}

/// A member of a group, as the coordinator knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Assigned by the coordinator.
    pub id: String,
    /// `group.instance.id` of a static member.
    pub instance: Option<String>,
    /// The client's id, for DescribeGroups.
    pub client_id: String,
    /// The client's address, for DescribeGroups.
    pub client_host: String,
    /// How long the member may be silent.
    pub session_timeout_ms: i32,
    /// How long the member may take to join again in a rebalance.
    pub rebalance_timeout_ms: i32,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    /// What the leader assigned, opaque to the broker.
    pub assignment: Bytes,
    /// The parked JoinGroup, while a rebalance waits.
    pub joining: Option<Ticket>,
    /// The parked SyncGroup, while the leader assigns.
    pub syncing: Option<Ticket>,
    /// Joined the generation and has not asked for its assignment.
    pub unsynced: bool,
    /// When the member is dropped unless it is heard of before.
    pub expires_at_ms: i64,
    /// Set until the member's first rebalance ends: such a member expires even while its JoinGroup is parked.
    pub is_new: bool,
}

impl Member {
    /// What the member takes in its group's record, bytes, without its assignment and the fields of fixed length.
    pub fn size_bytes(&self) -> usize {
        let texts = [&self.id, &self.client_id, &self.client_host].map(String::len);
        texts.iter().sum::<usize>() + self.instance.as_ref().map_or(0, String::len) + protocols_bytes(&self.protocols)
    }

    /// The metadata for a protocol, empty when the member does not support it.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|p| p.name == protocol).map(|p| p.metadata.clone()).unwrap_or_default()
    }

    /// Whether the member supports the protocol.
    pub fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|p| p.name == protocol)
    }

    /// The member's first choice among the candidates.
    pub fn vote<'a>(&'a self, candidates: &[&str]) -> Option<&'a str> {
        self.protocols.iter().map(|p| p.name.as_str()).find(|name| candidates.contains(name))
    }

    /// Whether the time-out at `now_ms` really drops the member: one that waits for the coordinator is not silent.
    pub fn is_expired(&self, now_ms: i64) -> bool {
        let waits_for_us = !self.is_new && (self.joining.is_some() || self.syncing.is_some());
        !waits_for_us && now_ms >= self.expires_at_ms
    }

    /// The member was heard of.
    pub fn touch(&mut self, now_ms: i64) {
        self.expires_at_ms = now_ms + i64::from(self.session_timeout_ms);
    }
}

/// What a member's protocols take, bytes. Each counts for its lengths' fields too: many empty ones are not free.
pub(super) fn protocols_bytes(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|p| 8 + p.name.len() + p.metadata.len()).sum()
}
