//! Committed offsets: simple commits, their expiry, and reading them back.

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{FindCoordinatorRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest};

use super::broker::{Broker, Topic, text, unique, until};
use super::code::*;
use super::members::{Member, group_id};
use super::versions;

/// OffsetCommit's version that still carries a retention of its own.
const WITH_RETENTION: i16 = 2;

/// A commit of one offset of partition 0.
#[derive(Debug, Clone)]
pub struct Commit<'a> {
    pub group: &'a str,
    pub generation: i32,
    pub member: &'a str,
    pub instance: Option<&'a str>,
    pub retention_ms: i64,
    pub offset: i64,
    pub metadata: &'a str,
}

impl<'a> Commit<'a> {
    /// What a client without membership commits.
    pub fn simple(group: &'a str, offset: i64) -> Self {
        Self { group, generation: -1, member: "", instance: None, retention_ms: -1, offset, metadata: "" }
    }

    pub fn request(&self, topic: &Topic) -> OffsetCommitRequest {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(self.offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text(self.metadata)));
        OffsetCommitRequest::default()
            .with_group_id(group_id(self.group))
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(text(self.member))
            .with_group_instance_id(self.instance.map(text))
            .with_retention_time_ms(self.retention_ms)
            .with_topics(vec![
                OffsetCommitRequestTopic::default().with_name(topic.name.clone()).with_partitions(vec![partition]),
            ])
    }
}

impl Broker {
    /// Asks for the group's coordinator until there is one; the first such question makes the offsets topic.
    pub fn find_coordinator(&mut self, group: &str) {
        until("the group has a coordinator", || {
            let answer = self.call(3, &FindCoordinatorRequest::default().with_key(text(group)));
            (answer.error_code == 0).then_some(())
        });
        until("the coordinator has loaded", || {
            let answer = self.call(7, &OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(None));
            (answer.error_code == 0).then_some(())
        });
    }

    pub fn commit(&mut self, version: i16, topic: &Topic, commit: &Commit<'_>) -> i16 {
        self.call(version, &commit.request(topic)).topics[0].partitions[0].error_code
    }

    /// (error, offset) that the group has committed for partition 0.
    pub fn committed(&mut self, topic: &Topic, group: &str) -> (i16, i64) {
        let asked = OffsetFetchRequestTopic::default().with_name(topic.name.clone()).with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(Some(vec![asked]));
        let answer = self.call(7, &request);
        assert_eq!(answer.error_code, 0);
        let partition = &answer.topics[0].partitions[0];
        (partition.error_code, partition.committed_offset)
    }
}

/// A connection, a topic and a group whose coordinator is known.
fn set_up(hint: &str) -> (Broker, Topic, String) {
    let mut broker = Broker::shared();
    let topic = broker.topic(hint);
    let group = unique(hint);
    broker.find_coordinator(&group);
    (broker, topic, group)
}

#[test]
fn a_simple_commit_works_on_an_idle_group_and_a_late_one_overwrites_a_newer() {
    let (mut broker, topic, group) = set_up("simple");
    assert_eq!(broker.committed(&topic, &group), (0, -1), "nothing committed");
    // The log is empty: commits beyond its end are taken.
    for offset in [5000, 100, 0] {
        assert_eq!(broker.commit(8, &topic, &Commit::simple(&group, offset)), 0);
        assert_eq!(broker.committed(&topic, &group), (0, offset));
    }
}

#[test]
fn a_commit_that_names_a_generation_needs_a_member() {
    let (mut broker, topic, group) = set_up("generation");
    let known = unique("generation");
    broker.find_coordinator(&known);
    assert_eq!(broker.commit(8, &topic, &Commit::simple(&known, 3)), 0);
    let rows = [
        (Commit { generation: 5, ..Commit::simple(&known, 1) }, UNKNOWN_MEMBER_ID),
        (Commit { generation: 0, member: "ghost", ..Commit::simple(&known, 1) }, UNKNOWN_MEMBER_ID),
        // A group that nobody ever used has no generation at all.
        (Commit { generation: 5, ..Commit::simple(&group, 1) }, ILLEGAL_GENERATION),
        (Commit { generation: 0, member: "ghost", ..Commit::simple(&group, 1) }, ILLEGAL_GENERATION),
        // For commits, and for them alone, the empty name is a group's name.
        (Commit::simple("", 1), 0),
    ];
    for (commit, expect) in rows {
        assert_eq!(broker.commit(8, &topic, &commit), expect, "{commit:?}");
    }
    assert_eq!((broker.committed(&topic, &group), broker.committed(&topic, &known)), ((0, -1), (0, 3)));
}

