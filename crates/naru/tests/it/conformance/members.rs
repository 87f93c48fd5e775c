//! Groups with members: joining, assignments, rebalances, leaving and being evicted.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, ListGroupsRequest, SyncGroupRequest, SyncGroupResponse,
};

use super::broker::{Broker, text, unique, until};
use super::code::*;
use super::commits::Commit;
use super::raw::Pending;

pub fn group_id(group: &str) -> GroupId {
    GroupId(text(group))
}

/// One member on a connection of its own: a join holds up what is behind it.
pub struct Member {
    broker: Broker,
    pub group: String,
    pub id: String,
    pub instance: Option<String>,
    pub generation: i32,
    pub session_timeout_ms: i32,
    /// (name, metadata) in the member's order of preference.
    pub protocols: Vec<(&'static str, Bytes)>,
    pub version: i16,
}

impl Member {
    pub fn new(group: &str) -> Self {
        Self {
            broker: Broker::shared(),
            group: group.to_owned(),
            id: String::new(),
            instance: None,
            generation: -1,
            session_timeout_ms: 20_000,
            protocols: vec![("range", Bytes::from_static(b"any"))],
            version: 7,
        }
    }

    /// A static member.
    pub fn fixed(group: &str, instance: &str) -> Self {
        Self { instance: Some(instance.to_owned()), ..Self::new(group) }
    }

    /// A member whose metadata is a consumer's subscription, version 0.
    pub fn subscribed(group: &str, topics: &[&str]) -> Self {
        let mut metadata = BytesMut::new();
        metadata.put_i16(0);
        metadata.put_i32(i32::try_from(topics.len()).unwrap());
        for topic in topics {
            metadata.put_i16(i16::try_from(topic.len()).unwrap());
            metadata.put_slice(topic.as_bytes());
        }
        metadata.put_i32(-1);
        Self { protocols: vec![("range", metadata.freeze())], ..Self::new(group) }
    }

    fn join_request(&self) -> JoinGroupRequest {
        let protocols = self.protocols.iter().map(|(name, metadata)| {
            JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(metadata.clone())
        });
        JoinGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_session_timeout_ms(self.session_timeout_ms)
            .with_rebalance_timeout_ms(10_000)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.as_deref().map(text))
            .with_protocol_type(text("consumer"))
            .with_protocols(protocols.collect())
    }

    /// Asks to join; a newcomer first gets its id.
    pub fn send_join(&mut self) -> Pending<JoinGroupRequest> {
        if self.id.is_empty() && self.instance.is_none() && self.version >= 4 {
            let request = self.join_request();
            let answer = self.broker.call(self.version, &request);
            assert_eq!(answer.error_code, MEMBER_ID_REQUIRED, "{answer:?}");
            assert!(!answer.member_id.is_empty());
            self.id = answer.member_id.to_string();
        }
        let request = self.join_request();
        self.broker.send(self.version, &request)
    }

    pub fn receive_join(&mut self, pending: &Pending<JoinGroupRequest>) -> JoinGroupResponse {
        let answer = self.broker.receive(pending);
        if answer.error_code == 0 {
            self.id = answer.member_id.to_string();
            self.generation = answer.generation_id;
        }
        answer
    }

    pub fn join(&mut self) -> JoinGroupResponse {
        let pending = self.send_join();
        self.receive_join(&pending)
    }

