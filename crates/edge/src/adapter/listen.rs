//! The front: accepts connections within their bounds and hands each to Pingora.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use pingora_core::apps::{HttpServerApp as _, HttpServerOptions, ServerApp as _};
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::{self, ServerConfig};

use naru_runtime::keys::{KeyError, refuse_exposed};
use naru_runtime::tasks::Tasks;

use super::asker::Asker;
use super::connection::{Connection, Protocol};
use super::proxy::Proxy;
use super::stream::{ClientStream, Transport};
use crate::config::ListenerTls;
use crate::gateway::Gateway;
use crate::policy::retry::ATTEMPTS_MAX;

/// How an HTTP/2 connection begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a client has time for until TLS stands.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// After an accept that the system refused (no descriptors): connections that end free some.
const ACCEPT_WAIT: Duration = Duration::from_millis(50);
/// Requests at once on an HTTP/2 connection, as most servers have it.
const STREAMS_MAX: u32 = 100;
/// Streams that a client reset before they were looked at: more is an attack (CVE-2023-44487).
const RESET_STREAMS_MAX: usize = 20;
/// What one HTTP/2 stream, and a connection, may send ahead.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// What waits to be written on one HTTP/2 stream.
const SEND_BUFFER_BYTES_MAX: usize = 64 << 10;
/// How long connections that rest are left open when the edge ends, and how often it is looked whether all have gone.
const REST_GRACE_MAX: Duration = Duration::from_secs(2);
const REST_LOOK: Duration = Duration::from_millis(10);
/// Idle connections to servers that are kept.
const KEPT_CONNECTIONS: usize = 512;

/// Why the front does not serve. The operator is at fault, or the machine.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What refused.
        #[source]
        source: io::Error,
    },
    /// A file of the certificate or its key.
    #[error("{}: cannot be read as PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// The key may be read by others.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Certificate and key do not go together.
    #[error("{}: cannot be used with its key", path.display())]
    Identity {
        /// The certificate's file.
        path: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
}

/// What accepts connections.
#[derive(Debug)]
pub struct Front {
    gateway: Arc<Gateway>,
    tls: Option<(ListenerTls, ArcSwap<ServerConfig>)>,
    clients: Arc<Clients>,
    /// Whether new connections are left to wait.
    paused: watch::Sender<bool>,
}

