//! Is a node serving? Two requests written out by hand, so that the probe does not depend on the codec it helps to test.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One try; a node that is still starting may accept and not answer.
const TRY_WITHIN: Duration = Duration::from_secs(5);

/// ApiVersions of Kafka 4.3.1 answers with about 500 bytes, Metadata without topics with 60.
const ANSWER_BYTES_MAX: usize = 64 << 10;

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;

/// Whether the node answers ApiVersions without an error and lists at least one broker in Metadata.
pub(super) async fn answers(address: SocketAddr) -> bool {
    matches!(tokio::time::timeout(TRY_WITHIN, ask(address)).await, Ok(Ok(true)))
}

async fn ask(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let mut versions = call(&mut stream, API_VERSIONS, 0, &[]).await?;
    if versions.try_get_i16().map_err(io::Error::other)? != 0 {
        return Ok(false);
    }
    // Version 1 with an empty list: no topics, brokers first in the answer.
    let mut metadata = call(&mut stream, METADATA, 1, &0_i32.to_be_bytes()).await?;
    Ok(metadata.try_get_i32().map_err(io::Error::other)? > 0)
}

/// Sends one request with header version 1 and returns the answer's body.
async fn call(stream: &mut TcpStream, api: i16, version: i16, body: &[u8]) -> io::Result<Bytes> {
    let mut request = BytesMut::new();
    request.put_i16(api);
    request.put_i16(version);
    request.put_i32(i32::from(api));
    request.put_i16(-1);
    request.put_slice(body);
    let length = u32::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_u32(length).await?;
    stream.write_all(&request).await?;
    let length = stream.read_u32().await? as usize;
    if !(4..=ANSWER_BYTES_MAX).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not an answer of the Kafka protocol"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    let mut answer = Bytes::from(answer);
    answer.advance(4);
    Ok(answer)
}
