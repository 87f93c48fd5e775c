//! Leaders that move, coordinators that are not there yet, batches whose fate is unknown.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::{
    messages::{
        BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, ListOffsetsRequest, ListOffsetsResponse,
        MetadataRequest, MetadataResponse, OffsetCommitRequest, OffsetCommitResponse,
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
    },
    protocol::StrBytes,
};

use crate::{
    client::{
        Client, Outcome, TopicPartition,
        admin::{ConfigOwner, NewTopic},
        fetch::FetchOptions,
        groups::GroupOffset,
        offsets::OffsetAt,
        peer::{Dialogue, Peer, impatient},
        produce::ProduceOptions,
        reader::ReadOptions,
    },
    wire::{
        ApiKey, BatchBuilder, Compression, ErrorCode, OutFrame, Tags, TopicId,
        frame::RequestHeader,
        produce::{ProduceRequest, ProduceResponse, ProducedPartition},
    },
};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Brokers by node id; the leader of `t-0`.
fn metadata(brokers: &[(i32, &Peer)], leader: i32) -> MetadataResponse {
    let broker = |(id, peer): &(i32, &Peer)| {
        let address = peer.address();
        let (host, port) = address.rsplit_once(':').unwrap();
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(*id))
            .with_host(text(host))
            .with_port(port.parse().unwrap())
    };
    let partition = MetadataResponsePartition::default()
        .with_partition_index(0)
        .with_leader_id(BrokerId(leader))
        .with_leader_epoch(3);
    let topic = MetadataResponseTopic::default().with_name(Some(text("t").into())).with_partitions(vec![partition]);
    MetadataResponse::default().with_brokers(brokers.iter().map(broker).collect()).with_topics(vec![topic])
}

async fn serve_metadata(dialogue: &mut Dialogue, response: &MetadataResponse) {
    let (header, request) = dialogue.expect::<MetadataRequest>().await;
    assert!(!request.allow_auto_topic_creation, "a relay must not make topics by looking");
    dialogue.answer::<MetadataRequest>(&header, response).await;
}

async fn serve_list_offsets(dialogue: &mut Dialogue, code: ErrorCode, offset: i64) {
    let (header, _) = dialogue.expect::<ListOffsetsRequest>().await;
    let partition = ListOffsetsPartitionResponse::default().with_error_code(code.0).with_offset(offset);
    let topic = ListOffsetsTopicResponse::default().with_name(text("t").into()).with_partitions(vec![partition]);
    let response = ListOffsetsResponse::default().with_topics(vec![topic]);
    dialogue.answer::<ListOffsetsRequest>(&header, &response).await;
}

fn at() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn batch() -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1, None, Some(b"value"), &[]).unwrap();
    builder.build().unwrap()
}

#[tokio::test]
async fn a_leader_that_moved_is_followed() {
    let (old, new) = (Peer::listen().await, Peer::listen().await);
    let client = Client::new(impatient(&old)).unwrap();
    let brokers = [(1, &old), (2, &new)];
    let (listed, (), ()) = tokio::join!(
        async {
            let listed = client.list_offset(&at(), OffsetAt::Latest).await;
            assert!(client.shutdown(Duration::from_secs(5)).await);
            listed
        },
        async {
            let mut bootstrap = old.ready().await;
            serve_metadata(&mut bootstrap, &metadata(&brokers, 1)).await;
            // The first request to node 1 by that name opens a connection of its own.
            let mut node = old.ready().await;
            serve_list_offsets(&mut node, ErrorCode::NOT_LEADER_OR_FOLLOWER, -1).await;
            serve_metadata(&mut node, &metadata(&brokers, 2)).await;
            assert!(node.request().await.is_none());
        },
        async {
            let mut node = new.ready().await;
            serve_list_offsets(&mut node, ErrorCode::NONE, 42).await;
            assert!(node.request().await.is_none());
        }
    );
    assert_eq!(listed.unwrap().offset, Some(42));
}

#[tokio::test]
async fn a_leader_that_stays_away_is_asked_for_within_the_bound() {
    let peer = Peer::listen().await;
    let client = Client::new(impatient(&peer)).unwrap();
    let (listed, asked) = tokio::join!(
        async {
            let listed = client.list_offset(&at(), OffsetAt::Latest).await;
            assert!(client.shutdown(Duration::from_secs(5)).await);
            listed
        },
        async {
            let leaderless = metadata(&[(1, &peer)], -1);
            let mut bootstrap = peer.ready().await;
            serve_metadata(&mut bootstrap, &leaderless).await;
            let mut node = peer.ready().await;
            let mut asked = 1;
            while let Some((header, _)) = node.request().await {
                node.answer::<MetadataRequest>(&header, &leaderless).await;
                asked += 1;
            }
            asked
        }
    );
    let error = listed.unwrap_err();
    assert!(error.to_string().starts_with("Metadata for t-0: no broker to ask"), "{error}");
    assert_eq!(asked, 3, "attempts_max");
}

