//! Connections: how many at once, and how long one may say nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at once: with the database's files, within the 1024 that a process may commonly open. More wait in the
/// system's queue until one ends.
pub const CONNECTIONS_MAX: usize = 900;
/// How long a connection may wait between an answer and its next request: longer than clients keep an idle one (90
/// seconds is common), so that mostly they are the ones who close.
pub const IDLE_MAX: Duration = Duration::from_secs(120);
/// How long a request may take from its first byte to the first of its answer. A whole one has at most some thousand
/// bytes and waits for the writer about two seconds.
pub const REQUEST_MAX: Duration = Duration::from_secs(30);

/// Accepts no more than [`CONNECTIONS_MAX`] connections at once.
#[derive(Debug)]
pub struct Bounded {
    listener: TcpListener,
    free: Arc<Semaphore>,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    idle: Duration,
    request: Duration,
}

impl Bounded {
    /// Over a listener.
    pub fn new(listener: TcpListener) -> Self {
        Self::with(listener, CONNECTIONS_MAX, Limits { idle: IDLE_MAX, request: REQUEST_MAX })
    }

    fn with(listener: TcpListener, connections_max: usize, limits: Limits) -> Self {
        Self { listener, free: Arc::new(Semaphore::new(connections_max)), limits }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = Arc::clone(&self.free).acquire_owned().await.expect("nobody closes the semaphore");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let late = Box::pin(sleep(self.limits.idle));
        (Connection { stream, late, in_request: false, limits: self.limits, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails with `TimedOut` when its client is silent, or slow, for too long.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    late: Pin<Box<Sleep>>,
    /// Whether something was read since the last answer.
    in_request: bool,
    limits: Limits,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// What is not ready has until the deadline.
    fn or_late<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.late.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn answered(&mut self) {
        self.in_request = false;
        self.late.as_mut().reset(Instant::now() + self.limits.idle);
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buf) else {
            return self.or_late(context);
        };
        if !self.in_request {
            self.in_request = true;
            let deadline = Instant::now() + self.limits.request;
            self.late.as_mut().reset(deadline);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(context, bytes) else {
            return self.or_late(context);
        };
        self.answered();
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write_vectored(context, bytes) else {
            return self.or_late(context);
        };
        self.answered();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn bounded(connections_max: usize, limits: Limits) -> (Bounded, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Bounded::with(listener, connections_max, limits), address)
    }

    const NEVER: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_connection_too_many_waits_until_another_ends() {
        let (mut bounded, address) = bounded(1, Limits { idle: NEVER, request: NEVER }).await;
        let _clients = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        let (first, _) = bounded.accept().await;
        assert!(tokio::time::timeout(SOON, bounded.accept()).await.is_err());
        drop(first);
        bounded.accept().await;
    }

    #[tokio::test]
    async fn a_client_that_takes_its_time_between_requests_is_served() {
        let (mut bounded, address) = bounded(1, Limits { idle: NEVER, request: SOON }).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = bounded.accept().await;
        for _ in 0..3 {
            client.write_all(b"request").await.unwrap();
            let mut request = [0; 7];
            connection.read_exact(&mut request).await.unwrap();
            connection.write_all(b"answer").await.unwrap();
            // From the answer on only silence counts, and of that it may keep an hour.
            assert!(tokio::time::timeout(SOON * 3, connection.read_u8()).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_client_that_is_silent_or_does_not_finish_its_request_is_cut_off() {
        for (sent, limits) in [
            ("", Limits { idle: SOON, request: NEVER }),
            ("POST /payments HTTP/1.1\r\n", Limits { idle: NEVER, request: SOON }),
        ] {
            let (mut bounded, address) = bounded(1, limits).await;
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(sent.as_bytes()).await.unwrap();
            let (mut connection, _) = bounded.accept().await;
            let mut read = Vec::new();
            let ended = connection.read_to_end(&mut read).await;
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(read, sent.as_bytes());
        }
    }
}
