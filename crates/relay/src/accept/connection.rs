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
    let session = Session::new(peer, socket.local_addr().map_err(Broken::from)?);
    let (input, output) = socket.into_split();
    let limits = Limits {
        request_bytes_max: relay.config.request_bytes_max.as_usize(),
        idle: relay.config.idle_timeout,
        transfer: relay.config.transfer_timeout,
    };
    // As many places as permits: sending never waits.
    let (queue, queued) = mpsc::channel(PIPELINE_MAX as usize);
    let reading = read_requests(relay, RequestReader::new(input, limits), queue);
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
    mut reader: RequestReader<R>,
    queue: mpsc::Sender<Place>,
) -> Result<ReadEnd, Ended> {
    let places = Arc::new(Semaphore::new(PIPELINE_MAX as usize));
    loop {
        let request = tokio::select! {
            biased;
            () = relay.stopping.cancelled() => return Ok(ReadEnd::Stopping),
            request = reader.next(&relay.memory, dispatch::served) => request?,
        };
        let Some(request) = request else { return Ok(ReadEnd::PeerDone) };
        let needed = if request.api == ApiKey::Produce { 1 } else { PIPELINE_MAX };
        let Ok(place) = Arc::clone(&places).acquire_many_owned(needed).await else { return Ok(ReadEnd::PeerDone) };
        let queued = match request.api {
            ApiKey::Produce => Queued::Produce(produce::submit(relay, request).await?),
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
                if !produce::answer(pending, &mut out).await? {
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
        if out.len() > BUFFER_KEPT_BYTES {
            out = OutFrame::new();
        }
    }
    Ok(())
}