/// Reads a Produce request and answers it with a code.
async fn serve_produce(dialogue: &mut Dialogue, code: ErrorCode) -> RequestHeader {
    let (header, body) = dialogue.request().await.unwrap();
    assert_eq!(header.api_key, ApiKey::Produce as i16);
    let request = ProduceRequest::decode(header.api_version, body).unwrap();
    assert_eq!((request.acks, request.timeout_ms), (-1, 10_000));
    let mut response = ProduceResponse::default();
    response.topics.push_named(text("t"), TopicId::NIL);
    response.topics.push(ProducedPartition {
        index: 0,
        error: code,
        base_offset: 17,
        log_append_time_ms: -1,
        log_start_offset: 5,
        tags: Tags::default(),
        ..ProducedPartition::default()
    });
    let mut out = OutFrame::new();
    response.encode(header.api_version, &mut out).unwrap();
    dialogue.answer_body(&header, &out.to_bytes()).await;
    header
}

#[tokio::test]
async fn a_batch_is_sent_once_and_its_fate_is_told() {
    let peer = Peer::listen().await;
    let client = Client::new(impatient(&peer)).unwrap();
    let options = ProduceOptions::default();
    tokio::join!(
        async {
            let appended = client.produce(&at(), batch(), &options).await.unwrap();
            assert_eq!((appended.base_offset, appended.log_append_time_ms, appended.log_start), (17, None, Some(5)));

            let check = async |code: ErrorCode, outcome, retry| {
                let error = client.produce(&at(), batch(), &options).await.unwrap_err();
                assert_eq!((error.code(), error.outcome(), error.retry_can_help()), (Some(code), outcome, retry));
            };
            check(ErrorCode::NOT_ENOUGH_REPLICAS, Outcome::NotDone, true).await;
            check(ErrorCode::REQUEST_TIMED_OUT, Outcome::Unknown, true).await;
            check(ErrorCode::MESSAGE_TOO_LARGE, Outcome::NotDone, false).await;

            let error = client.produce(&at(), batch(), &options).await.unwrap_err();
            assert_eq!(error.outcome(), Outcome::Unknown, "the connection was cut: {error}");
            assert!(error.to_string().contains("Produce for t-0"), "{error}");
            assert!(client.shutdown(Duration::from_secs(5)).await);
        },
        async {
            let mut bootstrap = peer.ready().await;
            serve_metadata(&mut bootstrap, &metadata(&[(1, &peer)], 1)).await;
            let mut node = peer.ready().await;
            for code in [
                ErrorCode::NONE,
                ErrorCode::NOT_ENOUGH_REPLICAS,
                ErrorCode::REQUEST_TIMED_OUT,
                ErrorCode::MESSAGE_TOO_LARGE,
            ] {
                serve_produce(&mut node, code).await;
            }
            assert!(node.request().await.is_some(), "the last batch");
            drop(node);
            // Nothing is sent again: neither here nor on another connection before the client is done.
            assert!(bootstrap.request().await.is_none());
        }
    );
}

#[tokio::test]
async fn a_batch_whose_connection_could_not_be_set_up_was_not_sent() {
    let peer = Peer::listen().await;
    let client = Client::new(impatient(&peer)).unwrap();
    let (at, options) = (at(), ProduceOptions::default());
    let (appended, ()) = tokio::join!(client.produce(&at, batch(), &options), async {
        let mut bootstrap = peer.ready().await;
        serve_metadata(&mut bootstrap, &metadata(&[(1, &peer)], 1)).await;
        let mut node = peer.accept().await.unwrap();
        assert!(node.request().await.is_some(), "the question for versions");
        drop(node);
    });
    let error = appended.unwrap_err();
    assert_eq!((error.outcome(), error.retry_can_help()), (Outcome::NotDone, true));
    assert_eq!(error.to_string(), "Produce for t-0: not sent");
}

