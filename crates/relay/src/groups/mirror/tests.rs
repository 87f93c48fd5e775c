//! A mirror between two clusters that do not answer, or that do.

#![allow(clippy::unwrap_used)] // a test panics on failure

use std::net::{Ipv4Addr, SocketAddr};

use naru_kafka::client::admin::NewTopic;
use naru_kafka::client::{CallOptions, ClientConfig, Connection, TopicPartition};
use naru_kafka::serve::messages::join_group_request::JoinGroupRequestProtocol;
use naru_kafka::serve::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use naru_kafka::serve::messages::sync_group_request::SyncGroupRequestAssignment;
use naru_kafka::serve::messages::{
    GroupId, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest, TopicName,
};
use naru_kafka::standin::storage::Flush;
use naru_kafka::standin::{Standin, StandinConfig};
use naru_kafka::wire::StrBytes;

use super::*;
use crate::groups::carry::Job;
use crate::offsets::Position;
use crate::side::SideSet;

fn group_config() -> GroupConfig {
    GroupConfig {
        settle_ms: SETTLE_MS,
        retry_ms: RETRY_MS,
        suspect_after_ms: 1_000,
        waiting_max: WAITING_MAX,
        #[cfg(feature = "mutation")]
        mutant: None,
    }
}

async fn mirror(groups_max: usize) -> (Mirror, Tasks, tempfile::TempDir) {
    let tasks = Tasks::new();
    // Discard: nothing listens.
    let clients = SideMap::from_fn(|_| Client::new(ClientConfig::new(["127.0.0.1:9".to_owned()])).unwrap());
    let held = Standing { active: Side::A, in_sync: SideSet::only(Side::A), epoch: 1 };
    let directory = tempfile::tempdir().unwrap();
    let state = Arc::new(State::open(directory.path()).await.unwrap());
    let config = MirrorConfig { group: group_config(), succeeds: false, adopts: false };
    let mirror = Mirror::new(config, clients, SideMap::default(), held, state, &tasks);
    (Mirror { groups_max, ..mirror }, tasks, directory)
}

async fn ready(mirror: &Mirror, name: &str) {
    let mut status = mirror.group(name).unwrap().watch();
    status.wait_for(|status| status.view.ready).await.unwrap();
}

#[tokio::test]
async fn names_that_nobody_has_make_room_again_and_what_is_held_stays() {
    let (mirror, _tasks, _directory) = mirror(3).await;
    for name in ["asked", "held", "used"] {
        ready(&mirror, name).await;
    }
    assert_eq!(mirror.group("new").unwrap_err(), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    let asked_at = clock::now();
    mirror.let_go(asked_at);
    assert!(mirror.group("new").is_err(), "they were asked for a moment ago");

    let held = mirror.group("held").unwrap();
    let gone = mirror.group("asked").unwrap().watch();
    mirror.groups().get_mut("used").unwrap().used = asked_at + 1_000;
    mirror.let_go(asked_at + UNUSED_MS_MAX + 500);
    let mut names: Vec<_> = mirror.groups().keys().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(names, ["held", "used"]);
    assert!(held.watch().has_changed().is_ok());
    let mut gone = gone;
    while gone.changed().await.is_ok() {}
    assert!(mirror.group("new").is_ok());
}

/// Two clusters of this process with a topic, and a mirror of both.
struct Clusters {
    _sides: SideMap<Standin>,
    clients: SideMap<Client>,
    mirror: Mirror,
    _tasks: Tasks,
    _directory: tempfile::TempDir,
}

async fn clusters(topic: &str) -> Clusters {
    let directory = tempfile::tempdir().unwrap();
    let start = async |name: &str| {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = StandinConfig { flush: Flush::Write, ..StandinConfig::new(directory.path().join(name), listen) };
        Standin::start(config).await.unwrap()
    };
    let sides = SideMap { a: start("a").await, b: start("b").await };
    let clients =
        SideMap::from_fn(|side| Client::new(ClientConfig::new([sides[side].local_addr().to_string()])).unwrap());
    for side in Side::BOTH {
        clients[side].create_topic(&NewTopic::new(topic, 1), false).await.unwrap();
    }
    let state = Arc::new(State::open(&directory.path().join("state")).await.unwrap());
    let config = MirrorConfig { group: group_config(), succeeds: false, adopts: false };
    let tasks = Tasks::new();
    let held = Standing::first(Side::A);
    let recognised: SideMap<Recognised> = SideMap::default();
    recognised.iter().for_each(|(_, side)| side.set(true));
    let mirror = Mirror::new(config, clients.clone(), recognised, held, state, &tasks);
    mirror.lease(Millis::MAX);
    Clusters { _sides: sides, clients, mirror, _tasks: tasks, _directory: directory }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Joins a group that has no members; the name and the generation that it got.
async fn join(client: &Client, group: &str) -> (Connection, StrBytes, i32) {
    let broker = client.dedicated(&client.coordinator(group).await.unwrap()).await.unwrap();
    let group = GroupId(text(group));
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let mut request = JoinGroupRequest::default()
        .with_group_id(group.clone())
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let versions = |least, most| CallOptions::default().versions(least, most);
    let joined = loop {
        let answer = broker.call_with(&request, &versions(5, 9)).await.unwrap();
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => break answer,
            ErrorCode::MEMBER_ID_REQUIRED => request.member_id = answer.member_id,
            code => assert!(code.is_retriable(), "{code:?}"),
        }
    };
    let sync = SyncGroupRequest::default()
        .with_group_id(group)
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![SyncGroupRequestAssignment::default().with_member_id(joined.member_id.clone())]);
    assert_eq!(broker.call_with(&sync, &versions(3, 4)).await.unwrap().error_code, 0);
    (broker, joined.member_id, joined.generation_id)
}

