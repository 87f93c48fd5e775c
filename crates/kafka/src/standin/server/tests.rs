#![allow(clippy::unwrap_used)] // a test panics on failure
//! The broker in this process, spoken to over a socket.

mod produce;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as km;
use kafka_protocol::protocol::{Decodable, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::api::api_versions::SERVED;
use crate::standin::{Standin, StandinConfig};
use crate::wire::fetch::{FetchRequest, FetchResponse};
use crate::wire::frame::{RequestHeader, ResponseHeader, split};
use crate::wire::produce::{ProduceRequest, ProduceResponse};
use crate::wire::{ApiKey, BatchBuilder, Compression, ErrorCode, OutFrame, StrBytes, TopicId, cold};

/// Longer than any answer here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Home {
    standin: Standin,
    _data: tempfile::TempDir,
}

async fn home(change: impl FnOnce(&mut StandinConfig)) -> Home {
    let data = tempfile::tempdir().unwrap();
    let mut config = StandinConfig::new(data.path().join("data"), SocketAddr::from(([127, 0, 0, 1], 0)));
    config.group_initial_rebalance_delay = Duration::ZERO;
    change(&mut config);
    Home { standin: Standin::start(config).await.unwrap(), _data: data }
}

struct Client(TcpStream);

impl Client {
    async fn connect(home: &Home) -> Self {
        Self(TcpStream::connect(home.standin.local_addr()).await.unwrap())
    }

    async fn send(&mut self, api: ApiKey, version: i16, write: impl FnOnce(&mut OutFrame)) {
        let mut out = OutFrame::new();
        out.begin();
        let header = RequestHeader {
            api_key: api as i16,
            api_version: version,
            correlation_id: 7,
            client_id: Some(StrBytes::from_static_str("test")),
            ..RequestHeader::default()
        };
        header.encode(&mut out).unwrap();
        write(&mut out);
        out.finish(usize::MAX).unwrap();
        self.0.write_all(&out.to_bytes()).await.unwrap();
    }

