//! Frames and the headers of requests and answers.

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::api::{self, ApiKey};
use crate::wire::read::Reader;
use crate::wire::write::OutFrame;
use crate::wire::{StrBytes, Tags, WireError};

/// The length before each frame, bytes.
const LENGTH_BYTES: usize = 4;

/// Takes the next whole frame from what a socket has given, without its length. `None` if it is not whole yet.
///
/// The length is checked before anything is waited for: a frame above `bytes_max` is refused on its first four
/// bytes. Room for the rest is reserved by what the socket delivers, not here.
pub fn split(buf: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, WireError> {
    let Some(length) = buf.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    let size = usize::try_from(length)
        .map_err(|_| WireError::BadLength { field: "frame length", length: i64::from(length) })?;
    if size > bytes_max {
        return Err(WireError::TooLarge { field: "frame length", size: size as u64, max: bytes_max as u64 });
    }
    if buf.len() - LENGTH_BYTES < size {
        return Ok(None);
    }
    buf.advance(LENGTH_BYTES);
    Ok(Some(buf.split_to(size).freeze()))
}

/// The header of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHeader {
    /// The API's key.
    pub api_key: i16,
    /// The API's version.
    pub api_version: i16,
    /// Given back in the answer.
    pub correlation_id: i32,
    /// The name that the client gives itself.
    pub client_id: Option<StrBytes>,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

impl RequestHeader {
    /// Reads the header and leaves the body. Knows which versions have tagged fields; a version above the ones known
    /// is read too, so that ApiVersions can be answered with UNSUPPORTED_VERSION. An unknown key is an error: its
    /// header's form cannot be known.
    pub fn decode(frame: &mut Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(frame.clone());
        let api_key = reader.i16("request_api_key")?;
        let api_version = reader.i16("request_api_version")?;
        let api = ApiKey::from_i16(api_key).ok_or(WireError::Unsupported { api: api_key, version: api_version })?;
        let correlation_id = reader.i32("correlation_id")?;
        // Never compact, also in flexible headers: brokers of any age must be able to read it.
        let client_id = reader.nullable_string(false, "client_id")?;
        let tags = reader.tags(api::request_header_version(api, api_version) >= 2, "request header tags")?;
        *frame = reader.into_rest();
        Ok(Self { api_key, api_version, correlation_id, client_id, tags })
    }

    /// Writes the header in the form that its API and version have.
    pub fn encode(&self, out: &mut OutFrame) -> Result<(), WireError> {
        let api = ApiKey::from_i16(self.api_key)
            .ok_or(WireError::Unwritable { field: "request_api_key", version: self.api_version })?;
        out.i16(self.api_key);
        out.i16(self.api_version);
        out.i32(self.correlation_id);
        out.string(false, self.client_id.as_ref(), "client_id")?;
        out.tags(api::request_header_version(api, self.api_version) >= 2, &self.tags);
        Ok(())
    }
}

/// The header of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseHeader {
    /// The one of the request.
    pub correlation_id: i32,
    /// Tagged fields that the schema does not know.
    pub tags: Tags,
}

impl ResponseHeader {
    /// The header of an answer to a request.
    pub fn new(correlation_id: i32) -> Self {
        Self { correlation_id, tags: Tags::default() }
    }

    /// Reads the header and leaves the body.
    pub fn decode(api: ApiKey, version: i16, frame: &mut Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(frame.clone());
        let correlation_id = reader.i32("correlation_id")?;
        let tags = reader.tags(api::response_header_version(api, version) >= 1, "response header tags")?;
        *frame = reader.into_rest();
        Ok(Self { correlation_id, tags })
    }

    /// Writes the header in the form that the API and version have.
    pub fn encode(&self, api: ApiKey, version: i16, out: &mut OutFrame) {
        out.i32(self.correlation_id);
        out.tags(api::response_header_version(api, version) >= 1, &self.tags);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use kafka_protocol::messages as theirs;
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    fn check_split(input: &[u8], bytes_max: usize, expect: Result<Option<&[u8]>, WireError>) {
        let mut buf = BytesMut::from(input);
        assert_eq!(split(&mut buf, bytes_max), expect.map(|frame| frame.map(Bytes::copy_from_slice)), "{input:?}");
    }

    #[test]
    fn a_frame_is_taken_when_whole_and_refused_by_its_length_alone() {
        check_split(&[], 10, Ok(None));
        check_split(&[0, 0, 0], 10, Ok(None));
        check_split(&[0, 0, 0, 2, 1], 10, Ok(None));
        check_split(&[0, 0, 0, 2, 1, 2, 9], 10, Ok(Some(&[1, 2])));
        check_split(&[0, 0, 0, 0], 10, Ok(Some(&[])));
        check_split(&[0, 0, 0, 11], 10, Err(WireError::TooLarge { field: "frame length", size: 11, max: 10 }));
        check_split(&[0xff; 4], 10, Err(WireError::BadLength { field: "frame length", length: -1 }));
        // The first bytes of a TLS hello.
        let tls = Err(WireError::TooLarge { field: "frame length", size: 0x1603_0102, max: 10 });
        check_split(&[0x16, 3, 1, 2, 0], 10, tls);
    }

    #[test]
    fn headers_are_those_of_the_cold_codec_in_every_api_and_version() {
        for &api in ApiKey::ALL {
            for version in api.versions() {
                for client_id in [None, Some(StrBytes::from_static_str("")), Some(StrBytes::from_static_str("me"))] {
                    let mut expect = Vec::new();
                    theirs::RequestHeader::default()
                        .with_request_api_key(api as i16)
                        .with_request_api_version(version)
                        .with_correlation_id(7)
                        .with_client_id(client_id.clone())
                        .encode(&mut expect, api::request_header_version(api, version))
                        .unwrap();
                    let header = RequestHeader {
                        api_key: api as i16,
                        api_version: version,
                        correlation_id: 7,
                        client_id,
                        tags: Tags::default(),
                    };
                    let mut out = OutFrame::new();
                    header.encode(&mut out).unwrap();
                    assert_eq!(out.to_bytes(), expect);
                    expect.extend_from_slice(b"body");
                    let mut frame = Bytes::from(expect);
                    assert_eq!(RequestHeader::decode(&mut frame).unwrap(), header);
                    assert_eq!(frame, "body");
                }
                let mut out = OutFrame::new();
                ResponseHeader::new(9).encode(api, version, &mut out);
                let mut bytes = out.to_bytes();
                let read =
                    theirs::ResponseHeader::decode(&mut bytes.clone(), api::response_header_version(api, version));
                assert_eq!(read.unwrap().correlation_id, 9);
                assert_eq!(ResponseHeader::decode(api, version, &mut bytes).unwrap(), ResponseHeader::new(9));
                assert!(bytes.is_empty());
            }
        }
    }

    #[test]
    fn an_unknown_api_is_refused_and_a_newer_api_versions_is_read() {
        let mut unknown = Bytes::from_static(&[0x7f, 0xff, 0, 1, 0, 0, 0, 1, 0xff, 0xff]);
        assert_eq!(RequestHeader::decode(&mut unknown), Err(WireError::Unsupported { api: 0x7fff, version: 1 }));
        let mut newer = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 1, 0, 1, b'x', 0]);
        assert_eq!(RequestHeader::decode(&mut newer).unwrap().api_version, 99);
    }
}
