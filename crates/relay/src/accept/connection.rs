//! One connection of a client.
//!
//! Two halves side by side in one task. The reading half submits each Produce to its partitions when it has been read,
//! so that pipelined batches are sequenced in order without waiting for each other. The answering half sends answers in
//! the order of the requests; whatever is not Produce is carried out there, one at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::serve::{Arrived, Ended as Broken, Limits, RequestReader, write_answer};
use naru_kafka::wire::{ApiKey, OutFrame, WireError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::produce::{self, Pending};
use super::{Call, Session, dispatch};
use crate::relay::Relay;
use crate::security::{Caller, tls};

/// Produce requests of one connection without an answer yet; an idempotent producer keeps five in flight, librdkafka's
/// plain one more. Whatever is not Produce takes all of these places: it is served alone.
const PIPELINE_MAX: u32 = 16;
/// Answers larger than this are let go of with their buffer, so that a connection at rest holds little.
const BUFFER_KEPT_BYTES: usize = 64 << 10;
/// Largest answer: a frame's length is a signed 32-bit number, and Fetch stays far below.
pub(super) const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Why a connection ends, when its peer did not end it.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// What came is not what is served, or did not come in time. The peer's side.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// No encrypted connection came about. The peer's side, or a certificate that one of both does not accept.
    #[error("tls handshake")]
    Tls(#[source] std::io::Error),
    /// The peer's side, or the authority's that gave it its certificate.
    #[error("the client's certificate has no common name that can be its principal")]
    Nameless,
    /// The peer's side. A new connection helps, with other credentials.
    #[error("authentication failed")]
    Unauthenticated,
    /// A batch with acks=0 failed, which only a closed connection can tell.
    #[error("acks=0 failed, which only a closed connection can tell")]
    Unacknowledged,
    /// The side that must answer cannot be reached, and the request has no answer that says so. A new connection helps.
    #[error("the side that answers this cannot be reached")]
    Unreachable(#[source] Box<naru_kafka::client::ClientError>),
}

impl From<WireError> for Ended {
    fn from(error: WireError) -> Self {
        Self::Broken(error.into())
    }
}

/// What waits for its turn to be answered.
enum Queued {
    Produce(Pending),
    Request(Arrived),
}

type Place = (Queued, OwnedSemaphorePermit);

/// Why nothing more is read.
enum ReadEnd {
    PeerDone,
    Stopping,
}

/// Serves a connection until its peer closes it, it breaks a rule, or the relay stops.
pub(super) async fn serve(relay: &Arc<Relay>, socket: TcpStream, peer: SocketAddr) {
    match run(relay, socket, peer).await {
        Ok(()) => tracing::debug!(%peer, "connection closed"),
        Err(ended @ (Ended::Broken(Broken::Idle(_) | Broken::Socket(_)) | Ended::Unacknowledged)) => {
            tracing::debug!(%peer, reason = %ended, "connection closed by us");
        }
        Err(ended) => {
            let cause = std::error::Error::source(&ended).map(ToString::to_string);
            tracing::info!(%peer, reason = %ended, cause, "connection closed by us");
        }
    }
}

async fn run(relay: &Arc<Relay>, socket: TcpStream, peer: SocketAddr) -> Result<(), Ended> {
    socket.set_nodelay(true).map_err(Broken::from)?;
    let local = socket.local_addr().map_err(Broken::from)?;
    let Some(acceptor) = relay.security.tls() else {
        let session = Session::new(peer, local, Arc::new(relay.security.connect(None)));
        let (input, output) = socket.into_split();
        return exchange(relay, session, input, output).await;
    };
    let limit = relay.config.transfer_timeout;
    let accepted = tokio::time::timeout(limit, acceptor.accept(socket)).await.map_err(|_| Broken::Slow(limit))?;
    let stream = accepted.map_err(Ended::Tls)?;
    let certified = match stream.get_ref().1.peer_certificates() {
        Some(chain) => Some(tls::principal(chain).ok_or(Ended::Nameless)?),
        None => None,
    };
    let session = Session::new(peer, local, Arc::new(relay.security.connect(certified)));
    let (input, output) = tokio::io::split(stream);
    exchange(relay, session, input, output).await
}

/// Reads requests and answers them.
async fn exchange(
    relay: &Arc<Relay>,
    session: Session,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
) -> Result<(), Ended> {
    let caller = Arc::clone(&session.caller);
    let limits = Limits {
        request_bytes_max: relay.config.request_bytes_max.as_usize(),
        idle: relay.config.idle_timeout,
        transfer: relay.config.transfer_timeout,
    };
    // As many places as permits: sending never waits.
    let (queue, queued) = mpsc::channel(PIPELINE_MAX as usize);
    let reading = read_requests(relay, &caller, RequestReader::new(input, limits), queue);
    let answering = answer_requests(relay, session, output, queued, limits.transfer);
    tokio::pin!(answering);
    let end = tokio::select! {
        end = reading => end?,
        answered = &mut answering => return answered,
    };
    match end {
        // Nobody reads the answers any more; batches go on in their partitions.
        ReadEnd::PeerDone => Ok(()),
        ReadEnd::Stopping => answering.await,
    }
}

async fn read_requests<R: AsyncRead + Unpin>(
    relay: &Arc<Relay>,
    caller: &Caller,
    mut reader: RequestReader<R>,
    queue: mpsc::Sender<Place>,
) -> Result<ReadEnd, Ended> {
    let places = Arc::new(Semaphore::new(PIPELINE_MAX as usize));
    loop {
        let request = tokio::select! {
            biased;
            () = relay.stopping.cancelled() => return Ok(ReadEnd::Stopping),
            request = reader.next(&relay.memory, |key, version| dispatch::served(caller, key, version)) => request?,
        };
        let Some(request) = request else { return Ok(ReadEnd::PeerDone) };
        let needed = if request.api == ApiKey::Produce { 1 } else { PIPELINE_MAX };
        let Ok(place) = Arc::clone(&places).acquire_many_owned(needed).await else { return Ok(ReadEnd::PeerDone) };
        let queued = match request.api {
            ApiKey::Produce => Queued::Produce(produce::submit(relay, caller, request).await?),
            _ => Queued::Request(request),
        };
        if queue.send((queued, place)).await.is_err() {
            return Ok(ReadEnd::PeerDone);
        }
    }
}

async fn answer_requests<W: AsyncWrite + Unpin>(
    relay: &Arc<Relay>,
    mut session: Session,
    mut output: W,
    mut queued: mpsc::Receiver<Place>,
    limit: Duration,
) -> Result<(), Ended> {
    let mut out = OutFrame::new();
    while let Some((queued, _place)) = queued.recv().await {
        out.clear();
        // Held until the answer is with the system: this is what bounds a slow reader.
        let _share = match queued {
            Queued::Produce(pending) => {
                session.throttle_ms = pending.throttle_ms();
                if !produce::answer(pending, &mut out).await? {
                    // Without an answer it is held back all the same.
                    throttle(relay, std::mem::take(&mut session.throttle_ms)).await;
                    continue;
                }
                None
            }
            Queued::Request(Arrived { api, header, body, share, .. }) => {
                let correlation_id = header.correlation_id;
                let mut call =
                    Call { relay, session: &mut session, version: header.api_version, client_id: header.client_id };
                let answered = dispatch::answer(api, &mut call, correlation_id, body, &mut out).await?;
                drop(share);
                answered
            }
        };
        write_answer(&mut output, &out, limit).await?;
        if session.close_after_answer {
            return Err(Ended::Unauthenticated);
        }
        throttle(relay, std::mem::take(&mut session.throttle_ms)).await;
        if out.len() > BUFFER_KEPT_BYTES {
            out = OutFrame::new();
        }
    }
    Ok(())
}

/// Keeps the places of the requests behind, and so stops reading, for as long as the client was told.
async fn throttle(relay: &Relay, throttle_ms: u64) {
    if throttle_ms > 0 {
        let wait = tokio::time::sleep(Duration::from_millis(throttle_ms));
        relay.stopping.run_until_cancelled(wait).await;
    }
}