    pub fn send_sync(&mut self, version: i16, assignments: &[(&str, &str)]) -> Pending<SyncGroupRequest> {
        let assignments = assignments.iter().map(|(member, assignment)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(member))
                .with_assignment(Bytes::copy_from_slice(assignment.as_bytes()))
        });
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.as_deref().map(text))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text(self.protocols[0].0)))
            .with_assignments(assignments.collect());
        self.broker.send(version, &request)
    }

    pub fn sync(&mut self, assignments: &[(&str, &str)]) -> SyncGroupResponse {
        let pending = self.send_sync(4, assignments);
        self.broker.receive(&pending)
    }

    /// Joins an empty group and takes everything.
    pub fn join_alone(&mut self) {
        let answer = self.join();
        assert_eq!((answer.error_code, answer.leader.as_str()), (0, self.id.as_str()), "{answer:?}");
        let own = self.id.clone();
        let answer = self.sync(&[(&own, "all")]);
        assert_eq!((answer.error_code, &answer.assignment[..]), (0, &b"all"[..]));
    }

    pub fn heartbeat(&mut self) -> i16 {
        self.heartbeat_in(3)
    }

    pub fn heartbeat_in(&mut self, version: i16) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.as_deref().filter(|_| version >= 3).map(text));
        self.broker.call(version, &request).error_code
    }

    pub fn leave(&mut self) -> i16 {
        self.leave_in(3)
    }

    pub fn leave_in(&mut self, version: i16) -> i16 {
        let request = LeaveGroupRequest::default().with_group_id(group_id(&self.group));
        if version < 3 {
            return self.broker.call(version, &request.with_member_id(text(&self.id))).error_code;
        }
        let who = MemberIdentity::default()
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.as_deref().map(text));
        let answer = self.broker.call(version, &request.with_members(vec![who]));
        assert_eq!(answer.error_code, 0);
        answer.members[0].error_code
    }
}

/// A group whose coordinator is known. It has a committed offset: brokers drop empty groups without any when they
/// look for expired offsets, which they are told to do often here, and a member's joining takes two steps.
fn group(hint: &str) -> (Broker, String) {
    let mut broker = Broker::shared();
    let group = unique(hint);
    broker.find_coordinator(&group);
    let topic = broker.topic(hint);
    assert_eq!(broker.commit(8, &topic, &Commit::simple(&group, 1)), 0);
    (broker, group)
}

/// Both join, the first to lead, and get what the leader assigned.
fn join_both(first: &mut Member, second: &mut Member) {
    first.join_alone();
    let joining = second.send_join();
    until("the leader hears of the newcomer", || (first.heartbeat() == REBALANCE_IN_PROGRESS).then_some(()));
    let answer = first.join();
    assert_eq!((answer.error_code, answer.members.len()), (0, 2), "{answer:?}");
    assert_eq!(answer.leader.as_str(), first.id, "the first member leads on");
    let answer = second.receive_join(&joining);
    assert_eq!((answer.error_code, answer.members.len()), (0, 0), "a follower is not told the members");
    assert_eq!(first.generation, second.generation);
    let waiting = second.send_sync(4, &[]);
    let (one, two) = (first.id.clone(), second.id.clone());
    assert_eq!(&first.sync(&[(&one, "for one"), (&two, "for two")]).assignment[..], b"for one");
    let answer = second.broker.receive(&waiting);
    assert_eq!((answer.error_code, &answer.assignment[..]), (0, &b"for two"[..]));
}

#[test]
fn two_members_join_and_get_what_the_leader_assigned() {
    let (_broker, group) = group("two");
    let (mut first, mut second) = (Member::new(&group), Member::new(&group));
    join_both(&mut first, &mut second);
    assert_eq!((first.heartbeat(), second.heartbeat()), (0, 0));
    // Asking again gives the same assignment.
    assert_eq!(&second.sync(&[]).assignment[..], b"for two");
}

#[test]
fn a_member_that_leaves_makes_the_others_join_again() {
    let (_broker, group) = group("leave");
    let (mut first, mut second) = (Member::new(&group), Member::new(&group));
    join_both(&mut first, &mut second);
    let generation = first.generation;
    assert_eq!(first.leave(), 0);
    assert_eq!(first.heartbeat(), UNKNOWN_MEMBER_ID);
    assert_eq!(second.heartbeat(), REBALANCE_IN_PROGRESS);
    second.join_alone();
    assert_eq!(second.generation, generation + 1);
}

