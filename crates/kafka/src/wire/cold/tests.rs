#![allow(clippy::unwrap_used)] // a test panics on failure

use kafka_protocol::messages as theirs;

use super::shape::{Field, Shape};
use super::*;
use crate::wire::write::put_uvarlong;

/// Writes a message of a declared shape, every array with a few elements and no field at its default.
struct Fill {
    out: Vec<u8>,
    version: i16,
    flexible: bool,
    /// Elements of each array.
    elements: usize,
    unknown_tag: bool,
    next: u8,
    /// Where each array's count stands.
    counts: Vec<usize>,
}

impl Fill {
    fn message(fields: &'static [Field], version: i16, flexible: bool, elements: usize, unknown_tag: bool) -> Self {
        let mut fill = Self { out: Vec::new(), version, flexible, elements, unknown_tag, next: 0, counts: Vec::new() };
        fill.structure(fields);
        fill
    }

    fn structure(&mut self, fields: &'static [Field]) {
        let here = |field: &&Field| (field.versions.0..=field.versions.1).contains(&self.version);
        let (tagged, plain): (Vec<_>, Vec<_>) = fields.iter().filter(here).partition(|field| field.tag.is_some());
        for field in plain {
            self.value(&field.shape);
        }
        if !self.flexible {
            return;
        }
        put_uvarlong(&mut self.out, (tagged.len() + usize::from(self.unknown_tag)) as u64);
        for field in tagged {
            let mut inner = Self { out: Vec::new(), counts: Vec::new(), ..*self };
            inner.value(&field.shape);
            put_uvarlong(&mut self.out, u64::from(field.tag.unwrap()));
            put_uvarlong(&mut self.out, inner.out.len() as u64);
            self.counts.extend(inner.counts.iter().map(|at| at + self.out.len()));
            self.out.extend(inner.out);
        }
        if self.unknown_tag {
            self.out.extend([40, 3, 1, 2, 3]);
        }
    }

    fn length(&mut self, length: usize) {
        if self.flexible {
            put_uvarlong(&mut self.out, length as u64 + 1);
        } else {
            self.out.extend(i32::try_from(length).unwrap().to_be_bytes());
        }
    }

    fn value(&mut self, shape: &'static Shape) {
        match shape {
            // A boolean is one byte as well: one, and not any other value, is written again as it was.
            Shape::Fixed(1) => self.out.push(1),
            Shape::Fixed(size) => {
                self.next = self.next % 100 + 1;
                self.out.extend(std::iter::repeat_n(self.next, *size));
            }
            Shape::Text => {
                if self.flexible {
                    self.length(3);
                } else {
                    self.out.extend([0, 3]);
                }
                self.out.extend(*b"abc");
            }
            Shape::Bytes => {
                self.length(5);
                self.out.extend([9; 5]);
            }
            Shape::Array(element) => {
                self.counts.push(self.out.len());
                self.length(self.elements);
                (0..self.elements).for_each(|_| self.value(element));
            }
            Shape::Struct(fields) => self.structure(fields),
            Shape::Nullable(fields) => {
                self.out.push(1);
                self.structure(fields);
            }
        }
    }
}

/// A body with two elements in each array; none for the APIs that own code reads.
pub(in crate::wire) fn filled(api: ApiKey, direction: Direction, version: i16) -> Option<Vec<u8>> {
    Some(Fill::message(declared(api, direction)?, version, api.is_flexible(version), 2, true).out)
}

/// What is checked of one message type: it is called with each API, direction, version and shape.
fn check_message<M: Decodable + Encodable + Message>(api: ApiKey, direction: Direction) {
    let shape = declared(api, direction).unwrap();
    if direction == Direction::Request {
        assert_eq!(api.versions(), M::VERSIONS.min..=M::VERSIONS.max, "{api:?}");
    }
    for version in api.versions() {
        assert!((M::VERSIONS.min..=M::VERSIONS.max).contains(&version), "{api:?} {version}");
        for (elements, unknown_tag) in [(0, false), (1, true), (3, false), (3, true)] {
            let fill = Fill::message(shape, version, api.is_flexible(version), elements, unknown_tag);
            let case = format!("{api:?} {direction:?} version {version}, {elements} elements");
            let bytes = Bytes::from(fill.out.clone());
            // The decoder takes the shape to its end, and writes the same bytes again.
            let mut rest = bytes.clone();
            let message = M::decode(&mut rest, version).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(rest.is_empty(), "{case}: {} bytes left", rest.len());
            let mut written = OutFrame::new();
            encode(version, &message, &mut written).unwrap();
            if elements > 0 {
                // With no elements a tagged array is at its default, and is not written.
                assert_eq!(written.to_bytes(), bytes, "{case}");
            }
            // So the guard must take what the decoder wrote to its end too.
            assert_eq!(guard(api, direction, version, &written.to_bytes()), Ok(()), "{case}");

            let mut longer = bytes.to_vec();
            longer.push(0);
            let ignored = direction == Direction::Request;
            assert_eq!(guard(api, direction, version, &longer).is_ok(), ignored, "{case}: a byte too many");
            for cut in 0..bytes.len() {
                assert!(guard(api, direction, version, &bytes[..cut]).is_err(), "{case}: cut at {cut}");
            }
            for &at in &fill.counts {
                // Two billion: as 32 bits, or as a compact count with what follows it.
                let planted =
                    if api.is_flexible(version) { [0xff, 0xff, 0xff, 0x7f, 0x07] } else { [0x7f, 0xff, 0xff, 0xff, 0] };
                let mut absurd = bytes[..at].to_vec();
                absurd.extend(planted);
                absurd.extend(&bytes[at + 1..]);
                let refused = guard(api, direction, version, &absurd);
                assert!(refused.is_err(), "{case}: a planted count at {at}");
            }
        }
    }
}

