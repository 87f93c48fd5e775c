//! Another process takes over, of a newer binary say, and no connection is refused meanwhile.
//!
//! The listening socket itself goes from process to process, over a socket in the state directory, so that connections
//! that nobody has accepted yet wait in it for whoever accepts next. The order is: the one that runs accepts no more,
//! keeps the waiting room's line, and closes its ports for operators; the new one gets the socket, opens the state
//! directory and serves; then the one before ends with the requests that it has. If the new one does not come so far, the
//! one before goes on as if nothing had been.
//!
//! While the one before drains, a site's slots are divided: it keeps what its requests need, less and less of it, and says so
//! over the same socket after it has let go; the new one has the rest, and all of it when the socket closes.
//!
//! A decision log has one writer, and the one before writes until its last request has ended. So there are two chains,
//! and the new process writes the one that the process before does not.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use naru_runtime::tasks::Tasks;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::Instant;

use super::doors::Doors;
use crate::adapter::Front;
use crate::gateway::{Gateway, GatewayError, Lane};

/// Name of the socket in the state directory.
pub const SOCKET: &str = "handover.sock";
/// Longest wait for the other process at any step: it opens files and binds ports, and reads no request until then.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Longest line between the two.
const LINE_BYTES_MAX: u64 = 64;
/// The same where it says what of each site it keeps: as many sites as a policy has, with their names.
const PARTS_BYTES_MAX: u64 = 64 << 10;
/// How often the process before lets go of what its requests need no more.
const LET_GO_EVERY: Duration = Duration::from_millis(50);
/// How long after its `drain_max` the process before must have ended: then its requests are cut.
const END_MARGIN: Duration = Duration::from_secs(1);
const TAKE: &str = "take 2\n";
const SERVING: &str = "serving\n";

/// Why a handover did not happen.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// Nobody answers: the operator's mistake, there is nothing to take over.
    #[error("{}: no edge hands over there; start without --takeover", path.display())]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The other process ended, was too slow, or is of a version with which this one cannot speak.
    #[error("the other process gave up")]
    Other(#[source] io::Error),
    /// The one that runs could not let go; it goes on.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
}

/// What was taken over.
#[derive(Debug)]
pub struct Taken {
    /// The listening socket.
    pub listener: std::net::TcpListener,
    /// The chain of decisions that is free.
    pub lane: Lane,
    stream: UnixStream,
}

/// Takes over from the edge that runs on a state directory. It accepts nothing from here on, until [`Taken::serving`] or
/// until this is dropped. Blocks.
///
/// # Errors
/// When there is none, or it does not let go.
pub fn take(state: &Path) -> Result<Taken, HandoverError> {
    let path = state.join(SOCKET);
    let mut stream = UnixStream::connect(&path).map_err(|source| HandoverError::Nobody { path, source })?;
    stream.set_read_timeout(Some(STEP_MAX)).map_err(HandoverError::Other)?;
    stream.write_all(TAKE.as_bytes()).map_err(HandoverError::Other)?;
    let (line, socket) = receive(&stream).map_err(HandoverError::Other)?;
    let busy = match line.as_str() {
        "given 1\n" => Lane::First,
        "given 2\n" => Lane::Second,
        _ => return Err(HandoverError::Other(io::Error::other(format!("it answered {line:?}")))),
    };
    Ok(Taken { listener: socket.into(), lane: busy.other(), stream })
}

/// The process before, while it drains.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
}

impl Taken {
    /// Tells the process before that it may end, and hears what of each site it keeps for now. Blocks.
    ///
    /// # Errors
    /// When it has gone already, or does not say; then it goes on.
    pub fn serving(mut self, gateway: &Gateway) -> Result<Predecessor, HandoverError> {
        self.stream.write_all(SERVING.as_bytes()).map_err(HandoverError::Other)?;
        let line = read_line(&self.stream, PARTS_BYTES_MAX).map_err(HandoverError::Other)?;
        gateway.hold_elsewhere(&read_parts(&line).map_err(HandoverError::Other)?);
        Ok(Predecessor { stream: self.stream })
    }
}

impl Predecessor {
    /// Takes what it lets go of, and everything when it has ended.
    ///
    /// # Errors
    /// When the system refuses the socket.
    pub fn follow(self, gateway: &Arc<Gateway>, tasks: &Tasks) -> io::Result<()> {
        self.stream.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(self.stream)?;
        let (gateway, stop) = (gateway.clone(), tasks.stop_token());
        tasks.spawn("predecessor", async move {
            let until = Instant::now() + gateway.in_force().config.drain_max + END_MARGIN;
            let followed = tokio::time::timeout_at(until, follow(stream, &gateway));
            match stop.run_until_cancelled(followed).await {
                None | Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => tracing::warn!(%error, "the process before cannot be understood any more"),
                Some(Err(_)) => tracing::warn!("the process before has not ended in its time"),
            }
            gateway.hold_elsewhere(&BTreeMap::new());
        });
        Ok(())
    }
}