#[test]
fn a_member_that_falls_silent_is_evicted_and_one_that_does_not_stays() {
    let (_broker, group) = group("silent");
    let (mut first, mut second) = (Member::new(&group), Member::new(&group));
    // The shortest that Kafka takes by default.
    (first.session_timeout_ms, second.session_timeout_ms) = (6_000, 6_000);
    join_both(&mut first, &mut second);
    until("the silent member is missed", || (first.heartbeat() == REBALANCE_IN_PROGRESS).then_some(()));
    let answer = first.join();
    assert_eq!(answer.members.len(), 1);
    assert_eq!(second.heartbeat(), UNKNOWN_MEMBER_ID);
}

#[test]
fn a_static_member_that_comes_back_keeps_its_assignment() {
    let (_broker, group) = group("static");
    let (mut first, mut second) = (Member::fixed(&group, "one"), Member::fixed(&group, "two"));
    join_both(&mut first, &mut second);
    let mut back = Member::fixed(&group, "two");
    let answer = back.join();
    assert_eq!((answer.error_code, answer.generation_id), (0, second.generation), "no rebalance");
    assert_ne!(back.id, second.id);
    assert_eq!(&back.sync(&[]).assignment[..], b"for two");
    assert_eq!((first.heartbeat(), back.heartbeat()), (0, 0));
    assert_eq!(second.heartbeat(), FENCED_INSTANCE_ID, "the old incarnation");
    assert_eq!(second.leave(), FENCED_INSTANCE_ID);
}

#[test]
fn a_static_member_can_be_removed_by_its_name_alone() {
    let (_broker, group) = group("remove");
    let mut member = Member::fixed(&group, "one");
    member.join_alone();
    let mut admin = Member::fixed(&group, "one");
    assert_eq!(admin.leave(), 0);
    assert_eq!(member.heartbeat(), UNKNOWN_MEMBER_ID);
    let mut admin = Member::fixed(&group, "never there");
    assert_eq!(admin.leave(), UNKNOWN_MEMBER_ID);
}

#[test]
fn the_protocol_is_one_that_every_member_supports() {
    let (_broker, group) = group("protocol");
    let mut first = Member::new(&group);
    first.protocols = vec![("new", Bytes::from_static(b"n")), ("old", Bytes::from_static(b"o"))];
    let answer = first.join();
    assert_eq!(answer.protocol_name.as_deref(), Some("new"));
    let mut second = Member::new(&group);
    second.protocols = vec![("old", Bytes::from_static(b"o"))];
    let joining = second.send_join();
    until("the leader hears of the newcomer", || (first.heartbeat() == REBALANCE_IN_PROGRESS).then_some(()));
    assert_eq!(first.join().protocol_name.as_deref(), Some("old"));
    assert_eq!(second.receive_join(&joining).protocol_name.as_deref(), Some("old"));
    let mut stranger = Member::new(&group);
    stranger.protocols = vec![("newest", Bytes::new())];
    let request = stranger.join_request();
    assert_eq!(stranger.broker.call(7, &request).error_code, INCONSISTENT_GROUP_PROTOCOL);
}

#[test]
fn requests_of_strangers_and_of_the_past_are_refused() {
    let (mut broker, group) = group("errors");
    let join = |change: fn(&mut Member)| {
        let mut member = Member::new(&group);
        change(&mut member);
        let request = member.join_request();
        member.broker.call(7, &request).error_code
    };
    assert_eq!(join(|member| member.session_timeout_ms = 5_999), INVALID_SESSION_TIMEOUT);
    assert_eq!(join(|member| member.session_timeout_ms = i32::MAX), INVALID_SESSION_TIMEOUT);
    assert_eq!(join(|member| member.id = "ghost".to_owned()), UNKNOWN_MEMBER_ID);
    assert_eq!(join(|member| member.group = String::new()), INVALID_GROUP_ID);
    assert_eq!(join(|member| member.protocols.clear()), INCONSISTENT_GROUP_PROTOCOL);

    let mut member = Member::new(&group);
    member.join_alone();
    let generation = member.generation;
    member.generation -= 1;
    assert_eq!((member.heartbeat(), member.sync(&[]).error_code), (ILLEGAL_GENERATION, ILLEGAL_GENERATION));
    let mut ghost = Member::new(&group);
    (ghost.id, ghost.generation) = ("ghost".to_owned(), generation);
    assert_eq!(ghost.heartbeat(), UNKNOWN_MEMBER_ID);
    assert_eq!(ghost.sync(&[]).error_code, UNKNOWN_MEMBER_ID);
    assert_eq!(ghost.leave(), UNKNOWN_MEMBER_ID);
    ghost.group = "no-such-group".to_owned();
    assert_eq!(ghost.heartbeat(), UNKNOWN_MEMBER_ID);

    let delete = |broker: &mut Broker, group: &str| {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
        broker.call(2, &request).results[0].error_code
    };
    assert_eq!(delete(&mut broker, &group), NON_EMPTY_GROUP);
    assert_eq!(delete(&mut broker, "no-such-group"), GROUP_ID_NOT_FOUND);
    member.generation = generation;
    assert_eq!(member.leave(), 0);
    assert_eq!(delete(&mut broker, &group), 0);
    assert_eq!(delete(&mut broker, &group), GROUP_ID_NOT_FOUND);
}

