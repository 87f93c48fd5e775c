//! One connection: frames in, one request at a time, answers out in the same order.
//!
//! A connection holds at most one request and one answer; what its peer sends beyond that waits in the socket.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::broker::Broker;
use super::dispatch::{self, Answered};
use crate::serve::{Ended as Broken, Limits, RequestReader, write_answer};
use crate::wire::{OutFrame, StrBytes, WireError};

/// An answer's buffer is kept for the next one up to this size.
const KEPT_ANSWER_BYTES: usize = 64 << 10;
/// Largest answer: a frame's length is a signed 32-bit number, and Fetch stays far below.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Who asks, in what version, and how the broker is reached from there.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) version: i16,
    pub(crate) client_id: Option<StrBytes>,
}

/// Why a connection ends, when its peer did not end it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("acks=0 failed, which only a closed connection can tell")]
    Unacknowledged,
    #[error("a fault was asked for")]
    Fault,
}

impl From<WireError> for Ended {
    fn from(error: WireError) -> Self {
        Self::Broken(error.into())
    }
}

/// Serves a connection until its peer closes it, it breaks a rule, or the broker stops.
pub(crate) async fn serve(broker: Arc<Broker>, socket: TcpStream, peer: SocketAddr) {
    match run(&broker, socket, peer).await {
        Ok(()) => tracing::debug!(%peer, "connection closed"),
        Err(ended @ (Ended::Broken(Broken::Idle(_)) | Ended::Fault | Ended::Unacknowledged)) => {
            tracing::debug!(%peer, reason = %ended, "connection closed by us");
        }
        Err(ended) => {
            let cause = std::error::Error::source(&ended).map(ToString::to_string);
            tracing::info!(%peer, reason = %ended, cause, "connection closed by us");
        }
    }
}

async fn run(broker: &Arc<Broker>, socket: TcpStream, peer: SocketAddr) -> Result<(), Ended> {
    socket.set_nodelay(true).map_err(Broken::from)?;
    let local = socket.local_addr().map_err(Broken::from)?;
    let (input, mut output) = socket.into_split();
    let limits = Limits {
        request_bytes_max: broker.config.request_bytes_max,
        idle: broker.config.idle_timeout,
        transfer: broker.config.transfer_timeout,
    };
    let mut requests = RequestReader::new(input, limits);
    let mut out = OutFrame::new();
    loop {
        let request = tokio::select! {
            biased;
            () = broker.stopping.cancelled() => return Ok(()),
            request = requests.next(&broker.requests, dispatch::served) => request?,
        };
        let Some(request) = request else { return Ok(()) };
        broker.requested.count(request.api);
        let header = request.header;
        let caller = Caller { peer, local, version: header.api_version, client_id: header.client_id };
        out.clear();
        let id = header.correlation_id;
        let answered = dispatch::answer(broker, request.api, &caller, id, request.body, &mut out).await?;
        // Held until the answer is with the system: this is what bounds a slow reader.
        let _answer_share = match answered {
            Answered::Silent => continue,
            Answered::Written(share) => share,
        };
        write_answer(&mut output, &out, limits.transfer).await?;
        if out.len() > KEPT_ANSWER_BYTES {
            out = OutFrame::new();
        }
    }
}

/// Ends the frame in `out`.
pub(crate) fn finish(out: &mut OutFrame) -> Result<(), Ended> {
    Ok(out.finish(ANSWER_BYTES_MAX)?)
}