/// Ends with the process before.
async fn follow(stream: tokio::net::UnixStream, gateway: &Gateway) -> io::Result<()> {
    let mut reader = tokio::io::BufReader::new(stream);
    loop {
        let mut line = String::new();
        if (&mut reader).take(PARTS_BYTES_MAX).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        gateway.hold_elsewhere(&read_parts(&line)?);
    }
}

/// What of each site a process keeps, by name.
type Parts = BTreeMap<String, u32>;

fn write_parts(parts: &Parts) -> String {
    serde_json::to_string(parts).expect("names and numbers") + "\n"
}

fn read_parts(line: &str) -> io::Result<Parts> {
    serde_json::from_str(line).map_err(io::Error::other)
}

/// The side that runs.
#[derive(Debug)]
pub struct Handover {
    gateway: Arc<Gateway>,
    front: Arc<Front>,
    doors: Arc<Doors>,
    listener: OwnedFd,
    path: PathBuf,
    /// Where it is asked first.
    socket: Option<UnixListener>,
}

impl Handover {
    /// Hands over this listener when it is asked to, until the tasks are told to stop.
    ///
    /// # Errors
    /// When the listener cannot be shared.
    pub fn new(
        gateway: &Arc<Gateway>,
        front: &Arc<Front>,
        doors: &Arc<Doors>,
        listener: &TcpListener,
    ) -> io::Result<Self> {
        let path = gateway.in_force().config.state.join(SOCKET);
        let listener = listener.as_fd().try_clone_to_owned()?;
        let socket = bound(&path);
        Ok(Self { gateway: gateway.clone(), front: front.clone(), doors: doors.clone(), listener, path, socket })
    }

    /// Waits to be asked.
    pub fn keep_ready(self, tasks: &Tasks) {
        let (stop, all) = (tasks.stop_token(), tasks.clone());
        let (gateway, front) = (self.gateway.clone(), self.front.clone());
        tasks.spawn("handover", async move {
            let Some(successor) = stop.run_until_cancelled(self.run()).await else { return };
            all.stop();
            if let Err(error) = let_go(successor, &gateway, &front).await {
                // It has what it was told last, until this process ends.
                tracing::warn!(%error, "the process that took over cannot be told what is free");
            }
        });
    }

    /// Ends when another process serves: it hears over this what is free.
    async fn run(mut self) -> UnixStream {
        let mut socket = self.socket.take();
        let this = Arc::new(self);
        loop {
            let Some(own) = socket.take().or_else(|| bound(&this.path)) else { return std::future::pending().await };
            let asked = match this.asked(own).await {
                Ok(asked) => asked,
                Err(error) => {
                    tracing::warn!(path = %this.path.display(), %error, "no handover is possible");
                    return std::future::pending().await;
                }
            };
            tracing::info!("another process takes over");
            match this.give(asked).await {
                Ok(successor) => {
                    tracing::info!("another process serves");
                    return successor;
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the other process does not serve, going on"
                    );
                    this.take_back().await;
                }
            }
        }
    }

    /// Whoever asks next, if he is of the same user.
    async fn asked(&self, socket: UnixListener) -> io::Result<UnixStream> {
        let own = std::fs::metadata(&self.path)?.uid();
        loop {
            let (stream, _) = socket.accept().await?;
            let user = stream.peer_cred()?.uid();
            if user != own && user != 0 {
                tracing::warn!(user, "somebody else asks for a handover");
                continue;
            }
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(STEP_MAX))?;
            return Ok(stream);
        }
    }

    async fn give(self: &Arc<Self>, stream: UnixStream) -> Result<UnixStream, HandoverError> {
        let asked = stream.try_clone().map_err(HandoverError::Other)?;
        blocking(move || expect(&asked, TAKE)).await.map_err(HandoverError::Other)?;
        self.front.pause(true);
        self.doors.close().await;
        let this = self.clone();
        blocking(move || {
            this.gateway.hand_over()?;
            let number = match this.gateway.lane {
                Lane::First => 1,
                Lane::Second => 2,
            };
            send(&stream, &format!("given {number}\n"), &this.listener).map_err(HandoverError::Other)?;
            expect(&stream, SERVING).map_err(HandoverError::Other)?;
            let parts = write_parts(&this.gateway.let_go());
            (&stream).write_all(parts.as_bytes()).map_err(HandoverError::Other)?;
            Ok(stream)
        })
        .await
    }

    async fn take_back(&self) {
        if self.doors.are_open() {
            return;
        }
        self.gateway.take_back();
        self.front.pause(false);
        if let Err(error) = self.doors.open().await {
            tracing::error!(%error, "the ports for operators cannot be opened again");
        }
    }
}