#[test]
fn a_simple_commit_is_refused_while_the_group_has_members() {
    let (mut broker, topic, group) = set_up("occupied");
    assert_eq!(broker.commit(8, &topic, &Commit::simple(&group, 7)), 0);
    let mut member = Member::new(&group);
    member.join_alone();
    assert_eq!(broker.commit(8, &topic, &Commit::simple(&group, 8)), UNKNOWN_MEMBER_ID);
    let by_member = Commit { generation: member.generation, member: &member.id, ..Commit::simple(&group, 9) };
    assert_eq!(broker.commit(8, &topic, &by_member), 0);
    let late = Commit { generation: member.generation - 1, ..by_member };
    assert_eq!(broker.commit(8, &topic, &late), ILLEGAL_GENERATION);
    assert_eq!(broker.committed(&topic, &group), (0, 9));
    assert_eq!(member.leave(), 0);
    assert_eq!(broker.commit(8, &topic, &Commit::simple(&group, 3)), 0, "idle again");
}

#[test]
fn a_simple_commit_under_a_static_members_name_is_fenced() {
    let (mut broker, topic, group) = set_up("static");
    let mut member = Member::fixed(&group, "instance-1");
    member.join_alone();
    let late = Commit { instance: Some("instance-1"), ..Commit::simple(&group, 8) };
    assert_eq!(broker.commit(8, &topic, &late), FENCED_INSTANCE_ID);
    assert_eq!(broker.commit(8, &topic, &Commit::simple(&group, 8)), UNKNOWN_MEMBER_ID);
}

#[test]
fn a_commit_expires_by_its_own_retention() {
    const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3_600_000;
    let (mut broker, topic, short) = set_up("expiry");
    let rows = [(unique("expiry"), -1), (unique("expiry"), TEN_YEARS_MS)];
    for (group, retention_ms) in &rows {
        broker.find_coordinator(group);
        let commit = Commit { retention_ms: *retention_ms, ..Commit::simple(group, 4) };
        assert_eq!(broker.commit(WITH_RETENTION, &topic, &commit), 0);
    }
    let commit = Commit { retention_ms: 1, ..Commit::simple(&short, 4) };
    assert_eq!(broker.commit(WITH_RETENTION, &topic, &commit), 0);
    until("the short commit has expired", || (broker.committed(&topic, &short) == (0, -1)).then_some(()));
    for (group, retention_ms) in &rows {
        assert_eq!(broker.committed(&topic, group), (0, 4), "retention {retention_ms} ms");
    }
}

#[test]
fn deleting_a_topic_drops_its_committed_offsets() {
    let (mut broker, topic, group) = set_up("dropped");
    let kept = broker.topic("kept");
    for topic in [&topic, &kept] {
        assert_eq!(broker.commit(8, topic, &Commit::simple(&group, 4)), 0);
    }
    broker.delete_topic(&topic);
    until("the offsets are gone", || (broker.committed(&topic, &group) == (0, -1)).then_some(()));
    assert_eq!(broker.committed(&kept, &group), (0, 4));
}

#[test]
fn a_commit_keeps_its_metadata_up_to_a_limit() {
    let (mut broker, topic, group) = set_up("metadata");
    let longest = "m".repeat(4096);
    let rows = [("where it stood", 0), (longest.as_str(), 0), (&"m".repeat(4097), OFFSET_METADATA_TOO_LARGE)];
    for (metadata, expect) in rows {
        let commit = Commit { metadata, ..Commit::simple(&group, 1) };
        assert_eq!(broker.commit(8, &topic, &commit), expect, "{} bytes", metadata.len());
    }
    let answer = broker.call(7, &OffsetFetchRequest::default().with_group_id(group_id(&group)).with_topics(None));
    assert_eq!(answer.topics[0].partitions[0].metadata.as_deref(), Some(longest.as_str()));
}

