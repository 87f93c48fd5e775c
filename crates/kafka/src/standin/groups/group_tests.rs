#![allow(clippy::unwrap_used)] // a test panics on failure
//! The group state machine, driven as a script: one line per request, one line per answer.

use bytes::Bytes;

use super::group::{Answer, Claim, Group, GroupState, JoinOutcome, Step, SyncOutcome};
use super::join::JoinRequest;
use super::member::Protocol;
use super::{ASSIGNMENTS_BYTES_MAX, MEMBERS_BYTES_MAX, Ticket};
use crate::wire::error_code::ErrorCode;

struct Script {
    group: Group,
    now_ms: i64,
    tickets: u64,
    answers: Vec<(Ticket, Answer)>,
}

impl Script {
    fn new() -> Self {
        Self { group: Group::new(0, 0), now_ms: 0, tickets: 0, answers: Vec::new() }
    }

    fn take(&mut self, step: Step) {
        self.answers.extend(step.answers);
    }

    fn request(id: &str, fresh: &str) -> JoinRequest {
        JoinRequest {
            member_id: id.into(),
            instance: None,
            client_id: "c".into(),
            client_host: "/h".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 30_000,
            protocol_type: "consumer".into(),
            protocols: vec![Protocol { name: "range".into(), metadata: Bytes::from(fresh.to_owned()) }],
            requires_known_id: false,
            may_skip_assignment: true,
            fresh_id: fresh.into(),
        }
    }

