//! Requests off a socket: refused before a byte is reserved for nonsense, counted as they arrive.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::buffers::{Buffers, Lent};
use super::memory::{Budget, Growing};
use crate::wire::frame::RequestHeader;
use crate::wire::{ApiKey, OutFrame, WireError};

/// A frame's length field, bytes.
const LENGTH_BYTES: usize = 4;
/// The part of a request that says what it is: key, version, correlation id. Every request has it.
const HEAD_BYTES: usize = 8;
/// What a connection at rest holds for the beginning of the next request: enough for a small one in one read, and
/// bounded by the number of connections.
const REST_BYTES: usize = 16 << 10;
/// A request up to this size is read where its beginning stands; a larger one gets memory of its own, this much at
/// first: it grows with what has arrived, not with what was announced.
const READ_BYTES: usize = 64 << 10;

/// Bounds on one connection's requests.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest request.
    pub request_bytes_max: usize,
    /// How long a peer may ask for nothing.
    pub idle: Duration,
    /// How long a request may take to arrive once it has begun, and an answer to be taken.
    pub transfer: Duration,
}

/// The memory of all requests in flight, shared by all connections.
#[derive(Debug)]
pub struct Memory {
    requests: Budget,
    /// What one request, whichever, may take to come to its end when the rest is taken.
    last: Budget,
    /// Memory that large requests use one after the other.
    buffers: Option<Buffers>,
}

impl Memory {
    /// So many bytes in all, of which one largest request's are kept for the one that comes to its end.
    pub fn new(total_bytes: usize, request_bytes_max: usize) -> Self {
        Self {
            requests: Budget::new(total_bytes.saturating_sub(request_bytes_max)),
            last: Budget::new(request_bytes_max),
            buffers: None,
        }
    }

    /// Lets large requests use the same memory one after the other, which spares the kernel's work on fresh memory. For
    /// who lets go of a request once it is answered: a part that is kept keeps the whole buffer.
    #[must_use]
    pub fn with_buffers(self) -> Self {
        Self { buffers: Some(Buffers::default()), ..self }
    }

    /// Bytes taken now, rounded up.
    pub fn taken_bytes(&self) -> usize {
        self.requests.taken_bytes() + self.last.taken_bytes()
    }

    /// All bytes there are.
    pub fn total_bytes(&self) -> usize {
        self.requests.total_bytes() + self.last.total_bytes()
    }

    /// Counts what has come of a request: a size that is announced and never sent holds nobody up.
    async fn count(&self, share: &mut Growing, arrived: usize, whole: usize) -> Result<(), Ended> {
        while share.bytes() < whole && arrived >= share.bytes() {
            share.grow(&self.requests, &self.last, whole).await.ok_or(Ended::Cut)?;
        }
        Ok(())
    }
}

/// How a request of some key and version is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// So many of its bytes take no share of the memory: what the bound on connections bounds need not wait behind
    /// large requests.
    pub uncounted_bytes: usize,
    /// Largest request of this kind, where that is less than of others.
    pub bytes_max: usize,
}

