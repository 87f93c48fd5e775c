//! Bytes of a socket: frames, request headers, and the body as a request and as an answer of that API. And the same
//! bytes as one body, the first two choosing API and version, so that no length before it need be right.
//!
//! What is read is written again and read again, and must be the same. Memory stays in proportion to the input
//! (WIRE-1).
#![no_main]

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as cold_messages;
use libfuzzer_sys::fuzz_target;
use naru_kafka::wire::fetch::{FetchRequest, FetchResponse};
use naru_kafka::wire::frame::{self, RequestHeader};
use naru_kafka::wire::produce::{ProduceRequest, ProduceResponse};
use naru_kafka::wire::{ApiKey, OutFrame, WireError, cold};

mod memory;

/// Above what libFuzzer makes.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// The largest structure that a message holds, with a map for unknown tags, is some 700 bytes for 3 on the wire.
/// Input, output and the message read again are in use together.
const BYTES_PER_INPUT_BYTE: usize = 768;
const BYTES_FLAT: usize = 64 << 10;

fuzz_target!(|data: &[u8]| {
    memory::bounded(BYTES_FLAT + BYTES_PER_INPUT_BYTE * data.len(), || {
        let mut buf = BytesMut::from(data);
        while let Ok(Some(frame)) = frame::split(&mut buf, FRAME_BYTES_MAX) {
            assert!(frame.len() <= FRAME_BYTES_MAX);
            request(frame);
        }
        if let [api, version, rest @ ..] = data {
            let api = ApiKey::ALL[usize::from(*api) % ApiKey::ALL.len()];
            body(api, i16::from(*version), &Bytes::copy_from_slice(rest));
        }
    });
});

fn request(mut frame: Bytes) {
    let Ok(header) = RequestHeader::decode(&mut frame) else { return };
    let mut out = OutFrame::new();
    header.encode(&mut out).expect("a header that was read can be written");
    assert_eq!(RequestHeader::decode(&mut out.to_bytes()).as_ref(), Ok(&header));

    let api = ApiKey::from_i16(header.api_key).expect("the header's key was known");
    body(api, header.api_version, &frame);
}

fn body(api: ApiKey, version: i16, body: &Bytes) {
    match api {
        ApiKey::Produce => {
            hot(version, body, ProduceRequest::decode, ProduceRequest::encode);
            hot(version, body, ProduceResponse::decode, ProduceResponse::encode);
        }
        ApiKey::Fetch => {
            hot(version, body, FetchRequest::decode, FetchRequest::encode);
            hot(version, body, FetchResponse::decode, FetchResponse::encode);
        }
        _ => cold_body(api, version, body),
    }
}

fn hot<M: PartialEq + std::fmt::Debug>(
    version: i16,
    body: &Bytes,
    decode: fn(i16, Bytes) -> Result<M, WireError>,
    encode: fn(&M, i16, &mut OutFrame) -> Result<(), WireError>,
) {
    let Ok(message) = decode(version, body.clone()) else { return };
    let mut out = OutFrame::new();
    match encode(&message, version, &mut out) {
        Ok(()) => assert_eq!(decode(version, out.to_bytes()), Ok(message)),
        // Compact strings may be longer on the wire than any that we write.
        Err(error) => assert!(matches!(error, WireError::TooLarge { .. }), "{error}"),
    }
}

macro_rules! cold_bodies {
    ($($api:ident $request:ident;)*) => {
        fn cold_body(api: ApiKey, version: i16, body: &Bytes) {
            match api {
                $(ApiKey::$api => {
                    if let Ok(message) = cold::decode_request::<cold_messages::$request>(version, body.clone()) {
                        let mut out = OutFrame::new();
                        if cold::encode_request(version, &message, &mut out).is_ok() {
                            let again = cold::decode_request::<cold_messages::$request>(version, out.to_bytes());
                            assert_eq!(again.as_ref(), Ok(&message));
                        }
                    }
                    if let Ok(message) = cold::decode_response::<cold_messages::$request>(version, body.clone()) {
                        let mut out = OutFrame::new();
                        if cold::encode_response::<cold_messages::$request>(version, &message, &mut out).is_ok() {
                            let again = cold::decode_response::<cold_messages::$request>(version, out.to_bytes());
                            assert_eq!(again.as_ref(), Ok(&message));
                        }
                    }
                })*
                ApiKey::Produce | ApiKey::Fetch => {}
            }
        }
    };
}

cold_bodies! {
    ListOffsets ListOffsetsRequest;
    Metadata MetadataRequest;
    OffsetCommit OffsetCommitRequest;
    OffsetFetch OffsetFetchRequest;
    FindCoordinator FindCoordinatorRequest;
    JoinGroup JoinGroupRequest;
    Heartbeat HeartbeatRequest;
    LeaveGroup LeaveGroupRequest;
    SyncGroup SyncGroupRequest;
    DescribeGroups DescribeGroupsRequest;
    ListGroups ListGroupsRequest;
    SaslHandshake SaslHandshakeRequest;
    ApiVersions ApiVersionsRequest;
    CreateTopics CreateTopicsRequest;
    DeleteTopics DeleteTopicsRequest;
    DeleteRecords DeleteRecordsRequest;
    InitProducerId InitProducerIdRequest;
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest;
    DescribeAcls DescribeAclsRequest;
    CreateAcls CreateAclsRequest;
    DeleteAcls DeleteAclsRequest;
    DescribeConfigs DescribeConfigsRequest;
    AlterConfigs AlterConfigsRequest;
    DescribeLogDirs DescribeLogDirsRequest;
    SaslAuthenticate SaslAuthenticateRequest;
    CreatePartitions CreatePartitionsRequest;
    DeleteGroups DeleteGroupsRequest;
    IncrementalAlterConfigs IncrementalAlterConfigsRequest;
    OffsetDelete OffsetDeleteRequest;
    DescribeCluster DescribeClusterRequest;
    DescribeProducers DescribeProducersRequest;
    DescribeTopicPartitions DescribeTopicPartitionsRequest;
}
