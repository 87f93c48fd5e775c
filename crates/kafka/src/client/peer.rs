//! A broker's end of a connection for tests: reads requests and answers what the test says, by the real codec.

#![allow(clippy::unwrap_used)] // a test panics on failure

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiVersionsRequest, ApiVersionsResponse, api_versions_response::ApiVersion},
    protocol::Request,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

use super::{Backoff, ClientConfig, ConnectionConfig, Jitter};
use crate::wire::{
    ApiKey, OutFrame, cold, frame,
    frame::{RequestHeader, ResponseHeader},
};

/// No scripted request is larger.
const REQUEST_BYTES_MAX: usize = 1 << 20;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A listening broker.
pub(super) struct Peer {
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Peer {
    pub(super) async fn listen() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), tls: None }
    }

    pub(super) async fn listen_tls(config: rustls::ServerConfig) -> Self {
        Self { tls: Some(Arc::new(config)), ..Self::listen().await }
    }

    pub(super) fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// The next connection; an error is a failed TLS handshake.
    pub(super) async fn accept(&self) -> std::io::Result<Dialogue> {
        let (stream, _) = self.listener.accept().await.unwrap();
        let stream: Box<dyn Io> = match &self.tls {
            None => Box::new(stream),
            Some(config) => Box::new(tokio_rustls::TlsAcceptor::from(Arc::clone(config)).accept(stream).await?),
        };
        Ok(Dialogue { stream, buffer: BytesMut::new() })
    }

    /// The next connection, versions negotiated: every API in every version that the codec knows.
    pub(super) async fn ready(&self) -> Dialogue {
        let mut dialogue = self.accept().await.unwrap();
        dialogue.negotiate(&every_api()).await;
        dialogue
    }
}

/// One connection, seen from the broker.
pub(super) struct Dialogue {
    stream: Box<dyn Io>,
    buffer: BytesMut,
}

impl Dialogue {
    /// The next request; `None` if the client closed the connection.
    pub(super) async fn request(&mut self) -> Option<(RequestHeader, Bytes)> {
        loop {
            if let Some(mut body) = frame::split(&mut self.buffer, REQUEST_BYTES_MAX).unwrap() {
                let header = RequestHeader::decode(&mut body).unwrap();
                return Some((header, body));
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next request, which must be of this kind.
    pub(super) async fn expect<R: Request>(&mut self) -> (RequestHeader, R) {
        let (header, body) = self.request().await.unwrap();
        assert_eq!(header.api_key, R::KEY, "another request than expected");
        let request = cold::decode_request(header.api_version, body).unwrap();
        (header, request)
    }

    pub(super) async fn answer<R: Request>(&mut self, to: &RequestHeader, response: &R::Response) {
        let mut body = OutFrame::new();
        cold::encode_response::<R>(to.api_version, response, &mut body).unwrap();
        self.answer_body(to, &body.to_bytes()).await;
    }

    pub(super) async fn answer_body(&mut self, to: &RequestHeader, body: &[u8]) {
        let mut out = OutFrame::new();
        out.begin();
        let api = ApiKey::from_i16(to.api_key).unwrap();
        ResponseHeader::new(to.correlation_id).encode(api, to.api_version, &mut out);
        out.push(Bytes::copy_from_slice(body));
        out.finish(usize::MAX).unwrap();
        self.write(&out.to_bytes()).await;
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Answers ApiVersions with `(api key, lowest, highest)`.
    pub(super) async fn negotiate(&mut self, offered: &[(i16, i16, i16)]) {
        let (header, _) = self.expect::<ApiVersionsRequest>().await;
        let api = |(key, min, max): &(i16, i16, i16)| {
            ApiVersion::default().with_api_key(*key).with_min_version(*min).with_max_version(*max)
        };
        let response = ApiVersionsResponse::default().with_api_keys(offered.iter().map(api).collect());
        self.answer::<ApiVersionsRequest>(&header, &response).await;
    }
}

pub(super) fn every_api() -> Vec<(i16, i16, i16)> {
    ApiKey::ALL.iter().map(|api| (*api as i16, *api.versions().start(), *api.versions().end())).collect()
}

/// Settings that make a failing test fail soon.
pub(super) fn quick() -> ConnectionConfig {
    ConnectionConfig {
        connect_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(10),
        ..ConnectionConfig::default()
    }
}

/// A client of one peer that hardly waits between attempts.
pub(super) fn impatient(peer: &Peer) -> ClientConfig {
    ClientConfig {
        connection: quick(),
        backoff: Backoff { first: Duration::from_millis(1), max: Duration::from_millis(2) },
        jitter: Jitter::seeded(1),
        attempts_max: 3,
        ..ClientConfig::new([peer.address()])
    }
}
