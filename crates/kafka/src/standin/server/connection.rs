//! One connection: frames in, one request at a time, answers out in the same order.
//!
//! A connection holds at most one request and one answer; what its peer sends beyond that waits in the socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::broker::Broker;
use super::dispatch::{self, Answered};
use super::memory::Growing;
use crate::wire::frame::RequestHeader;
use crate::wire::{ApiKey, OutFrame, StrBytes, WireError};

/// A frame's length field, bytes.
const LENGTH_BYTES: usize = 4;
/// The part of a request that says what it is: key, version, correlation id. Every request has it.
const HEAD_BYTES: usize = 8;
/// A request up to this size takes no share of the memory for requests: the bound on connections bounds them, and they
/// never wait behind large ones.
const UNCOUNTED_BYTES: usize = 64 << 10;
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
    #[error("not a request of this protocol")]
    Wire(#[from] WireError),
    #[error("the socket failed")]
    Socket(#[from] std::io::Error),
    #[error("a request announces {0} bytes, at least {HEAD_BYTES} are needed")]
    TooShort(usize),
    #[error("nothing was asked for {0:?}")]
    Idle(Duration),
    #[error("a transfer took longer than {0:?}")]
    Slow(Duration),
    #[error("version {version} of {api} is not served")]
    Version { api: &'static str, version: i16 },
    #[error("the peer closed in the middle of a request")]
    Cut,
    #[error("acks=0 failed, which only a closed connection can tell")]
    Unacknowledged,
    #[error("a fault was asked for")]
    Fault,
}

/// Serves a connection until its peer closes it, it breaks a rule, or the broker stops.
pub(crate) async fn serve(broker: Arc<Broker>, socket: TcpStream, peer: SocketAddr) {
    match run(&broker, socket, peer).await {
        Ok(()) => tracing::debug!(%peer, "connection closed"),
        Err(ended @ (Ended::Idle(_) | Ended::Fault | Ended::Unacknowledged)) => {
            tracing::debug!(%peer, reason = %ended, "connection closed by us");
        }
        Err(ended) => {
            let cause = std::error::Error::source(&ended).map(ToString::to_string);
            tracing::info!(%peer, reason = %ended, cause, "connection closed by us");
        }
    }
}

async fn run(broker: &Arc<Broker>, socket: TcpStream, peer: SocketAddr) -> Result<(), Ended> {
    socket.set_nodelay(true)?;
    let local = socket.local_addr()?;
    let (mut input, mut output) = socket.into_split();
    let mut buffer = BytesMut::new();
    let mut out = OutFrame::new();
    loop {
        let request = tokio::select! {
            biased;
            () = broker.stopping.cancelled() => return Ok(()),
            request = read_request(broker, &mut input, &mut buffer) => request?,
        };
        let Some((mut frame, _share)) = request else { return Ok(()) };
        let header = RequestHeader::decode(&mut frame)?;
        let api = ApiKey::from_i16(header.api_key)
            .ok_or(WireError::Unsupported { api: header.api_key, version: header.api_version })?;
        broker.requested.count(api);
        let caller = Caller { peer, local, version: header.api_version, client_id: header.client_id };
        out.clear();
        let answered = dispatch::answer(broker, api, &caller, header.correlation_id, frame, &mut out).await?;
        // Held until the answer is with the system: this is what bounds a slow reader.
        let _answer_share = match answered {
            Answered::Silent => continue,
            Answered::Written(share) => share,
        };
        write(broker, &mut output, &out).await?;
        if out.len() > KEPT_ANSWER_BYTES {
            out = OutFrame::new();
        }
    }
}

async fn write(broker: &Broker, output: &mut OwnedWriteHalf, out: &OutFrame) -> Result<(), Ended> {
    let limit = broker.config.transfer_timeout;
    match timeout(limit, output.write_all_buf(&mut out.reader())).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(Ended::Slow(limit)),
    }
}

/// The next request and its share of the memory; none when the peer is done.
async fn read_request(
    broker: &Broker,
    input: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
) -> Result<Option<(Bytes, Growing)>, Ended> {
    let idle = broker.config.idle_timeout;
    // What says the size and the API is read first: nonsense is refused before a byte is reserved for it.
    while buffer.len() < LENGTH_BYTES + HEAD_BYTES {
        let began = !buffer.is_empty();
        let limit = if began { broker.config.transfer_timeout } else { idle };
        buffer.reserve(1024);
        match timeout(limit, input.read_buf(buffer)).await {
            Ok(Ok(0)) if began => return Err(Ended::Cut),
            Ok(Ok(0)) => return Ok(None),
            Ok(read) => read.map(drop)?,
            Err(_) if began => return Err(Ended::Slow(limit)),
            Err(_) => return Err(Ended::Idle(idle)),
        }
        check_head(broker, buffer)?;
    }
    let size = check_head(broker, buffer)?;
    buffer.advance(LENGTH_BYTES);
    let limit = broker.config.transfer_timeout;
    let arrive = async {
        if size > UNCOUNTED_BYTES {
            return read_large(broker, input, buffer, size).await;
        }
        while buffer.len() < size {
            buffer.reserve(size - buffer.len());
            if input.read_buf(buffer).await? == 0 {
                return Err(Ended::Cut);
            }
        }
        Ok((buffer.split_to(size).freeze(), Growing::new(UNCOUNTED_BYTES)))
    };
    let arrived = timeout(limit, arrive).await.map_err(|_| Ended::Slow(limit))??;
    if buffer.is_empty() {
        // The rest of the allocation lives in the frame; a connection at rest holds none.
        *buffer = BytesMut::new();
    }
    Ok(Some(arrived))
}

/// Reads the rest of a request that takes a share of the memory, behind what `buffer` holds of it.
async fn read_large(
    broker: &Broker,
    input: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    size: usize,
) -> Result<(Bytes, Growing), Ended> {
    let mut share = Growing::new(UNCOUNTED_BYTES);
    let mut lent = broker.buffers.take();
    let bytes = lent.bytes_mut();
    bytes.extend_from_slice(&buffer.split_to(buffer.len().min(size)));
    while bytes.len() < size {
        // Counted as it comes: a size that is announced and never sent holds nobody up.
        while bytes.len() >= share.bytes() {
            share.grow(&broker.requests, &broker.last_request, size).await.ok_or(Ended::Cut)?;
        }
        if bytes.len() == bytes.capacity() {
            // Doubling, up to what is missing: no more memory than twice of what has come.
            bytes.reserve_exact(bytes.len().min(size - bytes.len()));
        }
        let room = size.min(share.bytes()) - bytes.len();
        if input.read_buf(&mut bytes.limit(room)).await? == 0 {
            return Err(Ended::Cut);
        }
    }
    Ok((lent.freeze(), share))
}

/// Checks as much of a request's first bytes as has come; the size of the request, when that has.
fn check_head(broker: &Broker, buffer: &BytesMut) -> Result<usize, Ended> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(0) };
    let length = i32::from_be_bytes(*length);
    let max = broker.config.request_bytes_max;
    let size = usize::try_from(length)
        .map_err(|_| WireError::BadLength { field: "frame length", length: i64::from(length) })?;
    if size > max {
        return Err(WireError::TooLarge { field: "frame length", size: size as u64, max: max as u64 }.into());
    }
    if size < HEAD_BYTES {
        return Err(Ended::TooShort(size));
    }
    if let Some(head) = buffer.get(LENGTH_BYTES..LENGTH_BYTES + 4) {
        let (key, version) = (i16::from_be_bytes([head[0], head[1]]), i16::from_be_bytes([head[2], head[3]]));
        dispatch::check_served(key, version)?;
    }
    Ok(size)
}

/// Ends the frame in `out`.
pub(crate) fn finish(out: &mut OutFrame) -> Result<(), Ended> {
    Ok(out.finish(ANSWER_BYTES_MAX)?)
}
