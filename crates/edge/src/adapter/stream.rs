//! A client's bytes on their way to Pingora, through the request check.
//!
//! Pingora asks this stream for bytes as it would ask a socket, and gets only what the check has let pass: a head whole or not
//! at all, and no second request before the first is answered. What is refused between requests is answered here, since
//! Pingora never sees it; what is refused within one is an error to its reader, and the proxy answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::answer;
use super::connection::{Connection, Protocol};
use crate::request::{Reason, Refusal, RequestCheck};

/// What is read at once: a usual head whole, and little enough that ten thousand idle connections are bearable.
const READ_BYTES: usize = 4 << 10;
/// What is read ahead of a request that is held back: one more head at most.
const AHEAD_BYTES_MAX: usize = 16 << 10;
/// What is collected before it is written: a head with a small body goes out as one packet.
const WRITE_BYTES: usize = 8 << 10;
/// A reader that comes back behind this was busy, and what the client could not send is not held against it.
const BUSY_MS: u64 = 1_000;
/// How long, and how much, is still taken from a client that was refused, so that closing does not cut off the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 64 << 10;

/// A stream of bytes below HTTP: a socket, or TLS on one.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug + 'static> Transport for T {}

/// A client's connection as Pingora has it.
#[derive(Debug)]
pub(crate) struct ClientStream<S> {
    io: S,
    fd: UniqueIDType,
    connection: Arc<Connection>,
    digest: Arc<ProxyDigest>,
    socket: Arc<SocketDigest>,
    /// Read and not yet taken; the first `passed` bytes may be taken.
    held: BytesMut,
    passed: usize,
    /// Written and not yet sent.
    out: BytesMut,
    check: Option<Checked>,
    is_ended: bool,
}

/// The check of an HTTP/1 connection, with its timer.
#[derive(Debug)]
struct Checked {
    check: RequestCheck,
    origin: Instant,
    timer: Pin<Box<Sleep>>,
    /// When the reader was last given something; none while it waits.
    gave_ms: Option<u64>,
    ending: Option<Ending>,
    answered: u64,
}

/// How a refused connection ends: the answer goes out, then what still comes is thrown away for a moment.
#[derive(Debug)]
enum Ending {
    Answering,
    Lingering { left: usize },
}

impl Checked {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets the timer run to the next deadline. It may stay on an earlier one: then it looks again.
    fn arm(&mut self) {
        let Some(deadline_ms) = self.check.deadline_ms() else { return };
        let deadline = self.origin + Duration::from_millis(deadline_ms);
        if deadline < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(deadline);
        }
    }
}

impl<S: Transport> ClientStream<S> {
    /// A stream of which `held` was read already, to find out what the client speaks.
    pub fn new(io: S, fd: UniqueIDType, connection: Arc<Connection>, held: BytesMut, since: Instant) -> Self {
        let check = (connection.protocol == Protocol::Http1).then(|| {
            let check = RequestCheck::new(connection.limits, 0).one_at_a_time();
            let timer = Box::pin(sleep_until(since + Duration::from_millis(connection.limits.head_ms_max)));
            Checked { check, origin: since, timer, gave_ms: None, ending: None, answered: 0 }
        });
        let response = ResponseHeader::build(200, None).expect("a status that exists");
        let digest = ProxyDigest::new(Box::new(response), Some(Box::new(connection.clone())));
        let socket = SocketDigest::from_raw_fd(fd);
        Self {
            io,
            fd,
            connection,
            digest: Arc::new(digest),
            socket: Arc::new(socket),
            passed: if check.is_some() { 0 } else { held.len() },
            held,
            out: BytesMut::new(),
            check,
            is_ended: false,
        }
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let bytes = self.passed.min(buf.remaining());
        buf.put_slice(&self.held[..bytes]);
        self.held.advance(bytes);
        self.passed -= bytes;
        if self.held.is_empty() {
            // A connection at rest holds no buffer.
            self.held = BytesMut::new();
        }
    }