/// How many connections each address has.
#[derive(Debug, Default)]
struct Clients(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// One connection, counted until it ends.
#[derive(Debug)]
struct Counted {
    clients: Arc<Clients>,
    address: IpAddr,
}

impl Clients {
    fn enter(self: &Arc<Self>, address: IpAddr, total_max: u32, each_max: u32) -> Option<Counted> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= total_max {
            return None;
        }
        let own = counts.by_address.entry(address).or_default();
        if *own >= each_max {
            return None;
        }
        *own += 1;
        counts.total += 1;
        Some(Counted { clients: self.clone(), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        if let Some(own) = counts.by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

impl Front {
    /// A front for a gateway; reads its certificate.
    ///
    /// # Errors
    /// When certificate or key cannot be used.
    pub fn new(gateway: Arc<Gateway>) -> Result<Self, FrontError> {
        let files = gateway.in_force().config.tls.clone();
        let tls =
            files.map(|files| Ok::<_, FrontError>((files.clone(), ArcSwap::new(identity(&files)?)))).transpose()?;
        Ok(Self { gateway, tls, clients: Arc::default(), paused: watch::Sender::new(false) })
    }

    /// Reads the certificate again; connections that stand keep theirs.
    ///
    /// # Errors
    /// When certificate or key cannot be used; the ones before stay.
    pub fn reload_certificate(&self) -> Result<(), FrontError> {
        if let Some((files, config)) = &self.tls {
            config.store(identity(files)?);
        }
        Ok(())
    }

    /// Leaves new connections to wait in the socket, or goes on to accept them.
    pub fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    /// Connections that stand.
    pub fn connections(&self) -> u64 {
        u64::from(self.clients.0.lock().unwrap_or_else(PoisonError::into_inner).total)
    }

    /// Takes an address.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn bind(&self) -> Result<TcpListener, FrontError> {
        let address = self.gateway.in_force().config.listen;
        TcpListener::bind(address).await.map_err(|source| FrontError::Listen { address, source })
    }

    /// Serves until told to stop; then no connection is accepted, and those that stand end with their requests.
    pub fn serve(self: &Arc<Self>, listener: TcpListener, tasks: &Tasks) {
        let threads = self.gateway.in_force().config.threads as usize;
        let conf = ServerConf {
            threads,
            max_retries: ATTEMPTS_MAX as usize,
            upstream_keepalive_pool_size: KEPT_CONNECTIONS,
            ..ServerConf::default()
        };
        let mut proxy = HttpProxy::new(Proxy::new(self.gateway.clone()), Arc::new(conf));
        let limits = &self.gateway.in_force().config.limits;
        let mut options = HttpServerOptions::default();
        options.keepalive_request_limit = Some(limits.requests_per_connection_max);
        options.h2_idle_timeout = Some(limits.idle_timeout);
        proxy.server_options = Some(options);
        proxy.h2_options = Some(http2_options(u32::try_from(limits.head_bytes_max.bytes()).unwrap_or(u32::MAX)));
        proxy.handle_init_modules();
        let (front, proxy, spawner) = (self.clone(), Arc::new(proxy), tasks.clone());
        tasks.spawn("accept", async move { front.accept(listener, proxy, spawner).await });
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, proxy: Arc<HttpProxy<Proxy>>, tasks: Tasks) {
        let (ending, shutdown) = watch::channel(false);
        let (stop, mut paused) = (tasks.stop_token(), self.paused.subscribe());
        loop {
            let is_paused = *paused.borrow_and_update();
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                // Its sender is a part of this front.
                Ok(()) = paused.changed() => continue,
                accepted = listener.accept(), if !is_paused => accepted,
            };
            match accepted {
                Ok((socket, client)) => self.admit(socket, client, &proxy, &shutdown, &tasks),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_WAIT).await;
                }
            }
        }
        drop(listener);
        // Nobody hears it when no connection stands.
        ending.send_replace(true);
        // Each answer now says that its connection ends. A client that rests gets time to ask once more: were its
        // connection cut at once, a request on its way would be lost.
        let grace = REST_GRACE_MAX.min(self.gateway.in_force().config.drain_max / 2);
        let until = Instant::now() + grace;
        while self.connections() > 0 && Instant::now() < until {
            tokio::time::sleep(REST_LOOK).await;
        }
        proxy.http_cleanup().await;
    }

    fn admit(
        self: &Arc<Self>,
        socket: TcpStream,
        client: SocketAddr,
        proxy: &Arc<HttpProxy<Proxy>>,
        shutdown: &watch::Receiver<bool>,
        tasks: &Tasks,
    ) {
        let in_force = self.gateway.in_force();
        let limits = &in_force.config.limits;
        // A proxy carries many clients: only the bound on all of them holds for it.
        let each_max = match in_force.trusted.contain(client.ip()) {
            true => limits.connections_max,
            false => limits.connections_per_client_max,
        };
        let counted = self.clients.enter(client.ip(), limits.connections_max, each_max);
        self.gateway.meters.connected(counted.is_some());
        let Some(counted) = counted else { return };
        let (front, proxy, shutdown) = (self.clone(), proxy.clone(), shutdown.clone());
        tasks.spawn("connection", async move {
            if let Err(error) = front.serve_one(socket, client, &proxy, &shutdown).await {
                // A client that does not get as far as a request is its own affair.
                tracing::debug!(%error, "a connection ended before its first request");
            }
            drop(counted);
        });
    }

    async fn serve_one(
        &self,
        socket: TcpStream,
        client: SocketAddr,
        proxy: &Arc<HttpProxy<Proxy>>,
        shutdown: &watch::Receiver<bool>,
    ) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let fd = socket.as_raw_fd();
        let since = Instant::now();
        match &self.tls {
            None => self.carry(socket, fd, client, None, since, proxy, shutdown).await,
            Some((_, config)) => {
                let acceptor = TlsAcceptor::from(config.load_full());
                let stream = timeout_at(since + HANDSHAKE_MAX, acceptor.accept(socket)).await??;
                let protocol = match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Protocol::Http2,
                    _ => Protocol::Http1,
                };
                self.carry(stream, fd, client, Some(protocol), since, proxy, shutdown).await
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // one call below another, for two kinds of streams
    async fn carry<S: Transport>(
        &self,
        mut io: S,
        fd: i32,
        client: SocketAddr,
        agreed: Option<Protocol>,
        since: Instant,
        proxy: &Arc<HttpProxy<Proxy>>,
        shutdown: &watch::Receiver<bool>,
    ) -> io::Result<()> {
        let limits = self.gateway.in_force().limits;
        let mut held = BytesMut::new();
        let protocol = match agreed {
            Some(protocol) => protocol,
            None => {
                let until = since + Duration::from_millis(limits.head_ms_max);
                timeout_at(until, spoken(&mut io, &mut held)).await??
            }
        };
        let asker = Asker::new(client.ip(), agreed.is_some(), &self.gateway);
        let connection = Arc::new(Connection::new(client, protocol, limits, asker, self.gateway.meters.clone()));
        let stream = ClientStream::new(io, fd, connection, held, since);
        // What it gives back is a connection that could go on; Pingora has gone on with it already.
        drop(proxy.process_new(Box::new(stream), shutdown).await);
        Ok(())
    }
}

/// What an unencrypted client speaks, by its first bytes, which are kept.
async fn spoken<S: Transport>(io: &mut S, held: &mut BytesMut) -> io::Result<Protocol> {
    loop {
        let common = held.len().min(PREFACE.len());
        if held[..common] != PREFACE[..common] {
            return Ok(Protocol::Http1);
        }
        if common == PREFACE.len() {
            return Ok(Protocol::Http2);
        }
        if io.read_buf(held).await? == 0 {
            return Ok(Protocol::Http1);
        }
    }
}

fn http2_options(head_bytes_max: u32) -> H2Options {
    let mut options = H2Options::default();
    options
        .max_header_list_size(head_bytes_max)
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    options
}

/// The edge's side of TLS, 1.2 and 1.3, HTTP/2 before HTTP/1.1.
fn identity(files: &ListenerTls) -> Result<Arc<ServerConfig>, FrontError> {
    let pem = |path: &PathBuf| {
        let path = path.clone();
        move |source| FrontError::Pem { path, source }
    };
    refuse_exposed(&files.key)?;
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(pem(&files.key))?;
    let identity = |source| FrontError::Identity { path: files.certificate.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(identity)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(identity)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