/// Keeps less and less of each site for the requests that are left, until the last connection has ended.
async fn let_go(successor: UnixStream, gateway: &Gateway, front: &Front) -> io::Result<()> {
    successor.set_nonblocking(true)?;
    let mut successor = tokio::net::UnixStream::from_std(successor)?;
    let mut said = Parts::new();
    while front.connections() > 0 || gateway.is_busy() {
        let parts = gateway.let_go();
        if parts != said {
            // Falls before it is said, so that it is never had twice.
            successor.write_all(write_parts(&parts).as_bytes()).await?;
            said = parts;
        }
        tokio::time::sleep(LET_GO_EVERY).await;
    }
    Ok(())
}

/// The socket at a path; without it the edge serves as well, but cannot hand over.
fn bound(path: &Path) -> Option<UnixListener> {
    // What a process that is gone, or the one before, has left there.
    let cleared = match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    let socket = cleared.and_then(|()| UnixListener::bind(path));
    socket.inspect_err(|error| tracing::warn!(path = %path.display(), %error, "no handover is possible")).ok()
}

async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(run).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

#[expect(clippy::unbuffered_bytes, reason = "what comes behind the line is for whoever reads next")]
fn read_line(stream: &UnixStream, bytes_max: u64) -> io::Result<String> {
    let mut read = Vec::new();
    for byte in stream.take(bytes_max).bytes() {
        read.push(byte?);
        if read.ends_with(b"\n") {
            break;
        }
    }
    String::from_utf8(read).map_err(io::Error::other)
}

/// Reads a line, which must be this one.
fn expect(stream: &UnixStream, line: &str) -> io::Result<()> {
    let read = read_line(stream, LINE_BYTES_MAX)?;
    if read == line { Ok(()) } else { Err(io::Error::other(format!("it said {read:?}, not {line:?}"))) }
}

fn send(stream: &UnixStream, line: &str, socket: &OwnedFd) -> io::Result<()> {
    let sockets = [socket.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&sockets)];
    let sent = sendmsg::<UnixAddr>(
        stream.as_raw_fd(),
        &[IoSlice::new(line.as_bytes())],
        &rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// A line with a socket. It was sent by one call, and is so short that it comes by one.
fn receive(stream: &UnixStream) -> io::Result<(String, OwnedFd)> {
    let (mut line, mut rights) = ([0; LINE_BYTES_MAX as usize], nix::cmsg_space!([RawFd; 1]));
    let mut parts = [IoSliceMut::new(&mut line)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(stream.as_raw_fd(), &mut parts, Some(&mut rights), flags)?;
    let sockets: Vec<RawFd> = message
        .cmsgs()?
        .filter_map(|part| if let ControlMessageOwned::ScmRights(sockets) = part { Some(sockets) } else { None })
        .flatten()
        .collect();
    let length = message.bytes;
    // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows their numbers.
    let mut sockets = sockets.into_iter().map(|socket| unsafe { OwnedFd::from_raw_fd(socket) });
    let socket = sockets.next().ok_or_else(|| io::Error::other("it sent no socket"))?;
    let line = String::from_utf8(line[..length].to_vec()).map_err(io::Error::other)?;
    Ok((line, socket))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn a_socket_goes_to_another_owner_with_what_waits_in_it() {
        let (one, other) = UnixStream::pair().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut waits = std::net::TcpStream::connect(address).unwrap();
        waits.write_all(b"!").unwrap();
        send(&one, "given 1\n", &listener.into()).unwrap();
        let (line, socket) = receive(&other).unwrap();
        assert_eq!(line, "given 1\n");
        let (mut taken, _) = std::net::TcpListener::from(socket).accept().unwrap();
        let mut byte = [0];
        taken.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"!");
    }

    #[test]
    fn a_line_that_is_another_or_none_is_an_error() {
        let check = |sent: &[u8], expected: bool| {
            let (mut one, other) = UnixStream::pair().unwrap();
            one.write_all(sent).unwrap();
            drop(one);
            assert_eq!(expect(&other, SERVING).is_ok(), expected, "{sent:?}");
        };
        check(b"serving\n", true);
        check(b"serving", false);
        check(b"", false);
        check(&[b'x'; 1000], false);
    }
}