#[test]
fn a_group_is_described_and_listed_in_its_state() {
    let (mut broker, group) = group("describe");
    let mut describe = |version: i16, name: &str| {
        let answer = broker.call(version, &DescribeGroupsRequest::default().with_groups(vec![group_id(name)]));
        answer.groups.into_iter().next().unwrap()
    };
    let nobody = describe(5, "no-such-group");
    assert_eq!((nobody.error_code, nobody.group_state.as_str()), (0, "Dead"));
    let mut member = Member::new(&group);
    let joined = member.join();
    assert_eq!(joined.members[0].metadata, "any");
    assert_eq!(describe(5, &group).group_state.as_str(), "CompletingRebalance");
    let own = member.id.clone();
    member.sync(&[(&own, "mine")]);
    for version in 0..=5 {
        let described = describe(version, &group);
        let state =
            (described.group_state.as_str(), described.protocol_type.as_str(), described.protocol_data.as_str());
        assert_eq!(state, ("Stable", "consumer", "range"), "version {version}");
        let listed = &described.members[0];
        assert_eq!((listed.member_id.as_str(), listed.client_id.as_str()), (own.as_str(), "conformance"));
        assert_eq!((&listed.member_metadata[..], &listed.member_assignment[..]), (&b"any"[..], &b"mine"[..]));
    }
    for version in 0..=5 {
        let answer = broker.call(version, &ListGroupsRequest::default());
        let listed = answer.groups.iter().find(|listed| listed.group_id == group_id(&group)).unwrap();
        assert_eq!(listed.protocol_type.as_str(), "consumer");
        if version >= 4 {
            assert_eq!(listed.group_state.as_str(), "Stable");
            let empty = ListGroupsRequest::default().with_states_filter(vec![text("Empty")]);
            let answer = broker.call(version, &empty);
            assert!(answer.groups.iter().all(|listed| listed.group_id != group_id(&group)));
        }
    }
    assert_eq!(member.leave(), 0);
    let answer = broker.call(5, &DescribeGroupsRequest::default().with_groups(vec![group_id(&group)]));
    assert_eq!((answer.groups[0].group_state.as_str(), answer.groups[0].members.len()), ("Empty", 0));
}

#[test]
fn every_version_of_the_group_requests_works() {
    let (_broker, group) = group("versions");
    for version in 0..=9 {
        let mut member = Member::new(&group);
        member.version = version;
        let answer = member.join();
        assert_eq!((answer.error_code, answer.members.len()), (0, 1), "JoinGroup {version}");
        assert_eq!(answer.leader.as_str(), member.id, "JoinGroup {version}");
        let own = member.id.clone();
        let pending = member.send_sync(version.min(5), &[(&own, "all")]);
        let answer = member.broker.receive(&pending);
        assert_eq!((answer.error_code, &answer.assignment[..]), (0, &b"all"[..]), "SyncGroup {version}");
        assert_eq!(member.heartbeat_in(version.min(4)), 0, "Heartbeat {version}");
        assert_eq!(member.leave_in(version.min(5)), 0, "LeaveGroup {version}");
    }
}
