//! Connections of callers: mutual TLS, and the role that each caller's certificate names.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a caller may take to show who it is.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How long a caller may be silent between and within its requests: longer than any answer takes, and capture comes again.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Between two tries after the system refused a connection: it lacks descriptors or memory.
const REFUSED_WAIT: Duration = Duration::from_millis(100);

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where it came from.
    pub address: SocketAddr,
    /// The role that its certificate names; empty for the listener itself.
    pub role: String,
}

/// Accepts connections of known roles.
pub struct RoleListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    roles: Arc<[String]>,
    room: Arc<Semaphore>,
    handshakes: JoinSet<Option<(Connection, Peer)>>,
}

/// A connection that counts against the bound while it lives.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    /// When it has been silent for too long.
    idle: Pin<Box<Sleep>>,
    _room: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TlsStream<TcpStream>, room: OwnedSemaphorePermit) -> Self {
        Self { stream, idle: Box::pin(tokio::time::sleep(IDLE_MAX)), _room: room }
    }

    fn moved(&mut self) {
        self.idle.as_mut().reset(Instant::now() + IDLE_MAX);
    }
}

impl RoleListener {
    /// Accepts on this port.
    pub fn new(tcp: TcpListener, acceptor: TlsAcceptor, roles: Vec<String>, connections_max: usize) -> Self {
        let room = Arc::new(Semaphore::new(connections_max));
        Self { tcp, acceptor, roles: roles.into(), room, handshakes: JoinSet::new() }
    }

    fn greet(&mut self, tcp: TcpStream, address: SocketAddr, room: OwnedSemaphorePermit) {
        let (acceptor, roles) = (self.acceptor.clone(), self.roles.clone());
        self.handshakes.spawn(async move {
            let stream = match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(tcp)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::warn!(%address, error = &error as &dyn std::error::Error, "caller refused");
                    return None;
                }
                Err(_) => return None,
            };
            let known: Vec<&str> = roles.iter().map(String::as_str).collect();
            let role = naru_runtime::mtls::peer_role(stream.get_ref().1.peer_certificates(), &known)?.to_owned();
            Some((Connection::new(stream, room), Peer { address, role }))
        });
    }
}

impl Listener for RoleListener {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        loop {
            // Without room nobody is accepted; who was accepted before is still greeted.
            let accepted = async {
                let room = self.room.clone().acquire_owned().await.ok()?;
                Some((self.tcp.accept().await, room))
            };
            tokio::select! {
                greeted = self.handshakes.join_next(), if !self.handshakes.is_empty() => {
                    if let Some(Ok(Some(greeted))) = greeted {
                        return greeted;
                    }
                }
                Some((accepted, room)) = accepted => match accepted {
                    Ok((tcp, address)) => self.greet(tcp, address, room),
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the system accepts no connection");
                        tokio::time::sleep(REFUSED_WAIT).await;
                    }
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { address: self.tcp.local_addr()?, role: String::new() })
    }
}

impl Connected<IncomingStream<'_, RoleListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, RoleListener>) -> Self {
        stream.remote_addr().clone()
    }
}

impl tokio::io::AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            self.moved();
        } else if self.idle.as_mut().poll(context).is_ready() {
            return std::task::Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl tokio::io::AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if polled.is_ready() {
            self.moved();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