/// A commit answered with each code in turn; how it ends.
async fn commit(codes: &[ErrorCode]) -> Result<(), crate::client::ClientError> {
    let peer = Peer::listen().await;
    let client = Client::new(impatient(&peer)).unwrap();
    let offsets = [GroupOffset { at: at(), offset: 9, leader_epoch: None, metadata: None }];
    let (committed, ()) = tokio::join!(
        async {
            let committed = client.commit_offsets("g", &offsets, None).await;
            assert!(client.shutdown(Duration::from_secs(5)).await);
            committed
        },
        async {
            let mut bootstrap = peer.ready().await;
            let mut coordinator = None;
            for code in codes {
                let (header, _) = bootstrap.expect::<FindCoordinatorRequest>().await;
                let address = peer.address();
                let (host, port) = address.rsplit_once(':').unwrap();
                let response = FindCoordinatorResponse::default()
                    .with_node_id(BrokerId(1))
                    .with_host(text(host))
                    .with_port(port.parse().unwrap());
                bootstrap.answer::<FindCoordinatorRequest>(&header, &response).await;
                if coordinator.is_none() {
                    coordinator = Some(peer.ready().await);
                }
                let coordinator = coordinator.as_mut().unwrap();
                let (header, request) = coordinator.expect::<OffsetCommitRequest>().await;
                assert_eq!((request.generation_id_or_member_epoch, request.member_id.as_str()), (-1, ""));
                let partition = OffsetCommitResponsePartition::default().with_error_code(code.0);
                let topic =
                    OffsetCommitResponseTopic::default().with_name(text("t").into()).with_partitions(vec![partition]);
                let response = OffsetCommitResponse::default().with_topics(vec![topic]);
                coordinator.answer::<OffsetCommitRequest>(&header, &response).await;
            }
            assert!(bootstrap.request().await.is_none());
        }
    );
    committed
}

#[tokio::test]
async fn a_commit_looks_for_its_coordinator_again_within_the_bound() {
    const ELSEWHERE: ErrorCode = ErrorCode::NOT_COORDINATOR;
    commit(&[ErrorCode::NONE]).await.unwrap();
    commit(&[ELSEWHERE, ELSEWHERE, ErrorCode::NONE]).await.unwrap();
    let error = commit(&[ELSEWHERE, ELSEWHERE, ELSEWHERE]).await.unwrap_err();
    assert_eq!(error.code(), Some(ELSEWHERE));
    let error = commit(&[ErrorCode::UNKNOWN_MEMBER_ID]).await.unwrap_err();
    assert!(error.to_string().starts_with("OffsetCommit for group g, t-0 at broker 1"), "{error}");
    let error = commit(&[ErrorCode::REQUEST_TIMED_OUT]).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "a late commit would overwrite a newer one: not sent again");
}

#[tokio::test]
async fn a_cut_connection_is_opened_again() {
    let peer = Peer::listen().await;
    let client = Client::new(impatient(&peer)).unwrap();
    let (metadata, ()) = tokio::join!(client.metadata(Some(&["t"])), async {
        // Cut in the middle of the set-up, then with the request pending.
        drop(peer.accept().await.unwrap());
        let mut cut = peer.ready().await;
        assert!(cut.request().await.is_some());
        drop(cut);
        let mut bootstrap = peer.ready().await;
        serve_metadata(&mut bootstrap, &metadata(&[(1, &peer)], 1)).await;
    });
    assert_eq!(metadata.unwrap().topics[0].partitions[0].leader_epoch, 3);
}

#[tokio::test]
async fn every_request_can_be_made_from_a_task_of_its_own() {
    fn sendable<T: Send>(made: T) {
        drop(made);
    }
    let peer = Peer::listen().await;
    let client = Client::new(impatient(&peer)).unwrap();
    let (at, read) = (at(), ReadOptions::default());
    sendable(client.metadata(None));
    sendable(client.await_topic("t", 1, Duration::from_secs(1)));
    sendable(client.list_offset(&at, OffsetAt::Latest));
    sendable(client.offset_for_leader_epoch(&at, 0));
    sendable(client.produce(&at, batch(), &ProduceOptions::default()));
    sendable(client.produce_many(&[], &ProduceOptions::default()));
    sendable(client.fetch(&[], &FetchOptions::default()));
    sendable(client.read_records(&at, 0, 1, &read, |_| Ok(())));
    sendable(client.commit_offsets("g", &[], None));
    sendable(client.committed_offsets("g", None));
    sendable(client.list_groups());
    sendable(client.describe_group("g"));
    sendable(client.delete_group("g"));
    sendable(client.remove_members("g", &[]));
    sendable(client.describe_cluster());
    sendable(client.create_topic(&NewTopic::new("t", 1), true));
    sendable(client.delete_topic("t"));
    sendable(client.create_partitions("t", 2));
    sendable(client.delete_records(&at, None));
    sendable(client.describe_configs(&ConfigOwner::Broker(1)));
    sendable(client.alter_configs(&ConfigOwner::Broker(1), &[]));
    sendable(client.describe_producers(&at));
    sendable(client.init_producer_id());
}