#[test]
fn a_commit_for_an_unknown_topic_or_partition_is_refused() {
    let (mut broker, topic, group) = set_up("unknown");
    let missing = Topic { name: super::broker::topic_name("no-such-topic"), ..topic.clone() };
    assert_eq!(broker.commit(8, &missing, &Commit::simple(&group, 1)), UNKNOWN_TOPIC_OR_PARTITION);
    let mut request = Commit::simple(&group, 1).request(&topic);
    request.topics[0].partitions[0].partition_index = 9;
    assert_eq!(broker.call(8, &request).topics[0].partitions[0].error_code, UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn every_version_commits_and_reads_back() {
    let (mut broker, topic, group) = set_up("versions");
    for version in 2..=9 {
        let commit = Commit { metadata: "m", ..Commit::simple(&group, i64::from(version)) };
        assert_eq!(broker.commit(version, &topic, &commit), 0, "OffsetCommit {version}");
        assert_eq!(broker.committed(&topic, &group), (0, i64::from(version)));
    }
    for version in 1..=7 {
        let asked = OffsetFetchRequestTopic::default().with_name(topic.name.clone()).with_partition_indexes(vec![0, 5]);
        let request = OffsetFetchRequest::default().with_group_id(group_id(&group)).with_topics(Some(vec![asked]));
        let answer = broker.call(version, &request);
        let got: Vec<_> = answer.topics[0].partitions.iter().map(|partition| partition.committed_offset).collect();
        assert_eq!((answer.error_code, got), (0, vec![9, -1]), "OffsetFetch {version}");
        if version >= 2 {
            let answer = broker.call(version, &request.with_topics(None));
            assert_eq!(answer.topics[0].partitions.len(), 1, "OffsetFetch {version}, all topics");
        }
    }
    for version in 8..=9 {
        let ask = |group: &str, all: bool| {
            let asked =
                OffsetFetchRequestTopics::default().with_name(topic.name.clone()).with_partition_indexes(vec![0]);
            OffsetFetchRequestGroup::default()
                .with_group_id(group_id(group))
                .with_member_id(None)
                .with_member_epoch(-1)
                .with_topics((!all).then_some(vec![asked]))
        };
        let request =
            OffsetFetchRequest::default().with_groups(vec![ask(&group, false), ask(&group, true), ask("no", true)]);
        let answer = broker.call(version, &request);
        let offsets = |index: usize| -> Vec<i64> {
            let topics = &answer.groups[index].topics;
            topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.committed_offset).collect()
        };
        assert_eq!([offsets(0), offsets(1), offsets(2)], [vec![9], vec![9], vec![]], "OffsetFetch {version}");
    }
}

#[test]
fn every_version_finds_the_coordinator() {
    let (mut broker, _topic, group) = set_up("coordinator");
    let offered = versions::offered(&mut broker, 10);
    for version in 0..=3 {
        let answer = broker.call(version, &FindCoordinatorRequest::default().with_key(text(&group)));
        assert_eq!((answer.error_code, answer.node_id.0, answer.host.as_str()), (0, 1, "127.0.0.1"), "{version}");
    }
    for version in (4..=6).filter(|version| offered.contains(version)) {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(&group), text("other")]);
        let answer = broker.call(version, &request);
        let got: Vec<_> = answer.coordinators.iter().map(|found| (found.key.as_str(), found.error_code)).collect();
        assert_eq!(got, [(group.as_str(), 0), ("other", 0)], "{version}");
        assert!(answer.coordinators.iter().all(|found| found.node_id.0 == 1 && found.port > 0));
    }
}

#[test]
fn offsets_of_a_topic_that_nobody_reads_can_be_deleted() {
    let (mut broker, topic, group) = set_up("delete");
    let request = |group: &str| {
        OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(vec![
            OffsetDeleteRequestTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(vec![OffsetDeleteRequestPartition::default().with_partition_index(0)]),
        ])
    };
    assert_eq!(broker.call(0, &request("no-such-group")).error_code, GROUP_ID_NOT_FOUND);
    assert_eq!(broker.commit(8, &topic, &Commit::simple(&group, 4)), 0);
    let mut reader = Member::subscribed(&group, &[topic.name.as_str()]);
    reader.join_alone();
    let answer = broker.call(0, &request(&group));
    assert_eq!((answer.error_code, answer.topics[0].partitions[0].error_code), (0, GROUP_SUBSCRIBED_TO_TOPIC));
    assert_eq!(broker.committed(&topic, &group), (0, 4));
    assert_eq!(reader.leave(), 0);
    let answer = broker.call(0, &request(&group));
    assert_eq!((answer.error_code, answer.topics[0].partitions[0].error_code), (0, 0));
    assert_eq!(broker.committed(&topic, &group), (0, -1));
}
