//! One connection that says exactly what a test wants said, right or wrong.
//!
//! Messages are encoded by kafka-protocol and framed here, not by the product's own codec: a mistake made in both
//! directions of one codec would cancel out.

use std::io::{Read, Write};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// Longer than any wait that a test asks of a broker: past it the test fails instead of hanging.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A blocking connection; several requests may be in flight.
pub struct Raw {
    stream: TcpStream,
    next_correlation: i32,
}

/// A request that was sent and whose answer was not read yet.
pub struct Pending<R> {
    correlation: i32,
    version: i16,
    request: PhantomData<R>,
}

impl Raw {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, next_correlation: 1 }
    }

    /// Sends a request and reads its answer.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let pending = self.send(version, request);
        self.receive(&pending)
    }

    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> Pending<R> {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap();
        let correlation = self.send_body(R::KEY, version, R::header_version(version), &body);
        Pending { correlation, version, request: PhantomData }
    }

    pub fn receive<R: Request>(&mut self, pending: &Pending<R>) -> R::Response {
        let Some(mut answer) = self.read_frame() else {
            panic!("the connection was closed instead of answering API {} version {}", R::KEY, pending.version);
        };
        assert_eq!(answer.get_i32(), pending.correlation, "answers come in the order of requests");
        if R::Response::header_version(pending.version) == 1 {
            assert_eq!(answer.get_u8(), 0, "a response header without tagged fields");
        }
        let message = R::Response::decode(&mut answer, pending.version).unwrap();
        assert!(answer.is_empty(), "{} bytes after the answer", answer.len());
        message
    }

    /// Sends a body as it is, behind a header of the given version.
    pub fn send_body(&mut self, api: i16, version: i16, header_version: i16, body: &[u8]) -> i32 {
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(api)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(StrBytes::from_static_str("conformance")));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header.encode(&mut frame, header_version).unwrap();
        frame.put_slice(body);
        let length = u32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.send_bytes(&frame);
        correlation
    }

    /// Sends bytes without any frame.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame without its length; none if the broker closed the connection.
    pub fn read_frame(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        if self.stream.read_exact(&mut length).is_err() {
            return None;
        }
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut frame).ok()?;
        Some(frame.into())
    }
}