macro_rules! every_message {
    ($($api:ident $request:ident $response:ident;)*) => {
        #[test]
        fn the_guard_and_the_decoder_agree_about_every_message_and_version() {
            $(
                check_message::<theirs::$request>(ApiKey::$api, Direction::Request);
                check_message::<theirs::$response>(ApiKey::$api, Direction::Response);
            )*
            let checked = [$(ApiKey::$api),*];
            for api in ApiKey::ALL {
                let own = matches!(api, ApiKey::Produce | ApiKey::Fetch);
                assert_eq!(checked.contains(api), !own, "{api:?}");
            }
        }
    };
}

every_message! {
    ListOffsets ListOffsetsRequest ListOffsetsResponse;
    Metadata MetadataRequest MetadataResponse;
    OffsetCommit OffsetCommitRequest OffsetCommitResponse;
    OffsetFetch OffsetFetchRequest OffsetFetchResponse;
    FindCoordinator FindCoordinatorRequest FindCoordinatorResponse;
    JoinGroup JoinGroupRequest JoinGroupResponse;
    Heartbeat HeartbeatRequest HeartbeatResponse;
    LeaveGroup LeaveGroupRequest LeaveGroupResponse;
    SyncGroup SyncGroupRequest SyncGroupResponse;
    DescribeGroups DescribeGroupsRequest DescribeGroupsResponse;
    ListGroups ListGroupsRequest ListGroupsResponse;
    SaslHandshake SaslHandshakeRequest SaslHandshakeResponse;
    ApiVersions ApiVersionsRequest ApiVersionsResponse;
    CreateTopics CreateTopicsRequest CreateTopicsResponse;
    DeleteTopics DeleteTopicsRequest DeleteTopicsResponse;
    DeleteRecords DeleteRecordsRequest DeleteRecordsResponse;
    InitProducerId InitProducerIdRequest InitProducerIdResponse;
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
    DescribeAcls DescribeAclsRequest DescribeAclsResponse;
    CreateAcls CreateAclsRequest CreateAclsResponse;
    DeleteAcls DeleteAclsRequest DeleteAclsResponse;
    DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse;
    AlterConfigs AlterConfigsRequest AlterConfigsResponse;
    DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse;
    SaslAuthenticate SaslAuthenticateRequest SaslAuthenticateResponse;
    CreatePartitions CreatePartitionsRequest CreatePartitionsResponse;
    DeleteGroups DeleteGroupsRequest DeleteGroupsResponse;
    IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
    OffsetDelete OffsetDeleteRequest OffsetDeleteResponse;
    DescribeCluster DescribeClusterRequest DescribeClusterResponse;
    DescribeProducers DescribeProducersRequest DescribeProducersResponse;
    DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
}

#[test]
fn an_error_names_the_field() {
    // Metadata version 1: a count of two billion topics and nothing behind it.
    let absurd = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(
        decode_request::<theirs::MetadataRequest>(1, absurd),
        Err(WireError::BadCount { field: "topics", count: i64::from(i32::MAX), max: 0 })
    );
    let unsupported = Err(WireError::Unsupported { api: 3, version: 99 });
    assert_eq!(decode_request::<theirs::MetadataRequest>(99, Bytes::new()), unsupported);
    let text = Bytes::from_static(&[0, 2, 0xff, 0xff]);
    assert_eq!(decode_request::<theirs::SaslHandshakeRequest>(1, text), Err(WireError::BadUtf8 { field: "mechanism" }));
}

#[test]
fn the_number_of_elements_is_bounded_also_where_the_bytes_are_there() {
    let count = REQUEST_ELEMENTS_MAX + 1;
    let mut body = i32::try_from(count).unwrap().to_be_bytes().to_vec();
    body.extend(vec![0; 2 * count]);
    assert_eq!(
        decode_request::<theirs::MetadataRequest>(1, body.into()),
        Err(WireError::BadCount { field: "topics", count: count as i64, max: REQUEST_ELEMENTS_MAX as u64 })
    );
}

#[test]
fn a_message_that_cannot_be_written_leaves_nothing_behind() {
    let request = theirs::FindCoordinatorRequest::default().with_coordinator_keys(vec!["a".into()]);
    let mut out = OutFrame::new();
    let refused = encode_request(0, &request, &mut out);
    assert!(matches!(refused, Err(WireError::Unwritable { version: 0, .. })), "{refused:?}");
    assert!(out.is_empty());
}
