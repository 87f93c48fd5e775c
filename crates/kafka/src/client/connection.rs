//! One connection to one broker: TCP, TLS, version negotiation, authentication, then any number of requests.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kafka_protocol::{
    messages::{
        ApiVersionsRequest, ApiVersionsResponse, SaslAuthenticateRequest, SaslAuthenticateResponse,
        SaslHandshakeRequest,
    },
    protocol::{Message, Request, StrBytes},
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    config::{ConnectionConfig, Sasl, split_address},
    error::{Asked, Broker, ClientError, Outcome},
    link::{Answer, Lifetime, Link, LinkError},
    sasl::{SaslError, plain, scram},
    versions::ApiRanges,
};
use crate::wire::{
    ApiKey, ErrorCode, OutFrame, Tags, WireError, cold,
    frame::{RequestHeader, ResponseHeader},
};

/// Asked for first. Brokers since 2.4 know it; older ones say so, and are asked again with 0.
const API_VERSIONS_VERSION: i16 = 3;
/// The largest request: a broker's default bound (socket.request.max.bytes) is 100 MiB.
const REQUEST_BYTES_MAX: usize = 100 << 20;
/// Part of a session's lifetime after which the next request gets a new connection: the broker cuts expired ones.
const SESSION_USE: f64 = 0.85;

/// How one request is to be made.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// Speak no version below this.
    pub version_min: Option<i16>,
    /// Speak no version above this.
    pub version_max: Option<i16>,
    /// What the request itself tells the broker to wait; added to the connection's time-out.
    pub broker_wait: Duration,
    /// What the request is about, for errors.
    pub about: Option<Arc<str>>,
}

impl CallOptions {
    /// For a request about one thing.
    pub fn about(what: impl std::fmt::Display) -> Self {
        Self { about: Some(Arc::from(what.to_string())), ..Self::default() }
    }

    /// Restricts the versions.
    pub fn versions(mut self, min: i16, max: i16) -> Self {
        self.version_min = Some(min);
        self.version_max = Some(max);
        self
    }

    /// Adds what the broker is told to wait.
    pub fn broker_wait(mut self, wait: Duration) -> Self {
        self.broker_wait = wait;
        self
    }

    pub(super) fn asked(&self, api_key: i16) -> Asked {
        Asked { api_key, about: self.about.clone().unwrap_or_else(|| Arc::from("")) }
    }
}

/// A connection; clones share it. It ends when the last clone and the last awaited answer are gone, on any breach of
/// the protocol, and when a request gets no answer in time (answers come in order, so all behind it are late as well).
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    broker: Broker,
    link: Arc<Link>,
    /// Set once, before the connection is handed out.
    ranges: OnceLock<ApiRanges>,
    client_id: StrBytes,
    request_timeout: Duration,
    next_correlation_id: AtomicI32,
    /// Set where the broker limits a session's lifetime.
    expires: OnceLock<Instant>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.link.stop();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("broker", &self.inner.broker).field("closed", &self.is_closed()).finish()
    }
}

/// A request that was handed over, in order; its answer can be awaited apart.
pub struct Reply {
    connection: Connection,
    api: ApiKey,
    version: i16,
    answered: bool,
    asked: Asked,
    limit: Duration,
    answer: Answer,
}

impl Reply {
    /// The version that was spoken.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// The broker that was asked.
    pub fn broker(&self) -> &Broker {
        self.connection.broker()
    }

    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The body of the answer; empty for a request that gets none.
    pub async fn body(self) -> Result<Bytes, ClientError> {
        let Self { connection, api, version, answered, asked, limit, answer } = self;
        let mut body = match answer.wait().await {
            Ok(body) => body,
            Err(error) => return Err(connection.link_error(error, asked, limit)),
        };
        if answered {
            ResponseHeader::decode(api, version, &mut body).map_err(|source| connection.decode_error(asked, source))?;
        }
        Ok(body)
    }
}

impl Connection {
    /// Connects, negotiates versions and authenticates. The connection's tasks belong to `lifetime`.
    pub async fn open(
        config: &ConnectionConfig,
        address: &str,
        node_id: Option<i32>,
        lifetime: &Lifetime,
    ) -> Result<Self, ClientError> {
        let broker = Broker { address: Arc::from(address), node_id };
        let deadline = Instant::now() + config.connect_timeout;
        match timeout_at(deadline, Self::open_unbounded(config, broker.clone(), lifetime)).await {
            Ok(opened) => opened,
            Err(_) => Err(ClientError::no_session(&broker, config.connect_timeout)),
        }
    }

