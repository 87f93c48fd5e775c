//! A role that is asked by another one: HTTP/1.1 over mutual TLS, on one connection that is kept.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{MtlsError, MtlsFiles, client_config, role_name};
use crate::config::HostPort;

/// The head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A client of another role.
pub struct RoleClient {
    address: HostPort,
    role: &'static str,
    connector: TlsConnector,
    answer_bytes_max: usize,
    connection: Option<TlsStream<TcpStream>>,
}

impl std::fmt::Debug for RoleClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoleClient").field("role", &self.role).field("address", &self.address).finish_non_exhaustive()
    }
}

impl RoleClient {
    /// Reads the certificates of `own_role`, which asks `role` at `address` and takes answers of up to
    /// `answer_bytes_max`. Connects to nothing yet.
    ///
    /// # Errors
    /// When the files do not fit.
    pub fn open(
        files: &MtlsFiles,
        own_role: &str,
        (role, address): (&'static str, HostPort),
        answer_bytes_max: usize,
    ) -> std::result::Result<Self, MtlsError> {
        let connector = TlsConnector::from(client_config(files, own_role)?);
        Ok(Self { address, role, connector, answer_bytes_max, connection: None })
    }

    /// Whether a connection is kept. It may have been closed while nothing was asked.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Asks over another connection next time.
    pub fn forget(&mut self) {
        self.connection = None;
    }

    /// Posts JSON, and gives status and body of the answer. The connection is kept only behind an answer that was read
    /// whole: dropped on the way, or failed, it is gone.
    ///
    /// # Errors
    /// When the role cannot be reached, breaks off, or gives an answer beyond the bounds.
    pub async fn post(&mut self, path: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.role,
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        stream.flush().await?;
        let answer = answer(&mut stream, self.answer_bytes_max).await?;
        self.connection = Some(stream);
        Ok(answer)
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect((self.address.host.as_str(), self.address.port)).await?;
        tcp.set_nodelay(true)?;
        let name = role_name(self.role).map_err(Error::other)?;
        self.connector.connect(name, tcp).await
    }
}

/// Reads one answer of HTTP/1.1 with a length: its status and body.
async fn answer(stream: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> Result<(u16, Vec<u8>)> {
    let broken = |what| Error::new(ErrorKind::InvalidData, what);
    let mut read = Vec::with_capacity(4096);
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if read.len() > HEAD_BYTES_MAX {
            return Err(broken("the head of an answer does not end"));
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    };
    let head = std::str::from_utf8(&read[..end]).map_err(|_| broken("the head of an answer is no text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| broken("an answer has no status"))?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<usize>().ok() } else { None }
    });
    let length = length.filter(|length| *length <= bytes_max);
    let length = length.ok_or_else(|| broken("an answer has no length, or is too long"))?;
    let mut body = read.split_off(end + 4);
    let before = body.len();
    if before > length {
        return Err(broken("an answer is longer than it says"));
    }
    body.resize(length, 0);
    stream.read_exact(&mut body[before..]).await?;
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test panics on failure")]

    use super::*;

    #[tokio::test]
    async fn answers_are_read_whole_and_within_bounds() {
        async fn check(bytes: &[u8], expect: Option<(u16, &str)>) {
            let mut bytes = bytes;
            let read = answer(&mut bytes, 16 << 20).await.ok();
            let read = read.map(|(status, body)| (status, String::from_utf8(body).unwrap()));
            assert_eq!(read.as_ref().map(|(status, body)| (*status, body.as_str())), expect);
        }
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some((200, "{}"))).await;
        check(b"HTTP/1.1 503 Busy\r\nx: y\r\ncontent-length:0\r\n\r\n", Some((503, ""))).await;
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", None).await;
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n", None).await;
        check(b"HTTP/1.1 200 OK\r\n\r\n", None).await;
        check(b"nonsense", None).await;
        check(&[b'x'; HEAD_BYTES_MAX + 10], None).await;
    }
}
