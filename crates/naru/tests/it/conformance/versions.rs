//! ApiVersions: what is offered, and what happens to a version that is not.

use std::ops::RangeInclusive;

use bytes::Buf;
use kafka_protocol::messages::{ApiVersionsRequest, MetadataResponse};
use kafka_protocol::protocol::{Decodable as _, StrBytes};

use super::broker::Broker;
use super::code::UNSUPPORTED_VERSION;

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;

fn request() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("conformance"))
        .with_client_software_version(StrBytes::from_static_str("1"))
}

/// The versions of one API that the subject offers; empty if it does not offer it.
pub fn offered(broker: &mut Broker, api: i16) -> RangeInclusive<i16> {
    let answer = broker.call(3, &request());
    let range = answer.api_keys.iter().find(|range| range.api_key == api);
    #[allow(clippy::reversed_empty_ranges)] // an API that is not offered has no versions
    range.map_or(1..=0, |range| range.min_version..=range.max_version)
}

#[test]
fn every_version_of_api_versions_lists_what_clients_of_3_9_need() {
    // (API, lowest, highest) that librdkafka, the Java clients of 3.9 and kafka-python use without transactions.
    let needed = [
        (0, 3, 11),
        (1, 4, 16),
        (2, 1, 9),
        (3, 0, 12),
        (8, 2, 9),
        (9, 1, 9),
        (10, 0, 6),
        (11, 0, 9),
        (12, 0, 4),
        (13, 0, 5),
        (14, 0, 5),
        (15, 0, 5),
        (16, 0, 5),
        (18, 0, 4),
        (19, 2, 7),
        (20, 1, 6),
        (21, 0, 2),
        (22, 0, 5),
        (23, 2, 4),
        (32, 1, 4),
        (33, 0, 2),
        (37, 0, 3),
        (42, 0, 2),
        (44, 0, 1),
        (47, 0, 0),
        (60, 0, 1),
        (61, 0, 0),
    ];
    let mut broker = Broker::shared();
    for version in 0..=4 {
        let answer = broker.call(version, &request());
        assert_eq!(answer.error_code, 0, "version {version}");
        for (api, lowest, highest) in needed {
            let range = answer.api_keys.iter().find(|range| range.api_key == api);
            let range = range.unwrap_or_else(|| panic!("API {api} is not offered in version {version}"));
            assert!(range.min_version <= lowest && range.max_version >= highest, "API {api}: {range:?}");
        }
    }
}

#[test]
fn an_unsupported_version_of_api_versions_is_answered_in_version_zero() {
    let mut broker = Broker::shared();
    let correlation = broker.send_body(API_VERSIONS, 99, 2, &[]);
    let mut answer = broker.read_frame().unwrap();
    assert_eq!((answer.get_i32(), answer.get_i16()), (correlation, UNSUPPORTED_VERSION));
    // The offered range of ApiVersions itself follows, so that the client can ask again.
    let count = answer.get_i32();
    let ranges: Vec<[i16; 3]> = (0..count).map(|_| [answer.get_i16(), answer.get_i16(), answer.get_i16()]).collect();
    assert!(ranges.iter().any(|[api, lowest, highest]| (*api, *lowest) == (API_VERSIONS, 0) && *highest >= 3));
    // The connection stays usable.
    assert_eq!(broker.call(3, &request()).error_code, 0);
}

#[test]
fn an_unsupported_version_of_any_other_api_closes_the_connection() {
    for (api, version) in [(0, 99), (1, 99), (3, 99), (11, -1), (999, 0)] {
        let mut broker = Broker::shared();
        broker.send_body(api, version, 1, &[0; 16]);
        assert_eq!(broker.read_frame(), None, "API {api} version {version}");
        // Others are not disturbed.
        assert_eq!(Broker::shared().call(3, &request()).error_code, 0);
    }
}

#[test]
fn frames_that_are_no_requests_close_only_their_connection() {
    let rows: [(&str, &[u8]); 5] = [
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a negative length", &[0xff, 0xff, 0xff, 0xff, 0, 0]),
        ("a length beyond the limit", &[0x7f, 0xff, 0xff, 0xff, 0, 0]),
        ("a frame too short for a header", &[0, 0, 0, 2, 0, 0]),
    ];
    let mut bystander = Broker::shared();
    for (row, bytes) in rows {
        let mut broker = Broker::shared();
        broker.send_bytes(bytes);
        assert_eq!(broker.read_frame(), None, "{row}");
        assert_eq!(bystander.call(3, &request()).error_code, 0, "{row}");
    }
}

/// librdkafka 2.16 does so when it asks Metadata for every topic.
#[test]
fn what_follows_the_end_of_a_request_is_ignored() {
    let mut broker = Broker::shared();
    let correlation = broker.send_body(METADATA, 12, 2, &[0, 0, 0, 0, 1, 0, 0]);
    let mut answer = broker.read_frame().expect("an answer");
    assert_eq!((answer.get_i32(), answer.get_u8()), (correlation, 0));
    let metadata = MetadataResponse::decode(&mut answer, 12).unwrap();
    assert_eq!(metadata.brokers.len(), 1);
}