    async fn open_unbounded(
        config: &ConnectionConfig,
        broker: Broker,
        lifetime: &Lifetime,
    ) -> Result<Self, ClientError> {
        let (host, port) = split_address(&broker.address).map_err(|problem| ClientError::Config { problem })?;
        let connect_error =
            |source| ClientError::Connect { broker: Box::new(broker.clone()), source: Arc::new(source) };
        let stream = TcpStream::connect((host, port)).await.map_err(connect_error)?;
        stream.set_nodelay(true).map_err(connect_error)?;
        let link = match &config.tls {
            None => {
                let (read, write) = stream.into_split();
                Link::start(read, write, config.in_flight_max, config.response_bytes_max, lifetime)
            }
            Some(tls) => {
                let name = tls.server_name(host)?;
                let stream = tls.connector().connect(name, stream).await.map_err(|source| ClientError::Tls {
                    broker: Box::new(broker.clone()),
                    source: Arc::new(source),
                })?;
                let (read, write) = tokio::io::split(stream);
                Link::start(read, write, config.in_flight_max, config.response_bytes_max, lifetime)
            }
        };
        let opened = Self {
            inner: Arc::new(Inner {
                broker,
                link,
                ranges: OnceLock::new(),
                client_id: StrBytes::from_string(config.client_id.clone()),
                request_timeout: config.request_timeout,
                next_correlation_id: AtomicI32::new(0),
                expires: OnceLock::new(),
            }),
        };
        let ranges = opened.negotiate().await?;
        opened.inner.ranges.get_or_init(|| ranges);
        if let Some(sasl) = &config.sasl
            && let Some(lifetime) = opened.authenticate(sasl).await?
        {
            opened.inner.expires.get_or_init(|| Instant::now() + lifetime.mul_f64(SESSION_USE));
        }
        Ok(opened)
    }

    /// The broker at the other end.
    pub fn broker(&self) -> &Broker {
        &self.inner.broker
    }

    /// The versions that the broker offers.
    pub fn offered(&self) -> &ApiRanges {
        static NOTHING_YET: ApiRanges = ApiRanges::none();
        self.inner.ranges.get().unwrap_or(&NOTHING_YET)
    }

    /// Whether the next request needs another connection: this one ended, or its authentication is about to expire.
    pub fn is_closed(&self) -> bool {
        self.inner.link.is_closed() || self.inner.expires.get().is_some_and(|expires| *expires <= Instant::now())
    }

    /// Ends the connection; whatever is pending fails with an unknown outcome.
    pub fn close(&self) {
        self.inner.link.stop();
    }