    /// The next answer's body; none when the broker closed the connection.
    async fn receive(&mut self, api: ApiKey, version: i16) -> Option<Bytes> {
        let mut buffer = BytesMut::new();
        loop {
            if let Some(mut frame) = split(&mut buffer, usize::MAX).unwrap() {
                assert_eq!(ResponseHeader::decode(api, version, &mut frame).unwrap().correlation_id, 7);
                return Some(frame);
            }
            let read = tokio::time::timeout(PATIENCE, self.0.read_buf(&mut buffer)).await.expect("an answer in time");
            match read {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let api = ApiKey::from_i16(R::KEY).unwrap();
        self.send(api, version, |out| cold::encode_request(version, request, out).unwrap()).await;
        let body = self.receive(api, version).await.unwrap_or_else(|| panic!("{api:?} {version}: closed"));
        cold::decode_response::<R>(version, body).unwrap()
    }

    async fn produce(&mut self, version: i16, acks: i16, topic: &str, id: TopicId, value: &[u8]) -> Option<ErrorCode> {
        let mut request = ProduceRequest { acks, timeout_ms: 1_000, ..ProduceRequest::default() };
        request.topics.push_named(StrBytes::from_string(topic.into()), id);
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(0, None, Some(value), &[]).unwrap();
        request.topics.push(crate::wire::produce::ProducePartition {
            records: batch.build().unwrap().into(),
            ..Default::default()
        });
        self.send(ApiKey::Produce, version, |out| request.encode(version, out).unwrap()).await;
        let body = self.receive(ApiKey::Produce, version).await?;
        Some(ProduceResponse::decode(version, body).unwrap().topics.flat().next().unwrap().1.error)
    }
}

fn cold_versions<R: Request>() -> std::ops::RangeInclusive<i16> {
    ApiKey::from_i16(R::KEY).unwrap().versions()
}

/// Asks in every served version, and expects an answer that can be read.
async fn every_version<R: Request + Clone>(home: &Home, make: impl Fn(i16) -> R)
where
    R::Response: std::fmt::Debug,
{
    for version in cold_versions::<R>() {
        let mut client = Client::connect(home).await;
        client.ask(version, &make(version)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_served_version_of_every_api_is_answered() {
    let home = home(|_| {}).await;
    let name = || km::TopicName(StrBytes::from_static_str("t"));
    let group = || km::GroupId(StrBytes::from_static_str("g"));
    let mut seen = vec![ApiKey::Produce, ApiKey::Fetch];
    macro_rules! check {
        ($api:ident, $request:ty, |$version:ident| $make:expr) => {
            seen.push(ApiKey::$api);
            every_version::<$request>(&home, |$version| $make).await;
        };
    }
    check!(ApiVersions, km::ApiVersionsRequest, |version| {
        let named = |text| StrBytes::from_static_str(if version >= 3 { text } else { "" });
        km::ApiVersionsRequest::default()
            .with_client_software_name(named("test"))
            .with_client_software_version(named("1.0"))
    });
    check!(CreateTopics, km::CreateTopicsRequest, |version| {
        let topic = km::create_topics_request::CreatableTopic::default()
            .with_name(if version == 2 { name() } else { km::TopicName(StrBytes::from_string(format!("t{version}"))) })
            .with_num_partitions(2)
            .with_replication_factor(1);
        km::CreateTopicsRequest::default().with_topics(vec![topic])
    });
    check!(Metadata, km::MetadataRequest, |version| {
        let topic = km::metadata_request::MetadataRequestTopic::default().with_name(Some(name()));
        km::MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(version < 4)
    });
    check!(ListOffsets, km::ListOffsetsRequest, |_version| {
        let partition = |index| {
            km::list_offsets_request::ListOffsetsPartition::default().with_partition_index(index).with_timestamp(-1)
        };
        let topic = km::list_offsets_request::ListOffsetsTopic::default()
            .with_name(name())
            .with_partitions(vec![partition(0), partition(9)]);
        km::ListOffsetsRequest::default().with_topics(vec![topic])
    });
    check!(FindCoordinator, km::FindCoordinatorRequest, |version| {
        let key = StrBytes::from_static_str("g");
        if version < 4 {
            km::FindCoordinatorRequest::default().with_key(key)
        } else {
            km::FindCoordinatorRequest::default().with_coordinator_keys(vec![key])
        }
    });
    check!(OffsetCommit, km::OffsetCommitRequest, |_version| {
        let partition = km::offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(5);
        let topic = km::offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(name())
            .with_partitions(vec![partition]);
        km::OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic])
    });
    check!(OffsetFetch, km::OffsetFetchRequest, |version| {
        if version < 8 {
            let topic = km::offset_fetch_request::OffsetFetchRequestTopic::default()
                .with_name(name())
                .with_partition_indexes(vec![0, 1]);
            km::OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic]))
        } else {
            let all =
                km::offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
            km::OffsetFetchRequest::default().with_groups(vec![all])
        }
    });
    check!(JoinGroup, km::JoinGroupRequest, |version| {
        let protocol =
            km::join_group_request::JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
        km::JoinGroupRequest::default()
            .with_group_id(km::GroupId(StrBytes::from_string(format!("j{version}"))))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(if version == 0 { -1 } else { 10_000 })
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol])
    });
    check!(SyncGroup, km::SyncGroupRequest, |_version| km::SyncGroupRequest::default().with_group_id(group()));
    check!(Heartbeat, km::HeartbeatRequest, |_version| km::HeartbeatRequest::default().with_group_id(group()));
    check!(LeaveGroup, km::LeaveGroupRequest, |version| {
        let leave = km::LeaveGroupRequest::default().with_group_id(group());
        let id = StrBytes::from_static_str("m");
        if version < 3 {
            leave.with_member_id(id)
        } else {
            leave.with_members(vec![km::leave_group_request::MemberIdentity::default().with_member_id(id)])
        }
    });
    check!(DescribeGroups, km::DescribeGroupsRequest, |_version| {
        let unknown = km::GroupId(StrBytes::from_static_str("unknown"));
        km::DescribeGroupsRequest::default().with_groups(vec![
            group(),
            unknown,
            km::GroupId(StrBytes::from_static_str("j3")),
        ])
    });
    check!(ListGroups, km::ListGroupsRequest, |_version| km::ListGroupsRequest::default());
    check!(OffsetDelete, km::OffsetDeleteRequest, |_version| {
        let partition = km::offset_delete_request::OffsetDeleteRequestPartition::default();
        let topic = km::offset_delete_request::OffsetDeleteRequestTopic::default()
            .with_name(name())
            .with_partitions(vec![partition]);
        km::OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![topic])
    });
    check!(DeleteGroups, km::DeleteGroupsRequest, |_version| {
        km::DeleteGroupsRequest::default().with_groups_names(vec![group()])
    });
    check!(DeleteRecords, km::DeleteRecordsRequest, |_version| {
        let partition = |index| {
            km::delete_records_request::DeleteRecordsPartition::default().with_partition_index(index).with_offset(-1)
        };
        let topic = km::delete_records_request::DeleteRecordsTopic::default()
            .with_name(name())
            .with_partitions(vec![partition(0), partition(9)]);
        km::DeleteRecordsRequest::default().with_topics(vec![topic])
    });
    check!(InitProducerId, km::InitProducerIdRequest, |_version| {
        km::InitProducerIdRequest::default().with_transaction_timeout_ms(60_000)
    });
    check!(OffsetForLeaderEpoch, km::OffsetForLeaderEpochRequest, |_version| {
        let partition = km::offset_for_leader_epoch_request::OffsetForLeaderPartition::default();
        let topic = km::offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
            .with_topic(name())
            .with_partitions(vec![partition]);
        km::OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
    });
    check!(DescribeConfigs, km::DescribeConfigsRequest, |_version| {
        let resource = |kind, name| {
            km::describe_configs_request::DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(StrBytes::from_static_str(name))
                .with_configuration_keys(None)
        };
        km::DescribeConfigsRequest::default().with_include_synonyms(true).with_resources(vec![
            resource(2, "t"),
            resource(4, "1"),
            resource(2, "none"),
            resource(8, "x"),
        ])
    });
    check!(AlterConfigs, km::AlterConfigsRequest, |_version| {
        let resource = km::alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(StrBytes::from_static_str("t"));
        km::AlterConfigsRequest::default().with_resources(vec![resource])
    });
    check!(IncrementalAlterConfigs, km::IncrementalAlterConfigsRequest, |_version| {
        let resource = km::incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(4)
            .with_resource_name(StrBytes::from_static_str("1"));
        km::IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
    });
    check!(DescribeLogDirs, km::DescribeLogDirsRequest, |_version| {
        km::DescribeLogDirsRequest::default().with_topics(None)
    });
    check!(CreatePartitions, km::CreatePartitionsRequest, |version| {
        let topic = km::create_partitions_request::CreatePartitionsTopic::default()
            .with_name(name())
            .with_count(3 + i32::from(version))
            .with_assignments(None);
        km::CreatePartitionsRequest::default().with_topics(vec![topic])
    });
    check!(DescribeCluster, km::DescribeClusterRequest, |_version| km::DescribeClusterRequest::default());
    check!(DescribeProducers, km::DescribeProducersRequest, |_version| {
        let topic = km::describe_producers_request::TopicRequest::default()
            .with_name(name())
            .with_partition_indexes(vec![0, 77]);
        km::DescribeProducersRequest::default().with_topics(vec![topic])
    });
    check!(DescribeTopicPartitions, km::DescribeTopicPartitionsRequest, |_version| {
        km::DescribeTopicPartitionsRequest::default()
            .with_topics(vec![km::describe_topic_partitions_request::TopicRequest::default().with_name(name())])
    });
    check!(DeleteTopics, km::DeleteTopicsRequest, |version| {
        if version < 6 {
            km::DeleteTopicsRequest::default().with_topic_names(vec![name()])
        } else {
            let unknown = km::delete_topics_request::DeleteTopicState::default().with_name(None);
            km::DeleteTopicsRequest::default().with_topics(vec![unknown])
        }
    });
    seen.sort_unstable();
    assert_eq!(seen, {
        let mut served = SERVED.to_vec();
        served.sort_unstable();
        served
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_produced_is_fetched_in_every_version() {
    let home = home(|_| {}).await;
    let mut client = Client::connect(&home).await;
    let topic = km::create_topics_request::CreatableTopic::default()
        .with_name(km::TopicName(StrBytes::from_static_str("t")))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let made = client.ask(7, &km::CreateTopicsRequest::default().with_topics(vec![topic])).await;
    let id = TopicId(*made.topics[0].topic_id.as_bytes());
    for version in ApiKey::Produce.versions() {
        assert_eq!(client.produce(version, -1, "t", id, b"v").await, Some(ErrorCode::NONE), "{version}");
    }
    let sent = ApiKey::Produce.versions().count() as i64;
    for version in ApiKey::Fetch.versions() {
        let mut request = FetchRequest {
            max_wait_ms: 0,
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_epoch: -1,
            ..FetchRequest::default()
        };
        request.topics.push_named(StrBytes::from_static_str("t"), id);
        request.topics.push(crate::wire::fetch::FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() });
        client.send(ApiKey::Fetch, version, |out| request.encode(version, out).unwrap()).await;
        let body = client.receive(ApiKey::Fetch, version).await.expect("an answer");
        let response = FetchResponse::decode(version, body).unwrap();
        let (_, one) = response.topics.flat().next().unwrap();
        assert_eq!((one.error, one.high_watermark), (ErrorCode::NONE, sent), "{version}");
        assert!(!one.records.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_that_nobody_waits_for_closes_the_connection() {
    let home = home(|config| config.auto_create_topics = false).await;
    let mut client = Client::connect(&home).await;
    assert_eq!(client.produce(8, 0, "missing", TopicId::NIL, b"v").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_announced_and_not_sent_keeps_nobody_waiting() {
    const ANNOUNCED: i32 = 8 << 20;
    let home = home(|config| {
        config.request_bytes_max = ANNOUNCED as usize;
        config.request_memory_bytes = 2 * ANNOUNCED as usize;
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        let mut peer = TcpStream::connect(home.standin.local_addr()).await.unwrap();
        peer.write_all(&ANNOUNCED.to_be_bytes()).await.unwrap();
        // Produce 8, and no more than that.
        peer.write_all(&[0, 0, 0, 8, 0, 0, 0, 7]).await.unwrap();
        silent.push(peer);
    }
    let mut client = Client::connect(&home).await;
    for size in [1, ANNOUNCED as usize / 2] {
        let answer = client.produce(8, -1, "missing", TopicId::NIL, &vec![0; size]).await;
        assert_eq!(answer, Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), "{size} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let home = home(|_| {}).await;
    let mut client = Client::connect(&home).await;
    client.send(ApiKey::ApiVersions, 99, |out| out.push(Bytes::from_static(b"\x05what\x02x\0"))).await;
    let mut body = client.receive(ApiKey::ApiVersions, 0).await.unwrap();
    let answer = km::ApiVersionsResponse::decode(&mut body, 0).unwrap();
    assert_eq!(answer.error_code, ErrorCode::UNSUPPORTED_VERSION.0);
    assert_eq!(answer.api_keys.len(), SERVED.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_offsets_and_groups_are_there_after_a_restart_and_a_deleted_topics_offsets_are_not() {
    let data = tempfile::tempdir().unwrap();
    let config = || StandinConfig::new(data.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let partition = km::offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(42);
    let commit = |name: &'static str| {
        let topic = km::offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(km::TopicName(StrBytes::from_static_str(name)))
            .with_partitions(vec![partition.clone()]);
        km::OffsetCommitRequest::default()
            .with_group_id(km::GroupId(StrBytes::from_static_str("g")))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic])
    };
    let fetch = || {
        let all = km::offset_fetch_request::OffsetFetchRequestGroup::default()
            .with_group_id(km::GroupId(StrBytes::from_static_str("g")))
            .with_topics(None);
        km::OffsetFetchRequest::default().with_groups(vec![all])
    };
    let offsets = |answer: km::OffsetFetchResponse| -> Vec<(String, i64)> {
        let topics = answer.groups[0].topics.iter();
        topics.map(|t| (t.name.as_str().to_owned(), t.partitions[0].committed_offset)).collect()
    };
    let mut cluster = String::new();
    for start in 0..3 {
        let standin = Standin::start(config()).await.unwrap();
        let mut client = Client(TcpStream::connect(standin.local_addr()).await.unwrap());
        match start {
            0 => {
                let found = km::FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("g"));
                client.ask(3, &found).await;
                for name in ["kept", "gone"] {
                    assert_eq!(
                        client.produce(8, -1, name, TopicId::NIL, b"v").await,
                        Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
                    );
                    let topic = km::metadata_request::MetadataRequestTopic::default()
                        .with_name(Some(km::TopicName(StrBytes::from_static_str(name))));
                    client.ask(9, &km::MetadataRequest::default().with_topics(Some(vec![topic]))).await;
                    let answer = client.ask(8, &commit(name)).await;
                    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
                }
                cluster = standin.cluster_id().to_owned();
            }
            1 => {
                assert_eq!(standin.cluster_id(), cluster);
                let found = offsets(client.ask(8, &fetch()).await);
                assert_eq!(found, [("gone".to_owned(), 42), ("kept".to_owned(), 42)]);
                let gone = km::DeleteTopicsRequest::default()
                    .with_topic_names(vec![km::TopicName(StrBytes::from_static_str("gone"))]);
                let deleted = client.ask(5, &gone).await;
                assert_eq!(deleted.responses[0].error_code, 0, "{deleted:?}");
                assert_eq!(offsets(client.ask(8, &fetch()).await), [("kept".to_owned(), 42)]);
            }
            _ => assert_eq!(offsets(client.ask(8, &fetch()).await), [("kept".to_owned(), 42)]),
        }
        drop(client);
        standin.shutdown(PATIENCE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_taken_and_kept_over_every_restart() {
    let data = tempfile::tempdir().unwrap();
    let group = || km::GroupId(StrBytes::from_static_str("g"));
    let name = || km::TopicName(StrBytes::from_static_str("t"));
    for start in 0..4 {
        let config = StandinConfig::new(data.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let standin = Standin::start(config).await.unwrap();
        let mut client = Client(TcpStream::connect(standin.local_addr()).await.unwrap());
        let found = km::FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("g"));
        client.ask(3, &found).await;
        let topic = km::metadata_request::MetadataRequestTopic::default().with_name(Some(name()));
        client.ask(9, &km::MetadataRequest::default().with_topics(Some(vec![topic]))).await;
        let asked = km::offset_fetch_request::OffsetFetchRequestTopic::default()
            .with_name(name())
            .with_partition_indexes(vec![0]);
        let fetch = km::OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![asked]));
        let found = client.ask(7, &fetch).await.topics[0].partitions[0].committed_offset;
        assert_eq!(found, start - 1, "at start {start}");
        let partition = km::offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(start);
        let topic = km::offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(name())
            .with_partitions(vec![partition]);
        let commit = km::OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        assert_eq!(client.ask(8, &commit).await.topics[0].partitions[0].error_code, 0, "at start {start}");
        // In order and, every other time, cut off.
        if start % 2 == 0 {
            standin.shutdown(PATIENCE).await.unwrap();
        } else {
            drop(client);
            standin.shutdown(Duration::ZERO).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_directory_and_a_foreign_identity_are_refused() {
    let home = home(|_| {}).await;
    let path = home._data.path().join("data");
    let again = StandinConfig::new(&path, SocketAddr::from(([127, 0, 0, 1], 0)));
    let error = Standin::start(again.clone()).await.unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    home.standin.shutdown(PATIENCE).await.unwrap();
    let foreign = StandinConfig { node_id: 9, ..again };
    assert!(matches!(Standin::start(foreign).await, Err(crate::standin::StandinError::Catalogue(_))));
}