/// Why a connection ends, when its peer did not end it.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The bytes do not keep to the protocol. The peer's side; a retry does not help.
    #[error("not a request of this protocol")]
    Wire(#[from] WireError),
    /// The network. A new connection may help.
    #[error("the socket failed")]
    Socket(#[from] std::io::Error),
    /// The peer's side.
    #[error("a request announces {0} bytes, at least {HEAD_BYTES} are needed")]
    TooShort(usize),
    /// The peer's side; a new connection helps.
    #[error("nothing was asked for {0:?}")]
    Idle(Duration),
    /// The peer's side, or the network's.
    #[error("a transfer took longer than {0:?}")]
    Slow(Duration),
    /// The peer's side: it did not ask what is served, or did not heed it.
    #[error("version {version} of {api} is not served")]
    Version {
        /// The API.
        api: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// The peer's side: it has to say who it is before it asks for this.
    #[error("{api} before the client has said who it is")]
    Unknown {
        /// The API.
        api: &'static str,
    },
    /// The peer's side, or the network's.
    #[error("the peer closed in the middle of a request")]
    Cut,
}

/// A request that is whole.
#[derive(Debug)]
pub struct Arrived {
    /// What is asked.
    pub api: ApiKey,
    /// Version, correlation id, client.
    pub header: RequestHeader,
    /// What follows the header.
    pub body: Bytes,
    /// Size of the whole request, which shares one piece of memory.
    pub frame_bytes: usize,
    /// Its memory, given back when dropped.
    pub share: Growing,
}

/// The requests of one connection, one after the other.
#[derive(Debug)]
pub struct RequestReader<R> {
    input: R,
    buffer: BytesMut,
    limits: Limits,
}

impl<R: AsyncRead + Unpin> RequestReader<R> {
    /// Reads from a socket.
    pub fn new(input: R, limits: Limits) -> Self {
        Self { input, buffer: BytesMut::new(), limits }
    }

    /// The next request; none when the peer is done. `served` says of a key and version whether they are served at all,
    /// before anything is reserved for them. Not to be called again after it was dropped unfinished within a request's
    /// arrival: the share would be counted anew.
    pub async fn next(
        &mut self,
        memory: &Memory,
        served: impl Fn(i16, i16) -> Result<Served, Ended>,
    ) -> Result<Option<Arrived>, Ended> {
        let Limits { idle, transfer, .. } = self.limits;
        let (size, taken) = loop {
            if let Some(checked) = self.check_head(&served)? {
                break checked;
            }
            let began = !self.buffer.is_empty();
            let limit = if began { transfer } else { idle };
            self.buffer.reserve(REST_BYTES);
            match timeout(limit, self.input.read_buf(&mut self.buffer)).await {
                Ok(Ok(0)) if began => return Err(Ended::Cut),
                Ok(Ok(0)) => return Ok(None),
                Ok(read) => read.map(drop)?,
                Err(_) if began => return Err(Ended::Slow(limit)),
                Err(_) => return Err(Ended::Idle(idle)),
            }
        };
        self.buffer.advance(LENGTH_BYTES);
        let arrived = timeout(transfer, self.arrive(size, taken, memory)).await;
        let (mut body, share) = arrived.map_err(|_| Ended::Slow(transfer))??;
        if self.buffer.is_empty() {
            // The rest of the allocation lives in the frame; a connection at rest holds none.
            self.buffer = BytesMut::new();
        }
        let header = RequestHeader::decode(&mut body)?;
        let api = ApiKey::from_i16(header.api_key)
            .ok_or(WireError::Unsupported { api: header.api_key, version: header.api_version })?;
        Ok(Some(Arrived { api, header, body, frame_bytes: size, share }))
    }

    /// The whole request behind its length field, which is taken off the buffer.
    async fn arrive(&mut self, size: usize, taken: Served, memory: &Memory) -> Result<(Bytes, Growing), Ended> {
        let whole = LENGTH_BYTES + size;
        let mut share = Growing::new(taken.uncounted_bytes);
        if size > READ_BYTES {
            let lent = self.arrive_large(size, &mut share, memory).await?;
            return Ok((lent.freeze(), share));
        }
        loop {
            memory.count(&mut share, LENGTH_BYTES + self.buffer.len(), whole).await?;
            if self.buffer.len() >= size {
                return Ok((self.buffer.split_to(size).freeze(), share));
            }
            self.buffer.reserve(size - self.buffer.len());
            if self.input.read_buf(&mut self.buffer).await? == 0 {
                return Err(Ended::Cut);
            }
        }
    }

    async fn arrive_large(&mut self, size: usize, share: &mut Growing, memory: &Memory) -> Result<Lent, Ended> {
        let whole = LENGTH_BYTES + size;
        let mut lent = memory.buffers.as_ref().map_or_else(|| Lent::fresh(READ_BYTES), Buffers::take);
        let bytes = lent.bytes_mut();
        bytes.extend_from_slice(&self.buffer.split_to(self.buffer.len().min(size)));
        loop {
            let arrived = LENGTH_BYTES + bytes.len();
            memory.count(share, arrived, whole).await?;
            if bytes.len() == size {
                return Ok(lent);
            }
            if bytes.len() == bytes.capacity() {
                // Doubling, up to what is missing: no more memory than twice of what has come.
                bytes.reserve_exact(bytes.len().min(size - bytes.len()));
            }
            let room = whole.min(share.bytes()) - arrived;
            if self.input.read_buf(&mut bytes.limit(room)).await? == 0 {
                return Err(Ended::Cut);
            }
        }
    }

    /// Checks as much of a request's first bytes as has come; the size of the request, when all of them have.
    fn check_head(&self, served: impl Fn(i16, i16) -> Result<Served, Ended>) -> Result<Option<(usize, Served)>, Ended> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        let max = self.limits.request_bytes_max;
        let size = usize::try_from(length)
            .map_err(|_| WireError::BadLength { field: "frame length", length: i64::from(length) })?;
        if size > max {
            return Err(WireError::TooLarge { field: "frame length", size: size as u64, max: max as u64 }.into());
        }
        if size < HEAD_BYTES {
            return Err(Ended::TooShort(size));
        }
        let Some(head) = self.buffer.get(LENGTH_BYTES..LENGTH_BYTES + 4) else { return Ok(None) };
        let (key, version) = (i16::from_be_bytes([head[0], head[1]]), i16::from_be_bytes([head[2], head[3]]));
        let taken = served(key, version)?;
        if size > taken.bytes_max {
            let (size, max) = (size as u64, taken.bytes_max as u64);
            return Err(WireError::TooLarge { field: "frame length", size, max }.into());
        }
        Ok((self.buffer.len() >= LENGTH_BYTES + HEAD_BYTES).then_some((size, taken)))
    }
}

/// Writes an answer whole, within the time.
pub async fn write_answer<W: AsyncWrite + Unpin>(output: &mut W, out: &OutFrame, limit: Duration) -> Result<(), Ended> {
    let write = async {
        output.write_all_buf(&mut out.reader()).await?;
        // TLS keeps bytes back until flushed.
        output.flush().await
    };
    match timeout(limit, write).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(Ended::Slow(limit)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    /// ApiVersions, version 0, from nobody.
    const HELLO: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 9, 0xff, 0xff];

    fn served(key: i16, version: i16) -> Result<Served, Ended> {
        match ApiKey::from_i16(key) {
            Some(ApiKey::Produce) => Ok(Served { uncounted_bytes: 0, bytes_max: usize::MAX }),
            Some(api) if api.supports(version) => Ok(Served { uncounted_bytes: 1 << 10, bytes_max: usize::MAX }),
            Some(api) => Err(Ended::Version { api: api.name(), version }),
            None => Err(WireError::Unsupported { api: key, version }.into()),
        }
    }

    async fn read(bytes: &[u8]) -> (Vec<(ApiKey, usize)>, Option<Ended>) {
        let limits =
            Limits { request_bytes_max: 1 << 20, idle: Duration::from_secs(9), transfer: Duration::from_secs(9) };
        let memory = Memory::new(4 << 20, 1 << 20);
        let mut reader = RequestReader::new(bytes, limits);
        let mut seen = Vec::new();
        loop {
            match reader.next(&memory, served).await {
                Ok(None) => return (seen, None),
                Ok(Some(one)) => seen.push((one.api, memory.taken_bytes())),
                Err(ended) => return (seen, Some(ended)),
            }
        }
    }

    #[tokio::test]
    async fn requests_come_one_by_one_and_only_the_counted_ones_take_memory() {
        let produce = [&[0, 0, 0x10, 0][..], &[0, 0, 0, 7, 0, 0, 0, 1, 0xff, 0xff], &[0; 0x1000 - 10]].concat();
        let (seen, ended) = read(&[&HELLO[..], &HELLO, &produce, &HELLO].concat()).await;
        assert!(ended.is_none());
        let hello = (ApiKey::ApiVersions, 0);
        assert_eq!(seen, [hello, hello, (ApiKey::Produce, 5 << 10), hello]);
    }

    #[tokio::test]
    async fn nonsense_ends_a_connection_before_anything_is_reserved() {
        let check = async |bytes: &[u8], expect: &str| {
            let (seen, ended) = read(bytes).await;
            let ended = ended.unwrap();
            let text = std::error::Error::source(&ended).map_or_else(|| ended.to_string(), ToString::to_string);
            assert!(seen.is_empty() && text.contains(expect), "{text}");
        };
        check(&[0xff; 8], "length").await;
        check(&[0x7f, 0, 0, 0], "at most").await;
        check(&[0, 0, 0, 3, 0, 18, 0], "announces 3 bytes").await;
        check(&[0, 0, 0, 20, 3, 0xe7, 0, 0], "not supported").await;
        check(&[0, 0, 0, 20, 0, 3, 0, 99], "version 99 of Metadata").await;
        check(&HELLO[..9], "middle of a request").await;
        check(&HELLO[..13], "middle of a request").await;
    }
}