    /// One request and its answer, in the highest version that both sides speak.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        self.call_with(request, &CallOptions::default()).await
    }

    /// As [`Connection::call`], with bounds on the version, the time and words for errors.
    pub async fn call_with<R: Request>(&self, request: &R, options: &CallOptions) -> Result<R::Response, ClientError> {
        let asked = || options.asked(R::KEY);
        let api = ApiKey::from_i16(R::KEY).ok_or_else(|| ClientError::Encode {
            asked: asked(),
            source: WireError::Unsupported { api: R::KEY, version: 0 },
        })?;
        let ours = R::VERSIONS.intersect(&<R::Response as Message>::VERSIONS);
        let version = self.pick(api, ours.min, ours.max, options)?;
        let encode = |frame: &mut OutFrame| cold::encode_request(version, request, frame);
        let body = self.begin(api, version, true, encode, options).await?.body().await?;
        cold::decode_response::<R>(version, body).map_err(|source| self.decode_error(asked(), source))
    }

    /// The version for an API: the highest that this client, the caller's bounds and the broker share.
    pub fn pick(&self, api: ApiKey, ours_min: i16, ours_max: i16, options: &CallOptions) -> Result<i16, ClientError> {
        let ours_min = options.version_min.map_or(ours_min, |min| min.max(ours_min));
        let ours_max = options.version_max.map_or(ours_max, |max| max.min(ours_max));
        self.offered().pick(api as i16, ours_min, ours_max).ok_or_else(|| ClientError::NoCommonVersion {
            broker: Box::new(self.inner.broker.clone()),
            asked: options.asked(api as i16),
            ours_min,
            ours_max,
            theirs: self.offered().offered(api as i16),
        })
    }

    /// Hands over an encoded request, as soon as there is room for it; requests are sent in the order in which this
    /// returns. `answered` is false only for Produce with acks=0.
    pub async fn begin(
        &self,
        api: ApiKey,
        version: i16,
        answered: bool,
        body: impl FnOnce(&mut OutFrame) -> Result<(), WireError>,
        options: &CallOptions,
    ) -> Result<Reply, ClientError> {
        let asked = options.asked(api as i16);
        let limit = self.inner.request_timeout + options.broker_wait;
        let correlation_id = self.inner.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        let header = RequestHeader {
            api_key: api as i16,
            api_version: version,
            correlation_id,
            client_id: Some(self.inner.client_id.clone()),
            tags: Tags::default(),
        };
        let mut frame = OutFrame::new();
        frame.begin();
        header
            .encode(&mut frame)
            .and_then(|()| body(&mut frame))
            .and_then(|()| frame.finish(REQUEST_BYTES_MAX))
            .map_err(|source| ClientError::Encode { asked: asked.clone(), source })?;
        match self.inner.link.submit(correlation_id, frame, limit, answered).await {
            Ok(answer) => Ok(Reply { connection: self.clone(), api, version, answered, asked, limit, answer }),
            Err(error) => Err(self.link_error(error, asked, limit)),
        }
    }

    pub(super) fn answered_error(&self, asked: Asked, code: ErrorCode, message: Option<&StrBytes>) -> ClientError {
        ClientError::Answered {
            broker: Box::new(self.inner.broker.clone()),
            asked,
            code,
            message: message.map(printable),
        }
    }

    pub(super) fn incomplete(&self, asked: Asked, missing: &'static str) -> ClientError {
        ClientError::Incomplete { broker: Box::new(self.inner.broker.clone()), asked, missing }
    }

    pub(super) fn decode_error(&self, asked: Asked, source: WireError) -> ClientError {
        ClientError::Decode { broker: Box::new(self.inner.broker.clone()), asked, outcome: Outcome::Unknown, source }
    }

    fn link_error(&self, error: LinkError, asked: Asked, limit: Duration) -> ClientError {
        let broker = Box::new(self.inner.broker.clone());
        match error {
            LinkError::Closed { outcome, cause } => ClientError::Closed { broker, asked, outcome, source: cause },
            LinkError::TimedOut { outcome } => ClientError::TimedOut { broker, asked, limit, outcome },
        }
    }

    async fn negotiate(&self) -> Result<ApiRanges, ClientError> {
        let options = CallOptions::default();
        let api = ApiKey::ApiVersions;
        let asked = || Asked::api(api);
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("naru"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut version = API_VERSIONS_VERSION;
        loop {
            let encode = |frame: &mut OutFrame| cold::encode_request(version, &request, frame);
            let body = self.begin(api, version, true, encode, &options).await?.body().await?;
            // A broker that does not know the version answers in version 0.
            let refused = body.first_chunk::<2>().map(|code| ErrorCode(i16::from_be_bytes(*code)));
            if refused == Some(ErrorCode::UNSUPPORTED_VERSION) && version > 0 {
                version = 0;
                continue;
            }
            let response: ApiVersionsResponse = cold::decode_response::<ApiVersionsRequest>(version, body)
                .map_err(|source| self.decode_error(asked(), source))?;
            let code = ErrorCode(response.error_code);
            if code != ErrorCode::NONE {
                return Err(self.answered_error(asked(), code, None));
            }
            return Ok(ApiRanges::from_response(&response));
        }
    }

    /// Returns how long the session lasts, if the broker limits it.
    async fn authenticate(&self, sasl: &Sasl) -> Result<Option<Duration>, ClientError> {
        let mechanism = sasl.mechanism_name();
        let failed = |problem: String| ClientError::Authentication {
            broker: Box::new(self.inner.broker.clone()),
            mechanism,
            problem,
        };
        let broken = |error: SaslError| failed(error.to_string());

        let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        // From version 1 the exchange travels in SaslAuthenticate, which has room for errors.
        let handshake = self.call_with(&request, &CallOptions::default().versions(1, 1)).await?;
        match ErrorCode(handshake.error_code) {
            ErrorCode::NONE => {}
            code => {
                let offered = handshake.mechanisms.iter().map(printable).collect::<Vec<_>>().join(", ");
                return Err(failed(format!("{}, the broker offers {offered}", code.name())));
            }
        }

        let last = match sasl {
            Sasl::Plain { username, password } => {
                let message = plain::message(username, password.reveal()).map_err(broken)?;
                self.sasl_step(message, &failed).await?
            }
            Sasl::Scram { mechanism, username, password } => {
                let random = ring::rand::SystemRandom::new();
                let first = scram::ClientFirst::new(*mechanism, username, &random).map_err(broken)?;
                let challenge = self.sasl_step(first.message(), &failed).await?;
                // Up to a second of hashing: off the threads that carry sockets.
                let password = password.clone();
                let (message, last) =
                    tokio::task::spawn_blocking(move || first.answer(password.reveal(), &challenge.auth_bytes))
                        .await
                        .map_err(|error| failed(format!("the exchange was broken off: {error}")))?
                        .map_err(broken)?;
                let answer = self.sasl_step(message, &failed).await?;
                last.verify(&answer.auth_bytes).map_err(broken)?;
                answer
            }
        };
        let lifetime_ms = u64::try_from(last.session_lifetime_ms).unwrap_or(0);
        Ok((lifetime_ms > 0).then(|| Duration::from_millis(lifetime_ms)))
    }

    async fn sasl_step(
        &self,
        message: Vec<u8>,
        failed: &impl Fn(String) -> ClientError,
    ) -> Result<SaslAuthenticateResponse, ClientError> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
        let answer = self.call(&request).await?;
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => Ok(answer),
            code => {
                let detail = answer.error_message.as_ref().map(printable).unwrap_or_default();
                Err(failed(format!("{}: {detail}", code.name())))
            }
        }
    }
}

/// A broker's words, fit for an error: no control characters, no more than a few lines' worth.
fn printable(text: &StrBytes) -> Box<str> {
    const CHARACTERS_MAX: usize = 500;
    text.chars().filter(|c| !c.is_control()).take(CHARACTERS_MAX).collect::<String>().into_boxed_str()
}