    /// Reads more behind what is held. False at the client's end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.held.reserve(READ_BYTES);
        let read = tokio_util::io::poll_read_buf(Pin::new(&mut self.io), cx, &mut self.held);
        Poll::Ready(Ok(ready!(read)? > 0))
    }

    fn poll_checked(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let Some(checked) = &mut self.check else { return Poll::Ready(Ok(())) };
            if checked.ending.is_some() {
                return self.poll_ending(cx);
            }
            let now_ms = checked.now_ms();
            if let Some(gave_ms) = checked.gave_ms.take()
                && now_ms.saturating_sub(gave_ms) >= BUSY_MS
            {
                checked.check.resumed(now_ms);
            }
            if self.connection.is_switched() {
                checked.check.switched();
            }
            let answered = self.connection.answered();
            while checked.answered < answered {
                checked.answered += 1;
                checked.check.answered(now_ms);
            }
            if self.passed == 0 {
                let step = checked.check.advance(now_ms, &self.held);
                self.passed = step.pass;
                if self.passed == 0
                    && let Some(refusal) = step.refusal
                {
                    match self.refuse(refusal) {
                        Some(error) => return Poll::Ready(Err(error)),
                        None => continue,
                    }
                }
            }
            if self.passed > 0 {
                checked.gave_ms = Some(now_ms);
                self.give(buf);
                return Poll::Ready(Ok(()));
            }
            if self.is_ended {
                // Half of a request is no request; what was held back behind one in hand is looked at behind its answer.
                return if checked.check.awaits_answer() && !self.held.is_empty() {
                    Poll::Pending
                } else {
                    Poll::Ready(Ok(()))
                };
            }
            if checked.check.awaits_answer() && self.held.len() >= AHEAD_BYTES_MAX {
                return Poll::Pending;
            }
            match self.poll_more(cx)? {
                Poll::Ready(more) => self.is_ended = !more,
                Poll::Pending => {
                    let Some(checked) = &mut self.check else { return Poll::Pending };
                    checked.arm();
                    ready!(checked.timer.as_mut().poll(cx));
                    let now_ms = checked.now_ms();
                    if let Some(refusal) = checked.check.tick(now_ms) {
                        if let Some(error) = self.refuse(refusal) {
                            return Poll::Ready(Err(error));
                        }
                    } else if checked.check.deadline_ms().is_none() {
                        // Nothing is due; a deadline to come arms the timer again.
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Begins the end of a connection: an error for whoever reads a request of it, or an answer of its own.
    fn refuse(&mut self, refusal: Refusal) -> Option<io::Error> {
        let Some(checked) = &mut self.check else { return None };
        tracing::debug!(reason = refusal.reason.name(), client = self.connection.asker.number, "a request is refused");
        self.connection.count(refusal.reason);
        if checked.check.refused_within() {
            self.connection.refuse(refusal);
            return Some(io::Error::new(io::ErrorKind::InvalidData, refusal));
        }
        if refusal.reason != Reason::Idle {
            self.out.extend_from_slice(&answer::refused_http1(refusal.reason));
        }
        checked.ending = Some(Ending::Answering);
        None
    }

    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let Some(checked) = &mut self.check else { return Poll::Ready(Ok(())) };
            match &mut checked.ending {
                None => return Poll::Ready(Ok(())),
                Some(Ending::Answering) => {
                    ready!(self.poll_out(cx))?;
                    ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
                    let Some(checked) = &mut self.check else { return Poll::Ready(Ok(())) };
                    checked.ending = Some(Ending::Lingering { left: LINGER_BYTES_MAX });
                    checked.timer.as_mut().reset(Instant::now() + LINGER);
                }
                Some(Ending::Lingering { left }) => {
                    if checked.timer.as_mut().poll(cx).is_ready() || *left == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    let mut scratch = [0; 1024];
                    let mut scratch = ReadBuf::new(&mut scratch);
                    ready!(Pin::new(&mut self.io).poll_read(cx, &mut scratch))?;
                    if scratch.filled().is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    *left = left.saturating_sub(scratch.filled().len());
                }
            }
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        self.out = BytesMut::new();
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl<S: Transport> AsyncRead for ClientStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.check.is_some() {
            return this.poll_checked(cx, buf);
        }
        if this.passed > 0 {
            this.give(buf);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl<S: Transport> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.out.len() + buf.len() > WRITE_BYTES {
            ready!(self.poll_out(cx))?;
            if buf.len() >= WRITE_BYTES {
                return Pin::new(&mut self.io).poll_write(cx, buf);
            }
        }
        self.out.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.out.len() + bytes > WRITE_BYTES {
            ready!(self.poll_out(cx))?;
            if bytes >= WRITE_BYTES {
                return Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
            }
        }
        bufs.iter().for_each(|buf| self.out.extend_from_slice(buf));
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[async_trait]
impl<S: Transport> Shutdown for ClientStream<S> {
    async fn shutdown(&mut self) {
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            // The client was faster: there is nobody to tell.
            tracing::debug!(%error, "a connection was closed by its client");
        }
    }
}

impl<S: Transport> UniqueID for ClientStream<S> {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl<S: Transport> Ssl for ClientStream<S> {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(match self.connection.protocol {
            Protocol::Http1 => ALPN::H1,
            Protocol::Http2 => ALPN::H2,
        })
    }
}

impl<S: Transport> GetTimingDigest for ClientStream<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S: Transport> GetProxyDigest for ClientStream<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.digest.clone())
    }
}

impl<S: Transport> GetSocketDigest for ClientStream<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket.clone())
    }
}

impl<S: Transport> Peek for ClientStream<S> {}