async fn leave(broker: &Connection, group: &str, member: &StrBytes) {
    let request = LeaveGroupRequest::default().with_group_id(GroupId(text(group))).with_member_id(member.clone());
    assert_eq!(broker.call_with(&request, &CallOptions::default().versions(1, 2)).await.unwrap().error_code, 0);
}

/// A member commits through the mirror; what it is told.
async fn commit(mirror: &Mirror, group: &str, (member, generation): (&StrBytes, i32), offset: i64) -> ErrorCode {
    let partition =
        OffsetCommitRequestPartition::default().with_committed_offset(offset).with_committed_leader_epoch(-1);
    let topic =
        OffsetCommitRequestTopic::default().with_name(TopicName(text("orders"))).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(member.clone())
        .with_topics(vec![topic]);
    let at = TopicPartition::new("orders", 0);
    let changes = [(at, Some(Position { offset, metadata: "".into() }))].into_iter().collect();
    let job = Job::Commit { request: Box::new(request), orphaned: false };
    match mirror.group(group).unwrap().change(job, changes, Duration::from_secs(30)).await {
        Ok(codes) => codes[0].1,
        Err(code) => code,
    }
}

#[tokio::test]
async fn a_member_that_was_thrown_out_before_a_takeover_commits_nothing_after_it() {
    let Clusters { clients, mirror, .. } = &clusters("orders").await;
    let (broker, first, first_generation) = join(&clients.a, "g").await;
    leave(&broker, "g", &first).await;
    let (_broker, second, generation) = join(&clients.a, "g").await;
    assert!(first_generation < generation);
    assert_eq!(commit(mirror, "g", (&second, generation), 100).await, ErrorCode::NONE);

    let alone = Standing { active: Side::B, in_sync: SideSet::only(Side::B), epoch: 2 };
    let mut status = mirror.group("g").unwrap().watch();
    mirror.announce(alone, None);
    let moved = status.wait_for(|status| status.orphaned_until > 0);
    tokio::time::timeout(Duration::from_secs(30), moved).await.unwrap().unwrap();
    // Ahead of what its successor has done: nothing but its generation says that it may not.
    assert_eq!(commit(mirror, "g", (&first, first_generation), 150).await, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(commit(mirror, "g", (&second, generation), 120).await, ErrorCode::NONE);
    let found = clients.b.committed_offsets("g", None).await.unwrap();
    assert_eq!(found.iter().map(|found| found.offset).collect::<Vec<_>>(), [120]);
}