    fn join_with(&mut self, request: JoinRequest) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let step = self.group.join(request, ticket, self.now_ms);
        self.take(step);
        ticket
    }

    fn join(&mut self, id: &str, fresh: &str) -> Ticket {
        self.join_with(Self::request(id, fresh))
    }

    fn join_static(&mut self, instance: &str, fresh: &str) -> Ticket {
        let mut request = Self::request("", fresh);
        request.instance = Some(instance.into());
        self.join_with(request)
    }

    fn sync(&mut self, id: &str, assignments: &[(&str, &'static str)]) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let claim = Claim { generation: self.group.generation(), member_id: id, instance: None };
        let assignments =
            assignments.iter().map(|(id, a)| ((*id).to_owned(), Bytes::from_static(a.as_bytes()))).collect();
        let step = self.group.sync(claim, (None, None), assignments, ticket, self.now_ms);
        self.take(step);
        ticket
    }

    fn advance(&mut self, to_ms: i64) {
        while let Some(at) = self.group.next_tick_ms().filter(|at| *at <= to_ms) {
            self.now_ms = at.max(self.now_ms);
            let step = self.group.tick(self.now_ms);
            self.take(step);
        }
        self.now_ms = to_ms;
    }

    fn heartbeat(&mut self, id: &str) -> ErrorCode {
        let claim = Claim { generation: self.group.generation(), member_id: id, instance: None };
        self.group.heartbeat(claim, self.now_ms)
    }

    fn joined(&self, ticket: Ticket) -> Option<&JoinOutcome> {
        self.answers.iter().find_map(|(t, a)| match a {
            Answer::Join(outcome) if *t == ticket => Some(outcome),
            _ => None,
        })
    }

    fn synced(&self, ticket: Ticket) -> Option<&SyncOutcome> {
        self.answers.iter().find_map(|(t, a)| match a {
            Answer::Sync(outcome) if *t == ticket => Some(outcome),
            _ => None,
        })
    }

    /// Two members, `a` leading, both synced.
    fn pair() -> Self {
        let mut s = Self::new();
        s.join("", "a");
        s.sync("a", &[("a", "all")]);
        s.join("", "b");
        s.join("a", "");
        s.sync("b", &[]);
        s.sync("a", &[("a", "1"), ("b", "2")]);
        assert_eq!((s.group.state(), s.group.generation()), (GroupState::Stable, 2));
        s
    }
}

#[test]
fn a_lone_member_leads_its_own_group() {
    let mut s = Script::new();
    let joined = s.join("", "a");
    let outcome = s.joined(joined).unwrap();
    assert_eq!((outcome.error, outcome.generation, outcome.leader.as_str()), (ErrorCode::NONE, 1, "a"));
    assert_eq!(outcome.members.len(), 1);
    let synced = s.sync("a", &[("a", "all")]);
    assert_eq!(s.synced(synced).unwrap().assignment, "all");
    assert_eq!(s.group.state(), GroupState::Stable);
}

#[test]
fn a_second_member_waits_until_the_first_joins_again() {
    let mut s = Script::new();
    s.join("", "a");
    s.sync("a", &[("a", "all")]);
    let second = s.join("", "b");
    assert_eq!(s.joined(second), None);
    assert_eq!(s.heartbeat("a"), ErrorCode::REBALANCE_IN_PROGRESS);
    let first = s.join("a", "");
    assert_eq!(s.joined(second).unwrap().generation, 2);
    assert_eq!(s.joined(first).unwrap().members.len(), 2);
    assert!(s.joined(second).unwrap().members.is_empty());
    let follower = s.sync("b", &[]);
    assert_eq!(s.synced(follower), None);
    s.sync("a", &[("a", "1"), ("b", "2")]);
    assert_eq!(s.synced(follower).unwrap().assignment, "2");
}

#[test]
fn a_new_member_is_told_its_id_first_when_the_client_can() {
    let mut s = Script::new();
    let mut request = Script::request("", "a");
    request.requires_known_id = true;
    let asked = s.join_with(request.clone());
    let refused = s.joined(asked).unwrap();
    assert_eq!((refused.error, refused.member_id.as_str()), (ErrorCode::MEMBER_ID_REQUIRED, "a"));
    request.member_id = "a".into();
    let joined = s.join_with(request);
    assert_eq!(s.joined(joined).unwrap().error, ErrorCode::NONE);
}

#[test]
fn an_id_that_was_never_used_does_not_hold_a_rebalance_for_ever() {
    let mut s = Script::new();
    let mut request = Script::request("", "ghost");
    request.requires_known_id = true;
    s.join_with(request);
    let waiting = s.join("", "a");
    assert_eq!(s.joined(waiting), None);
    s.advance(10_000);
    assert_eq!(s.joined(waiting).unwrap().generation, 1);
}

#[test]
fn a_silent_member_is_dropped_after_its_session() {
    let mut s = Script::pair();
    s.advance(9_999);
    assert_eq!(s.heartbeat("a"), ErrorCode::NONE);
    s.advance(10_000);
    assert_eq!(s.heartbeat("b"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(s.heartbeat("a"), ErrorCode::REBALANCE_IN_PROGRESS);
    s.join("a", "");
    assert_eq!(s.group.generation(), 3);
}

#[test]
fn a_member_that_does_not_join_again_is_left_behind() {
    let mut s = Script::pair();
    let third = s.join("", "c");
    s.join("a", "");
    for at in [9_000, 18_000, 27_000] {
        s.advance(at);
        assert_eq!(s.heartbeat("b"), ErrorCode::REBALANCE_IN_PROGRESS);
    }
    s.advance(30_000);
    assert_eq!(s.joined(third).unwrap().generation, 3);
    assert_eq!(s.heartbeat("b"), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_member_that_never_syncs_is_dropped() {
    let mut s = Script::pair();
    s.join("", "c");
    s.join("a", "");
    s.join("b", "");
    s.sync("a", &[("a", "1")]);
    for at in [9_000, 18_000, 27_000] {
        s.advance(at);
        s.heartbeat("a");
        s.heartbeat("b");
        s.heartbeat("c");
    }
    s.advance(30_000);
    assert_eq!(s.heartbeat("b"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(s.heartbeat("a"), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn the_last_member_leaving_empties_the_group() {
    let mut s = Script::pair();
    let mut step = Step::default();
    assert_eq!(s.group.leave("b", None, 0, &mut step), ErrorCode::NONE);
    assert_eq!(s.group.leave("a", None, 0, &mut step), ErrorCode::NONE);
    assert_eq!(s.group.leave("a", None, 0, &mut step), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!((s.group.state(), step.save), (GroupState::Empty, true));
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_former_self() {
    let mut s = Script::new();
    s.join_static("i", "a");
    s.sync("a", &[("a", "all")]);
    let again = s.join_static("i", "b");
    let outcome = s.joined(again).unwrap();
    assert_eq!((outcome.error, outcome.generation, outcome.skip_assignment), (ErrorCode::NONE, 1, true));
    assert_eq!(s.group.state(), GroupState::Stable);
    let claim = |member_id| Claim { generation: 1, member_id, instance: Some("i") };
    assert_eq!(s.group.heartbeat(claim("a"), 0), ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(s.group.heartbeat(claim("b"), 0), ErrorCode::NONE);
    let synced = s.sync("b", &[]);
    assert_eq!(s.synced(synced).unwrap().assignment, "all");
}

#[test]
fn an_older_client_is_not_told_that_it_leads_when_it_comes_back() {
    let mut s = Script::new();
    s.join_static("i", "a");
    s.sync("a", &[("a", "all")]);
    let mut request = Script::request("", "b");
    request.instance = Some("i".into());
    request.may_skip_assignment = false;
    let again = s.join_with(request);
    let outcome = s.joined(again).unwrap();
    assert_eq!((outcome.leader.as_str(), outcome.member_id.as_str(), outcome.members.len()), ("a", "b", 0));
}

#[test]
fn a_protocol_that_not_all_support_is_refused_and_the_most_voted_is_chosen() {
    let protocols = |names: &[&str]| -> Vec<Protocol> {
        names.iter().map(|n| Protocol { name: (*n).into(), metadata: Bytes::new() }).collect()
    };
    let mut s = Script::new();
    let mut first = Script::request("", "a");
    first.protocols = protocols(&["range", "sticky"]);
    s.join_with(first.clone());
    let mut odd = Script::request("", "b");
    odd.protocols = protocols(&["other"]);
    let odd = s.join_with(odd);
    assert_eq!(s.joined(odd).unwrap().error, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    for id in ["b", "c"] {
        let mut request = Script::request("", id);
        request.protocols = protocols(&["sticky", "range"]);
        s.join_with(request);
    }
    first.member_id = "a".into();
    let joined = s.join_with(first);
    assert_eq!(s.joined(joined).unwrap().protocol.as_deref(), Some("sticky"));
}

#[test]
fn commits_are_held_to_the_group_that_stands() {
    let check = |group: &mut Group, generation, member_id: &str, instance, expect| {
        let claim = Claim { generation, member_id, instance };
        assert_eq!(group.validate_commit(claim, 0), expect, "{claim:?}");
    };
    let mut idle = Group::new(0, 0);
    check(&mut idle, -1, "", None, Ok(()));
    check(&mut idle, 5, "", None, Err(ErrorCode::UNKNOWN_MEMBER_ID));
    check(&mut idle, 5, "x", None, Err(ErrorCode::UNKNOWN_MEMBER_ID));
    let mut living = Script::pair().group;
    check(&mut living, -1, "", None, Err(ErrorCode::UNKNOWN_MEMBER_ID));
    check(&mut living, 2, "a", None, Ok(()));
    check(&mut living, 1, "a", None, Err(ErrorCode::ILLEGAL_GENERATION));
    check(&mut living, 2, "zz", None, Err(ErrorCode::UNKNOWN_MEMBER_ID));
    let mut s = Script::new();
    s.join_static("i", "a");
    check(&mut s.group, 1, "a", Some("i"), Err(ErrorCode::REBALANCE_IN_PROGRESS));
    s.sync("a", &[]);
    check(&mut s.group, -1, "", Some("i"), Err(ErrorCode::FENCED_INSTANCE_ID));
    check(&mut s.group, 1, "a", Some("j"), Err(ErrorCode::UNKNOWN_MEMBER_ID));
}

#[test]
fn a_rebalance_during_assignment_sends_the_waiting_back_to_join() {
    let mut s = Script::pair();
    s.join("", "c");
    s.join("a", "");
    s.join("b", "");
    let waiting = s.sync("b", &[]);
    s.join("", "d");
    assert_eq!(s.synced(waiting).unwrap().error, ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_first_rebalance_waits_a_little_for_more_members() {
    let mut s = Script { group: Group::new(0, 3_000), ..Script::new() };
    let first = s.join("", "a");
    s.advance(1_000);
    let second = s.join("", "b");
    s.advance(3_000);
    assert_eq!(s.joined(first), None);
    s.advance(6_000);
    assert_eq!((s.joined(first).unwrap().generation, s.joined(second).unwrap().generation), (1, 1));
}

#[test]
fn members_that_were_written_down_go_on_after_a_restart() {
    let s = Script::pair();
    let mut group = Group::restore(s.group.record(), 50_000, 0);
    let claim = Claim { generation: 2, member_id: "b", instance: None };
    assert_eq!(group.heartbeat(claim, 50_001), ErrorCode::NONE);
    assert_eq!(group.tick(60_000).answers, []);
    assert_eq!(group.state(), GroupState::PreparingRebalance);
}

#[test]
fn what_could_not_be_written_down_is_refused_when_it_is_asked_for() {
    let large = |size: usize| vec![Protocol { name: "range".into(), metadata: Bytes::from(vec![0; size]) }];
    let join = |s: &mut Script, fresh: &str, size: usize| {
        let ticket = s.join_with(JoinRequest { protocols: large(size), ..Script::request("", fresh) });
        s.joined(ticket).map(|outcome| outcome.error)
    };
    let mut s = Script::new();
    assert_eq!(join(&mut s, "a", MEMBERS_BYTES_MAX), Some(ErrorCode::MESSAGE_TOO_LARGE));
    assert_eq!(join(&mut s, "a", MEMBERS_BYTES_MAX / 2), Some(ErrorCode::NONE));
    assert_eq!(join(&mut s, "b", MEMBERS_BYTES_MAX / 2), Some(ErrorCode::GROUP_MAX_SIZE_REACHED));
    let ticket = s.sync("a", &[("a", "x".repeat(ASSIGNMENTS_BYTES_MAX + 1).leak())]);
    assert_eq!(s.synced(ticket).map(|outcome| outcome.error), Some(ErrorCode::MESSAGE_TOO_LARGE));
    let ticket = s.sync("a", &[("a", "all")]);
    assert_eq!(s.synced(ticket).map(|outcome| outcome.error), Some(ErrorCode::NONE));
}
